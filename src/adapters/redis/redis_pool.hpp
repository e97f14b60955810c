// Connections to one Redis, opened when they are needed and kept.
#pragma once

#include "adapters/redis/redis_connection.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace sluice::adapters {

// Any thread; each connection is used by one at a time.
class RedisPool {
public:
    struct Numbers {
        std::uint64_t connections{0};            // open
        std::uint64_t calls{0}, nanoseconds{0};  // round trips, and how long they took
    };

    // At most so many connections, and at least one. Nothing is connected yet. The clock outlives it.
    RedisPool(RedisAddress address, std::size_t connections_max, RedisTimeouts timeouts, Clock const& clock);
    ~RedisPool();
    RedisPool(RedisPool const&) = delete;
    RedisPool& operator=(RedisPool const&) = delete;

    // As RedisConnection::ask, on a free connection. Besides: `unavailable`, there is none and none can be made;
    // `full`, all are in use for as long as an answer may take, or the server takes no more.
    Result<std::vector<RedisReply>> ask(std::span<RedisCommand const> commands);

    // Unless there is a connection: looks up the name of the host and connects to the first of its addresses that
    // answers, which is used from then on. Only here, since looking up knows no deadline. `unavailable`. One thread.
    Result<> find_server();

    Numbers numbers() const;

private:
    using Connection = std::unique_ptr<RedisConnection>;

    struct Taken {
        Connection connection;
        bool       was_idle{false};
    };
    // Gives the connection back, and with it its place among all.
    class Lease;

    Result<Taken> take();
    void          give_back(Connection connection);  // null, or broken: only the place
    void          close_idle();

    RedisAddress const  address_;
    std::size_t const   connections_max_;
    RedisTimeouts const timeouts_;
    Clock const&        clock_;

    mutable std::mutex      mutex_;  // guards what is below
    std::condition_variable changed_;
    std::string             host_;  // numeric; empty: not known yet
    std::vector<Connection> idle_;
    std::size_t             places_{0};  // in use, idle ones included

    std::atomic<std::uint64_t> calls_{0}, nanoseconds_{0};
};

}  // namespace sluice::adapters
