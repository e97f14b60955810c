#include "cache/fallback_cache.hpp"

#include "cache/answers.hpp"
#include "graph/resident_store.hpp"
#include "unit/cache/support.hpp"
#include "unit/graph/support.hpp"

#include <gtest/gtest.h>

namespace sluice::cache {
namespace {

using namespace std::chrono_literals;
using namespace test;

Error const slow{Errc::transient, "slow", "no answer"};
Error const gone{Errc::unavailable, "gone", "nobody there"};
Error const busy{Errc::full, "busy", "others are asking"};

class FallingBack : public testing::Test {
protected:
    FallingBack() { cache.tend(); }

    std::optional<std::string> get(std::string_view key) { return cache.get(key).value(); }
    void put(std::string_view key, std::string_view value) { cache.put(key, value, hour).value(); }
    std::string_view backend() const { return cache.stats().backend; }
    void             pass(std::chrono::milliseconds time)
    {
        clock.at += time;
        cache.tend();
    }

    ManualClock   clock;
    Server        server{clock};
    MemoryCache   memory{{}, clock};
    FallbackCache cache{server, memory, clock};
};

TEST_F(FallingBack, MemoryAnswersUntilTheServerWasChecked)
{
    FallbackCache fresh(server, memory, clock);
    fresh.put("a", "1", hour).value();
    EXPECT_EQ(fresh.get("a").value(), "1");
    EXPECT_EQ(server.calls, 0);
    EXPECT_EQ(fresh.stats().backend, "memory");
    fresh.tend();
    EXPECT_EQ(fresh.stats().backend, "server");
    EXPECT_EQ(fresh.stats().fallbacks, 0u) << "that was none";
}

TEST_F(FallingBack, AServerThatIsGoneIsLeftAtOnce)
{
    server.error = gone;
    EXPECT_EQ(get("a"), std::nullopt) << "the caller only misses";
    EXPECT_EQ(backend(), "memory");
    put("a", "1");
    EXPECT_EQ(get("a"), "1");
    EXPECT_EQ(server.calls, 1) << "nobody else has to find out";
}

TEST_F(FallingBack, AServerThatFailsAThirdOfTheTimeIsKept)
{
    for (int i = 0; i < 100; ++i) {
        server.error = i % 3 == 0 ? std::optional(slow) : std::nullopt;
        get("a");
    }
    EXPECT_EQ(backend(), "server");
}

TEST_F(FallingBack, FiveFailuresInARowAreTooMany)
{
    server.error = slow;
    for (int i = 0; i < 4; ++i) get("a");
    EXPECT_EQ(backend(), "server");
    put("a", "1");
    EXPECT_EQ(backend(), "memory");
    EXPECT_EQ(get("a"), "1") << "what the server failed to take, memory has";
    EXPECT_EQ(cache.stats().last_error->reason, "slow");
}

TEST_F(FallingBack, HalfOfTwentyAreTooMany)
{
    server.refuses_puts = true;
    for (int i = 0; i < 9; ++i) {
        get("a");
        put("a", "1");
    }
    EXPECT_EQ(backend(), "server");
    put("a", "1");
    EXPECT_EQ(backend(), "memory") << "a server that takes nothing is of no use";
    pass(10s);
    EXPECT_EQ(backend(), "memory") << "although it answers";
    server.refuses_puts = false;
    pass(1s);
    EXPECT_EQ(backend(), "server");
}

TEST_F(FallingBack, OurOwnCrowdIsNoFailure)
{
    server.error = busy;
    for (int i = 0; i < 100; ++i) get("a");
    EXPECT_EQ(backend(), "server");
    pass(5s);
    EXPECT_EQ(backend(), "server");
}

TEST_F(FallingBack, AServerThatNobodyAsksIsLeftWhenItFailsACheck)
{
    server.error = slow;
    pass(4s);
    EXPECT_EQ(backend(), "server");
    pass(1s);
    EXPECT_EQ(backend(), "memory");
}

TEST_F(FallingBack, ItIsTriedOnceASecondAndComesBackByItself)
{
    server.error = gone;
    get("a");
    auto const before = server.checks;
    for (int i = 0; i < 50; ++i) pass(100ms);
    EXPECT_GE(server.checks - before, 4);
    EXPECT_LE(server.checks - before, 6);
    EXPECT_EQ(server.calls, 1);
    server.error.reset();
    pass(1s);
    EXPECT_EQ(backend(), "server");
    EXPECT_FALSE(cache.stats().fallback_since);
    EXPECT_EQ(cache.stats().fallbacks, 1u);
    EXPECT_EQ(cache.stats().last_error->reason, "gone");
    server.error = slow;
    for (int i = 0; i < 4; ++i) get("a");
    EXPECT_EQ(backend(), "server") << "what it failed before is forgotten";
}

TEST_F(FallingBack, TellsSinceWhen)
{
    clock.at = 70s;
    server.error = gone;
    get("a");
    for (int i = 0; i < 5; ++i) pass(1s);
    EXPECT_EQ(cache.stats().fallback_since, WallTime(70s));
    EXPECT_EQ(cache.stats().fallbacks, 1u);
}

TEST_F(FallingBack, ClearsBothAndSaysWhenItCannot)
{
    auto const all = Pattern::parse("*").value();
    put("a", "1");
    server.error = gone;
    put("b", "2");
    auto const half = cache.clear(all);
    EXPECT_EQ(half.error().code, Errc::unavailable);
    EXPECT_EQ(get("b"), std::nullopt);
    server.error.reset();
    memory.put("c", "3", hour).value();
    pass(1s);
    EXPECT_EQ(cache.clear(all).value(), 2u);
}

// The server keeps what it had while everything changes. When it is back, nothing of that is given again.
TEST_F(FallingBack, WhatTheServerKeptFromBeforeIsNotGivenOnceItIsNoLongerTrue)
{
    using namespace graph::test;
    graph::ResidentStore store;
    Answers              answers(store, &cache);
    auto const           who = std::string("did:plc:a"), other = std::string("did:plc:b");
    int                  computed = 0;
    auto const           strength = [&] {
        return answers.get("k", false, [&](graph::GraphReader const& graph) -> Result<std::string> {
            ++computed;
            auto const found = graph.relationships_of(who);
            return std::to_string(number(found->front()->sequence));
        }).value();
    };
    run(store, {relate(1, 1, who, "r", {.other = other})});
    EXPECT_EQ(strength(), "1");
    server.error = gone;
    EXPECT_EQ(strength(), "1");
    run(store, {relate(2, 2, who, "r", {.other = other})});
    EXPECT_EQ(strength(), "2");
    server.error.reset();
    pass(1s);
    EXPECT_EQ(backend(), "server");
    auto const before = computed;
    EXPECT_EQ(strength(), "2");
    EXPECT_EQ(computed, before + 1) << "what it kept was looked at, and was not true";
    EXPECT_EQ(strength(), "2");
    EXPECT_EQ(computed, before + 1);
}

}  // namespace
}  // namespace sluice::cache
