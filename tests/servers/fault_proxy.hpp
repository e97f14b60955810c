// Stands between clients and a server on loopback, and does to their connections what networks and dying servers do.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>

namespace sluice::test {

// What it has done so far.
struct FaultCounts {
    std::uint64_t connections{};   // accepted
    std::uint64_t reset{};         // by reset_all()
    std::uint64_t cut{};           // by cut_after()
    std::uint64_t swallowed{};     // by swallow_after()
    std::uint64_t reset_before{};  // by reset_before()
    std::uint64_t to_server{};     // bytes forwarded
    std::uint64_t to_client{};
};

// Passes everything when constructed. Each of the calls below ends what the one before has set, and is in effect when
// it returns; connections that hang go on with pass(). Any thread.
class FaultProxy {
public:
    // Listens on a loopback port of its own and connects to this one.
    explicit FaultProxy(std::uint16_t target);
    ~FaultProxy();
    FaultProxy(FaultProxy const&) = delete;
    FaultProxy& operator=(FaultProxy const&) = delete;

    std::uint16_t port() const noexcept { return port_; }
    // Where this URL leads, through here.
    std::string through(std::string url) const;

    void pass();
    void refuse();      // new connections, as if nobody listened; others pass
    void hang();        // new connections are accepted and hear nothing; others pass
    void black_hole();  // nothing is forwarded on any connection, and none is closed
    void delay(std::chrono::milliseconds each_piece);
    // When the server has said so many bytes more, on all connections together, the one that says them is reset.
    void cut_after(std::uint64_t bytes);
    // Where a client says the pattern, so often: the server gets it, its answer is dropped, both are reset. Of clients
    // that wait for their answers.
    void swallow_after(std::string pattern, std::uint64_t times = 1);
    // Where a client says the pattern, so often: both are reset, and the server does not get it.
    void reset_before(std::string pattern, std::uint64_t times = 1);

    // Resets every connection, now. What is set stays.
    void        reset_all();
    FaultCounts counts() const;

private:
    struct Connection;
    struct Rules {
        bool                         is_refusing{false}, is_hanging{false}, is_black_hole{false};
        std::chrono::milliseconds    delay{0};
        std::optional<std::uint64_t> bytes_to_cut{};
        std::string                  pattern{};
        std::uint64_t                times{0};
        bool                         swallows_answer{false};  // else it resets before the pattern
    };
    using Task = boost::asio::awaitable<void>;

    void set(Rules rules);
    void on_thread(std::function<void()> const& action) const;

    Task        accept();
    Task        serve(std::shared_ptr<Connection> connection);
    Task        forward_requests(std::shared_ptr<Connection> connection);
    Task        forward_answers(std::shared_ptr<Connection> connection);
    Task        wait_as_set(Connection const& connection);
    Task        change();
    bool        has_pattern(Connection& connection, std::string_view piece);
    static void reset(Connection& connection);

    boost::asio::io_context mutable       io_{1};
    std::uint16_t                         target_, port_{0};
    boost::asio::ip::tcp::acceptor        acceptor_{io_};
    boost::asio::steady_timer             change_{io_};  // cancelled at each, for those who wait for one
    Rules                                 rules_;
    std::set<std::shared_ptr<Connection>> connections_;
    FaultCounts                           counts_;
    std::thread                           thread_;  // does everything
};

}  // namespace sluice::test
