#include "http/session.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::http {

namespace {

constexpr std::size_t readers_kept = 64;
constexpr std::size_t body_kept = 16 * 1024;   // capacity a resting reader may keep
constexpr std::size_t out_kept = 256 * 1024;
constexpr std::size_t turn_bytes = 512 * 1024;  // read from one connection before others have their turn
constexpr int         stream_kernel_bytes = 64 * 1024;  // not sent yet, of one stream
constexpr std::size_t turn_request = 16 * 1024;  // what a request counts against that, however small

constexpr Refusal unanswered{500, "bug", "the request was not answered"};

}  // namespace

std::unique_ptr<RequestReader> Commons::take_reader()
{
    if (readers.empty()) return std::make_unique<RequestReader>();
    auto reader = std::move(readers.back());
    readers.pop_back();
    return reader;
}

void Commons::give_back(std::unique_ptr<RequestReader> reader)
{
    if (readers.size() < readers_kept && reader->empty() && reader->body_reserved() <= body_kept)
        readers.push_back(std::move(reader));
}

Session::Session(Commons& commons, int descriptor, std::uint64_t id)
    : commons_(commons), since_(commons.now), deadline_(commons.now + commons.options.head), id_(id),
      descriptor_(descriptor)
{
    add(commons_.counters.open, 1);
}

Session::~Session() { close(); }

void Session::close()
{
    if (state_ == State::closed) return;
    state_ = State::closed;
    release_reader();
    release_unsent();
    release_stream();
    ::close(descriptor_);
    commons_.closed.push_back(id_);
    add(commons_.counters.open, ~std::uint64_t{0});
}

void Session::on_ready(std::uint32_t epoll_events)
{
    if ((epoll_events & (EPOLLERR | EPOLLHUP)) != 0) return close();
    if ((epoll_events & EPOLLRDHUP) != 0) half_closed_ = true;
    if (half_closed_ && stream_) return close();  // nobody reads a stream without an end that way
    if ((epoll_events & (EPOLLIN | EPOLLRDHUP)) != 0) readable_ = true;
    if ((epoll_events & EPOLLOUT) != 0 && state_ == State::writing) flush();
    go_on();
}

void Session::go_on()
{
    if (reading()) read();
    if (state_ == State::lingering) drain();
}

// ---- reading

void Session::read()
{
    auto budget = turn_bytes;
    while (reading() && readable_) {
        if (budget == 0) {
            commons_.unfinished.push_back(id_);
            break;
        }
        if (!receive(budget)) break;
    }
    if (reading()) rest();
}

// False when there is nothing to be had now, or ever.
bool Session::receive(std::size_t& budget)
{
    if (!reader_) reader_ = commons_.take_reader();
    auto const space = reader_->space();
    auto const count = ::recv(descriptor_, space.data(), space.size(), 0);
    if (count <= 0) {
        if (count < 0 && errno == EINTR) return true;
        readable_ = false;
        if (count == 0 || errno != EAGAIN) close();
        return false;
    }
    auto const size = static_cast<std::size_t>(count);
    add(commons_.counters.bytes_in, size);
    budget -= std::min(budget, std::max(size, turn_request));
    if (size < space.size() && !half_closed_) readable_ = false;  // a new edge tells of more
    advance(reader_->received(size));
    return true;
}

// What was received so far has been dealt with.
void Session::rest()
{
    if (reader_ && reader_->empty()) release_reader();
    auto const state = !reader_ ? State::idle : reader_->in_body() ? State::body : State::head;
    if (state != state_) {
        state_ = state;
        since_ = commons_.now;
    }
    auto const& options = commons_.options;
    if (state_ == State::head) {
        deadline_ = since_ + options.head;
    } else if (state_ == State::body) {
        auto const earned = std::chrono::milliseconds(reader_->body_received() * 1000 / options.body_rate);
        deadline_ = since_ + std::min(options.body + earned, options.body_longest);
        if (!count_body()) refuse({503, "overload", "too many bytes are being received at the moment"});
    }
}

// False when all connections together hold more than they may.
bool Session::count_body()
{
    auto const reserved = reader_->body_reserved();
    add(commons_.counters.body_bytes, reserved - body_counted_);
    body_counted_ = reserved;
    return commons_.counters.body_bytes.load(std::memory_order_relaxed) <= commons_.options.bodies_max;
}

