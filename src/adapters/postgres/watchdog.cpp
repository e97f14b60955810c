#include "adapters/postgres/watchdog.hpp"

#include <sys/socket.h>

#include <algorithm>

namespace sluice::adapters::postgres {

static constexpr auto interval = std::chrono::milliseconds(100);

Watchdog::Watchdog(Clock const& clock) : clock_(clock), thread_([this] { run(); }) {}

Watchdog::~Watchdog()
{
    {
        std::lock_guard const lock(mutex_);
        is_stopping_ = true;
    }
    stopped_.notify_one();
    thread_.join();
}

void Watchdog::run()
{
    std::unique_lock lock(mutex_);
    while (!stopped_.wait_for(lock, interval, [&] { return is_stopping_; })) {
        auto const now = clock_.now();
        for (auto const& watched : watched_)
            if (watched.until <= now) ::shutdown(watched.socket, SHUT_RDWR);
    }
}

Watchdog::Guard::Guard(Watchdog& watchdog, int socket, std::chrono::nanoseconds limit)
    : watchdog_(watchdog), socket_(socket)
{
    auto const            until = watchdog.clock_.now() + limit;
    std::lock_guard const lock(watchdog.mutex_);
    watchdog.watched_.push_back({socket, until});
}

Watchdog::Guard::~Guard()
{
    std::lock_guard const lock(watchdog_.mutex_);
    std::erase_if(watchdog_.watched_, [&](Watched const& watched) { return watched.socket == socket_; });
}

}  // namespace sluice::adapters::postgres
