#include "http/server.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::http {
namespace {

using namespace std::chrono_literals;

class ManualClock final : public Clock {
public:
    Mono     now() const noexcept override { return Mono(std::chrono::nanoseconds(now_.load())); }
    WallTime wall() const noexcept override { return {}; }
    void     advance(std::chrono::nanoseconds by) { now_ += by.count(); }

private:
    std::atomic<std::int64_t> now_{1'000'000'000};
};

constexpr auto patience = 20s;  // until a test that waits in vain fails

template <class Condition>
bool eventually(Condition condition)
{
    auto const end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::yield();
    }
    return true;
}

class Client {
public:
    explicit Client(std::uint16_t port) : Client() { connect(port); }
    Client() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        timeval const limit{.tv_sec = patience.count(), .tv_usec = 0};
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    ~Client() { leave(); }
    Client(Client const&) = delete;

    void connect(std::uint16_t port)
    {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            throw std::runtime_error("connect");
    }
    Client& send(std::string_view bytes)
    {
        while (!bytes.empty()) {
            auto const count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (count <= 0) throw std::runtime_error("send");
            bytes.remove_prefix(static_cast<std::size_t>(count));
        }
        return *this;
    }
    // The head of the next response.
    std::string head()
    {
        while (received_.find("\r\n\r\n") == received_.npos)
            if (!receive()) return "closed";
        return take(received_.find("\r\n\r\n") + 4);
    }
    std::string body(std::size_t size)
    {
        while (received_.size() < size)
            if (!receive()) return "closed";
        return take(size);
    }
    std::string response()
    {
        auto       text = head();
        auto const length = text.find("Content-Length: ");
        if (length != text.npos) text += body(std::strtoull(text.c_str() + length + 16, nullptr, 10));
        return text;
    }
    int status()
    {
        auto const text = response();
        return text.starts_with("HTTP/1.1 ") ? std::atoi(text.c_str() + 9) : 0;
    }
    // The server has ended the connection in order, with nothing more to say.
    bool at_end() { return received_.empty() && !receive() && last_error_ == 0; }
    void finish_sending() { ::shutdown(socket_, SHUT_WR); }
    void leave()
    {
        if (socket_ >= 0) ::close(std::exchange(socket_, -1));
    }
    void reset()
    {
        linger const at_once{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        leave();
    }

private:
    bool receive()
    {
        char       buffer[65536];
        auto const count = ::recv(socket_, buffer, sizeof buffer, 0);
        last_error_ = count < 0 ? errno : 0;
        if (count <= 0) return false;
        received_.append(buffer, static_cast<std::size_t>(count));
        return true;
    }
    std::string take(std::size_t size)
    {
        auto text = received_.substr(0, size);
        received_.erase(0, size);
        return text;
    }

    int         socket_;
    int         last_error_{0};
    std::string received_;
};

Response text(int status, std::string body)
{
    return {.status = status, .content_type = "text/plain", .body = std::move(body)};
}

// A server on a free port with its io thread. By default it answers 200 with path and body.
class HttpServer : public testing::Test {
protected:
    HttpServer()
    {
        options_.sweep = 2ms;
        callbacks_.on_head = [](Request const&) { return BodyLimit{1024}; };
        callbacks_.on_request = [](Request& request, Reply reply) {
            reply(text(200, std::string(request.path) + " " + request.body));
        };
        callbacks_.on_refusal = [](Refusal const& refusal) { return text(refusal.status, std::string(refusal.code)); };
    }
    ~HttpServer() override
    {
        on_io([&] { server_.reset(); });
        work_.reset();
        if (thread_.joinable()) thread_.join();
    }

    std::uint16_t start()
    {
        server_ = std::make_unique<Server>(io_, clock_, options_, callbacks_);
        port_ = server_->listen("127.0.0.1", 0).value();
        thread_ = std::thread([this] { io_.run(); });
        return port_;
    }
    // Runs it on the io thread and waits for it.
    template <class Function>
    void on_io(Function function)
    {
        if (!thread_.joinable()) return function();
        std::promise<void> done;
        boost::asio::post(io_, [&] {
            function();
            done.set_value();
        });
        done.get_future().wait();
    }
    // Replies are kept in replies_ until the test gives them.
    void defer_replies()
    {
        callbacks_.on_request = [this](Request& request, Reply reply) {
            paths_.emplace_back(request.path);
            replies_.push_back(std::move(reply));
            ++deferred_;
        };
    }
    void give_reply(std::string body)
    {
        on_io([&] {
            auto reply = std::move(replies_.front());
            replies_.erase(replies_.begin());
            reply(text(200, std::move(body)));
        });
    }
    Counters const& counters() const { return server_->counters(); }
    bool            received(std::uint64_t bytes)
    {
        return eventually([&] { return counters().bytes_in == bytes; });
    }

