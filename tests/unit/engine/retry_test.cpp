#include "engine/retry.hpp"

#include <gtest/gtest.h>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;

class Retrying : public testing::Test {
protected:
    // The shortest and the longest of many waits.
    std::pair<std::chrono::nanoseconds, std::chrono::nanoseconds> waits(Errc error, std::uint32_t attempts)
    {
        auto shortest = std::chrono::nanoseconds::max(), longest = 0ns;
        for (int i = 0; i < 2'000; ++i) {
            auto const retry = retry_after(error, attempts, options_, random_);
            shortest = std::min(shortest, retry->after);
            longest = std::max(longest, retry->after);
        }
        return {shortest, longest};
    }

    RetryOptions options_;
    Random       random_{1};
};

TEST_F(Retrying, WaitsATimeBetweenNothingAndACapThatDoubles)
{
    std::chrono::nanoseconds cap = 2s;
    for (std::uint32_t attempts = 0; attempts < 3; ++attempts, cap *= 2) {
        auto const [shortest, longest] = waits(Errc::transient, attempts);
        EXPECT_LE(longest, cap);
        EXPECT_GT(longest, cap * 9 / 10);
        EXPECT_LT(shortest, cap / 10);
    }
}

TEST_F(Retrying, GivesUpAfterThreeMoreTries)
{
    std::uint32_t attempts = 0, tries = 0;
    while (auto const retry = retry_after(Errc::transient, attempts, options_, random_)) {
        attempts = retry->attempts;
        ASSERT_LE(++tries, 3u);
    }
    EXPECT_EQ(tries, 3u);
}

TEST_F(Retrying, TreatsAConflictThatStaysAsTransient)
{
    EXPECT_EQ(retry_after(Errc::conflict, 0, options_, random_)->attempts, 1u);
    EXPECT_FALSE(retry_after(Errc::conflict, 3, options_, random_));
}

TEST_F(Retrying, NeverCountsAnOutageAndLooksAgainWithinASecond)
{
    for (std::uint32_t attempts = 0; attempts < 5; ++attempts) {
        EXPECT_EQ(retry_after(Errc::unavailable, attempts, options_, random_)->attempts, attempts);
        auto const [shortest, longest] = waits(Errc::unavailable, attempts);
        EXPECT_GE(shortest, 500ms);
        EXPECT_LE(longest, 1s);
    }
}

}  // namespace
}  // namespace sluice::engine
