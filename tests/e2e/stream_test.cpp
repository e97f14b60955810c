// Following the log over a real socket: GET /v1/stream and `sluice tail`.
#include "events.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <fstream>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace sluice::e2e {
namespace {

// What a slow crowd may cost. A sanitizer keeps freed memory for a while.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t crowd_limit = 256u << 20;
#else
constexpr std::uint64_t crowd_limit = 32u << 20;
#endif

std::string stream_request(std::string_view target, Headers const& headers = {}, std::string_view method = "GET")
{
    auto text = std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: localhost\r\nX-Internal-Key: " +
                Server::key() + "\r\n";
    for (auto const& [name, value] : headers) text += name + ": " + value + "\r\n";
    return text + "\r\n";
}

int connect_and_send(Address const& address, std::string const& request)
{
    int const   connected = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(address.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    timeval const limit{.tv_sec = patience.count(), .tv_usec = 0};
    setsockopt(connected, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(connected, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) throw std::runtime_error("connect");
    if (send(connected, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
        throw std::runtime_error("send");
    return connected;
}

struct Message {
    std::uint64_t id{0};
    std::string   event, data;
};

// Reads a stream as a browser does.
class Reader {
public:
    Reader(Address const& address, std::string_view target, Headers const& headers = {})
        : socket_(connect_and_send(address, stream_request(target, headers)))
    {
        while (raw_.find("\r\n\r\n") == raw_.npos)
            if (!receive()) throw std::runtime_error("no head");
        auto const end = raw_.find("\r\n\r\n") + 4;
        head_ = raw_.substr(0, end);
        raw_.erase(0, end);
    }
    ~Reader() { close(socket_); }
    Reader(Reader const&) = delete;

    std::string const& head() const { return head_; }
    std::uint64_t      last_id() const { return last_id_; }
    std::string const& comments() const { return comments_; }
    bool               is_complete() const { return is_complete_; }  // ended by a last chunk

    // The next message; nullopt: the stream has ended.
    std::optional<Message> next()
    {
        Message message;
        for (;;) {
            auto const end = text_.find('\n', at_);
            if (end == text_.npos) {
                text_.erase(0, std::exchange(at_, 0));
                if (!receive_chunks()) return std::nullopt;
                continue;
            }
            auto const line = text_.substr(at_, end - at_);
            at_ = end + 1;
            if (line.starts_with("id: ")) id_ = std::stoull(line.substr(4));
            if (line.starts_with("event: ")) message.event = line.substr(7);
            if (line.starts_with("data: ")) message.data += (message.data.empty() ? "" : "\n") + line.substr(6);
            if (line.starts_with(":")) comments_ += line + '\n';
            if (!line.empty()) continue;
            last_id_ = id_;
            if (message.data.empty()) continue;
            message.id = id_;
            return message;
        }
    }
    // Until the message of that sequence.
    std::vector<Message> up_to(std::uint64_t sequence)
    {
        std::vector<Message> messages;
        while (messages.empty() || messages.back().id < sequence) {
            auto message = next();
            if (!message) throw std::runtime_error("the stream ended after " + std::to_string(last_id_));
            messages.push_back(std::move(*message));
        }
        return messages;
    }

private:
    bool receive()
    {
        char       buffer[65536];
        auto const count = recv(socket_, buffer, sizeof buffer, 0);
        if (count < 0 && errno == EAGAIN) throw std::runtime_error("the stream is silent");
        if (count <= 0) return false;
        raw_.append(buffer, static_cast<std::size_t>(count));
        return true;
    }
    bool receive_chunks()
    {
        for (;;) {
            auto const line = raw_.find("\r\n");
            auto const size = line == raw_.npos ? 0 : std::stoull(raw_.substr(0, line), nullptr, 16);
            if (line != raw_.npos && size == 0) is_complete_ = true;
            if (is_complete_) return false;
            if (line != raw_.npos && raw_.size() >= line + 4 + size) {
                text_.append(raw_, line + 2, size);
                raw_.erase(0, line + 4 + size);
                return true;
            }
            if (!receive()) return false;
        }
    }

    int           socket_;
    std::string   head_, raw_, text_, comments_;
    std::size_t   at_{0};
    std::uint64_t id_{0}, last_id_{0};
    bool          is_complete_{false};
};

class Streams : public testing::Test {
protected:
    std::filesystem::path data() const { return directory_.path() / "data"; }
    void                  ingest(Server const& server, std::uint64_t from, std::uint64_t to)
    {
        auto http = server.http();
        ASSERT_EQ(http.ndjson("/v1/events/batch", mixed_lines(from, to)).status, 202);
    }
    // Messages `first`, `first` + 1, ... of the mix that was sent in this order.
    static void expect_mix(std::vector<Message> const& messages, std::uint64_t first)
    {
        for (auto const& message : messages) {
            ASSERT_EQ(message.id, first);
            auto const event = mixed(first - 1);
            EXPECT_EQ(message.event, event.at("event_type"));
            auto const body = Json::parse(message.data);
            EXPECT_EQ(body.at("sequence"), first);
            for (auto const* name : {"event_id", "event_type", "did"}) EXPECT_EQ(body.at(name), event.at(name));
            auto const payload = "\"payload\":" + event.at("payload").dump() + "}";
            EXPECT_TRUE(message.data.ends_with(payload)) << message.data;
            ++first;
        }
    }
    static std::vector<std::string> client(Server const& server, std::vector<std::string> words)
    {
        words.insert(words.begin(), binary());
        words.insert(words.end(), {"--url", server.url()});
        return words;
    }
    Environment const  key_{{"INTERNAL_API_KEY", Server::key()}};
    TemporaryDirectory directory_;
};

TEST_F(Streams, GoOnExactlyWhereTheyWereAfterAKill)
{
    auto server = std::make_unique<Server>(ServerOptions{.data = data()});
    ingest(*server, 0, 300);
    std::vector<Message> seen;
    {
        Reader reader(server->address(), "/v1/stream?cursor=0");
        seen = reader.up_to(120);
    }
    Reader live(server->address(), "/v1/stream?cursor=250");
    auto   seen_live = live.up_to(300);
    server->kill();
    EXPECT_EQ(live.next(), std::nullopt);
    EXPECT_FALSE(live.is_complete());

    server = std::make_unique<Server>(ServerOptions{.data = data()});
    ingest(*server, 300, 400);
    Reader again(server->address(), "/v1/stream?cursor=7", {{"Last-Event-ID", std::to_string(seen.back().id)}});
    Reader live_again(server->address(), "/v1/stream", {{"Last-Event-ID", std::to_string(live.last_id())}});
    for (auto& message : again.up_to(400)) seen.push_back(std::move(message));
    for (auto& message : live_again.up_to(400)) seen_live.push_back(std::move(message));

    EXPECT_EQ(seen.size(), 400u);
    expect_mix(seen, 1);
    EXPECT_EQ(seen_live.size(), 150u);
    expect_mix(seen_live, 251);
}

TEST_F(Streams, HaveNoSeamBetweenReplayAndLive)
{
    constexpr std::uint64_t batch = 250, total = 20'000;
    Server                  server({.data = data()});
    ingest(server, 0, batch);
    Reader              first(server.address(), "/v1/stream?cursor=0"), second(server.address(), "/v1/stream?cursor=0");
    Reader              live(server.address(), "/v1/stream");
    std::atomic<bool>   failed{false};
    std::thread         producer([&] {
        auto http = server.http();
        for (auto n = batch; n < total && !failed; n += batch)
            while (http.ndjson("/v1/events/batch", mixed_lines(n, n + batch)).status == 503)
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
    });
    std::vector<Message> by_first, by_second, by_live;
    try {
        by_first = first.up_to(total);
        by_second = second.up_to(total);
        by_live = live.up_to(total);
    } catch (std::exception const& error) {
        failed = true;
        ADD_FAILURE() << error.what();
    }
    producer.join();

    EXPECT_EQ(by_first.size(), total);
    expect_mix(by_first, 1);
    ASSERT_EQ(by_second.size(), total);
    for (std::size_t i = 0; i < total; ++i) ASSERT_EQ(by_second[i].data, by_first[i].data);
    ASSERT_EQ(by_live.size(), total - batch);
    for (std::size_t i = 0; i < by_live.size(); ++i) ASSERT_EQ(by_live[i].data, by_first[batch + i].data);
}

TEST_F(Streams, ShowOnlyWhatWasAskedFor)
{
    Server server({.data = data()});
    ingest(server, 0, 400);
    auto const wanted = [&](std::string const& query, auto const& takes) {
        std::vector<std::uint64_t> expected, found;
        for (std::uint64_t n = 0; n < 400; ++n)
            if (takes(mixed(n))) expected.push_back(n + 1);
        ASSERT_FALSE(expected.empty());
        for (auto const& message : Reader(server.address(), "/v1/stream?cursor=0&" + query).up_to(expected.back()))
            found.push_back(message.id);
        EXPECT_EQ(found, expected) << query;
    };
    wanted("types=attestation.*", [](Json const& e) { return e.at("event_type") == "attestation.created"; });
    wanted("types=example.unknown", [](Json const& e) { return e.at("event_type") == "example.unknown"; });
    wanted("dids=" + did(3) + "," + did(205), [](Json const& e) {
        return e.at("did") == did(3) || e.at("did") == did(205);
    });
    wanted("tier=high", [](Json const& e) { return e.at("event_type") == "attestation.created"; });

    auto const metrics = server.http().get("/metrics").body;
    EXPECT_NE(metrics.find("\nsluice_stream_readers "), std::string::npos);
    EXPECT_NE(metrics.find("\nsluice_stream_events_total "), std::string::npos);
}

TEST_F(Streams, AreRefusedWithAReason)
{
    Server server({.data = data(), .flags = {"--http-streams-max", "1"}});
    ingest(server, 0, 10);
    auto http = server.http();

    EXPECT_EQ(http.send("GET", "/v1/stream", {}, {{"X-Internal-Key", ""}}).status, 401);
    EXPECT_EQ(http.get("/v1/stream?colour=red").status, 400);
    EXPECT_EQ(http.get("/v1/stream?cursor=11").json().at("error"), "future_cursor");
    auto const wrong_method = http.send("POST", "/v1/stream", "{}");
    EXPECT_EQ(wrong_method.status, 405);
    EXPECT_EQ(wrong_method.header("allow"), "GET, HEAD, OPTIONS");
    EXPECT_EQ(http.send("OPTIONS", "/v1/stream").header("allow"), "GET, HEAD, OPTIONS");

    Reader reader(server.address(), "/v1/stream");
    EXPECT_NE(reader.head().find("Content-Type: text/event-stream\r\n"), std::string::npos);
    auto const second = http.get("/v1/stream");
    EXPECT_EQ(second.status, 503);
    EXPECT_EQ(second.json().at("error"), "overload");
    EXPECT_FALSE(second.header("retry-after").empty());
}

TEST_F(Streams, EndInOrderWhenTheServerStops)
{
    Server server({.data = data()});
    ingest(server, 0, 10);
    Reader     live(server.address(), "/v1/stream?cursor=0");
    auto const messages = live.up_to(10);
    auto const begin = std::chrono::steady_clock::now();

    EXPECT_EQ(server.stop(), 0);

    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    EXPECT_EQ(live.next(), std::nullopt);
    EXPECT_TRUE(live.is_complete());
    EXPECT_NE(live.comments().find(": the server stops\n"), std::string::npos);
    EXPECT_EQ(live.last_id(), 10u);
}

// Readers that take nothing, and some that take a byte now and then, all from the beginning.
TEST_F(Streams, CostNoMemoryWhenAThousandReadersAreSlow)
{
    constexpr int readers = 1'000, events = 12'000, batch = 200;
    rlimit        files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    Server      server({.data = data()});
    auto        http = server.http();
    std::string note(8'000, 'x');
    for (std::size_t i = 0; i < note.size(); ++i) note[i] = static_cast<char>('a' + (i * i + i / 7) % 26);
    for (int n = 0; n < events; n += batch) {
        std::string lines;
        for (int i = n; i < n + batch; ++i)
            lines += R"({"event_id":"slow-)" + std::to_string(i) + R"(","event_type":"account.deleted","did":")" +
                     did(static_cast<std::uint64_t>(i)) + R"(","payload":{"note":")" + note + "\"}}\n";
        ASSERT_EQ(http.ndjson("/v1/events/batch", lines).status, 202);
    }
    settled_state(http);
    auto const resident = [&] {
        std::ifstream status("/proc/" + std::to_string(server.pid()) + "/status");
        for (std::string line; std::getline(status, line);)
            if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6)) << 10;
        throw std::runtime_error("no VmRSS");
    };
    auto const before = resident();

    std::vector<int> sockets;
    for (int i = 0; i < readers; ++i)
        sockets.push_back(connect_and_send(
            server.address(), stream_request("/v1/stream?cursor=" + std::to_string(i % 2 == 0 ? 0 : i * 5))));
    auto most = before;
    auto slowest = std::chrono::steady_clock::duration{};
    std::string sent;  // until all of them are stuck
    for (int round = 0, still = 0; round < 200 && (round < 20 || still < 5); ++round) {
        auto const text = http.get("/metrics").body;
        auto const at = text.find("\nsluice_stream_bytes_total ");
        auto const now_sent = text.substr(at, text.find('\n', at + 1) - at);
        still = now_sent == sent ? still + 1 : 0;
        sent = now_sent;
        for (int i = 0; i < readers; i += 3) {
            char byte;
            (void)recv(sockets[static_cast<std::size_t>(i)], &byte, 1, MSG_DONTWAIT);
        }
        auto const begin = std::chrono::steady_clock::now();
        EXPECT_EQ(http.get("/v1/state").status, 200);
        EXPECT_EQ(http.post("/v1/events", mixed(static_cast<std::uint64_t>(round)).dump()).status, 202);
        slowest = std::max(slowest, std::chrono::steady_clock::now() - begin);
        most = std::max<std::uint64_t>(most, resident());
        std::this_thread::sleep_for(std::chrono::milliseconds(150));
    }
    auto const metrics = http.get("/metrics").body;
    for (int const s : sockets) close(s);

    RecordProperty("grown_kib", std::to_string((most - before) >> 10));
    std::printf("grew by %.1f MiB, slowest answers %.0f ms\n", static_cast<double>(most - before) / (1 << 20),
                std::chrono::duration<double, std::milli>(slowest).count());
    EXPECT_NE(metrics.find("\nsluice_stream_readers " + std::to_string(readers) + "\n"), std::string::npos);
    EXPECT_LT(most - before, crowd_limit);
    EXPECT_TRUE(eventually([&] {
        return http.get("/metrics").body.find("\nsluice_stream_readers 0\n") != std::string::npos;
    })) << "readers that left are noticed";
}

TEST_F(Streams, AreWhatTailPrints)
{
    Server server({.data = data()});
    ingest(server, 0, 50);

    auto const lines = run(client(server, {"tail", "--from", "3", "--limit", "2"}), key_);
    EXPECT_EQ(lines.code, 0) << lines.error;
    EXPECT_EQ(std::count(lines.output.begin(), lines.output.end(), '\n'), 2);
    auto const event = mixed(2);
    EXPECT_EQ(lines.output.substr(0, 12), "         3  ");
    for (auto const* name : {"event_type", "did"})
        EXPECT_NE(lines.output.substr(0, lines.output.find('\n')).find(event.at(name).get<std::string>()),
                  std::string::npos);

    auto const found = run(
        client(server, {"tail", "--from", "1", "--limit", "1", "--types", "example.*", "--tier", "normal", "--dids",
                        did(39), "--json"}), key_);
    EXPECT_EQ(found.code, 0) << found.error;
    EXPECT_EQ(Json::parse(found.output).at("event_id"), "mixed-39");

    auto const odd = R"({"event_id":"odd","event_type":"free","did":")" + did(1) + "\"," +
                     "\"payload\":{\"a\":\n[1,\r\n2]}}";
    ASSERT_EQ(server.http().post("/v1/events", odd).status, 202);
    auto const joined = run(client(server, {"tail", "--from", "51", "--limit", "1", "--json"}), key_);
    EXPECT_EQ(std::count(joined.output.begin(), joined.output.end(), '\n'), 1);
    EXPECT_EQ(Json::parse(joined.output).at("payload"), Json::parse(R"({"a":[1,2]})"));

    EXPECT_EQ(run(client(server, {"tail"}), {{"INTERNAL_API_KEY", "not the key of this server"}}).code, 4);
    EXPECT_EQ(run(client(server, {"tail", "--from", "1000"}), key_).code, 1);
    EXPECT_EQ(run(client(server, {"tail", "--tier", "urgent"}), key_).code, 1);
    EXPECT_EQ(run(client(server, {"tail", "--from", "0"}), key_).code, 2);
    auto const url = server.url();
    server.stop();
    EXPECT_EQ(run({binary(), "tail", "--url", url}, key_).code, 5);
}

TEST_F(Streams, AreFollowedByTailAcrossAKill)
{
    auto server = std::make_unique<Server>(ServerOptions{.data = data()});
    auto const listen = "127.0.0.1:" + std::to_string(server->address().port);
    ingest(*server, 0, 100);
    auto const trouble = directory_.path() / "trouble";
    Process    tail(client(*server, {"tail", "--from", "1", "--json"}), key_, trouble);
    auto const expect_lines = [&](std::uint64_t from, std::uint64_t to) {
        for (auto n = from; n < to; ++n) ASSERT_EQ(Json::parse(tail.read_line()).at("sequence"), n + 1);
    };
    expect_lines(0, 100);
    server->kill();
    ASSERT_TRUE(eventually([&] { return read_file(trouble).find("trying again") != std::string::npos; }));
    server = std::make_unique<Server>(ServerOptions{.data = data(), .listen = listen});
    ingest(*server, 100, 150);
    expect_lines(100, 150);

    tail.signal(SIGINT);

    EXPECT_EQ(tail.wait(), 0);
}

}  // namespace
}  // namespace sluice::e2e
