// What the engine counts. Relaxed: each number is exact, a set of them read together is not a snapshot.
#pragma once

#include "engine/delays.hpp"

#include <sluice/event.hpp>

#include <atomic>
#include <cstdint>

namespace sluice::engine {

struct Counters {
    using Count = std::atomic<std::uint64_t>;

    Count accepted{0};       // events in the log
    Count duplicates{0};     // answered with the sequence they already have
    Count conflicts{0};      // requests refused: same id, other content
    Count applied{0};        // settled by applying them, stale ones included
    Count stale{0};
    Count dead_lettered{0};  // verdicts
    Count parked{0};
    Count processed{0};      // events workers settled since the start
    Count retries{0};
    Count commits{0};
    Count committed_bytes{0};
    Count commit_ns{0};      // time spent in EventLog::append
    Count work_ns{0};        // time workers spent on micro-batches
    Count batches{0};        // micro-batches

    std::array<Delays, tier_count> delays;  // of events workers applied, by tier
};

inline void add(Counters::Count& count, std::uint64_t n) noexcept { count.fetch_add(n, std::memory_order_relaxed); }
inline std::uint64_t get(Counters::Count const& count) noexcept { return count.load(std::memory_order_relaxed); }

}  // namespace sluice::engine
