#include "engine/watermark.hpp"

#include "base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <malloc.h>
#include <set>
#include <string>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace sluice::engine {
namespace {

TEST(DenseWatermark, StandsAtTheLastEventWhenAllIsSettled)
{
    DenseWatermark watermark;
    watermark.start(Sequence{7}, 0);
    EXPECT_EQ(watermark.low(), Sequence{7});
    watermark.logged(Sequence{8}, 2);
    EXPECT_EQ(watermark.low(), Sequence{7});
    watermark.settled(std::vector{Sequence{9}, Sequence{8}}, 0);
    EXPECT_EQ(watermark.low(), Sequence{9});
}

TEST(DenseWatermark, WaitsForTheOldestUnsettledEvent)
{
    DenseWatermark watermark;
    watermark.start(Sequence::none, 0);
    watermark.logged(Sequence{1}, 5);
    watermark.settled(std::vector{Sequence{1}, Sequence{3}, Sequence{5}}, 0);
    EXPECT_EQ(watermark.low(), Sequence{1});
    watermark.settled(std::vector{Sequence{2}}, 0);
    EXPECT_EQ(watermark.low(), Sequence{3});
}

TEST(DenseWatermark, AgreesWithASetOfTheUnsettled)
{
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
        Random                  random(seed);
        DenseWatermark          watermark;
        std::set<std::uint64_t> unsettled;
        std::uint64_t           last = random.below(1'000);
        watermark.start(Sequence{last}, 0);
        for (int i = 0; i < 2'000; ++i) {
            if (random.chance(0.4)) {
                auto const count = 1 + random.below(20);
                watermark.logged(Sequence{last + 1}, count);
                for (std::uint64_t n = 0; n < count; ++n) unsettled.insert(++last);
            }
            std::vector<Sequence> settled;
            for (auto n = random.below(12); n > 0 && !unsettled.empty(); --n) {
                // Mostly not the oldest, so that gaps grow until they are compacted.
                auto it = unsettled.lower_bound(last - random.below(4'000));
                if (it == unsettled.end() || random.chance(0.05)) it = unsettled.begin();
                settled.push_back(Sequence{*it});
                unsettled.erase(it);
            }
            watermark.settled(settled, 0);
            ASSERT_EQ(number(watermark.low()), unsettled.empty() ? last : *unsettled.begin() - 1);
            if (i % 50 != 0) continue;
            auto const position = watermark.position();
            ASSERT_EQ(position.unsettled_events(), unsettled.size());
            std::vector<std::uint64_t> listed;
            for (auto const& [first, count] : position.unsettled) {
                ASSERT_TRUE(listed.empty() || listed.back() + 1 < number(first)) << "neighbours are one range";
                for (std::uint64_t n = 0; n < count; ++n) listed.push_back(number(first) + n);
            }
            ASSERT_TRUE(std::ranges::equal(listed, unsettled));
            auto const probe = last - random.below(std::min<std::uint64_t>(last, 5'000));
            ASSERT_EQ(position.is_unsettled(Sequence{probe}), unsettled.contains(probe));
        }
    }
}

std::size_t bytes_in_use()
{
#ifdef __SANITIZE_ADDRESS__
    return __sanitizer_get_current_allocated_bytes();
#else
    return mallinfo2().uordblks;
#endif
}

TEST(DenseWatermark, StaysSmallBehindAnEventThatDoesNotSettle)
{
    DenseWatermark watermark;
    watermark.start(Sequence::none, 0);
    watermark.logged(Sequence{1}, 1);
    auto const            before = bytes_in_use();
    constexpr std::size_t step = 64;
    std::vector<Sequence> settled(step);
    for (std::uint64_t n = 2; n < 1'000'000; n += step) {
        watermark.logged(Sequence{n}, step);
        for (std::size_t i = 0; i < step; ++i) settled[i] = Sequence{n + i};
        watermark.settled(settled, 0);
    }
    EXPECT_EQ(watermark.low(), Sequence::none);
    EXPECT_LT(bytes_in_use(), before + 20'000);
    EXPECT_EQ(watermark.position().unsettled.size(), 1u);
    watermark.settled(std::vector{Sequence{1}}, 0);
    EXPECT_GE(number(watermark.low()), 999'999u);
}

TEST(DenseWatermark, StaysSmallWithFourMillionUnsettled)
{
    DenseWatermark watermark;
    watermark.start(Sequence::none, 0);
    auto const before = bytes_in_use();
    for (std::uint64_t n = 1; n < 4'000'000; n += 1'000) watermark.logged(Sequence{n}, 1'000);
    EXPECT_LT(bytes_in_use(), before + 2'000'000);
    EXPECT_EQ(watermark.position().unsettled, (std::vector<SequenceRange>{{Sequence{1}, 4'000'000}}));
}

}  // namespace
}  // namespace sluice::engine