    ManualClock             clock_;
    ServerOptions           options_;
    Callbacks               callbacks_;
    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io_.get_executor()};
    std::unique_ptr<Server>  server_;
    std::uint16_t            port_{0};
    std::thread              thread_;
    std::vector<Reply>       replies_;
    std::vector<std::string> paths_;
    std::atomic<int>         deferred_{0};
};

std::string post(std::string_view path, std::string_view body)
{
    return "POST " + std::string(path) + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + std::string(body);
}
std::string get(std::string_view path, std::string_view headers = "")
{
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n" + std::string(headers) + "\r\n";
}
std::string echoed(std::string_view path, std::string_view body)
{
    auto const content = std::string(path) + " " + std::string(body);
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(content.size()) +
           "\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n\r\n" + content;
}

TEST_F(HttpServer, AnswersManyRequestsOnOneConnection)
{
    Client client(start());

    for (int i = 0; i < 100; ++i) {
        auto const body = std::to_string(i);
        ASSERT_EQ(client.send(post("/e", body)).response(), echoed("/e", body));
    }
    EXPECT_EQ(counters().requests, 100u);
    EXPECT_EQ(counters().accepted, 1u);
}

TEST_F(HttpServer, AnswersBytesThatComeOneByOne)
{
    Client client(start());
    auto const bytes = post("/e", "hello") + get("/f");
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        client.send(std::string_view(bytes).substr(i, 1));
        ASSERT_TRUE(received(i + 1));
    }

    EXPECT_EQ(client.response(), echoed("/e", "hello"));
    EXPECT_EQ(client.response(), echoed("/f", ""));
}

TEST_F(HttpServer, AnswersPipelinedRequestsInOrderOneAtATime)
{
    defer_replies();
    Client client(start());
    client.send(post("/1", "a") + post("/2", "b"));

    ASSERT_TRUE(eventually([&] { return deferred_ == 1; }));
    on_io([&] { EXPECT_EQ(paths_, std::vector<std::string>{"/1"}); });
    give_reply("one");
    ASSERT_TRUE(eventually([&] { return deferred_ == 2; }));
    give_reply("two");

    EXPECT_TRUE(client.response().ends_with("one"));
    EXPECT_TRUE(client.response().ends_with("two"));
}

TEST_F(HttpServer, AnswersALongPipeline)
{
    constexpr int count = 20'000;
    Client        client(start());
    std::thread   sender([&] {
        std::string bytes;
        for (int i = 0; i < count; ++i) bytes += get("/p");
        client.send(bytes);
    });

    auto const answer = echoed("/p", "");
    for (int i = 0; i < count; ++i) ASSERT_EQ(client.response(), answer);
    sender.join();
}

TEST_F(HttpServer, AnswersHeadWithTheLengthAndNoBody)
{
    Client client(start());
    client.send("HEAD /abc HTTP/1.1\r\nHost: a\r\n\r\n" + get("/next"));

    EXPECT_NE(client.head().find("Content-Length: 5\r\n"), std::string::npos);
    EXPECT_EQ(client.response(), echoed("/next", ""));
}

TEST_F(HttpServer, AsksForABodyThatWaitsForIt)
{
    Client client(start());
    client.send("POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");

    EXPECT_EQ(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    EXPECT_EQ(client.send("hello").response(), echoed("/e", "hello"));
}

TEST_F(HttpServer, DoesNotAskForABodyThatHasBegun)
{
    std::string const bytes = "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhel";
    Client            client(start());
    client.send(bytes);
    ASSERT_TRUE(received(bytes.size()));

    EXPECT_EQ(client.send("lo").response(), echoed("/e", "hello"));
}

TEST_F(HttpServer, AnswersFromALaterTurn)
{
    defer_replies();
    Client client(start());
    client.send(get("/late"));
    ASSERT_TRUE(eventually([&] { return deferred_ == 1; }));

    give_reply("late");

    EXPECT_TRUE(client.response().ends_with("late"));
}

TEST_F(HttpServer, SurvivesAClientThatLeftBeforeTheReply)
{
    defer_replies();
    Client gone(start());
    gone.send(get("/gone"));
    ASSERT_TRUE(eventually([&] { return deferred_ == 1; }));
    gone.reset();
    ASSERT_TRUE(eventually([&] { return counters().open == 0; }));
    Client other(port_);  // takes the place of the one that left
    other.send(get("/other"));
    ASSERT_TRUE(eventually([&] { return deferred_ == 2; }));

    give_reply("for nobody");
    give_reply("for the other");

    EXPECT_TRUE(other.response().ends_with("for the other"));
}

TEST_F(HttpServer, TurnsAnUnansweredRequestInto500)
{
    callbacks_.on_request = [](Request&, Reply) {};
    Client client(start());

    EXPECT_EQ(client.send(get("/")).status(), 500);
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().refused_with(500), 1u);
}

