// The connections of a store: bounded, replaced when old or closed, made outside the lock.
#pragma once

#include "adapters/postgres/connection.hpp"

#include "graph/graph_store.hpp"

#include <condition_variable>
#include <mutex>

namespace sluice::adapters::postgres {

// Any thread.
class Pool {
public:
    enum class Use : std::uint8_t { apply, read };

    // A connection of one's own for a while. If it is spent in the end, those nobody uses are closed as well.
    class Lease {
    public:
        Lease(Pool& pool, Use use, std::unique_ptr<Connection> connection)
            : pool_(&pool), use_(use), connection_(std::move(connection))
        {
        }
        ~Lease()
        {
            if (connection_) pool_->give_back(use_, std::move(connection_));
        }
        Lease(Lease&&) = default;
        Lease& operator=(Lease&&) = delete;

        Connection& operator*() const noexcept { return *connection_; }
        Connection* operator->() const noexcept { return connection_.get(); }

    private:
        Pool*                       pool_;
        Use                         use_;
        std::unique_ptr<Connection> connection_;
    };

    // `options` outlive the pool.
    Pool(PostgresOptions const& options, Clock const& clock);

    // Waits for a free one, then, if it has to be made, for the server. After the server was not reached, nobody tries
    // for a pause that grows: all are told at once what the last one was.
    Result<Lease> take(Use use);

    // Those nobody uses.
    void close_idle();

    graph::StoreStatus status() const;

private:
    static constexpr std::chrono::milliseconds pause_min{250}, pause_max{5'000};

    Result<std::unique_ptr<Connection>> connect();
    void                                give_back(Use use, std::unique_ptr<Connection> connection);
    std::unique_ptr<Connection>         take_idle(std::vector<std::unique_ptr<Connection>>& closed);
    bool                                has_room(Use use) const;

    PostgresOptions const& options_;
    Clock const&           clock_;
    std::size_t const      max_, readers_max_;
    Usage                  usage_;
    Watchdog               watchdog_;

    mutable std::mutex                       mutex_;  // guards all below
    std::condition_variable                  freed_;
    std::vector<std::unique_ptr<Connection>> idle_;  // the one used last at the end
    std::size_t                              in_use_{0}, readers_{0};
    std::optional<Error>                     unreachable_;  // until the pause is over
    Clock::Mono                              pause_ends_{};
    std::chrono::milliseconds                pause_{pause_min};
};

}  // namespace sluice::adapters::postgres