void Session::release_body()
{
    if (body_counted_ > 0) add(commons_.counters.body_bytes, std::size_t{0} - body_counted_);
    body_counted_ = 0;
}

void Session::release_reader()
{
    release_body();
    if (reader_) commons_.give_back(std::move(reader_));
}

// ---- requests

void Session::advance(Step step)
{
    advancing_ = true;
    while (auto const following = process(step)) step = *following;
    advancing_ = false;
}

std::optional<Session::Step> Session::process(Step step)
{
    switch (step) {
    case Step::head: return take_head();
    case Step::complete: return hand_over();
    case Step::refused: refuse(reader_->refusal()); break;
    case Step::more: break;
    }
    return std::nullopt;
}

std::optional<Session::Step> Session::take_head()
{
    std::variant<BodyLimit, Response> verdict;
    try {
        verdict = commons_.callbacks.on_head(reader_->request());
    } catch (std::bad_alloc const&) {
        throw;
    } catch (...) {
        add(commons_.counters.handler_errors, 1);
        refuse(unanswered);
        return std::nullopt;
    }

    if (auto const* limit = std::get_if<BodyLimit>(&verdict)) {
        reader_->request().producer = limit->producer;
        auto const step = reader_->accept(limit->bytes);
        if (step == Step::more && reader_->request().expects_continue) ask_for_body();
        return step;
    }
    if (reader_->announces_body())
        last_answer_ = true;
    else
        reader_->accept(0);
    auto const& response = std::get<Response>(verdict);
    if (response.status >= 400) add(commons_.counters.refused_with(response.status), 1);
    begin_answer();
    respond(response);
    return after_answer();
}

void Session::ask_for_body()
{
    constexpr std::string_view go_ahead = "HTTP/1.1 100 Continue\r\n\r\n";
    if (reader_->body_received() > 0) return;
    auto const count = ::send(descriptor_, go_ahead.data(), go_ahead.size(), MSG_NOSIGNAL);
    if (count != static_cast<ssize_t>(go_ahead.size())) return close();  // all earlier answers were sent: there is room
    add(commons_.counters.bytes_out, go_ahead.size());
}

std::optional<Session::Step> Session::hand_over()
{
    release_body();
    begin_answer();
    add(commons_.counters.requests, 1);
    try {
        commons_.callbacks.on_request(reader_->request(), Reply(commons_.responder, id_));
    } catch (std::bad_alloc const&) {
        throw;
    } catch (...) {
        add(commons_.counters.handler_errors, 1);  // the Reply, as it died, has answered
    }
    return after_answer();
}

// The next request, if the answer has been sent already.
std::optional<Session::Step> Session::after_answer()
{
    if (state_ != State::idle) return std::nullopt;
    return reader_->next();
}

// ---- answers

void Session::begin_answer()
{
    state_ = State::answering;
    since_ = commons_.now;
    deadline_ = since_ + commons_.options.answer;
}

void Session::refuse(Refusal refusal)
{
    add(commons_.counters.refused_with(refusal.status), 1);
    last_answer_ = true;
    begin_answer();
    respond(commons_.callbacks.on_refusal(refusal));
}

void Session::abandon()
{
    if (state_ == State::answering) refuse(unanswered);
    if (state_ == State::streaming) close();
}

void Session::respond(Response const& response)
{
    if (state_ != State::answering) return;
    Framing framing{.keep_alive = !last_answer_ && !response.close && !response.stream};
    if (commons_.draining) framing.keep_alive = false;
    if (reader_) {
        auto const& request = reader_->request();
        framing.keep_alive = framing.keep_alive && request.keep_alive;
        framing.head_only = request.method == Method::head;
        framing.http_1_0 = request.http_1_0;
    }
    last_answer_ = !framing.keep_alive;

    auto& out = commons_.out;
    out.clear();
    serialise(out, response, framing);
    if (response.stream && !framing.head_only) begin_stream(response.stream, framing);
    send(out);
}

void Session::send(std::string& out)
{
    sent_ = 0;
    state_ = State::writing;
    if (push(out)) {
        if (out.capacity() > out_kept) out = {};
        sent_all();
    } else if (state_ == State::writing) {
        if (stream_) {
            unsent_.assign(out, sent_);  // no more than is left
            sent_ = 0;
        } else {
            unsent_.swap(out);
        }
        if (!count_unsent()) return close();
        await_room();
    }
}

