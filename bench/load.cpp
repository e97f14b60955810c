// How many events a second does a server take, durably and through to the graph?
//
//   load --port 7480 --key-file .sluice/key [--connections 64] [--batch 1] [--seconds 5] [--rate 0] [--dids 100000]
//        [--server-pid PID]
//
// Closed loop: one request in flight per connection. With --rate, open loop: latency counts from the intended send
// time. Every event is new: ids, record keys and revisions are patched into prepared bodies. Bodies are log-normal
// around 500 bytes, at most 1.6 KB; tiers are 1/9/60/30 % from CRITICAL to LOW; repositories follow Zipf 1.0.
#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <random>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

struct Options {
    std::uint16_t port{7480};
    std::string   key;
    std::size_t   connections{64}, batch{1}, dids{100'000}, bodies{100'000};
    double        seconds{5}, rate{0};
    int           server_pid{0};
};

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double own_cpu()
{
    rusage use{};
    getrusage(RUSAGE_SELF, &use);
    auto const seconds = [](timeval const& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(use.ru_utime) + seconds(use.ru_stime);
}

double cpu_of(int pid)
{
    if (pid == 0) return 0;
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string   text((std::istreambuf_iterator<char>(stat)), {});
    unsigned long user = 0, system = 0;
    auto const    end = text.rfind(')');
    if (end == text.npos) return 0;
    std::sscanf(text.c_str() + end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// A prepared event and where its unique parts stand.
struct Body {
    std::string text;
    std::size_t id_at{0}, key_at{0}, rev_at{0};
};

std::string did(std::uint64_t n)
{
    static constexpr char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    std::string           text = "did:plc:";
    for (int i = 0; i < 24; ++i, n = n * 6364136223846793005u + 1442695040888963407u) text += alphabet[n >> 59];
    return text;
}

constexpr char        tid_digits[] = "234567abcdefghijklmnopqrstuvwxyz";
constexpr std::size_t tid_size = 13;

void put_tid(char* at, std::uint64_t value)
{
    for (std::size_t i = tid_size; i-- > 0; value >>= 5) at[i] = tid_digits[value & 31];
}

std::vector<Body> prepare(Options const& options)
{
    std::mt19937_64     random(42);
    std::vector<double> weights(options.dids);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 1.0 / static_cast<double>(i + 1);
    std::discrete_distribution<std::size_t> zipf(weights.begin(), weights.end());
    std::lognormal_distribution<double>     size(std::log(470.0), 0.35);
    std::vector<std::string>                names(options.dids);
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = did(i + 1);

    std::string const blank_tid(tid_size, '2');
    std::vector<Body> bodies(options.bodies);
    for (auto& body : bodies) {
        auto const& owner = names[zipf(random)];
        auto const* other = &names[zipf(random)];
        while (other == &owner) other = &names[random() % names.size()];
        auto const pick = random() % 100;
        auto const tier = pick < 1 ? 3 : pick < 10 ? 2 : pick < 70 ? 1 : 0;
        auto const wanted = static_cast<std::size_t>(std::clamp(size(random), 420.0, 1600.0));
        auto&      text = body.text;
        text = R"({"event_type":"relationship.created","did":")" + owner + R"(","event_id":"load-)";
        body.id_at = text.size();
        text += std::string(16, '0') + R"(","rev":")";
        body.rev_at = text.size();
        text += blank_tid + R"(","priority":)" + std::to_string(tier) + R"(,"payload":{"uri":"at://)" + owner +
                R"(/net.rhiz.relationship.record/)";
        body.key_at = text.size();
        text += blank_tid + R"(","cid":"bafyreigh2akiscaildc","participants":[")" + owner + R"(",")" + *other +
                R"("],"type":"professional","strength":)" + std::to_string(random() % 101) +
                R"(,"created_at":"2026-01-01T00:00:00Z","context":")";
        while (text.size() + 3 < wanted) text += "worked together "[text.size() % 16];
        text += "\"}}";
    }
    return bodies;
}

class Connection {
public:
    Connection(Options const& options, int poller, std::uint32_t number) : socket_(::socket(AF_INET, SOCK_STREAM, 0))
    {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(options.port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
            std::perror("connect");
            std::exit(1);
        }
        int const on = 1;
        setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLET;
        event.data.u32 = number;
        epoll_ctl(poller, EPOLL_CTL_ADD, socket_, &event);
    }

    void send(double due)
    {
        due_ = due;
        sent_ = 0;
        busy = true;
        push();
    }
    void push()
    {
        while (sent_ < request.size()) {
            auto const n = ::send(socket_, request.data() + sent_, request.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n <= 0) return;
            sent_ += static_cast<std::size_t>(n);
        }
    }

    // The status of a complete answer, 0 for none yet, -1 when the server is gone.
    int receive()
    {
        char buffer[16384];
        for (;;) {
            auto const n = ::recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN)) return -1;
            if (n < 0) break;
            in_.append(buffer, static_cast<std::size_t>(n));
        }
        auto const head = in_.find("\r\n\r\n");
        if (head == in_.npos) return 0;
        auto const field = in_.find("Content-Length: ");
        auto const length = field < head ? std::strtoull(in_.c_str() + field + 16, nullptr, 10) : 0;
        if (in_.size() < head + 4 + length) return 0;
        auto const status = std::atoi(in_.c_str() + 9);
        answer = in_.substr(head + 4);
        in_.clear();
        busy = false;
        return status;
    }
    double due() const { return due_; }

    std::string request, answer;
    bool        busy{false};

