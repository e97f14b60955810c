#include "adapters/redis/redis_pool.hpp"

#include <netdb.h>
#include <sys/socket.h>

namespace sluice::adapters {
namespace {

Result<std::vector<std::string>> look_up(std::string const& name)
{
    addrinfo const hints{.ai_flags = 0, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = 0,
                         .ai_addrlen = 0, .ai_addr = nullptr, .ai_canonname = nullptr, .ai_next = nullptr};
    addrinfo*      list = nullptr;
    if (int const failed = ::getaddrinfo(name.c_str(), nullptr, &hints, &list); failed != 0)
        return Error{Errc::unavailable, "redis_connect", name + ": " + ::gai_strerror(failed)};
    std::vector<std::string> hosts;
    for (auto const* entry = list; entry != nullptr; entry = entry->ai_next) {
        char text[NI_MAXHOST];
        if (::getnameinfo(
                entry->ai_addr, entry->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0)
            hosts.emplace_back(text);
    }
    ::freeaddrinfo(list);
    return hosts;
}

}  // namespace

RedisPool::RedisPool(RedisAddress address, std::size_t connections_max, RedisTimeouts timeouts, Clock const& clock)
    : address_(std::move(address)), connections_max_(connections_max), timeouts_(timeouts), clock_(clock)
{
}

RedisPool::~RedisPool() = default;

class RedisPool::Lease {
public:
    Lease(RedisPool& pool, Connection connection) : pool_(pool), connection_(std::move(connection)) {}
    ~Lease() { pool_.give_back(std::move(connection_)); }
    Lease(Lease const&) = delete;
    Lease& operator=(Lease const&) = delete;

    RedisConnection* operator->() const noexcept { return connection_.get(); }

private:
    RedisPool& pool_;
    Connection connection_;
};

Result<std::vector<RedisReply>> RedisPool::ask(std::span<RedisCommand const> commands)
{
    for (bool is_again = false;; is_again = true) {
        auto taken = take();
        if (!taken) return taken.error();
        Lease const lease(*this, std::move(taken->connection));
        auto const  begin = clock_.now();
        auto        replies = lease->ask(commands);
        calls_.fetch_add(1, std::memory_order_relaxed);
        nanoseconds_.fetch_add(
            static_cast<std::uint64_t>((clock_.now() - begin).count()), std::memory_order_relaxed);
        // The server may have closed it, and all the others, while nobody looked. Saying it twice does no harm.
        bool const is_stale = !replies && taken->was_idle && !lease->has_timed_out();
        if (!is_stale || is_again) return replies;
        close_idle();
    }
}

Result<RedisPool::Taken> RedisPool::take()
{
    std::unique_lock lock(mutex_);
    auto const       has_place = [&] { return !idle_.empty() || places_ < connections_max_; };
    if (!changed_.wait_for(lock, timeouts_.answer, has_place))
        return Error{Errc::full, "redis_busy", "all connections are in use"};
    if (!idle_.empty()) {
        Taken taken{std::move(idle_.back()), true};
        idle_.pop_back();
        return taken;
    }
    if (host_.empty() && address_.socket.empty())
        return Error{Errc::unavailable, "redis_connect", "the server was not found yet"};
    auto const host = host_;
    bool const is_only = ++places_ == 1;
    lock.unlock();
    auto connection = RedisConnection::open(address_, host, timeouts_, clock_);
    if (connection) return Taken{std::move(*connection)};
    give_back(nullptr);
    auto error = connection.error();
    if (is_only) error.code = Errc::unavailable;  // it is others that it is full of
    return error;
}

void RedisPool::give_back(Connection connection)
{
    {
        std::lock_guard const lock(mutex_);
        if (connection && !connection->is_broken())
            idle_.push_back(std::move(connection));
        else
            --places_;
    }
    changed_.notify_one();
}

void RedisPool::close_idle()
{
    std::vector<Connection> closed;
    {
        std::lock_guard const lock(mutex_);
        closed.swap(idle_);
        places_ -= closed.size();
    }
    changed_.notify_all();
}

Result<> RedisPool::find_server()
{
    {
        std::lock_guard const lock(mutex_);
        if (places_ != 0 || !address_.socket.empty()) return {};
    }
    auto const hosts = look_up(address_.host);
    if (!hosts) return hosts.error();
    Error error{Errc::unavailable, "redis_connect", address_.host + " has no address"};
    for (auto const& host : *hosts) {
        auto connection = RedisConnection::open(address_, host, timeouts_, clock_);
        if (!connection) {
            error = connection.error();
            continue;
        }
        std::lock_guard const lock(mutex_);
        host_ = host;
        ++places_;
        idle_.push_back(std::move(*connection));
        return {};
    }
    error.code = Errc::unavailable;
    return error;
}

RedisPool::Numbers RedisPool::numbers() const
{
    std::lock_guard const lock(mutex_);
    return {.connections = places_, .calls = calls_.load(std::memory_order_relaxed),
            .nanoseconds = nanoseconds_.load(std::memory_order_relaxed)};
}

}  // namespace sluice::adapters
