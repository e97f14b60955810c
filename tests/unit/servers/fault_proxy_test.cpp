// Each thing the proxy does to a connection, seen by a client of a real server.
#include "servers/fault_proxy.hpp"
#include "servers/redis_server.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds soon = 10s, a_while = 300ms;

enum class Heard { answer, nothing, end, reset };

class Client {
public:
    explicit Client(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) error_ = errno;
    }
    ~Client() { ::close(socket_); }
    Client(Client const&) = delete;
    Client& operator=(Client const&) = delete;

    int   error() const { return error_; }
    bool  say(std::string_view bytes) { return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0; }
    Heard hear(std::chrono::milliseconds limit)
    {
        pollfd wanted{.fd = socket_, .events = POLLIN, .revents = 0};
        if (::poll(&wanted, 1, static_cast<int>(limit.count())) == 0) return Heard::nothing;
        char       bytes[4096];
        auto const count = ::recv(socket_, bytes, sizeof bytes, 0);
        if (count < 0) return Heard::reset;
        if (count == 0) return Heard::end;
        heard_.assign(bytes, static_cast<std::size_t>(count));
        return Heard::answer;
    }
    Heard ask(std::string_view bytes, std::chrono::milliseconds limit = soon)
    {
        return say(bytes) ? hear(limit) : Heard::reset;
    }
    std::string const& answer() const { return heard_; }

private:
    int         socket_, error_{0};
    std::string heard_;
};

class FaultProxyTest : public testing::Test {
protected:
    RedisServer server_;
    FaultProxy  proxy_{server_.port()};
};

TEST_F(FaultProxyTest, Passes)
{
    Client first(proxy_.port()), second(proxy_.port());
    for (auto* const client : {&first, &second, &first}) {
        EXPECT_EQ(client->ask("PING\r\n"), Heard::answer);
        EXPECT_EQ(client->answer(), "+PONG\r\n");
    }
    EXPECT_EQ(first.ask("QUIT\r\n"), Heard::answer);
    EXPECT_EQ(first.hear(soon), Heard::end);
    auto const counts = proxy_.counts();
    EXPECT_EQ(counts.connections, 2u);
    EXPECT_EQ(counts.to_server, 4 * 6u);
    EXPECT_EQ(counts.to_client, 3 * 7u + 5u);
    EXPECT_EQ(proxy_.through(server_.url()), "redis://127.0.0.1:" + std::to_string(proxy_.port()) + "/0");
}

TEST_F(FaultProxyTest, RefusesNewConnectionsOnly)
{
    Client before(proxy_.port());
    ASSERT_EQ(before.ask("PING\r\n"), Heard::answer);
    for (int time = 0; time < 3; ++time) {
        proxy_.refuse();
        EXPECT_EQ(Client(proxy_.port()).error(), ECONNREFUSED);
        EXPECT_EQ(before.ask("PING\r\n"), Heard::answer);
        proxy_.pass();
        EXPECT_EQ(Client(proxy_.port()).ask("PING\r\n"), Heard::answer);
    }
}

TEST_F(FaultProxyTest, HangsNewConnectionsUntilItPasses)
{
    Client before(proxy_.port());
    ASSERT_EQ(before.ask("PING\r\n"), Heard::answer);
    proxy_.hang();
    Client during(proxy_.port());
    EXPECT_EQ(during.ask("PING\r\n", a_while), Heard::nothing);
    EXPECT_EQ(before.ask("PING\r\n"), Heard::answer);
    proxy_.pass();
    EXPECT_EQ(during.hear(soon), Heard::answer);
}

TEST_F(FaultProxyTest, ForwardsNothingInABlackHole)
{
    Client before(proxy_.port());
    ASSERT_EQ(before.ask("PING\r\n"), Heard::answer);
    proxy_.black_hole();
    Client during(proxy_.port());
    EXPECT_EQ(before.ask("INCR n\r\n", a_while), Heard::nothing);
    EXPECT_EQ(during.ask("INCR n\r\n", a_while), Heard::nothing);
    EXPECT_EQ(server_.exec({"GET", "n"}), "");
    proxy_.pass();
    EXPECT_EQ(before.hear(soon), Heard::answer);
    EXPECT_EQ(during.hear(soon), Heard::answer);
    EXPECT_EQ(server_.exec({"GET", "n"}), "2");
}

