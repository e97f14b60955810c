// An event that kills the process is found by what was in hand, and nobody else is accused.
#include "engine/suspects.hpp"

#include "base/random.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>
#include <set>

namespace sluice::engine {
namespace {

using Sequences = std::vector<std::uint64_t>;

class SuspectsTest : public testing::Test {
protected:
    // A process that starts, takes these in hand, by thread, and dies.
    std::vector<Suspects::Suspect> run(std::vector<Sequences> const& in_hand, bool is_fault)
    {
        Suspects const suspects(kept);
        careful = suspects.careful();
        for (std::size_t i = 0; i < in_hand.size(); ++i) {
            auto hand = suspects.hand(i);
            for (auto const sequence : in_hand[i]) hand.note(Sequence{sequence});
        }
        if (is_fault) Suspects::note_fault(kept);
        return suspects.guilty();
    }
    std::vector<Suspects::Suspect> fault(std::vector<Sequences> const& in_hand) { return run(in_hand, true); }
    std::vector<Suspects::Suspect> kill(std::vector<Sequences> const& in_hand) { return run(in_hand, false); }

    Suspects::Notes&       notes() { return *reinterpret_cast<Suspects::Notes*>(kept.data()); }
    std::vector<std::byte> kept = std::vector<std::byte>(Suspects::bytes);
    bool                   careful{false};
};

TEST_F(SuspectsTest, ThreeFaultsInARowAndAloneAtTheLastIsGuilty)
{
    EXPECT_TRUE(fault({{5, 6, 7}, {8}}).empty());
    EXPECT_TRUE(fault({{7}, {3}}).empty());
    EXPECT_FALSE(careful);
    EXPECT_TRUE(fault({{7}}).empty());
    EXPECT_TRUE(careful) << "after two faults one event is in hand at a time";
    auto const guilty = kill({});
    ASSERT_EQ(guilty.size(), 1u);
    EXPECT_EQ(guilty[0].sequence, 7u);
    EXPECT_EQ(guilty[0].faults, 3u);
    EXPECT_EQ(kill({}).size(), 1u) << "a start that ends before it has decided knows it still";
}

TEST_F(SuspectsTest, NobodyIsGuiltyInCompany)
{
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(fault({{7, 8}}).empty());
    EXPECT_TRUE(fault({{7}, {8}}).empty());
    EXPECT_TRUE(kill({}).empty());
}

TEST_F(SuspectsTest, AProcessThatIsKilledAccusesNobody)
{
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(kill({{7}}).empty());
    fault({{7}});
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(kill({{7}}).empty());
    EXPECT_FALSE(careful);
}

TEST_F(SuspectsTest, AKillBetweenFaultsForgetsNothing)
{
    fault({{7, 8}});
    kill({{1}});
    fault({{7}});
    kill({{1}});
    fault({{7}});
    EXPECT_EQ(kill({}).size(), 1u);
}

TEST_F(SuspectsTest, AFaultWithoutASuspectAcquitsHim)
{
    fault({{7}});
    fault({{7}});
    fault({{}});
    fault({{7}});
    EXPECT_TRUE(kill({}).empty());
}

TEST_F(SuspectsTest, AFoldThatGetsThroughAcquitsEverybody)
{
    fault({{7}});
    fault({{7}});
    Suspects(kept).acquit();
    fault({{7}});
    EXPECT_TRUE(kill({}).empty());
    EXPECT_FALSE(careful);
}

TEST_F(SuspectsTest, WhatIsNoLongerInHandIsNotSuspected)
{
    {
        Suspects const suspects(kept);
        auto           hand = suspects.hand(0);
        hand.note(Sequence{7});
        hand.note(Sequence{8});
        hand.clear();
        hand.note(Sequence{9});
    }
    Suspects::note_fault(kept);
    Suspects const suspects(kept);
    ASSERT_EQ(suspects.suspects().size(), 1u);
    EXPECT_EQ(suspects.suspects()[0].sequence, 9u);
}

TEST_F(SuspectsTest, GarbageAndOtherVersionsAreEmpty)
{
    std::memset(kept.data(), 0xAB, kept.size());
    EXPECT_TRUE(Suspects(kept).suspects().empty());
    fault({{7}});
    fault({{7}});
    fault({{7}});
    notes().version = 2;
    EXPECT_TRUE(Suspects(kept).guilty().empty());
    fault({{7}});
    notes().count = 1u << 20;
    EXPECT_TRUE(Suspects(kept).suspects().empty());
}

TEST_F(SuspectsTest, WithoutBytesNothingIsNoted)
{
    for (int i = 0; i < 5; ++i) {
        Suspects const suspects({});
        auto           hand = suspects.hand(0);
        hand.note(Sequence{7});
        hand.clear();
        Suspects::note_fault({});
        EXPECT_TRUE(suspects.suspects().empty());
        EXPECT_FALSE(suspects.careful());
    }
}

TEST_F(SuspectsTest, RemembersTheMostSuspiciousOfTooMany)
{
    std::vector<Sequences> all(Suspects::hands);
    for (std::size_t i = 0; i < Suspects::hands * Suspects::marks; ++i) all[i / Suspects::marks].push_back(i + 1);
    auto const last = Suspects::hands * Suspects::marks;
    fault({{last}});
    fault(all);
    Suspects const suspects(kept);
    ASSERT_EQ(suspects.suspects().size(), Suspects::history);
    EXPECT_EQ(suspects.suspects()[0].sequence, last);
    EXPECT_EQ(suspects.suspects()[0].faults, 2u);
}

// Processes over a log of a few events, some of which kill. Threads share the events; a start folds all of them, then
// works on them in batches. Kills come at any time.
TEST_F(SuspectsTest, WhateverHappensOnlyKillersAreGuiltyAndSoonTheProcessLives)
{
    for (std::uint64_t seed = 1; seed <= 3'000; ++seed) {
        Random                  random(seed);
        auto const              count = 4 + random.below(60);
        std::set<std::uint64_t> killers, decided;
        for (auto n = random.below(3); n > 0; --n) killers.insert(1 + random.below(count));
        auto const threads = 1 + random.below(4);
        std::fill(kept.begin(), kept.end(), std::byte{});
        std::size_t faults = 0;

        // One batch a thread, at once: a killer in it is met after the others have begun, or a kill comes.
        auto const run_at_once = [&](Suspects const& suspects, std::vector<Sequences> const& batches) {
            std::vector<Suspects::Hand> hands;
            bool                        is_fault = false;
            for (std::size_t i = 0; i < batches.size(); ++i) {
                hands.push_back(suspects.hand(i));
                for (auto const sequence : batches[i]) {
                    hands[i].note(Sequence{sequence});
                    is_fault |= killers.contains(sequence);
                }
            }
            if (random.chance(0.01)) return false;
            if (is_fault) {
                ++faults;
                Suspects::note_fault(kept);
                return false;
            }
            for (auto& hand : hands) hand.clear();
            return true;
        };
        auto const live = [&] {
            Suspects suspects(kept);
            for (auto const& guilty : suspects.guilty()) {
                EXPECT_TRUE(killers.contains(guilty.sequence)) << "an innocent is given up, seed " << seed;
                decided.insert(guilty.sequence);
            }
            Sequences left;
            for (std::uint64_t s = 1; s <= count; ++s)
                if (!decided.contains(s)) left.push_back(s);
            auto const at_once = suspects.careful() ? 1 : threads;
            for (std::size_t at = 0; at < left.size(); at += at_once) {
                std::vector<Sequences> batches;
                for (auto i = at; i < std::min(left.size(), at + at_once); ++i) batches.push_back({left[i]});
                if (!run_at_once(suspects, batches)) return false;
            }
            suspects.acquit();
            return true;
        };
        // The killers come with a batch of a worker.
        {
            Suspects const suspects(kept);
            Sequences      batch;
            for (std::uint64_t s = 1; s <= count; ++s) batch.push_back(s);
            run_at_once(suspects, {batch});
        }
        int starts = 0;
        while (!live()) ASSERT_LT(++starts, 100) << "seed " << seed;
        EXPECT_EQ(decided, killers) << "seed " << seed;
        EXPECT_LE(faults, 1 + 4 * killers.size()) << "seed " << seed;
    }
}

}  // namespace
}  // namespace sluice::engine
