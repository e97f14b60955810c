// Idempotency over a bad network: every event is sent one to five times, over connections that are cut at every point
// of an exchange, to a server that is killed again and again. Each is stored once, and every answer names one sequence.
#include "events.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <atomic>
#include <cstring>
#include <iostream>
#include <mutex>
#include <poll.h>
#include <random>
#include <set>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace sluice::e2e {
namespace {

constexpr std::size_t event_count = 100'000;
constexpr int clients = 6;
constexpr int kills = 6;

using Random = std::mt19937_64;

// Where an exchange is cut.
enum class Cut { nowhere, before_request, inside_request, before_answer, inside_answer };

struct Losses {
    std::atomic<std::uint64_t> exchanges{0};
    std::atomic<std::uint64_t> cuts[5]{};
};

// Passes HTTP messages of one client at a time on to the server, or does not.
class LossyProxy {
public:
    LossyProxy(std::uint64_t seed, std::atomic<std::uint16_t> const& server, Losses& losses)
        : random_(seed), server_(server), losses_(losses), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_in address = loopback(0);
        socklen_t   size = sizeof address;
        if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 8) != 0 ||
            getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
            throw std::runtime_error("the proxy cannot listen");
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { accept_loop(); });
    }
    // Its client is gone.
    ~LossyProxy()
    {
        stop_ = true;
        thread_.join();
        close(listener_);
    }
    LossyProxy(LossyProxy const&) = delete;
    LossyProxy(LossyProxy&&) = delete;

    Address address() const { return {"127.0.0.1", port_}; }

private:
    static sockaddr_in loopback(std::uint16_t port)
    {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }

    void accept_loop()
    {
        while (!stop_) {
            pollfd wanted{.fd = listener_, .events = POLLIN, .revents = 0};
            if (poll(&wanted, 1, 20) <= 0) continue;
            auto const client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (client < 0) continue;
            serve(client);
            close(client);
        }
    }

    void serve(int client)
    {
        auto const    server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        auto const    address = loopback(server_);
        timeval const limit{.tv_sec = patience.count(), .tv_usec = 0};
        for (auto const end : {client, server}) setsockopt(end, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (connect(server, reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0)
            while (exchange(client, server)) {}
        close(server);
    }

    // False: the connection is to be cut.
    bool exchange(int client, int server)
    {
        auto const request = receive(client);
        if (request.empty()) return false;
        ++losses_.exchanges;
        auto const cut = draw();
        ++losses_.cuts[static_cast<std::size_t>(cut)];
        if (random_() % 16 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1 + random_() % 8));
        if (cut == Cut::before_request) return false;
        if (cut == Cut::inside_request) {
            send_all(server, std::string_view(request).substr(0, random_() % request.size()));
            return false;
        }
        if (!send_all(server, request)) return false;
        // Half of the time nobody waits for the answer that is lost.
        if (cut == Cut::before_answer && random_() % 2 == 0) return false;
        auto const answer = receive(server);
        if (answer.empty() || cut == Cut::before_answer) return false;
        if (cut == Cut::inside_answer) {
            send_all(client, std::string_view(answer).substr(0, random_() % answer.size()));
            return false;
        }
        return send_all(client, answer);
    }

    Cut draw() { return random_() % 100 < 75 ? Cut::nowhere : static_cast<Cut>(1 + random_() % 4); }

    // One whole message; empty: the connection ended.
    static std::string receive(int end)
    {
        std::string message;
        std::size_t wanted = 0;
        while (wanted == 0 || message.size() < wanted) {
            char       chunk[64 * 1024];
            auto const count = recv(end, chunk, sizeof chunk, 0);
            if (count <= 0) return "";
            message.append(chunk, static_cast<std::size_t>(count));
            auto const head = message.find("\r\n\r\n");
            if (wanted != 0 || head == message.npos) continue;
            auto const length = message.find("Content-Length: ");
            wanted = head + 4 + (length < head ? std::stoul(message.substr(length + 16)) : 0);
        }
        return message;
    }

    static bool send_all(int end, std::string_view bytes)
    {
        while (!bytes.empty()) {
            auto const count = send(end, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (count <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(count));
        }
        return true;
    }

    Random                            random_;
    std::atomic<std::uint16_t> const& server_;
    Losses&                           losses_;
    int const                         listener_;
    std::uint16_t                     port_{};
    std::atomic<bool>                 stop_{false};
    std::thread                       thread_;
};

std::string event(std::uint64_t n)
{
    auto const owner = did(n % 97), other = did(1000 + n % 31);
    return R"({"event_type":"relationship.created","event_id":"lossy-)" + std::to_string(n) + R"(","did":")" + owner +
           R"(","rev":")" + tid(n + 1) + R"(","payload":{"uri":")" + relationship_uri(owner, n) +
           R"(","cid":"lossy","participants":[")" + owner + R"(",")" + other +
           R"("],"type":"personal","strength":)" + std::to_string(n % 101) +
           R"(,"created_at":"2025-12-01T00:00:00Z"}})";
}

