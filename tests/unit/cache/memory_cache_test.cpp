#include "cache/memory_cache.hpp"

#include "base/random.hpp"
#include "unit/cache/support.hpp"

#include <gtest/gtest.h>

#include <map>

namespace sluice::cache {
namespace {

using namespace test;

TEST(MemoryCache, TheLeastRecentlyUsedGoesFirst)
{
    ManualClock const clock;
    MemoryCache       cache({.keys_max = 2}, clock);
    cache.put("a", "1", hour).value();
    cache.put("b", "2", hour).value();
    EXPECT_TRUE(*cache.get("a"));
    cache.put("c", "3", hour).value();
    EXPECT_TRUE(*cache.get("a"));
    EXPECT_FALSE(*cache.get("b"));
    EXPECT_TRUE(*cache.get("c"));
    EXPECT_EQ(cache.stats().evicted, 1u);
}

TEST(MemoryCache, ForgetsAfterItsTime)
{
    ManualClock clock;
    MemoryCache cache({}, clock);
    cache.put("a", "1", std::chrono::seconds(10)).value();
    clock.at = std::chrono::seconds(10) - std::chrono::nanoseconds(1);
    EXPECT_TRUE(*cache.get("a"));
    clock.at = std::chrono::seconds(10);
    EXPECT_FALSE(*cache.get("a"));
    EXPECT_EQ(cache.stats().keys, 0u);
    EXPECT_EQ(cache.stats().bytes, 0u);
}

TEST(MemoryCache, StaysWithinItsBytesWhateverIsPut)
{
    ManualClock const                  clock;
    MemoryCache                        cache({.keys_max = 1'000, .bytes_max = 20'000}, clock);
    std::map<std::string, std::string> put;
    Random                             random(1);
    for (int i = 0; i < 5'000; ++i) {
        auto const key = "key" + std::to_string(random.below(60));
        put[key] = std::string(random.below(random.chance(0.02) ? 30'000 : 1'500), static_cast<char>('a' + i % 26));
        cache.put(key, put[key], hour).value();
        auto const other = "key" + std::to_string(random.below(60));
        auto const value = cache.get(other).value();
        EXPECT_TRUE(!value || *value == put[other]);
        ASSERT_LE(cache.stats().bytes, 20'000u);
    }
    EXPECT_GT(cache.stats().keys, 5u);
}

}  // namespace
}  // namespace sluice::cache
