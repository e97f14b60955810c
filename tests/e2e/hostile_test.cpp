// What hostile clients send over real sockets: bytes in drips, bombs, halves of batches. The server names its refusal,
// stores nothing, and stays within its memory.
#include "events.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace sluice::e2e {
namespace {

// About twice what the bombs take. A sanitizer keeps freed memory for a while.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t memory_limit = 1'200u << 20;
#else
constexpr std::uint64_t memory_limit = 128u << 20;
#endif

// A connection that sends what it is told to.
class Wire {
public:
    explicit Wire(Address const& address) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(address.port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        timeval const limit{.tv_sec = patience.count(), .tv_usec = 0};
        int const     on = 1;
        setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) throw std::runtime_error("connect");
    }
    ~Wire() { close(socket_); }
    Wire(Wire const&) = delete;

    Wire& send(std::string_view bytes)
    {
        while (!bytes.empty()) {
            auto const count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (count <= 0) break;  // refused already: the answer says why
            bytes.remove_prefix(static_cast<std::size_t>(count));
        }
        return *this;
    }
    Wire& drip(std::string_view bytes)
    {
        for (std::size_t i = 0; i < bytes.size(); ++i) send(bytes.substr(i, 1));
        return *this;
    }
    // All there is until the server ends the connection.
    std::string rest()
    {
        std::string all;
        char        buffer[65536];
        for (ssize_t count; (count = recv(socket_, buffer, sizeof buffer, 0)) > 0;)
            all.append(buffer, static_cast<std::size_t>(count));
        return all;
    }
    // Leaves with a reset instead of an orderly end.
    void reset()
    {
        linger const at_once{.l_onoff = 1, .l_linger = 0};
        setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }

private:
    int socket_;
};

class Hostile : public testing::Test {
protected:
    static std::string head(std::string_view path, std::string_view type, std::string_view more)
    {
        return "POST " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\nX-Internal-Key: " + Server::key() +
               "\r\nContent-Type: " + std::string(type) + "\r\n" + std::string(more) + "\r\n\r\n";
    }
    void expect_stored(std::uint64_t count)
    {
        auto http = server_.http();
        EXPECT_EQ(state(http).at("accepted"), count);
    }
    void expect_refused(Response const& response, int status, std::string_view error)
    {
        EXPECT_EQ(response.status, status) << response.body.substr(0, 500);
        EXPECT_EQ(response.json().at("error"), error) << response.body.substr(0, 500);
    }
    // The most memory it ever had.
    std::uint64_t peak_bytes() const
    {
        auto const status = read_file("/proc/" + std::to_string(server_.pid()) + "/status");
        return std::stoull(status.substr(status.find("VmHWM:") + 6)) * 1024;
    }

    TemporaryDirectory directory_;
    Server             server_{{.data = directory_.path() / "data"}};
    Http               http_ = server_.http();
};

Json const good = relationship(1, 2, 3, 50);

std::string repeated(std::size_t count, std::string_view text)
{
    std::string out;
    out.reserve(count * text.size());
    while (count-- > 0) out += text;
    return out;
}

// ---- HTTP

TEST_F(Hostile, WhatIsRefusedIsRefusedOnceHoweverItComes)
{
    auto const body = good.dump();
    auto const second = head("/v1/events", "application/json", "Content-Length: " + std::to_string(body.size())) + body;
    auto const post = [](std::string_view more) { return head("/v1/events", "application/json", more); };
    struct Case {
        std::string bytes;
        char const* status;
    };
    for (auto const& [bytes, status] : std::vector<Case>{
             {post("Content-Length: 4\r\nTransfer-Encoding: chunked") + "0\r\n\r\n", "400"},
             {post("Transfer-Encoding: xchunked") + "0\r\n\r\n", "501"},
             {post("Transfer-Encoding: chunked") + "0x2\r\n{}\r\n0\r\n\r\n", "400"},
             {post("Transfer-Encoding: chunked") + "0\n\r\n", "400"},
             {post("X: a\r\n b\r\nContent-Length: 0"), "400"},
             {"GET /health HTTP/1.1\r\n\r\n", "400"},
             {head("/v1/events", "text/plain", "Content-Length: " + std::to_string(second.size())), "415"},
         }) {
        SCOPED_TRACE(bytes);
        auto const smuggled = bytes + second;
        for (bool const drips : {false, true}) {
            Wire wire(server_.address());
            auto const answer = drips ? wire.drip(smuggled).rest() : wire.send(smuggled).rest();
            EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + std::string(status))) << answer;
            EXPECT_EQ(answer.find("HTTP/1.1 ", 1), answer.npos) << "the second request was answered: " << answer;
        }
    }
    expect_stored(0);
}

