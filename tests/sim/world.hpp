// One simulated life of Sluice: producers, the shipped engine, disks and graphs that fail, crashes and restarts, all on
// one thread and decided by one seed.
#pragma once

#include "sim/events.hpp"
#include "sim/faults.hpp"
#include "sim/twins.hpp"

#include <string>

namespace sluice::sim {

struct Report {
    std::string   violation;  // empty: every promise was kept
    std::uint64_t trace{0};   // equal for equal runs
    Goals         goals;
    std::uint64_t steps{0};
};

// What runs share: immutable, or used by one run at a time.
struct Shared {
    Program today{false}, upgraded{true};
};

Report simulate(std::uint64_t seed, Twin twin, Shared& shared);

// A flood of important events over a backlog of LOW ones, without faults: how long must those wait?
Report simulate_flood(std::uint64_t seed, Twin twin, Shared& shared);

}  // namespace sluice::sim
