#include "cache/memory_cache.hpp"

#include "contract/cache_contract.hpp"

#include <gtest/gtest.h>

#include <map>

namespace sluice::cache {
namespace {

class ManualClock final : public Clock {
public:
    Mono     now() const noexcept override { return Mono(at); }
    WallTime wall() const noexcept override { return {}; }

    std::chrono::nanoseconds at{0};
};

constexpr auto hour = std::chrono::hours(1);

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

class InMemory final : public test::CacheSetup {
public:
    Cache& cache() override { return cache_; }
    void   wait(std::chrono::milliseconds time) override { clock_.at += time; }

private:
    ManualClock clock_;
    MemoryCache cache_{{}, clock_};
};

}  // namespace
}  // namespace sluice::cache

namespace sluice::test {

INSTANTIATE_TEST_SUITE_P(
    Memory, CacheContract,
    testing::Values(CacheKind{"memory", [] { return std::make_unique<cache::InMemory>(); }}));

}  // namespace sluice::test
