#include "http/rate_limit.hpp"

#include "base/random.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::http {
namespace {

using namespace std::chrono_literals;

Clock::Mono at(std::chrono::nanoseconds time) { return Clock::Mono(1h) + time; }

TEST(RateLimit, CountsEventsAndNotRequests)
{
    RateLimit limit({10, 1s});
    EXPECT_TRUE(limit.fits(at(0s), 10));
    limit.count(at(0s), 7);
    EXPECT_FALSE(limit.fits(at(0s), 4));
    EXPECT_TRUE(limit.fits(at(0s), 3));
    EXPECT_EQ(limit.remaining(at(0s)), 3u);
    EXPECT_TRUE(limit.never_fits(11));
    EXPECT_FALSE(limit.never_fits(10));
}

TEST(RateLimit, AFixedWindowsEdgeLetsNoSecondHelpingThrough)
{
    RateLimit limit({10, 1s});
    limit.count(at(999ms), 10);
    EXPECT_FALSE(limit.fits(at(1001ms), 1));
    EXPECT_FALSE(limit.fits(at(1999ms - 1ns), 1));
    EXPECT_TRUE(limit.fits(at(1999ms), 10));
}

TEST(RateLimit, SaysWhenThereIsRoomAgain)
{
    RateLimit limit({10, 2s});
    EXPECT_EQ(limit.until(at(0s), 10), 0s);
    EXPECT_EQ(limit.until_more(at(0s)), 0s);
    limit.count(at(0s), 4);
    limit.count(at(1s), 6);
    EXPECT_EQ(limit.until(at(1s), 4), 1s);
    EXPECT_EQ(limit.until(at(1s), 5), 2s);
    EXPECT_EQ(limit.until_more(at(1500ms)), 500ms);
    EXPECT_EQ(limit.until(at(2s), 4), 0s);
}

// Against the plain list of everything that was let through.
TEST(RateLimit, NoWindowEverHoldsMoreAndWhatFitsIsLetThrough)
{
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
        Random      random(seed);
        Quota const quota{1 + random.below(seed % 3 == 0 ? 20'000 : 500), std::chrono::seconds(1 + random.below(3))};
        RateLimit   limit(quota);
        std::chrono::nanoseconds const window = quota.window;
        auto const                     late = window / RateLimit::entries_exact;
        // About as much as the quota, now and then twice of it.
        auto const step = 2 * static_cast<std::uint64_t>(window.count()) / (quota.events * (1 + random.below(4))) + 1;
        struct Let {
            std::chrono::nanoseconds at;
            std::uint64_t            events;
        };
        std::vector<Let>         let;
        std::size_t              live = 0;   // in `let`: of the window before now
        std::size_t              surely = 0; // and of the window that is longer by what may come back late
        std::uint64_t            in_window = 0, in_longer = 0;
        std::chrono::nanoseconds now{};
        for (int i = 0; i < 30'000; ++i) {
            now += std::chrono::nanoseconds(random.chance(0.01) ? random.below(step * 300) : random.below(step));
            for (; live < let.size() && let[live].at + window <= now; ++live) in_window -= let[live].events;
            for (; surely < let.size() && let[surely].at + window + late <= now; ++surely)
                in_longer -= let[surely].events;
            auto const events = 1 + (random.chance(0.05) ? random.below(quota.events) : random.below(2));
            bool const fits = limit.fits(at(now), events);
            if (fits) {
                ASSERT_LE(in_window + events, quota.events) << "the window that ends now holds too many";
                limit.count(at(now), events);
                let.push_back({now, events});
                in_window += events;
                in_longer += events;
            } else {
                ASSERT_GT(in_longer + events, quota.events) << "refused without need";
                if (quota.events < RateLimit::entries_exact) {
                    ASSERT_GT(in_window + events, quota.events) << "few entries are exact";
                }
                if (!limit.never_fits(events) && random.chance(0.05)) {
                    auto const until = limit.until(at(now), events);
                    ASSERT_GT(until, 0ns);
                    ASSERT_TRUE(RateLimit(limit).fits(at(now + until), events));
                    ASSERT_FALSE(RateLimit(limit).fits(at(now + until - 1ns), events));
                }
            }
            ASSERT_LE(limit.entries(), 2 * RateLimit::entries_exact + 2);
        }
        // Any window is the one that ends with its last event, or holds fewer.
        for (std::size_t first = 0, last = 0, sum = 0; last < let.size(); ++last) {
            sum += let[last].events;
            for (; let[first].at + window <= let[last].at; ++first) sum -= let[first].events;
            ASSERT_LE(sum, quota.events);
        }
    }
}

TEST(RateLimit, KeepsABoundedNumberOfEntries)
{
    RateLimit limit({1'000'000, 1s});
    for (int i = 0; i < 1'000'000; ++i) limit.count(at(std::chrono::microseconds(i)), 1);
    EXPECT_LE(limit.entries(), 2 * RateLimit::entries_exact + 2);
    EXPECT_EQ(limit.remaining(at(999'999us)), 0u);
    EXPECT_EQ(limit.remaining(at(2s)), 1'000'000u);
}

}  // namespace
}  // namespace sluice::http