Counters::Count& Session::unsent_count()
{
    return stream_ ? commons_.counters.stream_bytes : commons_.counters.answer_bytes;
}

// False when all connections together hold more than they may: their clients read too slowly.
bool Session::count_unsent()
{
    add(unsent_count(), unsent_.capacity());
    if (stream_) return true;
    if (commons_.counters.answer_bytes.load(std::memory_order_relaxed) <= commons_.options.answers_max) return true;
    add(commons_.counters.answers_cut, 1);
    return false;
}

void Session::release_unsent()
{
    if (unsent_.empty()) return;
    add(unsent_count(), std::size_t{0} - unsent_.capacity());
    unsent_ = {};
}

// True when all is sent. False when there is no room now, or the connection has gone.
bool Session::push(std::string const& bytes)
{
    while (sent_ < bytes.size()) {
        auto const count = ::send(descriptor_, bytes.data() + sent_, bytes.size() - sent_, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) close();
            return false;
        }
        sent_ += static_cast<std::size_t>(count);
        add(commons_.counters.bytes_out, static_cast<std::uint64_t>(count));
    }
    return true;
}

void Session::flush()
{
    auto const before = sent_;
    if (push(unsent_)) {
        release_unsent();
        sent_all();
    } else if (state_ == State::writing && sent_ > before) {
        await_room();
    }
}

void Session::await_room()
{
    auto const& options = commons_.options;
    deadline_ = stream_ ? std::min(commons_.now + options.stream_progress, commons_.streams_end)
                        : std::min(commons_.now + options.write_progress, since_ + options.answer);
}

void Session::sent_all()
{
    if (stream_ && !last_piece_) return ask_for_piece();
    release_stream();
    if (last_answer_) return linger();
    state_ = State::idle;
    deadline_ = commons_.now + commons_.options.idle;
    if (advancing_) return;
    advance(reader_->next());
    if (reading()) read();
}

// ---- streams

void Session::begin_stream(std::shared_ptr<Stream> const& stream, Framing framing)
{
    stream_ = stream;
    framing_ = framing;
    last_piece_ = false;
    add(commons_.counters.streams, 1);
    release_reader();
    // Else the kernel would keep megabytes for a client that takes nothing.
    int const not_sent = stream_kernel_bytes;
    ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &not_sent, sizeof not_sent);
}

void Session::ask_for_piece()
{
    state_ = State::streaming;
    deadline_ = commons_.streams_end;
    if (commons_.draining) stream_->end();
    stream_->next(Piece(commons_.responder, id_));
}

void Session::give(std::string_view piece, bool is_last)
{
    if (state_ != State::streaming) return;
    last_piece_ = is_last;
    auto& out = commons_.out;
    out.clear();
    serialise_piece(out, piece, is_last, framing_);
    send(out);
}

void Session::end_stream()
{
    if (!stream_) return;
    deadline_ = std::min(deadline_, commons_.streams_end);
    stream_->end();
}

void Session::release_stream()
{
    if (!stream_) return;
    add(commons_.counters.streams, std::uint64_t{0} - 1);
    stream_ = nullptr;
}

void Session::linger()
{
    release_reader();
    ::shutdown(descriptor_, SHUT_WR);
    state_ = State::lingering;
    deadline_ = commons_.now + commons_.options.linger;
    drain();
}

void Session::drain()
{
    char scratch[16 * 1024];
    for (;;) {
        auto const count = ::recv(descriptor_, scratch, sizeof scratch, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) return;
        if (count <= 0) return close();
        drained_ += static_cast<std::size_t>(count);
        if (drained_ > commons_.options.linger_bytes) return close();
    }
}

void Session::sweep()
{
    if (commons_.now < deadline_) return;
    switch (state_) {
    case State::head:
    case State::body: return refuse({408, "slow_request", "the request came too slowly"});
    case State::answering: return refuse({503, "timeout", "there was no answer in time; the outcome is unknown"});
    default:
        if (stream_ && !commons_.draining) add(commons_.counters.streams_slow, 1);
        return close();
    }
}

}  // namespace sluice::http
