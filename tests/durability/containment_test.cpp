// What a failure does to everybody else, with real threads and the log on disk. Shares and bounds only: how fast the
// graph is, the test says.
#include "contract/containment.hpp"
#include "durability/temp_directory.hpp"

#include <gtest/gtest.h>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

TEST(Containment, APoisonLaneLeavesTheOthersNearlyAllTheyHad)
{
    TempDirectory temp;
    Rig::Options  options{.lanes = 200, .service = 500us};
    options.engine.retry.first_cap = 50ms;
    auto const figure = measure_poison(temp.path(), options, 400ms, 2);
    EXPECT_GE(figure.beside_transient, 0.9 * figure.baseline);
    EXPECT_GE(figure.beside_invalid, 0.9 * figure.baseline_again);
    EXPECT_GT(figure.dead_letters, 0u);
    EXPECT_TRUE(figure.is_drained);
    EXPECT_TRUE(figure.is_in_order);
}

TEST(Containment, AnOutageGivesNothingUpAndRetriesWithinTheBudget)
{
    TempDirectory temp;
    Rig::Options  options{.lanes = 200, .service = 500us};
    options.engine.breaker = {.first_probe = 250ms, .probe_max = 500ms};
    auto const figure = measure_outage(temp.path(), options, 300, 3s, 2s);
    EXPECT_EQ(figure.dead_letters, 0u);
    EXPECT_EQ(figure.refused, 0u);
    EXPECT_EQ(figure.applied, figure.posted);
    EXPECT_LE(figure.calls_away, figure.probes + 20) << "what opens the breaker, what was in hand, and probes";
    EXPECT_LE(figure.worst_share, 1);
    EXPECT_TRUE(figure.is_drained);
    EXPECT_TRUE(figure.is_in_order);
}

TEST(Containment, AFloodOfHighKeepsLowBelowTheExportedBound)
{
    TempDirectory temp;
    Rig::Options  options{.lanes = 600, .service = 1ms};  // more than workers have in hand
    options.engine.admission.events = 2'000;
    options.engine.scheduler.max_wait = {400ms, 200ms, 100ms, std::chrono::milliseconds::max()};
    auto const figure = measure_flood(temp.path(), options, 20, 4s);
    EXPECT_GT(figure.low_applied, figure.low_posted / 4) << "while the flood lasted";
    EXPECT_EQ(figure.above, 0u) << figure.longest_wait.count() << " s of at most " << figure.most_bound.count();
    EXPECT_LT(Seconds(figure.journeys[0].max()), figure.most_bound);
    EXPECT_TRUE(figure.is_drained);
    EXPECT_TRUE(figure.is_in_order);
}

TEST(Containment, CriticalPassesAFullBacklogOfLow)
{
    TempDirectory temp;
    Rig::Options  options{.lanes = 200, .service = 200us};
    options.engine.admission.events = 4'000;
    auto const figure = measure_critical(temp.path(), options, 50, 2s);
    EXPECT_GT(figure.least, 1'000u);
    EXPECT_GT(figure.critical.count(), 50u);
    EXPECT_LT(figure.critical.percentile(0.5) * 10, figure.low.percentile(0.5));
    EXPECT_TRUE(figure.is_drained);
    EXPECT_TRUE(figure.is_in_order);
}

}  // namespace
}  // namespace sluice::test
