// How long events took from durable to applied.
#pragma once

#include "base/log_linear.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>

namespace sluice::engine {

// A histogram. Any thread; relaxed: a reader may see counts and total a few events apart.
class Delays {
public:
    static constexpr std::chrono::nanoseconds unit{16'000};  // the width of the first buckets
    using Buckets = LogLinear<2>;
    static constexpr std::size_t bucket_count = Buckets::index(std::uint64_t{1} << 21) + 1;  // the last: 33 s and more

    static std::size_t bucket(std::chrono::nanoseconds delay) noexcept
    {
        auto const units = static_cast<std::uint64_t>(std::max(delay, {}) / unit);
        return std::min(Buckets::index(units), bucket_count - 1);
    }
    // The smallest delay that is too long for the bucket; the last has none.
    static constexpr std::chrono::nanoseconds upper(std::size_t bucket) noexcept
    {
        return unit * static_cast<std::int64_t>(Buckets::lower(bucket + 1));
    }

    // `events` of one bucket that took `total` together.
    void add(std::size_t bucket, std::uint64_t events, std::chrono::nanoseconds total) noexcept
    {
        counts_[bucket].fetch_add(events, std::memory_order_relaxed);
        total_ns_.fetch_add(total.count(), std::memory_order_relaxed);
    }

    std::uint64_t count(std::size_t bucket) const noexcept { return counts_[bucket].load(std::memory_order_relaxed); }
    std::chrono::nanoseconds total() const noexcept
    {
        return std::chrono::nanoseconds(total_ns_.load(std::memory_order_relaxed));
    }

private:
    std::array<std::atomic<std::uint64_t>, bucket_count> counts_{};
    std::atomic<std::chrono::nanoseconds::rep>           total_ns_{0};
};

}  // namespace sluice::engine
