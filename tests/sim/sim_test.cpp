// Many lives of Sluice, each decided by its seed. SLUICE_SIM_SEEDS says how many, SLUICE_SEED asks for one.
#include "sim/world.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

namespace sluice::sim {
namespace {

std::uint64_t from_environment(char const* variable, std::uint64_t otherwise)
{
    auto const* const text = std::getenv(variable);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::string how_to_replay(std::uint64_t seed)
{
    auto const text = "SLUICE_SEED=" + std::to_string(seed);
    return text + "\nreplay: " + text + ' ' + std::filesystem::read_symlink("/proc/self/exe").string() +
           " --gtest_filter=Simulator.KeepsEveryPromise\n";
}

// What a batch of runs must have gone through, or it proves little.
constexpr char const* sometimes[] = {
    "crash",
    "crash during recovery",
    "crash before a commit",
    "crash after a commit nobody heard of",
    "crash between apply and its report",
    "append failed, commit kept",
    "append failed, commit lost",
    "log failed",
    "disk full",
    "disk low",
    "graph away",
    "graph away during recovery",
    "applied, but reported as failed",
    "applied again",
    "stale",
    "duplicate",
    "same id, other content",
    "reply lost",
    "refused by admission",
    "batch that never fits",
    "several blocks in one commit",
    "dead letter",
    "dead letter after retries",
    "killed by an event",
    "killed by an event during recovery",
    "killed in company",
    "dead letter of a crash loop",
    "parked",
    "verdict found by recovery",
    "runs of ids merged",
    "id looked for in a run",
    "run of ids: written",
    "run of ids: lost",
    "run of ids: cut off",
    "run of ids: damaged",
    "run of ids: misread",
    "run of ids: no space for it",
    "run of ids: no space for it at a start",
    "ids incomplete after a start",
    "run of ids: crash before it is there",
    "run of ids: crash after it is there",
    "run of ids: crash before it is removed",
    "turn of an overdue lane",
    "retry",
    "retry without budget",
    "breaker opened",
    "breaker closed again",
    "probe of a graph that was away",
    "position saved",
    "position not saved",
    "graph away at a start",
    "graph away when it was to be opened",
    "graph asked before it was open",
    "graph of other processors cleared",
    "start that left events to the workers",
    "read again from the log",
    "backlog full",
    "three tiers in one lane",
    "upgraded after verdicts",
    "follows a parked event",
    "redriven",
    "redriven, edited",
    "redriven as new",
    "released",
    "release without a processor",
    "dead letter dropped",
    "parked event dropped",
    "taken up too late",
    "operator refused by admission",
    "operator: not stored",
    "dead letters full",
    "parked full",
    "control: admin.tier_paused",
    "control: admin.tier_resumed",
    "control: admin.type_paused",
    "control: admin.type_resumed",
    "control: admin.lane_paused",
    "control: admin.lane_resumed",
    "control: admin.workers_set",
    "control: admin.limits_set",
    "control: job.stopped",
    "control: job.resumed",
    "control that changes nothing",
    "job ended: redrive",
    "job ended: drop",
    "job ended: release",
    "job that did something ended",
    "crash during a checkpoint",
    "restored from a checkpoint",
    "checkpoint refused halfway",
    "checkpoint: written",
    "checkpoint: lost",
    "checkpoint: cut off",
    "checkpoint: damaged",
    "checkpoint: no space for it",
    "checkpoint: given up",
    "checkpoint: given up at its end",
    "checkpoint: crash before it is there",
    "checkpoint: crash after it is there",
};

TEST(Simulator, KeepsEveryPromise)
{
    Shared     shared;
    auto const one = from_environment("SLUICE_SEED", 0);
    auto const first = one != 0 ? one : 1;
    auto const last = one != 0 ? one : from_environment("SLUICE_SIM_SEEDS", 1'500);
    std::map<std::string, std::uint64_t> seeds_with;
    std::uint64_t                        steps = 0;
    for (auto seed = first; seed <= last; ++seed) {
        auto const report = simulate(seed, Twin::none, shared);
        steps += report.steps;
        for (auto const& [goal, count] : report.goals) ++seeds_with[goal];
        ASSERT_EQ(report.violation, "") << how_to_replay(seed);
    }
    std::cout << last - first + 1 << " seeds, " << steps << " steps\n";
    if (one != 0) return;
    for (auto const& [goal, count] : seeds_with) std::cout << "  " << goal << ": in " << count << " seeds\n";
    for (auto const* const goal : sometimes) EXPECT_GT(seeds_with[goal], 0u) << "never happened: " << goal;
}

TEST(Simulator, RepeatsItselfExactly)
{
    Shared shared;
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        auto const first = simulate(seed, Twin::none, shared), second = simulate(seed, Twin::none, shared);
        EXPECT_EQ(first.trace, second.trace) << how_to_replay(seed);
        EXPECT_EQ(first.goals, second.goals);
        EXPECT_NE(first.trace, simulate(seed + 1, Twin::none, shared).trace);
    }
}

TEST(Simulator, AcceptsAnotherStoreThatIsRight)
{
    Shared shared;
    for (std::uint64_t seed = 1; seed <= 60; ++seed)
        ASSERT_EQ(simulate(seed, Twin::plain_store, shared).violation, "") << "seed " << seed;
}

TEST(Simulator, FindsEveryWrongTwin)
{
    Shared                  shared;
    constexpr std::uint64_t seeds = 60;
    for (auto const twin : twins) {
        std::uint64_t                        found = 0, first = 0;
        std::map<std::string, std::uint64_t> promises;
        for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
            auto const violation = simulate(seed, twin, shared).violation;
            if (violation.empty()) continue;
            if (found++ == 0) first = seed;
            ++promises[violation.substr(0, violation.find(':'))];
        }
        auto const most = std::max_element(
            promises.begin(), promises.end(), [](auto const& a, auto const& b) { return a.second < b.second; });
        std::cout << "  " << name(twin) << ": found in " << found << " of " << seeds << " seeds, first " << first
                  << (found ? ", mostly as: " + most->first : "") << '\n';
        EXPECT_GT(found, 0u) << name(twin) << " is not found";
    }
}

TEST(Simulator, LetsNoFloodStarveWhatIsLow)
{
    Shared shared;
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        EXPECT_EQ(simulate_flood(seed, Twin::none, shared).violation, "") << "seed " << seed;
        EXPECT_NE(simulate_flood(seed, Twin::strict_priority, shared).violation, "") << "seed " << seed;
    }
}

}  // namespace
}  // namespace sluice::sim