private:
    int         socket_;
    std::size_t sent_{0};
    double      due_{0};
    std::string in_;
};

class Load {
public:
    explicit Load(Options const& options)
        : options_(options), bodies_(prepare(options)), poller_(epoll_create1(0)),
          base_(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                               std::chrono::system_clock::now().time_since_epoch()).count()) << 10)
    {
        for (std::uint32_t i = 0; i < options.connections; ++i) {
            connections_.emplace_back(options, poller_, i);
            idle_.push_back(i);
        }
    }

    int run()
    {
        auto const cpu_before = cpu_of(options_.server_pid);
        auto const own_before = own_cpu();
        auto const start = now(), end = start + options_.seconds;
        auto const per_second = options_.rate / static_cast<double>(options_.batch);
        std::uint64_t scheduled = 0, in_flight = 0;
        std::deque<double> due;
        for (;;) {
            auto const t = now();
            bool const more = t < end;
            if (!more && in_flight == 0) break;
            if (t > end + 30) {
                std::fprintf(stderr, "no answer for 30 s\n");
                return 1;
            }
            if (more && options_.rate > 0)
                for (; static_cast<double>(scheduled) < (t - start) * per_second; ++scheduled)
                    due.push_back(start + static_cast<double>(scheduled) / per_second);
            while (more && !idle_.empty() && (options_.rate <= 0 || !due.empty())) {
                auto& c = connections_[idle_.back()];
                idle_.pop_back();
                auto intended = t;
                if (options_.rate > 0) {
                    intended = due.front();
                    due.pop_front();
                }
                fill(c.request);
                c.send(intended);
                ++in_flight;
            }
            epoll_event events[256];
            auto const  n = epoll_wait(poller_, events, 256, options_.rate > 0 ? 1 : 20);
            for (int i = 0; i < n; ++i) {
                auto& c = connections_[events[i].data.u32];
                if (!c.busy) continue;
                c.push();
                auto const status = c.receive();
                if (status < 0) {
                    std::fprintf(stderr, "the server closed a connection\n");
                    return 1;
                }
                if (status == 0) continue;
                --in_flight;
                ++statuses_[status];
                if (status == 202) accepted_ += options_.batch;
                latencies_.push_back(static_cast<float>((now() - c.due()) * 1e6));
                idle_.push_back(events[i].data.u32);
            }
        }
        unsent_ = due.size();
        auto const answered = now() - start;
        auto const own = own_cpu() - own_before;
        auto const drained = drain() - start;
        auto const cpu = cpu_of(options_.server_pid) - cpu_before;
        report(answered, drained, own, cpu);
        return unsent_ == 0 && statuses_.size() == 1 && statuses_.contains(202) ? 0 : 1;
    }