TEST_F(HttpServer, TurnsAnExceptionOfAHandlerInto500)
{
    callbacks_.on_request = [](Request&, Reply) { throw std::runtime_error("a bug"); };
    Client client(start());
    EXPECT_EQ(client.send(get("/")).status(), 500);

    Client second(port_);
    EXPECT_EQ(second.send(get("/")).status(), 500);
    EXPECT_TRUE(eventually([&] { return counters().handler_errors == 2; }));
}

TEST_F(HttpServer, TurnsAnExceptionAtTheHeadInto500)
{
    callbacks_.on_head = [](Request const&) -> std::variant<BodyLimit, Response> { throw std::runtime_error("a bug"); };
    Client client(start());

    EXPECT_EQ(client.send(post("/", "x")).status(), 500);
    EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServer, RefusesABodyOverTheLimitBeforeItComes)
{
    Client client(start());
    client.send("POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1025\r\n\r\n");

    EXPECT_EQ(client.status(), 413);
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().requests, 0u);
    EXPECT_EQ(counters().refused_with(413), 1u);
}

TEST_F(HttpServer, LetsTheClientReadARefusalWhileItIsStillSending)
{
    Client client(start());
    client.send(post("/e", std::string(300'000, 'x')));

    EXPECT_EQ(client.status(), 413);
    EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServer, AnswersNothingAfterARefusal)
{
    Client client(start());
    client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n" + get("/second"));

    EXPECT_EQ(client.status(), 400);
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().requests, 0u);
}

TEST_F(HttpServer, KeepsTheConnectionWhenTheHeadIsAnsweredAndNoBodyFollows)
{
    callbacks_.on_head = [](Request const& head) -> std::variant<BodyLimit, Response> {
        if (head.path == "/none") return text(404, "");
        return BodyLimit{0};
    };
    Client client(start());

    EXPECT_EQ(client.send(get("/none") + get("/none")).status(), 404);
    EXPECT_EQ(client.status(), 404);
    EXPECT_EQ(client.send(get("/")).status(), 200);
}

TEST_F(HttpServer, ClosesWhenTheHeadIsAnsweredAndABodyFollows)
{
    callbacks_.on_head = [](Request const&) { return text(401, "no key"); };
    Client client(start());
    client.send(post("/e", get("/smuggled")));

    EXPECT_NE(client.response().find("401 Unauthorized\r\n"), std::string::npos);
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().requests, 0u);
}

TEST_F(HttpServer, ClosesAfterTheAnswerWhenAsked)
{
    Client client(start());
    auto const response = client.send(get("/", "Connection: close\r\n")).response();
    EXPECT_NE(response.find("Connection: close\r\n"), std::string::npos);
    EXPECT_TRUE(client.at_end());

    Client old(port_);
    EXPECT_EQ(old.send("GET / HTTP/1.0\r\n\r\n").status(), 200);
    EXPECT_TRUE(old.at_end());
}

TEST_F(HttpServer, KeepsAnHttp10ConnectionWhenAsked)
{
    Client client(start());
    client.send("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");

    EXPECT_NE(client.response().find("Connection: keep-alive\r\n"), std::string::npos);
    EXPECT_EQ(client.send(get("/2")).status(), 200);
}

TEST_F(HttpServer, AnswersAClientThatHasClosedItsSendingSide)
{
    defer_replies();
    Client client(start());
    client.send(get("/"));
    client.finish_sending();
    ASSERT_TRUE(eventually([&] { return deferred_ == 1; }));

    give_reply("still there");

    EXPECT_TRUE(client.response().ends_with("still there"));
    EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServer, CarriesLargeBodiesBothWays)
{
    callbacks_.on_head = [](Request const&) { return BodyLimit{16 * 1024 * 1024}; };
    std::string body(5'000'000, ' ');
    for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 7 / 3);
    Client client(start());

    for (int i = 0; i < 2; ++i) {
        client.send(post("/large", body));
        ASSERT_TRUE(client.response() == echoed("/large", body));
    }
    EXPECT_EQ(counters().body_bytes, 0u);
}