TEST_F(Hostile, ABodyIsNotAskedForWhenItsHeadIsRefused)
{
    auto const asks = [&](std::string_view path, std::string_view more) {
        return Wire(server_.address())
            .send(head(path, "application/json", "Expect: 100-continue\r\n" + std::string(more)))
            .rest();
    };
    EXPECT_TRUE(asks("/v1/events", "Content-Length: 300000").starts_with("HTTP/1.1 413 "));
    EXPECT_TRUE(asks("/v1/nothing", "Transfer-Encoding: chunked").starts_with("HTTP/1.1 404 "));
    EXPECT_TRUE(asks("/v1/events", "Content-Length: 2\r\nTransfer-Encoding: chunked").starts_with("HTTP/1.1 400 "));
    std::string const no_key =
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    EXPECT_TRUE(Wire(server_.address()).send(no_key).rest().starts_with("HTTP/1.1 401 "));
}

TEST_F(Hostile, AClientThatLeavesInTheMiddleOfABatchStoresNothing)
{
    std::string lines;
    for (std::uint64_t n = 0; n < 1'000; ++n) lines += relationship(n, n + 1, n, 50).dump() + '\n';
    auto const length = "Content-Length: " + std::to_string(lines.size());
    char       chunk[32];
    std::snprintf(chunk, sizeof chunk, "%zx\r\n", lines.size());
    for (bool const resets : {false, true}) {
        for (auto const& bytes : {
                 head("/v1/events/batch", "application/x-ndjson", length) + lines.substr(0, lines.size() / 2),
                 head("/v1/events/batch?mode=partial", "application/x-ndjson", length) +
                     lines.substr(0, lines.size() - 1),
                 head("/v1/events/batch", "application/x-ndjson", "Transfer-Encoding: chunked") + chunk + lines +
                     "\r\n",  // all of it but the last chunk
             }) {
            Wire wire(server_.address());
            wire.send(bytes);
            if (resets) wire.reset();
        }
    }
    // The server has seen them go.
    EXPECT_TRUE(eventually([&] {
        return http_.get("/metrics").body.find("sluice_http_connections 1\n") != std::string::npos;
    }));
    expect_stored(0);
    EXPECT_EQ(server_.stop(), 0);
    EXPECT_EQ(replay(directory_.path() / "data").at("events"), 0);
}

TEST_F(Hostile, RefusalsAreCountedByStatus)
{
    http_.send("GET", "/v1/state", {}, {{"X-Internal-Key", ""}});
    http_.send("GET", "/v1/state", {}, {{"X-Internal-Key", "wrong"}});
    http_.send("GET", "/v1/state", {}, {{"X-Internal-Key", "wrong"}});
    http_.get("/nothing");
    http_.get("/v1/events");
    http_.send("GET", "/health", {}, {{"Host", "evil.example"}});
    Wire(server_.address()).send("nonsense\r\n\r\n").rest();

    auto const metrics = http_.get("/metrics").body;
    for (auto const* const line : {"{status=\"401\"} 1\n", "{status=\"403\"} 2\n", "{status=\"404\"} 1\n",
                                   "{status=\"405\"} 1\n", "{status=\"421\"} 1\n", "{status=\"400\"} 1\n",
                                   "{status=\"413\"} 0\n"})
        EXPECT_NE(metrics.find("sluice_http_refused_total" + std::string(line)), metrics.npos) << line << metrics;
}

// ---- NDJSON

TEST_F(Hostile, NdjsonMayHaveBlankLinesCrLfAndNoFinalNewline)
{
    auto const line = [](std::uint64_t n) { return relationship(n, n + 1, 3, 50).dump(); };
    struct Case {
        std::string body;
        int         events;
    };
    std::uint64_t stored = 0;
    for (auto const& [body, events] : std::vector<Case>{
             {line(1), 1},
             {line(1) + "\n", 1},
             {line(1) + "\r\n" + line(2) + "\r\n", 2},
             {"\n\r\n \t\n" + line(1) + "\n\n\r\n" + line(2) + "\n \n" + line(3), 3},
             {repeated(100'000, "\n") + line(1) + repeated(100'000, "\r\n"), 1},
             {" \t" + line(1) + " \r\n" + line(2) + " ", 2},
         }) {
        auto const reply = http_.ndjson("/v1/events/batch", body);
        ASSERT_EQ(reply.status, 202) << reply.body;
        EXPECT_EQ(reply.json().at("accepted"), events);
        stored += static_cast<std::uint64_t>(events);
    }
    expect_stored(stored);
    // A bare CR ends nothing.
    expect_refused(http_.ndjson("/v1/events/batch", line(1) + "\r" + line(2)), 400, "bad_json");
}

TEST_F(Hostile, OneEventOverALimitRefusesItsBatchAndIsNamed)
{
    auto large = good, wide = good, deep = good;
    large["payload"]["note"] = repeated(5, std::string(60 * 1024, 'x'));
    for (int i = 0; i < 5; ++i) large["payload"]["note" + std::to_string(i)] = std::string(60 * 1024, 'x');
    for (int i = 0; i < 1'000; ++i) wide["payload"]["m" + std::to_string(i)] = i;
    deep["payload"]["deep"] = Json::parse(repeated(31, "[") + repeated(31, "]"));
    struct Case {
        Json        event;
        int         status;
        char const* error;
    };
    for (auto const& [event, status, error] : std::vector<Case>{
             {large, 413, "too_large"}, {wide, 400, "too_large"}, {deep, 400, "too_deep"}}) {
        auto const lines = good.dump() + "\n\n" + good.dump() + '\n' + event.dump() + '\n' + good.dump();
        auto const array = '[' + good.dump() + ',' + good.dump() + ',' + event.dump() + ',' + good.dump() + ']';
        for (auto const& response :
             {http_.ndjson("/v1/events/batch", lines), http_.post("/v1/events/batch", array)}) {
            expect_refused(response, status, error);
            EXPECT_EQ(response.json().at("errors").at(0).at("pointer"), "/2");
            EXPECT_EQ(response.json().at("errors").at(0).at("code"), error);
        }
    }
    expect_stored(0);
    auto const partial = http_.ndjson("/v1/events/batch?mode=partial", good.dump() + '\n' + large.dump()).json();
    EXPECT_EQ(partial.at("accepted"), 1);
    EXPECT_EQ(partial.at("items").at(1).at("errors").at(0).at("pointer"), "/1");
}

// ---- bombs

TEST_F(Hostile, EveryBombIsRefusedByNameWithinTheMemoryLimit)
{
    auto const event = [](std::string const& member) {
        return R"({"event_type":"free","did":"did:plc:a","payload":{)" + member + "}}";
    };
    auto const members = [](int count, char const* name) {
        std::string out;
        for (int i = 0; i < count; ++i)
            out.append(i == 0 ? "\"" : ",\"").append(name).append(std::to_string(i)).append("\":1");
        return out;
    };
    struct Case {
        char const* name;
        std::string body;
        int         status;
        char const* error;
    };
    for (auto const& [name, body, status, error] : std::vector<Case>{
             {"100,000 open arrays", repeated(100'000, "["), 400, "too_deep"},
             {"10,000 open objects", event(R"("x":)" + repeated(10'000, R"({"a":)")), 400, "too_deep"},
             {"1,001 members", event(members(1'001, "m")), 400, "too_large"},
             {"duplicate among 1,000", event(members(999, "m") + R"(,"\u006d500":1)"), 400, "duplicate_member"},
             {"10,001 values", event(R"("x":[)" + repeated(10'000, "1,") + "1]"), 400, "too_large"},
             {"100,000 empty arrays", event(R"("x":[)" + repeated(80'000, "[],") + "1]"), 400, "too_large"},
             {"string over 64 KiB", event(R"("x":")" + std::string(65'537, 'x') + '"'), 400, "too_large"},
             {"name over 64 KiB", event('"' + std::string(65'537, 'x') + R"(":1)"), 400, "too_large"},
             {"number of 100,000 digits", event(R"("x":)" + std::string(100'000, '9')), 400, "bad_number"},
             {"number of 65 digits", event(R"("x":0.)" + std::string(63, '1')), 400, "bad_number"},
             {"exponent of 100,000 digits", event(R"("x":1e)" + std::string(100'000, '9')), 400, "bad_number"},
             {"unknown members", '{' + members(1'000, "m") + '}', 422, "unknown_member"},
         }) {
        SCOPED_TRACE(name);
        expect_refused(http_.post("/v1/events", body), status, error);
    }

    constexpr std::size_t batch_max = 16u << 20;
    for (auto const& [name, body, status, error] : std::vector<Case>{
             {"16 million blank lines", std::string(batch_max, '\n'), 422, "empty_batch"},
             {"one line of blanks", std::string(batch_max, ' '), 422, "empty_batch"},
             {"one giant line", R"({"a":")" + std::string(batch_max - 6, 'x'), 413, "too_large"},
             {"10,001 lines", repeated(10'001, event("") + '\n'), 413, "too_many_events"},
             {"a million lines", repeated(1'000'000, "{}\n"), 422, "missing"},
         }) {
        SCOPED_TRACE(name);
        expect_refused(http_.ndjson("/v1/events/batch", body), status, error);
    }
    for (auto const& [name, body, status, error] : std::vector<Case>{
             {"16 million brackets", std::string(batch_max, '['), 400, "bad_json"},
             {"one giant element", "[[" + repeated(5'000'000, "0,") + "0]]", 413, "too_large"},
             {"10,001 elements", '[' + repeated(10'000, event("") + ',') + event("") + ']', 413, "too_many_events"},
             {"a million elements", '[' + repeated(1'000'000, "1,") + "1]", 422, "wrong_type"},
         }) {
        SCOPED_TRACE(name);
        expect_refused(http_.post("/v1/events/batch", body), status, error);
    }

    // Each of 10,000 events with as many errors as are listed.
    auto const wrong = repeated(10'000, '{' + members(16, "m") + "}\n");
    for (int i = 0; i < 3; ++i) {
        auto const reply = http_.ndjson("/v1/events/batch?mode=partial", wrong);
        EXPECT_EQ(reply.status, 207);
        EXPECT_LT(reply.body.size(), 4u << 20) << "an answer far larger than its question";
    }
    expect_stored(0);

    // Many at once, of events refused at length and one that waits for the commit.
    auto const               short_ones = repeated(9'999, "{}\n") + good.dump();
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([&] {
            auto http = server_.http();
            for (int i = 0; i < 4; ++i) {
                auto const reply = http.ndjson("/v1/events/batch?mode=partial", short_ones);
                EXPECT_TRUE(reply.status == 207 || reply.status == 503) << reply.status;
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_LT(peak_bytes(), memory_limit);
}

// ---- starting

TEST(HostileStart, ANewerFormatIsLeftAlone)
{
    TemporaryDirectory const directory;
    auto const               data = directory.path() / "data";
    {
        Server server({.data = data});
        EXPECT_EQ(server.stop(), 0);
    }
    auto const format = data / "FORMAT";
    ASSERT_TRUE(std::filesystem::exists(format));
    write_file(format, "sluice 2\n");

    for (auto const* const verb : {"serve", "replay"}) {
        std::vector<std::string> arguments{binary(), verb, "--data", data};
        if (std::string_view(verb) == "serve") arguments.insert(arguments.end(), {"--listen", "127.0.0.1:0"});
        auto const started = run(arguments, {{"INTERNAL_API_KEY", Server::key()}});
        EXPECT_EQ(started.code, 11) << verb << started.error;
    }
    EXPECT_EQ(read_file(format), "sluice 2\n");
}

}  // namespace
}  // namespace sluice::e2e