using Request = std::vector<std::uint64_t>;  // events

// Singles and batches; each is sent again up to four times, soon or much later; some repeats are mixed anew.
std::vector<Request> make_requests(Random& random)
{
    std::vector<std::pair<double, Request>> timed;  // when, what
    auto const later = [&](double at) {
        bool const is_soon = random() % 2 == 0;
        return at + static_cast<double>(random() % 1000) * (is_soon ? 2 : static_cast<double>(event_count) / 1000);
    };
    for (std::uint64_t n = 0; n < event_count;) {
        auto const size = std::min<std::uint64_t>(random() % 4 != 0 ? 1 : 1 + random() % 400, event_count - n);
        Request    request(size);
        for (auto& event : request) event = n++;
        auto const at = static_cast<double>(n);
        timed.emplace_back(at, request);
        for (auto again = random() % 5; again > 0; --again) timed.emplace_back(later(at), request);
    }
    for (int i = 0; i < 40; ++i) {
        std::set<std::uint64_t> mixed;
        while (mixed.size() < 50) mixed.insert(random() % event_count);
        auto const at = static_cast<double>(*mixed.rbegin());
        timed.emplace_back(later(at), Request(mixed.begin(), mixed.end()));
    }
    std::sort(timed.begin(), timed.end(), [](auto const& a, auto const& b) { return a.first < b.first; });
    std::vector<Request> requests;
    for (auto& [at, request] : timed) requests.push_back(std::move(request));
    return requests;
}

// What every answer said.
class Ledger {
public:
    void answered(std::uint64_t event, std::uint64_t sequence)
    {
        std::uint64_t first = 0;
        if (!sequences_[event].compare_exchange_strong(first, sequence) && first != sequence) ++contradictions_;
        ++answers_;
    }
    std::uint64_t contradictions() const { return contradictions_; }
    std::uint64_t answers() const { return answers_; }
    std::set<std::uint64_t> sequences() const
    {
        std::set<std::uint64_t> all;
        for (auto const& sequence : sequences_) all.insert(sequence);
        return all;
    }

private:
    std::vector<std::atomic<std::uint64_t>> sequences_ = std::vector<std::atomic<std::uint64_t>>(event_count);
    std::atomic<std::uint64_t>              contradictions_{0}, answers_{0};
};

// Sends until it is answered.
void send(Http& http, Request const& request, Ledger& ledger, std::atomic<bool> const& give_up)
{
    bool const  is_single = request.size() == 1;
    std::string body;
    for (auto const n : request) body += event(n) + (is_single ? "" : "\n");
    while (!give_up) {
        auto const response = http.try_send(
            "POST", is_single ? "/internal/events" : "/internal/events/batch", body,
            {{"Content-Type", is_single ? "application/json" : "application/x-ndjson"}});
        if (!response || response->status == 503) {
            std::this_thread::sleep_for(std::chrono::milliseconds(response ? 20 : 1));
            continue;
        }
        if (response->status != 202) throw std::runtime_error("refused: " + response->body);
        auto const reply = response->json();
        if (is_single) return ledger.answered(request[0], reply.at("sequence"));
        std::map<std::size_t, std::uint64_t> duplicates;
        for (auto const& d : reply.at("duplicates")) duplicates[d.at("i")] = d.at("sequence");
        auto next = duplicates.size() == request.size() ? 0 : reply.at("first_sequence").get<std::uint64_t>();
        for (std::size_t i = 0; i < request.size(); ++i) {
            auto const known = duplicates.find(i);
            ledger.answered(request[i], known != duplicates.end() ? known->second : next++);
        }
        return;
    }
}

