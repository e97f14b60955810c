#include "adapters/postgres/pool.hpp"

#include <algorithm>

namespace sluice::adapters::postgres {

Pool::Pool(PostgresOptions const& options, Clock const& clock)
    : options_(options), clock_(clock), max_(options.pool_size + options.pool_overflow),
      readers_max_(max_ > options.writers ? max_ - options.writers : 1), watchdog_(clock)
{
}

bool Pool::has_room(Use use) const
{
    return in_use_ < max_ && (use == Use::apply || readers_ < readers_max_);
}

Result<Pool::Lease> Pool::take(Use use)
{
    std::vector<std::unique_ptr<Connection>> closed;  // outside the lock
    std::unique_lock                         lock(mutex_);
    if (!freed_.wait_for(lock, options_.pool_timeout, [&] { return has_room(use); }))
        return Error{Errc::unavailable, "pool_exhausted", "every connection has been in use for long"};
    auto connection = take_idle(closed);
    if (!connection && unreachable_ && clock_.now() < pause_ends_) return *unreachable_;
    ++in_use_;
    if (use == Use::read) ++readers_;
    lock.unlock();
    if (connection) return Lease(*this, use, std::move(connection));

    auto made = connect();
    if (made) return Lease(*this, use, std::move(*made));
    give_back(use, nullptr);
    return made.error();
}

std::unique_ptr<Connection> Pool::take_idle(std::vector<std::unique_ptr<Connection>>& closed)
{
    while (!idle_.empty()) {
        auto connection = std::move(idle_.back());
        idle_.pop_back();
        bool const is_old = clock_.now() - connection->since() >= options_.pool_recycle;
        if (!is_old && !connection->looks_closed()) return connection;
        closed.push_back(std::move(connection));
    }
    return nullptr;
}

Result<std::unique_ptr<Connection>> Pool::connect()
{
    auto const text = connection_string(options_);
    auto       made = text ? Connection::open({options_, clock_, watchdog_, usage_}, *text)
                           : Result<std::unique_ptr<Connection>>(text.error());
    std::lock_guard const lock(mutex_);
    if (made) {
        unreachable_.reset();
        pause_ = pause_min;
    } else {
        unreachable_ = made.error();
        pause_ends_ = clock_.now() + pause_;
        pause_ = std::min(2 * pause_, pause_max);
    }
    return made;
}

void Pool::give_back(Use use, std::unique_ptr<Connection> connection)
{
    if (connection && connection->is_spent()) close_idle();
    std::unique_ptr<Connection> closed;
    {
        std::lock_guard const lock(mutex_);
        --in_use_;
        if (use == Use::read) --readers_;
        bool const is_kept = connection && !connection->is_spent() && idle_.size() + in_use_ < options_.pool_size;
        if (is_kept)
            idle_.push_back(std::move(connection));
        else
            closed = std::move(connection);
    }
    freed_.notify_all();
}

void Pool::close_idle()
{
    std::vector<std::unique_ptr<Connection>> closed;
    std::lock_guard const                    lock(mutex_);
    closed.swap(idle_);
}

graph::StoreStatus Pool::status() const
{
    auto const         count = [](auto const& counter) { return counter.load(std::memory_order_relaxed); };
    graph::StoreStatus status;
    status.backend = "postgres";
    status.is_up = usage_.is_up();
    status.last_error = usage_.last_error();
    status.connections_max = max_;
    status.connected = count(usage_.connected);
    status.lost = count(usage_.lost);
    status.queries = count(usage_.queries);
    status.slow_queries = count(usage_.slow_queries);
    status.query_ns = count(usage_.query_ns);
    std::lock_guard const lock(mutex_);
    status.connections = idle_.size() + in_use_;
    status.connections_in_use = in_use_;
    return status;
}

}  // namespace sluice::adapters::postgres
