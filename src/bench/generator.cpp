#include "bench/generator.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::bench {

namespace {

using namespace std::chrono_literals;

constexpr auto silence_max = 30s;
constexpr auto late_max = 2s;         // what was due is still sent so long after the end
constexpr auto wait_max = std::chrono::nanoseconds(100ms);

constexpr std::size_t length_digits = 9;

std::string request_head(GeneratorOptions const& options)
{
    bool const single = options.batch == 1;
    return std::string("POST /internal/events") + (single ? "" : "/batch") + " HTTP/1.1\r\nHost: " + options.host +
           "\r\nContent-Type: " + (single ? "application/json" : "application/x-ndjson") +
           "\r\nX-Internal-Key: " + options.key + "\r\nContent-Length: " + std::string(length_digits, ' ');
}

Error gone(std::string const& why) { return {Errc::unavailable, "generator", why}; }

// What follows `name` in a text; -1 when it is not there.
std::int64_t number_after(std::string_view text, std::string_view name)
{
    auto const   at = text.find(name);
    std::int64_t value = -1;
    if (at != text.npos) std::from_chars(text.data() + at + name.size(), text.data() + text.size(), value);
    return value;
}

}  // namespace

Generator::Generator(
    std::vector<int> const& sockets, GeneratorOptions options, Workload& workload, Clock const& clock)
    : options_(std::move(options)), workload_(workload), clock_(clock), poller_(epoll_create1(EPOLL_CLOEXEC)),
      connections_(sockets.size())
{
    auto const head = request_head(options_);
    length_at_ = head.size();
    head_size_ = head.size() + 4;
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        auto& c = connections_[i];
        c.socket = sockets[i];
        c.request.resize(head_size_ + options_.batch * (Workload::body_bytes_max + 1));
        std::memcpy(c.request.data(), head.data(), head.size());
        std::memcpy(c.request.data() + head.size(), "\r\n\r\n", 4);
        c.answer.resize(16 * 1024);
        fcntl(c.socket, F_SETFL, fcntl(c.socket, F_GETFL) | O_NONBLOCK);
        epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.u64 = i}};
        epoll_ctl(poller_, EPOLL_CTL_ADD, c.socket, &event);
        idle_.push_back(i);
    }
}

Generator::~Generator()
{
    for (auto const& c : connections_) close(c.socket);
    close(poller_);
}

Result<Tally> Generator::run(std::chrono::nanoseconds length)
{
    tally_ = {};
    requests_ = 0;
    start_ = clock_.now();
    auto const seconds = std::chrono::duration<double>(length).count();
    requests_max_ = static_cast<std::uint64_t>(seconds * options_.rate / static_cast<double>(options_.batch));
    bool const open = options_.rate > 0;
    auto const end = start_ + length;
    auto const send_end = open ? end + late_max : end;

    for (;;) {
        auto const now = clock_.now();
        sending_ = now < send_end && (!open || requests_ < requests_max_);
        if (sending_) send_due(now);
        if (!sending_ && idle_.size() + resting_.size() == connections_.size()) break;
        if (now > send_end + silence_max) return gone("no answer for 30 s");
        if (auto const waited = wait(now); !waited) return waited.error();
    }
    tally_.elapsed = clock_.now() - start_;
    if (open) tally_.unsent = (requests_max_ - requests_) * options_.batch;
    return std::move(tally_);
}

Clock::Mono Generator::due(std::uint64_t request) const
{
    auto const seconds = static_cast<double>(request) * static_cast<double>(options_.batch) / options_.rate;
    return start_ + std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
}

// As many requests as are due and find a connection.
void Generator::send_due(Clock::Mono now)
{
    while (!resting_.empty() && resting_.front().until <= now) {
        idle_.push_back(resting_.front().connection);
        resting_.pop_front();
    }
    while (!idle_.empty()) {
        bool const open = options_.rate > 0;
        if (open && (requests_ == requests_max_ || due(requests_) > now)) return;
        auto& c = connections_[idle_.front()];
        idle_.pop_front();
        fill(c);
        c.due = open ? due(requests_) : clock_.now();
        c.busy = true;
        ++requests_;
        write(c);
    }
}

