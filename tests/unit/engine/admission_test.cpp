#include "engine/admission.hpp"

#include "base/random.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::engine {
namespace {

using Ticket = Admission::Ticket;

Admission::Demand demand(Tier tier, std::uint32_t events, std::uint64_t bytes = 0)
{
    Admission::Demand demand;
    demand.events[index(tier)] = events;
    demand.bytes = bytes;
    return demand;
}

class Admitting : public testing::Test {
protected:
    bool admit(Tier tier, std::uint32_t events = 1, std::uint64_t bytes = 0)
    {
        Ticket     ticket;
        bool const is_admitted = !admission_.admit(demand(tier, events, bytes), ticket);
        if (is_admitted) tickets_.push_back(std::move(ticket));
        return is_admitted;
    }
    std::uint32_t flood(Tier tier)
    {
        std::uint32_t admitted = 0;
        while (admit(tier)) ++admitted;
        return admitted;
    }

    Admission           admission_{{.events = 1'000, .bytes = 1'000'000, .percent = {70, 80, 90, 100}}};
    std::vector<Ticket> tickets_;
};

TEST_F(Admitting, ALowDiskClosesLowAndNormal)
{
    admission_.close_for_disk(true);
    EXPECT_EQ(flood(Tier::low), 0u);
    EXPECT_EQ(flood(Tier::normal), 0u);
    EXPECT_TRUE(admit(Tier::high));
    EXPECT_TRUE(admit(Tier::critical));
    Ticket     ticket;
    auto const refusal = admission_.admit(demand(Tier::normal, 1), ticket);
    ASSERT_TRUE(refusal);
    EXPECT_TRUE(refusal->disk_is_low);
    EXPECT_EQ(refusal->tier, Tier::normal);
    EXPECT_TRUE(admission_.admit(demand(Tier::low, 5'000), ticket)->never_fits) << "waiting would not help it";
    admission_.close_for_disk(false);
    EXPECT_TRUE(admit(Tier::low));
}

TEST_F(Admitting, RefusesAFloodOfOneTierExactlyAtItsLimit)
{
    EXPECT_EQ(flood(Tier::low), 700u);
    EXPECT_EQ(flood(Tier::normal), 100u);
    EXPECT_EQ(flood(Tier::high), 100u);
    EXPECT_EQ(flood(Tier::critical), 100u);
    EXPECT_EQ(admission_.use().events, 1'000u);
}

TEST_F(Admitting, RefusesANormalFloodFirstAtEightyPercentAndNotBefore)
{
    EXPECT_EQ(flood(Tier::normal), 800u);
    EXPECT_TRUE(admission_.use().closed[index(Tier::low)]);
    EXPECT_TRUE(admission_.use().closed[index(Tier::normal)]);
    EXPECT_FALSE(admission_.use().closed[index(Tier::high)]);
    EXPECT_EQ(flood(Tier::critical), 200u);
}

TEST_F(Admitting, ReopensATierTenPointsBelowItsLimit)
{
    flood(Tier::normal);
    EXPECT_EQ(admission_.excess(Tier::normal), 100u);
    tickets_.resize(701);
    EXPECT_FALSE(admit(Tier::normal));
    EXPECT_EQ(admission_.excess(Tier::normal), 1u);
    tickets_.resize(700);
    EXPECT_TRUE(admit(Tier::normal));
}

TEST_F(Admitting, LimitsBytesLikeEvents)
{
    EXPECT_TRUE(admit(Tier::normal, 1, 799'999));
    EXPECT_FALSE(admit(Tier::normal, 1, 2));
    EXPECT_TRUE(admit(Tier::normal, 1, 1));
    EXPECT_FALSE(admit(Tier::normal, 1, 0));
    EXPECT_TRUE(admit(Tier::critical, 1, 200'000));
    EXPECT_FALSE(admit(Tier::critical, 1, 1));
    EXPECT_EQ(admission_.use().bytes, 1'000'000u);
}

TEST_F(Admitting, TakesAllOfADemandOrNothing)
{
    EXPECT_TRUE(admit(Tier::normal, 750));
    EXPECT_FALSE(admit(Tier::normal, 51));
    EXPECT_EQ(admission_.use().events, 750u);
    EXPECT_TRUE(admit(Tier::normal, 50));
}

TEST_F(Admitting, NamesTheLowestTierThatRefusesAMixedDemand)
{
    EXPECT_TRUE(admit(Tier::critical, 850));
    auto mixed = demand(Tier::high, 1);
    mixed.events[index(Tier::normal)] = 1;
    Ticket     ticket;
    auto const refusal = admission_.admit(mixed, ticket);
    ASSERT_TRUE(refusal);
    EXPECT_EQ(refusal->tier, Tier::normal);
    EXPECT_FALSE(refusal->never_fits);
}

TEST_F(Admitting, SaysWhenADemandCouldNeverFit)
{
    Ticket ticket;
    EXPECT_TRUE(admission_.admit(demand(Tier::normal, 801), ticket)->never_fits);
    EXPECT_TRUE(admission_.admit(demand(Tier::critical, 1, 1'000'001), ticket)->never_fits);
    flood(Tier::critical);
    EXPECT_FALSE(admission_.admit(demand(Tier::normal, 800), ticket)->never_fits);
}

TEST_F(Admitting, ATicketGivesBackWhatIsLeftOfIt)
{
    {
        Ticket ticket;
        ASSERT_FALSE(admission_.admit(demand(Tier::normal, 10, 500), ticket));
        Ticket moved = std::move(ticket);
        moved.hand_over(4);
        moved.release_places();
        EXPECT_EQ(admission_.use().events, 4u);
        EXPECT_EQ(admission_.use().bytes, 500u);
    }
    EXPECT_EQ(admission_.use().events, 4u);
    EXPECT_EQ(admission_.use().bytes, 0u);
    admission_.release(4, 0);
    EXPECT_EQ(admission_.use().events, 0u);
}

TEST_F(Admitting, ARefusalLeavesTheTicketAlone)
{
    Ticket ticket;
    ASSERT_FALSE(admission_.admit(demand(Tier::normal, 10), ticket));
    ASSERT_TRUE(admission_.admit(demand(Tier::normal, 900), ticket));
    EXPECT_EQ(admission_.use().events, 10u);
}

// Against a plain account of what is held: never above capacity, never below zero, no refusal without a reason.
TEST(Admission, KeepsItsBooksWhateverHappens)
{
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
        Random                  random(seed);
        Admission::Limits const limits{
            .events = static_cast<std::uint32_t>(10 + random.below(500)), .bytes = 1'000 + random.below(100'000),
            .percent = {70, 80, 90, 100}, .reopen_points = static_cast<std::uint32_t>(random.below(20))};
        Admission admission(limits);
        struct Held {
            Ticket        ticket;
            std::uint32_t events;
            std::uint64_t bytes;
        };
        std::vector<Held>            held;
        std::uint64_t                events = 0, bytes = 0;
        std::array<bool, tier_count> closed{};
        for (int i = 0; i < 3'000; ++i) {
            if (random.chance(0.5)) {
                auto const t = random.below(tier_count);
                auto const n = static_cast<std::uint32_t>(1 + random.below(20));
                auto const b = random.below(4'000);
                Ticket     ticket;
                auto const refusal = admission.admit(demand(static_cast<Tier>(t), n, b), ticket);
                bool const fits = events + n <= limits.events * limits.percent[t] / 100u &&
                                  bytes + b <= limits.bytes * limits.percent[t] / 100u;
                ASSERT_EQ(!refusal, fits && !closed[t]);
                if (!refusal) {
                    events += n;
                    bytes += b;
                    held.push_back({std::move(ticket), n, b});
                }
            } else if (!held.empty()) {
                std::swap(held[random.below(held.size())], held.back());
                events -= held.back().events;
                bytes -= held.back().bytes;
                held.pop_back();
            }
            for (std::size_t t = 0; t < tier_count; ++t) {
                auto const reopen = limits.percent[t] - limits.reopen_points;
                auto const close = limits.percent[t];
                if (events >= limits.events * close / 100u || bytes >= limits.bytes * close / 100u)
                    closed[t] = true;
                else if (events <= limits.events * reopen / 100u && bytes <= limits.bytes * reopen / 100u)
                    closed[t] = false;
            }
            auto const use = admission.use();
            ASSERT_EQ(use.events, events);
            ASSERT_EQ(use.bytes, bytes);
            ASSERT_EQ(use.closed, closed);
            ASSERT_LE(use.events, limits.events);
            ASSERT_LE(use.bytes, limits.bytes);
        }
    }
}

}  // namespace
}  // namespace sluice::engine
