// Producers that go on at the same pace whatever happens behind the server, and remember what they were answered.
#pragma once

#include "e2e/harness.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sluice::e2e {

// Each producer has repositories of its own, in which records are made, attested, changed, removed and made again, with
// rising revs: an event applied out of order would be counted as stale. Every event is another one.
class Load {
public:
    static constexpr int           producers = 3;
    static constexpr std::uint64_t repositories = 20;  // of each

    ~Load() { stop(); }

    // 1,500 events a second in requests of 10; goes on where it stopped.
    void start(Server const& server);
    void stop();

    std::uint64_t             accepted() const noexcept { return accepted_; }
    std::vector<std::string>  refusals() const;  // what else was answered
    std::chrono::milliseconds slowest() const;   // answer

private:
    void produce(Http http, std::uint64_t producer);
    void note(Response const& response, std::chrono::nanoseconds took, std::size_t events);

    std::atomic<bool>          is_stopping_{false};
    std::atomic<std::uint64_t> accepted_{0};
    std::uint64_t              next_[producers]{};
    std::vector<std::thread>   threads_;

    mutable std::mutex       mutex_;  // guards what follows
    std::vector<std::string> refusals_;
    std::chrono::nanoseconds slowest_{0};
};

// Repository number i of all that the load writes.
std::string repository(std::uint64_t i);

}  // namespace sluice::e2e