private:
    void fill(std::string& request)
    {
        std::string payload;
        payload.reserve(options_.batch * 700);
        for (std::size_t i = 0; i < options_.batch; ++i) {
            auto const& body = bodies_[sent_ % bodies_.size()];
            auto const  at = payload.size();
            payload += body.text;
            auto const tid = base_ + sent_;
            char       id[17];
            std::snprintf(id, sizeof id, "%016llx", static_cast<unsigned long long>(tid * 0x9E3779B97F4A7C15u));
            std::memcpy(payload.data() + at + body.id_at, id, 16);
            put_tid(payload.data() + at + body.rev_at, tid);
            put_tid(payload.data() + at + body.key_at, tid);
            ++sent_;
            if (options_.batch > 1) payload += '\n';
        }
        request = std::string(options_.batch > 1 ? "POST /internal/events/batch" : "POST /internal/events") +
                  " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: " +
                  (options_.batch > 1 ? "application/x-ndjson" : "application/json") + "\r\nX-Internal-Key: " +
                  options_.key + "\r\nContent-Length: " + std::to_string(payload.size()) + "\r\n\r\n" + payload;
    }

    // Until nothing is pending in the server.
    double drain()
    {
        auto& c = connections_.front();
        for (int i = 0; i < 10'000; ++i) {
            c.request = "GET /v1/state HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Internal-Key: " + options_.key + "\r\n\r\n";
            c.send(now());
            int status = 0;
            while ((status = c.receive()) == 0) usleep(200);
            if (status != 200) break;
            if (c.answer.find(R"("pending":{"critical":0,"high":0,"normal":0,"low":0})") != c.answer.npos) return now();
            usleep(1000);
        }
        std::fprintf(stderr, "the server did not come to rest\n");
        std::exit(1);
    }

    void report(double answered, double drained, double own, double cpu)
    {
        std::sort(latencies_.begin(), latencies_.end());
        auto const at = [&](double p) {
            if (latencies_.empty()) return 0.f;
            return latencies_[static_cast<std::size_t>(p * static_cast<double>(latencies_.size() - 1))];
        };
        auto const events = static_cast<double>(accepted_);
        std::printf("connections=%zu batch=%zu events=%.0f answered=%.0f/s projected=%.0f/s p50=%.0fus p99=%.0fus "
                    "p99.9=%.0fus generator_cpu=%.2fus/event",
                    options_.connections, options_.batch, events, events / answered, events / drained,
                    static_cast<double>(at(.5)), static_cast<double>(at(.99)), static_cast<double>(at(.999)),
                    own / std::max(events, 1.0) * 1e6);
        if (options_.server_pid != 0) std::printf(" server_cpu=%.2fus/event", cpu / std::max(events, 1.0) * 1e6);
        if (unsent_ != 0) std::printf(" UNSENT=%zu", unsent_);
        for (auto const& [status, count] : statuses_)
            std::printf(" status_%d=%llu", status, static_cast<unsigned long long>(count));
        std::printf("\n");
    }

    Options const&             options_;
    std::vector<Body>          bodies_;
    int                        poller_;
    std::uint64_t              base_;  // of revisions, and of ids: above those of earlier runs
    std::deque<Connection>     connections_;
    std::vector<std::uint32_t> idle_;
    std::uint64_t              sent_{0}, accepted_{0};
    std::size_t                unsent_{0};  // due when the time was over: the server was too slow
    std::map<int, std::uint64_t> statuses_;
    std::vector<float>         latencies_;
};

}  // namespace

int main(int argc, char** argv)
{
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        std::string_view const name = argv[i];
        std::string const      value = argv[i + 1];
        if (name == "--port") options.port = static_cast<std::uint16_t>(std::stoul(value));
        else if (name == "--key-file") {
            std::ifstream file(value);
            std::getline(file, options.key);
        }
        else if (name == "--connections") options.connections = std::stoul(value);
        else if (name == "--batch") options.batch = std::stoul(value);
        else if (name == "--seconds") options.seconds = std::stod(value);
        else if (name == "--rate") options.rate = std::stod(value);
        else if (name == "--dids") options.dids = std::stoul(value);
        else if (name == "--server-pid") options.server_pid = std::stoi(value);
        else {
            std::fprintf(stderr, "unknown option %s\n", argv[i]);
            return 2;
        }
    }
    return Load(options).run();
}