TEST_F(HttpServer, RefusesBodiesThatTogetherAreTooMany)
{
    options_.bodies_max = 1'500'000;
    callbacks_.on_head = [](Request const&) { return BodyLimit{16 * 1024 * 1024}; };
    Client first(start());
    first.send("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    ASSERT_TRUE(eventually([&] { return counters().body_bytes > 0; }));
    Client second(port_);
    second.send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");

    EXPECT_EQ(second.status(), 503);
    first.send(std::string(1'000'000, 'x'));
    EXPECT_EQ(first.status(), 200);
    EXPECT_EQ(counters().body_bytes, 0u);
}

// ---- deadlines

TEST_F(HttpServer, AnswersASlowHeadWith408)
{
    Client client(start());
    client.send("GET / HT");
    ASSERT_TRUE(received(8));
    clock_.advance(options_.head / 2);
    client.send("TP/1.1\r\nHost");  // progress does not buy time
    ASSERT_TRUE(received(20));

    clock_.advance(options_.head / 2);

    EXPECT_EQ(client.status(), 408);
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().refused_with(408), 1u);
}

TEST_F(HttpServer, AnswersASlowBodyWith408AndGivesAFastOneItsTime)
{
    callbacks_.on_head = [](Request const&) { return BodyLimit{1'000'000}; };
    std::string const head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    Client            slow(start()), fast(port_);
    slow.send(head);
    ASSERT_TRUE(received(head.size()));
    fast.send(head + std::string(80'000, 'x'));  // 80,000 bytes have earned 9.7 s
    ASSERT_TRUE(received(2 * head.size() + 80'000));

    clock_.advance(options_.body);
    EXPECT_EQ(slow.status(), 408);
    clock_.advance(9s);
    EXPECT_EQ(fast.send(std::string(20'000, 'x')).status(), 200);
}

TEST_F(HttpServer, EndsABodyAfterTheLongestTimeWhateverItsSize)
{
    callbacks_.on_head = [](Request const&) { return BodyLimit{4'000'000}; };
    std::string const head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n";
    auto const        bytes = head + std::string(1'999'999, 'x');
    Client            client(start());
    client.send(bytes);
    ASSERT_TRUE(received(bytes.size()));

    clock_.advance(options_.body_longest);

    EXPECT_EQ(client.status(), 408);
}

TEST_F(HttpServer, ClosesAConnectionThatSaysNothing)
{
    Client silent(start());
    ASSERT_TRUE(eventually([&] { return counters().open == 1; }));

    clock_.advance(options_.head);

    EXPECT_TRUE(silent.at_end());
}

TEST_F(HttpServer, ClosesAnIdleConnectionAfterItsTime)
{
    Client client(start());
    EXPECT_EQ(client.send(get("/")).status(), 200);
    clock_.advance(options_.idle - 1ms);
    EXPECT_EQ(client.send(get("/")).status(), 200);

    clock_.advance(options_.idle);

    EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServer, AnswersForAHandlerThatTakesTooLong)
{
    defer_replies();
    Client client(start());
    client.send(get("/"));
    ASSERT_TRUE(eventually([&] { return deferred_ == 1; }));

    clock_.advance(options_.answer);

    EXPECT_EQ(client.status(), 503);
    give_reply("too late");
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().open, 1u);  // the connection still waits for the client's end
}

TEST_F(HttpServer, ClosesOnAClientThatDoesNotReadItsAnswer)
{
    callbacks_.on_request = [](Request&, Reply reply) { reply(text(200, std::string(64 * 1024 * 1024, 'x'))); };
    Client client(start());
    client.send(get("/"));
    ASSERT_TRUE(eventually([&] { return counters().bytes_out > 0; }));

    clock_.advance(options_.write_progress);

    EXPECT_TRUE(eventually([&] { return counters().open == 0; }));
}

TEST_F(HttpServer, WaitsForAClientThatReadsItsAnswerSlowly)
{
    constexpr std::size_t size = 64 * 1024 * 1024;
    callbacks_.on_request = [](Request&, Reply reply) { reply(text(200, std::string(size, 'x'))); };
    Client client(start());
    client.send(get("/"));
    client.head();

    clock_.advance(options_.write_progress - 1s);
    EXPECT_EQ(client.body(size * 2 / 3).size(), size * 2 / 3);
    clock_.advance(options_.write_progress - 1s);
    EXPECT_EQ(client.body(size / 3).size(), size / 3);
}

TEST_F(HttpServer, EndsAnAnswerAfterItsTimeHoweverSteadilyItIsRead)
{
    constexpr std::size_t size = 64 * 1024 * 1024;
    callbacks_.on_request = [](Request&, Reply reply) { reply(text(200, std::string(size, 'x'))); };
    Client client(start());
    client.send(get("/"));
    client.head();

    for (auto spent = 0s; spent < options_.answer; spent += 5s) {
        clock_.advance(5s);
        auto const sent = counters().bytes_out.load();
        for (int i = 0; i < 1'000 && counters().open == 1 && counters().bytes_out == sent; ++i) client.body(8 * 1024);
    }

    EXPECT_TRUE(eventually([&] { return counters().open == 0; }));
    EXPECT_LT(counters().bytes_out, size);
}

TEST_F(HttpServer, AnswersABodyThatDripsWith408)
{
    std::string const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    Client            client(start());
    client.send(head);
    for (std::uint64_t chunks = 1; chunks <= 5; ++chunks) {
        client.send("1\r\nx\r\n");
        ASSERT_TRUE(received(head.size() + 6 * chunks));
        clock_.advance(options_.body / 5);
    }

    EXPECT_EQ(client.status(), 408);
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().requests, 0u);
}

TEST_F(HttpServer, GivesTheHeadOfALaterRequestItsOwnTime)
{
    Client client(start());
    EXPECT_EQ(client.send(get("/1")).status(), 200);
    clock_.advance(options_.idle - 1ms);
    client.send("GET");
    ASSERT_TRUE(received(get("/1").size() + 3));
    clock_.advance(options_.head - 1ms);
    EXPECT_EQ(client.send(get("/2").substr(3)).status(), 200);

    client.send("GET");
    ASSERT_TRUE(received(get("/1").size() + get("/2").size() + 3));
    clock_.advance(options_.head);
    EXPECT_EQ(client.status(), 408);
}

TEST_F(HttpServer, StaysIdleWhileEmptyLinesAreAllThatComes)
{
    Client client(start());
    EXPECT_EQ(client.send(get("/")).status(), 200);
    clock_.advance(options_.idle - 1ms);
    client.send("\r\n");
    ASSERT_TRUE(received(get("/").size() + 2));

    clock_.advance(1ms);

    EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServer, DoesNotWaitForeverForTheClientsEnd)
{
    Client client(start());
    EXPECT_EQ(client.send("bad\r\n").status(), 400);
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().open, 1u);

    clock_.advance(options_.linger);

    EXPECT_TRUE(eventually([&] { return counters().open == 0; }));
}

// ---- bounds and ends

TEST_F(HttpServer, DoesNotReadForeverAfterARefusal)
{
    options_.linger_bytes = 1'000;
    Client client(start());
    client.send("bad\r\n" + std::string(100'000, 'x'));

    EXPECT_TRUE(eventually([&] { return counters().accepted == 1 && counters().open == 0; }));
}

TEST_F(HttpServer, RefusesConnectionsOverTheLimit)
{
    options_.connections_max = 2;
    Client first(start()), second(port_);
    ASSERT_EQ(first.send(get("/")).status(), 200);
    ASSERT_EQ(second.send(get("/")).status(), 200);

    Client third(port_);
    EXPECT_EQ(third.send(get("/")).status(), 503);
    EXPECT_TRUE(third.at_end());

    third.leave();
    second.leave();
    ASSERT_TRUE(eventually([&] { return counters().open == 1; }));
    Client fourth(port_);
    EXPECT_EQ(fourth.send(get("/")).status(), 200);
    EXPECT_EQ(first.send(get("/")).status(), 200);
}

TEST_F(HttpServer, CutsAnAnswerWhenTooManyBytesWaitForSlowReaders)
{
    options_.answers_max = 100 * 1024 * 1024;
    callbacks_.on_request = [](Request&, Reply reply) { reply(text(200, std::string(64 * 1024 * 1024, 'x'))); };
    Client first(start()), second(port_);
    first.send(get("/"));
    ASSERT_TRUE(eventually([&] { return counters().answer_bytes > 0; }));
    second.send(get("/"));

    ASSERT_TRUE(eventually([&] { return counters().answers_cut == 1; }));
    EXPECT_TRUE(eventually([&] { return counters().open == 1; }));
    EXPECT_LE(counters().answer_bytes, options_.answers_max);

    first.head();
    EXPECT_EQ(first.body(64 * 1024 * 1024).size(), 64u * 1024 * 1024);
    EXPECT_TRUE(eventually([&] { return counters().answer_bytes == 0; }));
}

TEST_F(HttpServer, CountsEveryRefusalByItsStatus)
{
    callbacks_.on_head = [](Request const& head) -> std::variant<BodyLimit, Response> {
        if (head.path == "/ok") return BodyLimit{0};
        return text(std::atoi(std::string(head.path.substr(1)).c_str()), "");
    };
    Client client(start());
    for (auto const* const path : {"/401", "/401", "/421", "/204", "/ok"}) client.send(get(path)).response();
    client.send("GET / HTTP/9.9\r\n\r\n").response();

    EXPECT_EQ(counters().refused_with(401), 2u);
    EXPECT_EQ(counters().refused_with(421), 1u);
    EXPECT_EQ(counters().refused_with(505), 1u);
    std::uint64_t all = 0;
    for (auto const& count : counters().refused) all += count;
    EXPECT_EQ(all, 4u);
    EXPECT_EQ(counters().requests, 1u);
}

TEST_F(HttpServer, AcceptsAgainWhenDescriptorsAreBack)
{
    start();
    Client client;
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit const none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    client.connect(port_);
    bool const failed = eventually([&] { return counters().accept_errors > 0; });
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);

    ASSERT_TRUE(failed);
    EXPECT_EQ(client.send(get("/")).status(), 200);
}

TEST_F(HttpServer, DrainsInOrder)
{
    defer_replies();
    Client idle(start()), busy(port_);
    idle.send(get("/"));
    ASSERT_TRUE(eventually([&] { return deferred_ == 1; }));
    give_reply("");
    ASSERT_EQ(idle.status(), 200);
    busy.send(get("/"));
    ASSERT_TRUE(eventually([&] { return deferred_ == 2; }));

    std::atomic<bool> empty{false};
    on_io([&] {
        server_->stop_accepting();
        server_->close_idle();
        server_->when_empty([&] { empty = true; });
    });
    EXPECT_TRUE(idle.at_end());
    EXPECT_THROW(Client{port_}, std::runtime_error);
    EXPECT_FALSE(empty);
    EXPECT_EQ(server_->connections(), 1u);

    give_reply("the last");
    auto const response = busy.response();
    EXPECT_NE(response.find("Connection: close\r\n"), std::string::npos);
    EXPECT_TRUE(response.ends_with("the last"));
    EXPECT_TRUE(busy.at_end());
    busy.leave();
    EXPECT_TRUE(eventually([&] { return empty.load(); }));
}

TEST_F(HttpServer, TellsAtOnceThatNoConnectionIsLeft)
{
    start();
    std::atomic<bool> empty{false};

    on_io([&] { server_->when_empty([&] { empty = true; }); });

    EXPECT_TRUE(eventually([&] { return empty.load(); }));
}

TEST_F(HttpServer, RepliesMayOutliveTheServer)
{
    defer_replies();
    Client client(start());
    client.send(get("/1"));
    Client second(port_);
    second.send(get("/2"));
    ASSERT_TRUE(eventually([&] { return deferred_ == 2; }));

    on_io([&] { server_.reset(); });

    give_reply("to nobody");
    on_io([&] { replies_.clear(); });
    EXPECT_TRUE(client.at_end());
}

TEST_F(HttpServer, ListensOnLiteralsOnly)
{
    start();
    on_io([&] {
        EXPECT_TRUE(server_->listen("localhost", 0).has_value());
        EXPECT_EQ(server_->listen("example.org", 0).error().code, Errc::invalid);
        EXPECT_EQ(server_->listen("[127.0.0.1", 0).error().code, Errc::invalid);
        EXPECT_EQ(server_->listen("192.0.2.1", 0).error().code, Errc::unavailable);
        auto const loopback6 = server_->listen("[::1]", 0);
        EXPECT_TRUE(loopback6.has_value() || loopback6.error().code == Errc::unavailable);  // not every host has IPv6
    });
}

// ---- streams

// A stream whose pieces the test gives.
struct Script {
    std::atomic<int>     asked{0};
    std::atomic<bool>    told_to_end{false}, released{false};
    std::optional<Piece> piece;  // io thread
};

class ScriptedStream final : public Stream {
public:
    explicit ScriptedStream(std::shared_ptr<Script> script) : script_(std::move(script)) {}
    ~ScriptedStream() override { script_->released = true; }
    void next(Piece piece) override
    {
        script_->piece.emplace(std::move(piece));
        ++script_->asked;
    }
    void end() override { script_->told_to_end = true; }

private:
    std::shared_ptr<Script> script_;
};

class HttpStream : public HttpServer {
protected:
    HttpStream()
    {
        callbacks_.on_request = [this](Request& request, Reply reply) {
            if (request.path != "/stream") return reply(text(200, "ok"));
            Response response{.content_type = "text/plain"};
            response.stream = std::make_shared<ScriptedStream>(script_);
            reply(std::move(response));
        };
    }
    bool asked(int times)
    {
        return eventually([&] { return script_->asked == times; });
    }
    void give(std::string bytes, bool is_last = false)
    {
        on_io([&] { (*std::exchange(script_->piece, std::nullopt))(std::move(bytes), is_last); });
    }
    // Gives pieces until the client's window, which it never empties, is full.
    void fill(std::size_t piece)
    {
        int const times_max = static_cast<int>((64u << 20) / piece);
        int       times = script_->asked;
        while (times < times_max && asked(times)) {
            give(std::string(piece, 'x'));
            bool is_full = false;
            on_io([&] { is_full = counters().stream_bytes != 0; });
            if (is_full) return;
            ++times;
        }
        FAIL() << "the client took it all";
    }
    bool released()
    {
        return eventually([&] { return script_->released && counters().streams == 0 && counters().stream_bytes == 0; });
    }

    std::shared_ptr<Script> script_ = std::make_shared<Script>();
};

std::string const stream_head =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n"
    "Connection: close\r\n\r\n";

TEST_F(HttpStream, IsAskedForEachPieceWhenTheOneBeforeWasTaken)
{
    Client client(start());
    EXPECT_EQ(client.send(get("/stream")).head(), stream_head);
    ASSERT_TRUE(asked(1));
    EXPECT_EQ(counters().streams, 1u);

    give("hello");
    EXPECT_EQ(client.body(10), "5\r\nhello\r\n");
    ASSERT_TRUE(asked(2));
    give(std::string(300, 'x'));
    EXPECT_EQ(client.body(307), "12c\r\n" + std::string(300, 'x') + "\r\n");
    ASSERT_TRUE(asked(3));
    give("bye", true);
    EXPECT_EQ(client.body(13), "3\r\nbye\r\n0\r\n\r\n");

    EXPECT_TRUE(client.at_end());
    EXPECT_TRUE(released());
    EXPECT_EQ(script_->asked, 3);
}

TEST_F(HttpStream, MayEndWithoutAFurtherByte)
{
    Client client(start());
    client.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));

    give("", true);

    EXPECT_EQ(client.body(5), "0\r\n\r\n");
    EXPECT_TRUE(client.at_end());
}

TEST_F(HttpStream, EndsWithTheConnectionForOldClients)
{
    Client client(start());
    auto const head = client.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").head();
    EXPECT_EQ(head.find("Transfer-Encoding"), head.npos);
    EXPECT_EQ(head.find("Content-Length"), head.npos);
    EXPECT_NE(head.find("Connection: close"), head.npos);

    ASSERT_TRUE(asked(1));
    give("hello ");
    ASSERT_TRUE(asked(2));
    give("world", true);
    EXPECT_EQ(client.body(11), "hello world");
    EXPECT_TRUE(client.at_end());
}

TEST_F(HttpStream, IsOnlyAHeadForHead)
{
    Client client(start());

    EXPECT_EQ(client.send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n").head(), stream_head);

    EXPECT_TRUE(client.at_end());
    EXPECT_TRUE(released());
    EXPECT_EQ(script_->asked, 0);
}

TEST_F(HttpStream, IsTheLastAnswerOfItsConnection)
{
    Client client(start());
    client.send(get("/") + get("/stream") + get("/"));
    EXPECT_EQ(client.status(), 200);
    EXPECT_EQ(client.head(), stream_head);
    ASSERT_TRUE(asked(1));

    give("bye", true);

    EXPECT_EQ(client.body(13), "3\r\nbye\r\n0\r\n\r\n");
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(counters().requests, 2u);
}

TEST_F(HttpStream, HoldsOnePieceForAClientThatTakesNothing)
{
    constexpr std::size_t piece = 16 * 1024;
    options_.answers_max = 1024;
    Client client(start()), other(port_);
    client.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));
    fill(piece);
    if (HasFatalFailure()) return;

    EXPECT_LE(counters().stream_bytes, piece + 64);
    EXPECT_EQ(counters().answer_bytes, 0u) << "streams must not cut other answers";
    EXPECT_EQ(other.send(get("/")).status(), 200);
    auto const asked_before = script_->asked.load();
    clock_.advance(options_.stream_progress - 1ms);
    EXPECT_EQ(other.send(get("/")).status(), 200);
    EXPECT_EQ(counters().streams, 1u);
    EXPECT_EQ(script_->asked, asked_before);

    client.body(static_cast<std::size_t>(asked_before) * (piece + 8));
    EXPECT_TRUE(eventually([&] { return script_->asked == asked_before + 1; }));
    EXPECT_EQ(counters().streams_slow, 0u);
}

TEST_F(HttpStream, ClosesAClientThatTakesNothingForTooLong)
{
    Client client(start());
    client.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));
    fill(16 * 1024);
    if (HasFatalFailure()) return;

    clock_.advance(options_.stream_progress);

    EXPECT_TRUE(released());
    EXPECT_EQ(counters().streams_slow, 1u);
    EXPECT_TRUE(eventually([&] { return counters().open == 0; }));
}

TEST_F(HttpStream, LastsWhileThereIsNothingToSay)
{
    Client client(start());
    client.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));

    for (int i = 0; i < 10; ++i) {
        clock_.advance(10min);
        std::this_thread::sleep_for(2 * options_.sweep);
    }
    give("still here");

    EXPECT_EQ(client.body(15), "a\r\nstill here\r\n");
}

