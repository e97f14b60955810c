#include "engine/retry_budget.hpp"

#include "base/random.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;

TEST(RetryBudget, LetsALaneThatFailsAloneTryAgain)
{
    RetryBudget budget({.percent = 10, .per_second = 2, .saved_max = 3});
    Clock::Mono now{1h};
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(budget.reserve(now));
    EXPECT_FALSE(budget.reserve(now));
    for (int i = 0; i < 3; ++i) budget.used();
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(budget.next(), now + 500ms);
        EXPECT_FALSE(budget.reserve(now + 500ms - 1ns));
        EXPECT_TRUE(budget.reserve(now += 500ms));
        budget.used();
    }
}

TEST(RetryBudget, EarnsATenthOfWhatSettlesAtItsFirstTryAndSavesLittle)
{
    RetryBudget       budget({.percent = 10, .per_second = 0, .saved_max = 5});
    Clock::Mono const now{1h};
    auto const        drain = [&] {
        int count = 0;
        for (; budget.reserve(now); ++count) budget.used();
        return count;
    };
    EXPECT_EQ(drain(), 5);
    budget.settled(39);
    EXPECT_EQ(drain(), 3);
    budget.settled(1);
    EXPECT_EQ(drain(), 1);
    budget.settled(1'000);
    EXPECT_EQ(drain(), 5);
}

// The bound that is documented, over every window of ten seconds.
TEST(RetryBudget, IsNeverExceededInAnyTenSeconds)
{
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
        Random                   random(seed);
        RetryBudgetOptions const options{.percent = static_cast<std::uint32_t>(random.below(30)),
                                         .per_second = static_cast<std::uint32_t>(random.below(10)),
                                         .saved_max = static_cast<std::uint32_t>(1 + random.below(50))};
        RetryBudget budget(options);
        struct Step {
            Clock::Mono   at;
            std::uint64_t retries, settled;
        };
        std::vector<Step> steps;
        Clock::Mono       now{1h};
        std::uint64_t     reserved = 0;
        for (int i = 0; i < 600; ++i) {
            now += std::chrono::microseconds(random.below(300'000));
            steps.push_back({now, 0, random.chance(0.5) ? random.below(100) : 0});
            budget.settled(steps.back().settled);
            while (random.chance(0.95) && budget.reserve(now)) ++reserved;
            for (; reserved > 0 && random.chance(0.8); --reserved) {
                budget.used();
                if (random.chance(0.2)) budget.not_used(), ++reserved;
                else ++steps.back().retries;
            }
        }
        for (std::size_t from = 0; from < steps.size(); ++from) {
            std::uint64_t retries = 0, settled = 0;
            for (auto i = from; i < steps.size() && steps[i].at - steps[from].at <= 10s; ++i) {
                retries += steps[i].retries;
                settled += steps[i].settled;
            }
            ASSERT_LE(retries * 100,
                      settled * options.percent + (options.per_second * 10 + options.saved_max) * 100);
        }
    }
}

}  // namespace
}  // namespace sluice::engine