TEST(Lossy, StoresEveryEventOnceAndAlwaysNamesTheSameSequence)
{
    auto const seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random                   random(seed);
    auto const               requests = make_requests(random);
    TemporaryDirectory const directory;
    ServerOptions const      options{
             .data = directory.path() / "data", .flags = {"--dedupe-memory-ids", std::to_string(event_count / 25)}};
    auto                       server = std::make_unique<Server>(options);
    std::atomic<std::uint16_t> port{server->address().port};
    std::atomic<std::size_t>   next{0};
    std::atomic<bool>          give_up{false};
    Losses                     losses;
    Ledger                     ledger;
    std::mutex                 mutex;
    std::string                error;  // guarded by mutex

    std::vector<std::unique_ptr<LossyProxy>> proxies;
    std::vector<std::thread>                 threads;
    for (int c = 0; c < clients; ++c) {
        proxies.push_back(std::make_unique<LossyProxy>(random(), port, losses));
        threads.emplace_back([&, address = proxies.back()->address()] {
            try {
                Http http(address, Server::key());
                for (std::size_t at; (at = next++) < requests.size() && !give_up;)
                    send(http, requests[at], ledger, give_up);
            } catch (std::exception const& failure) {
                std::lock_guard lock(mutex);
                error = failure.what();
                give_up = true;
            }
        });
    }
    for (int kill = 1; kill <= kills; ++kill) {
        auto const when = requests.size() * static_cast<std::size_t>(kill) / (kills + 1);
        if (!eventually([&] { return next >= when || give_up; }, std::chrono::seconds(120))) give_up = true;
        server->kill();
        server = std::make_unique<Server>(options);
        port = server->address().port;
    }
    if (!eventually([&] { return next >= requests.size() || give_up; }, std::chrono::seconds(120))) give_up = true;
    for (auto& thread : threads) thread.join();
    proxies.clear();
    ASSERT_EQ(error, "");
    ASSERT_FALSE(give_up) << "it took too long: " << next << " of " << requests.size() << " requests";

    auto       http = server->http();
    auto const state = settled_state(http);
    expect_numbers_add_up(state);
    EXPECT_EQ(state.at("accepted"), event_count);
    EXPECT_EQ(ledger.contradictions(), 0u);
    auto const sequences = ledger.sequences();
    EXPECT_EQ(sequences.size(), event_count);
    EXPECT_EQ(*sequences.begin(), 1u);
    EXPECT_EQ(*sequences.rbegin(), event_count);
    for (std::size_t cut = 0; cut < std::size(losses.cuts); ++cut) EXPECT_GT(losses.cuts[cut], 0u) << "cut " << cut;
    EXPECT_GT(metric(http, "sluice_dedupe_runs"), 1) << "ids were to be looked up on disk";
    EXPECT_GT(metric(http, "sluice_dedupe_disk_lookups_total"), 0);
    EXPECT_GT(ledger.answers(), event_count * 2);
    std::cout << "PROMISE P3 " << (HasFailure() ? "fail" : "pass") << " events=" << event_count
              << " answers=" << ledger.answers() << " exchanges=" << losses.exchanges
              << " cut=" << losses.exchanges - losses.cuts[0] << " kills=" << kills
              << " stored_twice=" << state.at("accepted").get<std::uint64_t>() - event_count
              << " other_sequence=" << ledger.contradictions() << " seed=" << seed << '\n';
}

}  // namespace
}  // namespace sluice::e2e