void Generator::fill(Connection& c)
{
    auto* out = c.request.data() + head_size_;
    for (std::size_t i = 0; i < options_.batch; ++i) {
        auto const size = workload_.put(out);
        tally_.body_bytes += size;
        out += size;
        if (options_.batch > 1) *out++ = '\n';
    }
    c.request_size = static_cast<std::size_t>(out - c.request.data());
    c.sent = 0;
    // The length stands at the end of a field of blanks, so that the head keeps its size.
    auto  rest = c.request_size - head_size_;
    auto* digit = c.request.data() + length_at_;
    std::memset(digit - length_digits, ' ', length_digits);
    for (; rest > 0; rest /= 10) *--digit = static_cast<char>('0' + rest % 10);
}

void Generator::write(Connection& c)
{
    while (c.sent < c.request_size) {
        auto const n = ::send(c.socket, c.request.data() + c.sent, c.request_size - c.sent, MSG_NOSIGNAL);
        if (n <= 0) return;  // read() sees why if it is for good
        c.sent += static_cast<std::size_t>(n);
    }
}

Result<Generator::Answer> Generator::read(Connection& c)
{
    for (;;) {
        if (c.received == c.answer.size()) c.answer.resize(2 * c.answer.size());
        auto const n = ::recv(c.socket, c.answer.data() + c.received, c.answer.size() - c.received, 0);
        if (n == 0) return gone("the server closed a connection");
        if (n < 0 && errno != EAGAIN) return gone(std::strerror(errno));
        if (n < 0) break;
        c.received += static_cast<std::size_t>(n);
    }
    std::string_view const bytes(c.answer.data(), c.received);
    auto const             head = bytes.find("\r\n\r\n");
    if (head == bytes.npos) return Answer{};
    auto const length = std::max<std::int64_t>(0, number_after(bytes.substr(0, head), "Content-Length: "));
    auto const body = head + 4;
    if (bytes.size() < body + static_cast<std::size_t>(length)) return Answer{};
    return Answer{static_cast<int>(number_after(bytes, "HTTP/1.1 ")), bytes.substr(body)};
}

// For answers, for room to write, or for the next request to be due.
Result<> Generator::wait(Clock::Mono now)
{
    auto limit = wait_max;
    if (sending_ && !resting_.empty()) limit = std::min(limit, resting_.front().until - now);
    if (sending_ && !idle_.empty() && options_.rate > 0) limit = std::min(limit, due(requests_) - now);
    limit = std::max(limit, {});
    timespec const time{.tv_sec = 0, .tv_nsec = limit.count()};

    epoll_event events[256];
    auto const  n = epoll_pwait2(poller_, events, std::size(events), &time, nullptr);
    for (int i = 0; i < n; ++i) {
        auto& c = connections_[events[i].data.u64];
        if (!c.busy) continue;
        write(c);
        auto const answer = read(c);
        if (!answer) return answer.error();
        if (answer->status == 0) continue;
        auto const answered = clock_.now();
        tally_.requests.add(answered - c.due);
        count(*answer);
        c.received = 0;
        c.busy = false;
        if (options_.rate == 0 && answer->status != 202)
            resting_.push_back({events[i].data.u64, answered + options_.rest});
        else
            idle_.push_back(events[i].data.u64);
    }
    return {};
}

void Generator::count(Answer const& answer)
{
    tally_.events += options_.batch;
    if (answer.status != 202) {
        if (tally_.refused.empty()) tally_.refusal = answer.body;
        tally_.refused[answer.status] += options_.batch;
        return;
    }
    auto accepted = options_.batch;
    if (options_.batch > 1)
        accepted = static_cast<std::size_t>(std::max<std::int64_t>(0, number_after(answer.body, R"("accepted":)")));
    else if (answer.body.find(R"("duplicate":true)") != answer.body.npos)
        accepted = 0;
    tally_.accepted += accepted;
    tally_.duplicates += options_.batch - accepted;
}

}  // namespace sluice::bench
