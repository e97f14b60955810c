// Reads HTTP/1.1 requests from the bytes of one connection. Does no I/O and knows no time.
//
// Strict: whatever two implementations could read differently is refused, and after a refusal nothing more is read.
// The verdict depends on the bytes alone, never on how they were cut into pieces.
#pragma once

#include "http/message.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sluice::http {

inline constexpr std::size_t head_max = 8 * 1024;          // request line and header fields
inline constexpr std::size_t request_line_max = 4 * 1024;
inline constexpr std::size_t target_max = 2 * 1024;
inline constexpr std::size_t headers_max = 64;             // also of trailer fields
inline constexpr std::size_t value_max = 4 * 1024;
inline constexpr std::size_t chunk_line_max = 32;
inline constexpr std::size_t chunk_overhead_free = 4 * 1024;  // plus a tenth of the body

// Why a request is not taken. The connection closes after the answer.
struct Refusal {
    int              status{};
    std::string_view code;    // a stable word for machines; a literal
    std::string_view detail;  // a sentence for people, without anything of the request; a literal
};

class RequestReader {
public:
    enum class Step : std::uint8_t {
        more,      // fill space(), call received()
        head,      // request() is there but for its body: call accept(), or give the reader up
        complete,  // request() is there: call next() when it is done with
        refused,   // see refusal(); the only way on is to give the reader up
    };

    RequestReader();

    // Where the connection's next bytes belong, at least one. Valid until the next call.
    std::span<char> space();
    // `count` bytes were put there. After `more`.
    Step received(std::size_t count);
    // The body may have so many bytes. After `head`.
    Step accept(std::size_t body_max);
    // Forgets the request and goes on with the bytes that followed it. After `complete`.
    Step next();

    Request&       request() noexcept { return request_; }
    Refusal const& refusal() const noexcept { return refusal_; }

    bool        empty() const noexcept { return state_ == State::request_line && end_ == 0; }
    bool        in_body() const noexcept { return state_ > State::head_done && state_ < State::complete; }
    bool        announces_body() const noexcept { return content_length_ > 0 || chunked_; }  // after `head`
    bool        holds_further_bytes() const noexcept { return position_ < end_; }
    std::size_t body_received() const noexcept { return body_size_; }
    std::size_t body_reserved() const noexcept { return request_.body.capacity(); }

private:
    enum class State : std::uint8_t {
        request_line,
        fields,
        head_done,
        length_body,
        chunk_size,
        chunk_extension,
        chunk_size_lf,
        chunk_data,
        chunk_data_cr,
        chunk_data_lf,
        trailer_start,
        trailer_name,
        trailer_value,
        trailer_lf,
        trailers_end_lf,
        complete,
        refused,
    };

    void start();
    Step refuse(int status, std::string_view code, std::string_view detail);
    Step complete();

    Step read_head();
    bool skip_empty_line();
    bool request_line_too_long(std::size_t end) const noexcept;
    bool read_request_line(std::string_view line);
    bool read_target(std::string_view target);
    bool read_field(std::string_view line);
    bool note_field(std::string_view name, std::string_view value);
    bool note_content_length(std::string_view value);
    bool note_connection(std::string_view value);
    bool once(std::uint8_t mark);
    bool bad(std::string_view detail);
    Step finish_head();

    Step            read_length_body();
    Step            read_chunks();
    bool            read_chunk_byte(char c);
    bool            read_size_byte(char c);
    bool            read_trailer_byte(char c);
    bool            finish_chunk_line();
    std::span<char> body_space(std::uint64_t left);
    std::size_t     take_body(std::uint64_t left);

    // Bytes [0, head_end_) are the head and stay; [position_, end_) are not read yet.
    static constexpr std::size_t capacity = head_max + 4 * 1024;
    std::array<char, capacity>   buffer_;
    std::size_t                  line_start_{0}, scanned_{0}, head_end_{0}, position_{0}, end_{0};

    State         state_{State::request_line};
    bool          direct_{false};  // space() was the body's tail
    bool          chunked_{false};
    bool          empty_line_skipped_{false};
    bool          coding_known_{true};
    bool          expectation_known_{true};
    bool          content_coding_known_{true};
    std::uint8_t  seen_{0};            // which of the fields that may come only once
    std::uint64_t content_length_{0};  // what is still missing of it, once the body is being read
    std::uint64_t body_max_{0};
    std::uint64_t chunk_left_{0};
    std::uint64_t chunk_overhead_{0};
    std::size_t   chunk_line_{0}, chunk_digits_{0};
    std::size_t   trailer_bytes_{0}, trailer_count_{0};
    std::size_t   body_size_{0};  // of request_.body that was received; the rest is zero

    std::array<Header, headers_max> headers_;
    std::size_t                     header_count_{0};
    Request                         request_;
    Refusal                         refusal_;
};

}  // namespace sluice::http
