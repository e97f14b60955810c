// Events to measure with: relationships of many repositories, prepared once so that sending one costs a copy.
#pragma once

#include "base/random.hpp"

#include <sluice/event.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace sluice::bench {

struct WorkloadOptions {
    std::size_t                    dids{100'000};
    double                         skew{1.0};  // Zipf exponent of the repositories; 0: all alike
    std::size_t                    body_bytes{500};  // mean; log-normal between the limits of Workload
    std::array<double, tier_count> tier_mix{30, 60, 9, 1};  // weights, LOW first
    double                         duplicates{0};  // share of events that were sent before
    std::uint64_t                  records{0};  // different records, written again and again; 0: each event's its own
    std::uint64_t                  seed{1};
};

// One thread. The same options and base give the same events.
class Workload {
public:
    static constexpr std::size_t body_bytes_min = 432;
    static constexpr std::size_t body_bytes_max = 1600;

    // Event n gets revision, id and, unless `records` says otherwise, record key from base + n: another base, other
    // events. `base` is below 2^62.
    Workload(WorkloadOptions const& options, std::uint64_t base);

    // Writes the next event's JSON, at most body_bytes_max, and returns its size.
    std::size_t put(char* out);

private:
    // A prepared event and where its unique parts stand.
    struct Body {
        std::size_t   at;  // in text_
        std::uint16_t size, id_at, rev_at, key_at;
    };

    static constexpr std::uint64_t repeat_window = 10'000;  // a duplicate is one of so many events before

    double const        duplicates_;
    std::uint64_t const base_, records_;
    Random              random_;
    std::uint64_t       next_{0};
    std::string         text_;  // of all bodies, in the order they are sent
    std::vector<Body>   bodies_;
};

}  // namespace sluice::bench
