// Ends calls of libpq that have no end of their own: a server that hangs keeps its connections open.
#pragma once

#include <sluice/clock.hpp>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::adapters::postgres {

// One thread, which looks ten times a second. Any thread may be guarded.
class Watchdog {
public:
    explicit Watchdog(Clock const& clock);
    ~Watchdog();
    Watchdog(Watchdog const&) = delete;
    Watchdog& operator=(Watchdog const&) = delete;

    // While it lives, the socket is shut down once `limit` is over: who waits for it finds the connection closed.
    class Guard {
    public:
        Guard(Watchdog& watchdog, int socket, std::chrono::nanoseconds limit);
        ~Guard();
        Guard(Guard const&) = delete;
        Guard& operator=(Guard const&) = delete;

    private:
        Watchdog& watchdog_;
        int const socket_;
    };

private:
    struct Watched {
        int         socket;
        Clock::Mono until;
    };

    void run();

    Clock const& clock_;

    std::mutex              mutex_;  // guards all below
    std::condition_variable stopped_;
    std::vector<Watched>    watched_;  // as many as there are connections
    bool                    is_stopping_{false};

    std::thread thread_;
};

}  // namespace sluice::adapters::postgres
