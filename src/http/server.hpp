// The HTTP/1.1 server: sockets, deadlines and bounds around RequestReader. One request at a time per connection.
//
// Everything here belongs to the io_context's one thread, but for the counters. Nothing is logged.
#pragma once

#include "base/assert.hpp"
#include "http/message.hpp"
#include "http/parser.hpp"

#include <sluice/clock.hpp>
#include <sluice/result.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace boost::asio {
class io_context;
}

namespace sluice::http {

struct ServerOptions {
    std::size_t connections_max{10'000};          // more are answered 503 and closed
    std::size_t bodies_max{256 * 1024 * 1024};    // bytes of bodies still being received, of all connections; more: 503
    std::size_t answers_max{128 * 1024 * 1024};   // bytes of answers not sent yet, of all connections; one more is cut

    std::chrono::milliseconds head{10'000};            // from the first byte to the end of the head
    std::chrono::milliseconds body{15'000};            // for the body, plus its size at body_rate
    std::size_t               body_rate{8 * 1024};     // bytes a second
    std::chrono::milliseconds body_longest{60'000};    // whatever the size
    std::chrono::milliseconds answer{60'000};          // from the complete request to the last byte of the answer
    std::chrono::milliseconds write_progress{10'000};  // between two bytes of the answer
    std::chrono::milliseconds idle{30'000};            // between two requests

    // A stream may last. Nobody waits longer for its client to take something, and while draining not even for its end.
    std::chrono::milliseconds stream_progress{60'000};
    std::chrono::milliseconds stream_end{3'000};

    // After the last answer a connection waits for the client's end, so that the answer is not lost in a reset.
    std::chrono::milliseconds linger{2'000};
    std::size_t               linger_bytes{1024 * 1024};

    std::chrono::milliseconds sweep{250};  // how late a deadline may be noticed
};

// Written by the io thread, read by any.
struct Counters {
    using Count = std::atomic<std::uint64_t>;
    Count accepted{0}, open{0}, accept_errors{0};
    Count requests{0};         // that reached on_request
    Count handler_errors{0};   // exceptions and replies that were never given
    Count bytes_in{0}, bytes_out{0};
    Count body_bytes{0};       // of bodies being received, as counted against bodies_max
    Count answer_bytes{0};     // of answers not sent yet, as counted against answers_max
    Count answers_cut{0};      // connections closed for them
    Count streams{0};          // under way
    Count stream_bytes{0};     // of their pieces, not sent yet; not counted against answers_max
    Count streams_slow{0};     // closed since their clients took nothing

    // Requests that no handler saw, by the status they were refused with.
    static constexpr std::array refusal_statuses{
        400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 421, 431, 500, 501, 503, 505};
    std::array<Count, refusal_statuses.size()> refused{};

    // A status that is not listed counts as 500.
    static constexpr std::size_t refusal_index(int status) noexcept
    {
        auto const found = std::find(refusal_statuses.begin(), refusal_statuses.end(), status);
        return found != refusal_statuses.end() ? static_cast<std::size_t>(found - refusal_statuses.begin())
                                               : refusal_index(500);
    }
    Count&       refused_with(int status) noexcept { return refused[refusal_index(status)]; }
    Count const& refused_with(int status) const noexcept { return refused[refusal_index(status)]; }
};

// Where replies go. Implemented by the server, and by tests of handlers.
class Responder {
public:
    virtual ~Responder() = default;
    virtual void respond(std::uint64_t request, Response response) = 0;
    virtual void abandon(std::uint64_t request) noexcept = 0;  // there will be no response, or no further piece
    // Of the stream of a response; only for handlers that give one.
    virtual void give(std::uint64_t /*request*/, std::string /*piece*/, bool /*is_last*/) {}
};

// The duty to answer one request, now or later. Use and destroy it on the io thread, or when that has ended; moving it
// is free anywhere. One that dies unanswered becomes a 500. Harmless when the connection or the server has gone.
class Reply {
public:
    Reply(std::shared_ptr<Responder> responder, std::uint64_t request) noexcept
        : responder_(std::move(responder)), request_(request)
    {
    }
    Reply(Reply&&) noexcept = default;
    Reply& operator=(Reply&& other) noexcept
    {
        std::swap(responder_, other.responder_);
        std::swap(request_, other.request_);
        return *this;
    }
    ~Reply()
    {
        if (responder_) responder_->abandon(request_);
    }

    // Once.
    void operator()(Response response)
    {
        SLUICE_ASSERT(responder_ != nullptr);
        std::exchange(responder_, nullptr)->respond(request_, std::move(response));
    }

private:
    std::shared_ptr<Responder> responder_;  // shared, since replies under way may outlive the server
    std::uint64_t              request_{0};
};

// The duty to give a stream's client one piece, under the rules of Reply. One that dies unused cuts the connection.
class Piece {
public:
    Piece(std::shared_ptr<Responder> responder, std::uint64_t request) noexcept
        : responder_(std::move(responder)), request_(request)
    {
    }
    Piece(Piece&&) noexcept = default;
    Piece& operator=(Piece&& other) noexcept
    {
        std::swap(responder_, other.responder_);
        std::swap(request_, other.request_);
        return *this;
    }
    ~Piece()
    {
        if (responder_) responder_->abandon(request_);
    }

    // Once. Empty only if it is the last. It stays in memory until the client has taken it.
    void operator()(std::string bytes, bool is_last)
    {
        SLUICE_ASSERT(responder_ != nullptr);
        std::exchange(responder_, nullptr)->give(request_, std::move(bytes), is_last);
    }

private:
    std::shared_ptr<Responder> responder_;
    std::uint64_t              request_{0};
};

// The body of a response whose length nobody knows yet. Called on the io thread; released there when the last piece was
// given or the client has gone.
class Stream {
public:
    virtual ~Stream() = default;

    // The client has taken all there was: asks for one piece, to be given when there is one, but not from inside here.
    virtual void next(Piece piece) = 0;
    // The server drains: the piece asked for, or the next one, should be the last, and come now.
    virtual void end() = 0;
};

struct BodyLimit {
    std::size_t  bytes{};
    std::uint8_t producer{0};  // as Request::producer
};

struct Callbacks {
    // The head has come, the body has not. A Response ends it here: the body is not read, and if there is one the
    // connection closes.
    std::function<std::variant<BodyLimit, Response>(Request const&)> on_head;
    // The request is complete. The Request stays until the reply has been given; its body may be moved out.
    std::function<void(Request&, Reply)> on_request;
    // How the transport's own errors look. Must not throw.
    std::function<Response(Refusal const&)> on_refusal;
};

class Server {
public:
    // Context and clock must outlive the server.
    Server(boost::asio::io_context& context, Clock const& clock, ServerOptions options, Callbacks callbacks);
    // Cuts every connection.
    ~Server();
    Server(Server const&) = delete;

    // An IP literal ("::1" or "[::1]") or "localhost", which is 127.0.0.1. Port 0 takes a free one. Returns the port.
    // May be called more than once. `unavailable` listen when the address cannot be had, `invalid` listen when it is
    // none.
    Result<std::uint16_t> listen(std::string_view host, std::uint16_t port);

    // Draining: stop_accepting() closes the listeners and makes each answer the last of its connection, close_idle()
    // closes connections between two requests, when_empty() calls once, from the io thread, when none is left.
    void        stop_accepting();
    void        close_idle();
    void        when_empty(std::function<void()> done);
    std::size_t connections() const noexcept;

    Counters const& counters() const noexcept;

private:
    class Core;
    std::shared_ptr<Core> core_;  // shared with replies and pending handlers
};

}  // namespace sluice::http
