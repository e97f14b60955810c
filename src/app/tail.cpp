// `sluice tail`: events of a running server as they come.
#include "app/client.hpp"
#include "app/commands.hpp"
#include "app/exit_codes.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::app {

namespace json = boost::json;

namespace {

constexpr auto silence_max = std::chrono::seconds(45);  // three of the server's signs of life
constexpr auto wait_min = std::chrono::milliseconds(500), wait_max = std::chrono::milliseconds(10'000);

volatile std::sig_atomic_t stop_asked = 0;

// SIGINT and SIGTERM arrive only while something is waited for, so that no line is cut and none is missed.
class StopSignals {
public:
    StopSignals()
    {
        struct sigaction action {};
        action.sa_handler = [](int) { stop_asked = 1; };
        sigset_t set;
        sigemptyset(&set);
        for (int const signal : {SIGINT, SIGTERM}) {
            sigaction(signal, &action, nullptr);
            sigaddset(&set, signal);
        }
        sigprocmask(SIG_BLOCK, &set, &before_);
    }

    // False when a signal came or the time is over. Without a socket it only waits.
    bool wait_for(int socket, std::chrono::milliseconds limit) const
    {
        pollfd         watched{.fd = socket, .events = POLLIN, .revents = 0};
        timespec const time{.tv_sec = limit.count() / 1000, .tv_nsec = limit.count() % 1000 * 1'000'000};
        return ppoll(&watched, socket < 0 ? 0 : 1, &time, &before_) > 0;
    }
    static bool asked() { return stop_asked != 0; }

    // Runs something that gives up when a signal comes.
    auto interruptible(auto const& run) const
    {
        sigset_t blocked;
        sigprocmask(SIG_SETMASK, &before_, &blocked);
        auto result = run();
        sigprocmask(SIG_SETMASK, &blocked, nullptr);
        return result;
    }

private:
    sigset_t before_{};
};

Error lost(std::string why) { return {Errc::unavailable, "lost", std::move(why)}; }

// One answer of unknown length. Owns its socket.
class Download {
public:
    explicit Download(StopSignals const& signals) : signals_(signals) {}
    ~Download()
    {
        if (socket_ >= 0) ::close(socket_);
    }
    Download(Download const&) = delete;

    // The head, and the body if the status is not 200.
    Result<ClientResponse> open(Address const& address, std::string_view request)
    {
        auto const connected = signals_.interruptible([&] { return connect_to(address); });
        if (!connected) return connected.error();
        socket_ = *connected;
        for (; !request.empty();) {
            auto const count = ::send(socket_, request.data(), request.size(), MSG_NOSIGNAL);
            if (count <= 0) return lost(std::string("send: ") + std::strerror(errno));
            request.remove_prefix(static_cast<std::size_t>(count));
        }
        std::size_t end;
        while ((end = buffer_.find("\r\n\r\n")) == buffer_.npos)
            if (auto const more = receive(); !more) return more.error();
        ClientResponse response;
        auto const     head = buffer_.substr(0, end + 2);
        buffer_.erase(0, end + 4);
        if (head.size() < 12 || std::from_chars(head.data() + 9, head.data() + 12, response.status).ec != std::errc{})
            return lost("the answer is not HTTP");
        is_chunked_ = head.find("\r\nTransfer-Encoding: chunked\r\n") != head.npos;
        if (response.status == 200) return response;
        constexpr std::string_view field = "\r\nContent-Length: ";
        std::size_t                length = 0;
        if (auto const at = head.find(field); at != head.npos)
            std::from_chars(head.data() + at + field.size(), head.data() + head.size(), length);
        while (buffer_.size() < length)
            if (auto const more = receive(); !more) return more.error();
        response.body = buffer_.substr(0, length);
        return response;
    }

    // Appends bytes of the body; false at its end. An error when the connection is lost or a signal came.
    Result<bool> read(std::string& out)
    {
        for (;;) {
            auto const taken = take(out);
            if (!taken || *taken != Taken::nothing) return taken ? Result<bool>(*taken == Taken::some) : taken.error();
            if (auto const more = receive(); !more) return more.error();
        }
    }

private:
    enum class Taken { nothing, some, end };

    Result<Taken> take(std::string& out)
    {
        if (!is_chunked_) return lost("the answer is not a stream");
        auto taken = Taken::nothing;
        for (;;) {
            if (left_ > 2) {  // of the chunk and the line end behind it
                auto const count = std::min(buffer_.size(), left_ - 2);
                out.append(buffer_, 0, count);
                buffer_.erase(0, count);
                left_ -= count;
                if (count > 0) taken = Taken::some;
                if (left_ > 2) return taken;
            }
            auto const end = buffer_.find("\r\n", left_);  // of the next chunk's size
            if (end == buffer_.npos) return taken;
            std::size_t size = 0;
            auto const  parsed = std::from_chars(buffer_.data() + left_, buffer_.data() + end, size, 16);
            if (parsed.ec != std::errc{}) return lost("a broken chunk");
            if (size == 0) return taken == Taken::nothing ? Taken::end : taken;
            buffer_.erase(0, end + 2);
            left_ = size + 2;
        }
    }

    Result<> receive()
    {
        if (!signals_.wait_for(socket_, silence_max))
            return lost(StopSignals::asked() ? "stopped" : "the server is silent");
        char       chunk[64 * 1024];
        auto const count = ::recv(socket_, chunk, sizeof chunk, 0);
        if (count <= 0) return lost(count == 0 ? "the server closed the connection" : std::strerror(errno));
        buffer_.append(chunk, static_cast<std::size_t>(count));
        return {};
    }

    StopSignals const& signals_;
    int                socket_{-1};
    bool               is_chunked_{false};
    std::size_t        left_{0};
    std::string        buffer_;  // received and not taken
};

// Server-sent events, line by line.
class Events {
public:
    Events(TailOptions const& options, bool as_json) : options_(options), as_json_(as_json) {}

    // Where to go on; nothing: with what comes next.
    std::optional<std::string> const& last_id() const { return last_id_; }
    void start_after(std::uint64_t sequence) { last_id_ = std::to_string(sequence); }

    // Takes whole lines out of `text` and prints the events among them. False once there were as many as wanted.
    bool take(std::string& text)
    {
        std::size_t at = 0;
        bool        wants_more = true;
        for (std::size_t end; wants_more && (end = text.find('\n', at)) != text.npos; at = end + 1)
            wants_more = take_line(std::string_view(text).substr(at, end - at));
        text.erase(0, at);
        return wants_more;
    }
    // An event that was cut off comes again.
    void forget_half() { data_.clear(); }

private:
    bool take_line(std::string_view line)
    {
        constexpr std::string_view id = "id: ", data = "data: ", reason = ": ";
        if (line.starts_with(id)) id_ = line.substr(id.size());
        if (line.starts_with(data)) data_.append(data_.empty() ? "" : " ").append(line.substr(data.size()));
        if (line.starts_with(reason)) fmt::print(stderr, "sluice: {}\n", line.substr(reason.size()));
        if (!line.empty()) return true;
        if (!id_.empty()) last_id_ = id_;
        if (data_.empty()) return true;
        print();
        data_.clear();
        return ++printed_ != options_.limit;
    }

    void print() const
    {
        if (as_json_) return fmt::print("{}\n", data_);
        boost::system::error_code bad;
        auto const                event = json::parse(data_, bad);
        auto const                text = [&](char const* name) -> std::string_view {
            auto const* const value = event.is_object() ? event.as_object().if_contains(name) : nullptr;
            if (value == nullptr || !value->is_string()) return "?";
            return {value->as_string().data(), value->as_string().size()};
        };
        fmt::print("{:>10}  {}  {:<8}  {:<24}  {}\n", id_, text("received_at"), text("tier"), text("event_type"),
                   text("did"));
    }

    TailOptions const&         options_;
    bool const                 as_json_;
    std::optional<std::string> last_id_;
    std::string                id_, data_;
    std::uint64_t              printed_{0};
};

std::string target_of(TailOptions const& options)
{
    std::string query;
    auto const  add = [&](std::string_view name, std::string const& value) {
        if (value.empty()) return;
        query.append(query.empty() ? "?" : "&").append(name).append("=");
        for (char const c : value) {
            bool const is_safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                                 std::string_view("-._~,:*").find(c) != std::string_view::npos;
            query += is_safe ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    };
    add("types", options.types);
    add("dids", options.dids);
    add("tier", options.tier);
    return "/v1/stream" + query;
}

// Prints until the connection ends. True when everything wanted was printed.
Result<bool> follow(Download& download, Events& events)
{
    events.forget_half();
    std::string text;
    for (;;) {
        auto const more = download.read(text);
        if (!more) return more.error();
        bool const wants_more = events.take(text);
        if (std::fflush(stdout) != 0) return Error{Errc::full, "output", "cannot write"};
        if (!wants_more) return true;
        if (!*more) return lost("the server ended the stream");
    }
}

}  // namespace

int tail(Remote const& remote, TailOptions const& options, bool as_json)
{
    auto const address = Address::parse(remote.url);
    if (!address) return fail(address.error());
    StopSignals const signals;
    Events            events(options, as_json);
    if (options.from != 0) events.start_after(options.from - 1);
    auto const request = "GET " + target_of(options) + " HTTP/1.1\r\nHost: " + address->text() +
                         (remote.key.empty() ? "" : "\r\nX-Internal-Key: " + remote.key) + "\r\n";
    bool was_connected = false;
    for (auto wait = wait_min;; wait = std::min(2 * wait, wait_max)) {
        Download   download(signals);
        auto const last_id = events.last_id() ? "Last-Event-ID: " + *events.last_id() + "\r\n" : "";
        auto const response = download.open(*address, request + last_id + "\r\n");
        auto       failure = response ? Error{} : response.error();
        if (response && response->status != 200) {
            if (!was_connected || response->status != 503) return refused(*response);
            failure = lost("the server is busy");
        } else if (response) {
            was_connected = true;
            wait = wait_min;
            auto const done = follow(download, events);
            if (done) return Exit::ok;
            failure = done.error();
        }
        if (StopSignals::asked()) return Exit::ok;
        if (failure.code != Errc::unavailable || !was_connected) {
            auto const code = fail(failure);
            return failure.code == Errc::full ? Exit::failure : code;
        }
        fmt::print(stderr, "sluice: {}; trying again in {:.1f} s\n", failure.detail,
                   std::chrono::duration<double>(wait).count());
        signals.wait_for(-1, wait);
        if (StopSignals::asked()) return Exit::ok;
    }
}

}  // namespace sluice::app
