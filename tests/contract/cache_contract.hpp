// What every Cache does. Included by one file of each executable that has one to offer.
#pragma once

#include "base/random.hpp"
#include "cache/cache.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace sluice::test {

// A cache and what it lives on.
class CacheSetup {
public:
    virtual ~CacheSetup() = default;
    virtual cache::Cache& cache() = 0;
    // Lets as much time pass for the cache.
    virtual void wait(std::chrono::milliseconds time) = 0;
};

struct CacheKind {
    std::string                                  name;
    std::function<std::unique_ptr<CacheSetup>()> make;

    friend void PrintTo(CacheKind const& kind, std::ostream* out) { *out << kind.name; }
};

class CacheContract : public testing::TestWithParam<CacheKind> {
protected:
    static constexpr std::chrono::milliseconds long_time = std::chrono::hours(1);

    std::optional<std::string> get(std::string_view key) { return cache.get(key).value(); }
    void                       put(std::string_view key, std::string_view value)
    {
        ASSERT_TRUE(cache.put(key, value, long_time));
    }
    std::uint64_t clear(std::string_view pattern)
    {
        return cache.clear(cache::Pattern::parse(pattern).value()).value();
    }

    std::unique_ptr<CacheSetup> setup = GetParam().make();
    cache::Cache&               cache = setup->cache();
};

TEST_P(CacheContract, GivesBackWhatWasPutLast)
{
    EXPECT_EQ(get("a"), std::nullopt);
    put("a", "one");
    put("b", "other");
    EXPECT_EQ(get("a"), "one");
    put("a", "two");
    EXPECT_EQ(get("a"), "two");
    EXPECT_EQ(get("b"), "other");
    EXPECT_EQ(get("A"), std::nullopt);
}

TEST_P(CacheContract, AnEmptyValueIsNoMiss)
{
    put("a", "");
    EXPECT_EQ(get("a"), "");
}

TEST_P(CacheContract, KeysAndValuesAreBytes)
{
    std::string every;
    for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
    put(every, every);
    put("a b\r\n%b %s", "\r\n$-1\r\n");
    put(std::string(6'000, 'k'), std::string(200'000, '\0'));
    EXPECT_EQ(get(every), every);
    EXPECT_EQ(get("a b\r\n%b %s"), "\r\n$-1\r\n");
    EXPECT_EQ(get(std::string(6'000, 'k')), std::string(200'000, '\0'));
    EXPECT_EQ(get(every.substr(0, 255)), std::nullopt);
}

TEST_P(CacheContract, ForgetsAfterItsTime)
{
    using namespace std::chrono_literals;
    ASSERT_TRUE(cache.put("short", "1", 200ms));
    ASSERT_TRUE(cache.put("again", "1", 200ms));
    put("long", "1");
    put("again", "2");
    EXPECT_EQ(get("short"), "1");
    setup->wait(250ms);
    EXPECT_EQ(get("short"), std::nullopt);
    EXPECT_EQ(get("again"), "2") << "the time of the last put counts";
    EXPECT_EQ(get("long"), "1");
}

TEST_P(CacheContract, RemovesWhatAPatternNamesAndSaysHowMuch)
{
    auto const fill = [&] {
        for (auto const* const key : {"c:1", "c:2", "c:22", "d:1", "c[1]", "c1", "c?", "c\\1", "cc", "^c"})
            put(key, "v");
    };
    fill();
    EXPECT_EQ(clear("nobody:*"), 0u);
    EXPECT_EQ(clear("c:*"), 3u);
    EXPECT_EQ(get("c:1"), std::nullopt);
    EXPECT_EQ(get("c:22"), std::nullopt);
    EXPECT_EQ(get("d:1"), "v");
    EXPECT_EQ(clear("c:*"), 0u) << "they are gone";
    fill();
    EXPECT_EQ(clear("c[1]"), 1u) << "only the star is special";
    EXPECT_EQ(get("c1"), "v");
    EXPECT_EQ(clear("c?"), 1u);
    EXPECT_EQ(get("cc"), "v");
    EXPECT_EQ(clear("c\\1"), 1u);
    EXPECT_EQ(clear("*:1"), 2u);
    EXPECT_EQ(clear("c*2*"), 2u);
    EXPECT_EQ(clear("*"), 3u);
    EXPECT_EQ(get("^c"), std::nullopt);
}

TEST_P(CacheContract, RemovesManyKeysWhileOthersAreAsked)
{
    constexpr int count = 5'000;
    for (int i = 0; i < count; ++i) put("many:" + std::to_string(i), "v");
    put("few:1", "v");
    std::thread other([&] {
        for (int i = 0; i < 500; ++i) EXPECT_EQ(get("few:1"), "v");
    });
    EXPECT_EQ(clear("many:*"), std::uint64_t{count});
    other.join();
    for (int i = 0; i < count; i += 97) EXPECT_EQ(get("many:" + std::to_string(i)), std::nullopt);
}

TEST_P(CacheContract, TellsHowMuchItHolds)
{
    ASSERT_TRUE(cache.check());
    auto const before = cache.stats();
    for (int i = 0; i < 10; ++i) put(std::to_string(i), std::string(1'000, 'x'));
    ASSERT_TRUE(cache.check());
    auto const after = cache.stats();
    EXPECT_NE(after.backend, "none");
    EXPECT_EQ(after.keys, before.keys + 10);
    EXPECT_GT(after.bytes, before.bytes);
    EXPECT_EQ(after.errors, 0u);
    EXPECT_EQ(after.corrupt, 0u);
    EXPECT_FALSE(after.fallback_since);
}

TEST_P(CacheContract, WhatIsTooBigIsNotKeptAndHarmsNothing)
{
    put("small", "v");
    put("big", "v");
    put("big", std::string(std::size_t{64} << 20, 'x'));
    auto const big = get("big");
    EXPECT_TRUE(!big || big->size() == std::size_t{64} << 20) << "never the one before";
    EXPECT_EQ(get("small"), "v");
}

// A value says whose it is.
TEST_P(CacheContract, ManyThreadsGetOnlyWhatWasPutUnderTheirKey)
{
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 8; ++t)
        threads.emplace_back([&, t] {
            Random random(t);
            for (int i = 0; i < 500; ++i) {
                auto const key = "k" + std::to_string(random.below(40));
                if (random.chance(0.01)) {
                    (void)clear("k1*");
                } else if (random.chance(0.4)) {
                    put(key, key + '=' + std::string(random.below(3'000), 'x'));
                } else if (auto const value = get(key)) {
                    EXPECT_TRUE(value->starts_with(key + '=')) << key;
                }
            }
        });
    for (auto& thread : threads) thread.join();
}

}  // namespace sluice::test
