#include "servers/fault_proxy.hpp"

#include "servers/kept_process.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <future>
#include <utility>

#include <sys/socket.h>

namespace sluice::test {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr auto awaiting = asio::as_tuple(asio::use_awaitable);
using Piece = std::array<char, 16 * 1024>;

tcp::endpoint loopback(std::uint16_t port) { return {asio::ip::address_v4::loopback(), port}; }

}  // namespace

struct FaultProxy::Connection {
    tcp::socket client, server;
    std::string said{};  // the end of what the client said, where a pattern may have begun
    bool        is_answer_swallowed{false};
};

FaultProxy::FaultProxy(std::uint16_t target) : target_(target)
{
    start_on_free_port([this](std::uint16_t port) {
        acceptor_ = tcp::acceptor(io_, loopback(port));
        port_ = port;
    });
    change_.expires_at(asio::steady_timer::time_point::max());
    asio::co_spawn(io_, accept(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
}

FaultProxy::~FaultProxy()
{
    io_.stop();
    thread_.join();
}

std::string FaultProxy::through(std::string url) const
{
    auto const port = ":" + std::to_string(target_);
    auto const place = url.rfind(port);
    if (place == url.npos) throw std::runtime_error("fault proxy: " + url + " does not lead to " + port);
    return url.replace(place, port.size(), ":" + std::to_string(port_));
}

void FaultProxy::pass() { set({}); }
void FaultProxy::refuse() { set({.is_refusing = true}); }
void FaultProxy::hang() { set({.is_hanging = true}); }
void FaultProxy::black_hole() { set({.is_hanging = true, .is_black_hole = true}); }
void FaultProxy::delay(std::chrono::milliseconds each_piece) { set({.delay = each_piece}); }
void FaultProxy::cut_after(std::uint64_t bytes) { set({.bytes_to_cut = bytes}); }

void FaultProxy::swallow_after(std::string pattern, std::uint64_t times)
{
    set({.pattern = std::move(pattern), .times = times, .swallows_answer = true});
}

void FaultProxy::reset_before(std::string pattern, std::uint64_t times)
{
    set({.pattern = std::move(pattern), .times = times});
}

void FaultProxy::reset_all()
{
    on_thread([this] {
        for (auto const& connection : connections_) reset(*connection);
        counts_.reset += connections_.size();
        change_.cancel();
    });
}

FaultCounts FaultProxy::counts() const
{
    FaultCounts counts;
    on_thread([&] { counts = counts_; });
    return counts;
}

void FaultProxy::set(Rules rules)
{
    on_thread([&] {
        // A socket that is shut down stays bound: the port is not lost to somebody else.
        if (rules.is_refusing) ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
        if (rules_.is_refusing && !rules.is_refusing) acceptor_.listen();
        rules_ = std::move(rules);
        change_.cancel();
    });
}

void FaultProxy::on_thread(std::function<void()> const& action) const
{
    std::promise<void> done;
    asio::post(io_, [&] {
        action();
        done.set_value();
    });
    done.get_future().wait();
}

FaultProxy::Task FaultProxy::accept()
{
    for (;;) {
        auto [error, client] = co_await acceptor_.async_accept(awaiting);
        if (error) {
            while (rules_.is_refusing) co_await change();
            continue;
        }
        ++counts_.connections;
        auto const connection = *connections_.insert(
            std::make_shared<Connection>(Connection{.client = std::move(client), .server = tcp::socket(io_)})).first;
        asio::co_spawn(io_, serve(connection), asio::detached);
    }
}

FaultProxy::Task FaultProxy::serve(std::shared_ptr<Connection> connection)
{
    while (rules_.is_hanging && connection->client.is_open()) co_await change();
    auto [error] = co_await connection->server.async_connect(loopback(target_), awaiting);
    if (error || !connection->client.is_open()) {
        reset(*connection);
    } else {
        asio::co_spawn(io_, forward_requests(connection), asio::detached);
        co_await forward_answers(connection);
    }
    connections_.erase(connection);
}

FaultProxy::Task FaultProxy::forward_requests(std::shared_ptr<Connection> connection)
{
    auto& [client, server, said, is_answer_swallowed] = *connection;
    for (Piece piece;;) {
        auto [ended, size] = co_await client.async_read_some(asio::buffer(piece), awaiting);
        co_await wait_as_set(*connection);
        if (ended) break;
        if (has_pattern(*connection, {piece.data(), size})) {
            if (!rules_.swallows_answer) {
                ++counts_.reset_before;
                reset(*connection);
                co_return;
            }
            is_answer_swallowed = true;
        }
        auto [failed, written] = co_await asio::async_write(server, asio::buffer(piece, size), awaiting);
        counts_.to_server += written;
        if (failed) break;
    }
    boost::system::error_code ignored;
    server.shutdown(tcp::socket::shutdown_send, ignored);
}

FaultProxy::Task FaultProxy::forward_answers(std::shared_ptr<Connection> connection)
{
    auto& [client, server, said, is_answer_swallowed] = *connection;
    for (Piece piece;;) {
        auto [ended, size] = co_await server.async_read_some(asio::buffer(piece), awaiting);
        co_await wait_as_set(*connection);
        if (ended) break;
        if (is_answer_swallowed) {
            ++counts_.swallowed;
            reset(*connection);
            co_return;
        }
        auto const is_cut = rules_.bytes_to_cut && *rules_.bytes_to_cut <= size;
        if (is_cut) size = *std::exchange(rules_.bytes_to_cut, {});
        if (rules_.bytes_to_cut) *rules_.bytes_to_cut -= size;
        auto [failed, written] = co_await asio::async_write(client, asio::buffer(piece, size), awaiting);
        counts_.to_client += written;
        if (is_cut) {
            ++counts_.cut;
            reset(*connection);
        }
        if (failed || is_cut) break;
    }
    boost::system::error_code ignored;
    client.shutdown(tcp::socket::shutdown_send, ignored);
}

// Between reading something and forwarding it.
FaultProxy::Task FaultProxy::wait_as_set(Connection const& connection)
{
    while (rules_.is_black_hole && connection.client.is_open()) co_await change();
    if (rules_.delay.count() == 0) co_return;
    asio::steady_timer timer(io_, rules_.delay);
    co_await timer.async_wait(awaiting);
}

// Of the rules, or that connections were reset.
FaultProxy::Task FaultProxy::change() { co_await change_.async_wait(awaiting); }

bool FaultProxy::has_pattern(Connection& connection, std::string_view piece)
{
    auto const& pattern = rules_.pattern;
    if (rules_.times == 0 || pattern.empty()) return false;
    auto& said = connection.said;
    said += piece;
    auto const is_found = said.find(pattern) != said.npos;
    if (said.size() >= pattern.size()) said.erase(0, said.size() - pattern.size() + 1);
    if (is_found) --rules_.times;
    return is_found;
}

void FaultProxy::reset(Connection& connection)
{
    boost::system::error_code ignored;
    for (auto* const socket : {&connection.client, &connection.server}) {
        socket->set_option(tcp::socket::linger(true, 0), ignored);
        socket->close(ignored);
    }
}

}  // namespace sluice::test