TEST_F(FaultProxyTest, DelaysWhatBothSay)
{
    Client client(proxy_.port());
    ASSERT_EQ(client.ask("PING\r\n"), Heard::answer);
    proxy_.delay(a_while);
    auto const since = std::chrono::steady_clock::now();
    EXPECT_EQ(client.ask("PING\r\n"), Heard::answer);
    EXPECT_GE(std::chrono::steady_clock::now() - since, 2 * a_while);
}

TEST_F(FaultProxyTest, ResetsAllConnections)
{
    Client talking(proxy_.port());
    ASSERT_EQ(talking.ask("PING\r\n"), Heard::answer);
    proxy_.black_hole();
    Client hanging(proxy_.port());
    ASSERT_EQ(hanging.ask("PING\r\n", a_while), Heard::nothing);
    proxy_.reset_all();
    EXPECT_EQ(talking.hear(soon), Heard::reset);
    EXPECT_EQ(hanging.hear(soon), Heard::reset);
    EXPECT_EQ(proxy_.counts().reset, 2u);
    proxy_.pass();
    EXPECT_EQ(Client(proxy_.port()).ask("PING\r\n"), Heard::answer);
}

TEST_F(FaultProxyTest, CutsAnAnswerInTheMiddle)
{
    Client client(proxy_.port());
    proxy_.cut_after(7 + 3);
    EXPECT_EQ(client.ask("PING\r\n"), Heard::answer);
    EXPECT_EQ(client.ask("PING\r\n"), Heard::answer);
    EXPECT_EQ(client.answer(), "+PO");
    EXPECT_EQ(client.hear(soon), Heard::reset);
    EXPECT_EQ(proxy_.counts().cut, 1u);
    EXPECT_EQ(Client(proxy_.port()).ask("PING\r\n"), Heard::answer) << "it cuts once";
}

TEST_F(FaultProxyTest, SwallowsTheAnswerToWhatTheServerHasDone)
{
    proxy_.swallow_after("INCR n");
    Client client(proxy_.port());
    ASSERT_EQ(client.ask("PING\r\nINC"), Heard::answer);
    EXPECT_EQ(client.ask("R n\r\n"), Heard::reset) << "also where it comes in pieces";
    EXPECT_EQ(server_.exec({"GET", "n"}), "1");
    EXPECT_EQ(proxy_.counts().swallowed, 1u);
    EXPECT_EQ(Client(proxy_.port()).ask("INCR n\r\n"), Heard::answer) << "so often and no more";
}

TEST_F(FaultProxyTest, ResetsBeforeTheServerHearsOfIt)
{
    proxy_.reset_before("INCR n", 2);
    for (int time = 0; time < 2; ++time) {
        Client client(proxy_.port());
        ASSERT_EQ(client.ask("PING\r\n"), Heard::answer);
        EXPECT_EQ(client.ask("INCR n\r\n"), Heard::reset);
    }
    EXPECT_EQ(server_.exec({"GET", "n"}), "");
    EXPECT_EQ(proxy_.counts().reset_before, 2u);
    EXPECT_EQ(Client(proxy_.port()).ask("INCR n\r\n"), Heard::answer);
}

TEST_F(FaultProxyTest, TellsClientsThatTheServerIsGone)
{
    Client client(proxy_.port());
    ASSERT_EQ(client.ask("PING\r\n"), Heard::answer);
    server_.kill_9();
    EXPECT_NE(client.hear(soon), Heard::nothing);
    EXPECT_EQ(Client(proxy_.port()).ask("PING\r\n"), Heard::reset);
    server_.start();
    EXPECT_EQ(Client(proxy_.port()).ask("PING\r\n"), Heard::answer);
}

}  // namespace
}  // namespace sluice::test