TEST_F(HttpStream, IsReleasedWhenTheClientLeaves)
{
    Client client(start());
    client.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));

    client.leave();

    EXPECT_TRUE(released());
    give("to nobody");
}

TEST_F(HttpStream, IsCutWhenItsPieceIsGivenUp)
{
    Client client(start());
    client.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));

    on_io([&] { script_->piece.reset(); });

    EXPECT_TRUE(client.at_end()) << "without a last chunk";
    EXPECT_TRUE(released());
}

TEST_F(HttpStream, EndsInOrderWhileDraining)
{
    Client            client(start());
    std::atomic<bool> empty{false};
    client.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));
    EXPECT_FALSE(script_->told_to_end);

    on_io([&] {
        server_->stop_accepting();
        server_->when_empty([&] { empty = true; });
    });
    EXPECT_TRUE(script_->told_to_end);
    give("bye", true);

    EXPECT_EQ(client.body(13), "3\r\nbye\r\n0\r\n\r\n");
    EXPECT_TRUE(client.at_end());
    client.leave();
    EXPECT_TRUE(eventually([&] { return empty.load(); }));
}

TEST_F(HttpStream, DoesNotHoldUpDrainingWhenNobodyTakesOrGivesAnything)
{
    Client            silent(start());
    std::atomic<bool> empty{false};
    silent.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));
    auto const unanswered = std::exchange(script_, std::make_shared<Script>());
    Client     slow(port_);
    slow.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));
    fill(16 * 1024);
    if (HasFatalFailure()) return;

    on_io([&] {
        server_->stop_accepting();
        server_->when_empty([&] { empty = true; });
    });
    EXPECT_TRUE(unanswered->told_to_end);
    EXPECT_FALSE(unanswered->released);
    clock_.advance(options_.stream_end);

    EXPECT_TRUE(eventually([&] { return empty.load(); }));
    EXPECT_TRUE(unanswered->released);
    EXPECT_TRUE(released());
    EXPECT_EQ(counters().streams_slow, 0u);
}

TEST_F(HttpStream, MayEndWithTheServer)
{
    Client client(start());
    client.send(get("/stream")).head();
    ASSERT_TRUE(asked(1));

    on_io([&] { server_.reset(); });

    EXPECT_TRUE(script_->released);
    give("to nobody");
    EXPECT_TRUE(client.at_end());
}

}  // namespace
}  // namespace sluice::http
