// Latencies, exact to less than one per cent.
#pragma once

#include "base/log_linear.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

namespace sluice::bench {

// One thread.
class Latencies {
public:
    void add(std::chrono::nanoseconds latency) noexcept
    {
        auto const value = static_cast<std::uint64_t>(std::max(latency, {}).count());
        ++counts_[std::min(Buckets::index(value), counts_.size() - 1)];
        ++total_;
        max_ = std::max(max_, latency);
    }
    std::uint64_t            count() const noexcept { return total_; }
    std::chrono::nanoseconds max() const noexcept { return max_; }

    // The latency that a share of `p` does not exceed; 0 when there are none.
    std::chrono::nanoseconds percentile(double p) const noexcept
    {
        auto const wanted = std::max(p * static_cast<double>(total_), 1.0);
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            seen += counts_[i];
            if (static_cast<double>(seen) < wanted) continue;
            auto const middle = (Buckets::lower(i) + Buckets::lower(i + 1)) / 2;
            return std::min(std::chrono::nanoseconds(static_cast<std::int64_t>(middle)), max_);
        }
        return max_;
    }

private:
    using Buckets = LogLinear<7>;
    std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(Buckets::index(std::uint64_t{1} << 40));  // 18 min
    std::uint64_t              total_{0};
    std::chrono::nanoseconds   max_{0};
};

}  // namespace sluice::bench
