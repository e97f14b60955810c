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
    admission_.release(0, 4, 0);
    EXPECT_EQ(admission_.use().events, 0u);
}

TEST_F(Admitting, ARefusalLeavesTheTicketAlone)
{
    Ticket ticket;
    ASSERT_FALSE(admission_.admit(demand(Tier::normal, 10), ticket));
    ASSERT_TRUE(admission_.admit(demand(Tier::normal, 900), ticket));
    EXPECT_EQ(admission_.use().events, 10u);
}

// ---- shares

Admission::Demand of(Producer producer, Tier tier, std::uint32_t events, std::uint64_t bytes = 0)
{
    auto result = demand(tier, events, bytes);
    result.producer = producer;
    return result;
}

class Sharing : public Admitting {
protected:
    Sharing() : shared_({.events = 1'000, .bytes = 1'000'000, .percent = {70, 80, 90, 100}, .reopen_points = 10,
                         .shares = {75, 75, 10}}) {}

    std::uint32_t flood(Producer producer, Tier tier)
    {
        std::uint32_t admitted = 0;
        for (;; ++admitted) {
            Ticket ticket;
            refusal_ = shared_.admit(of(producer, tier, 1), ticket);
            if (refusal_) return admitted;
            tickets_.push_back(std::move(ticket));
        }
    }

    Admission                         shared_;
    std::optional<Admission::Refusal> refusal_;
    std::vector<Ticket>               tickets_;  // of shared_, and gone before it
};

TEST_F(Sharing, OneProducerCannotTakeEveryPlaceOfAnyTier)
{
    EXPECT_EQ(flood(0, Tier::low), 525u);  // 75 % of 70 %
    EXPECT_TRUE(refusal_->by_share);
    EXPECT_FALSE(refusal_->never_fits);
    EXPECT_EQ(refusal_->excess, 1u);
    EXPECT_EQ(flood(0, Tier::normal), 75u);
    EXPECT_EQ(flood(0, Tier::high), 75u);
    EXPECT_EQ(flood(0, Tier::critical), 75u);
    EXPECT_EQ(shared_.held(0).events, 750u);

    EXPECT_EQ(flood(2, Tier::critical), 100u);
    EXPECT_TRUE(refusal_->by_share);
    EXPECT_EQ(flood(1, Tier::critical), 150u);
    EXPECT_FALSE(refusal_->by_share) << "the server is full";
}

TEST_F(Sharing, LimitsBytesLikeEvents)
{
    Ticket ticket, more;
    EXPECT_FALSE(shared_.admit(of(2, Tier::critical, 1, 100'000), ticket));
    EXPECT_TRUE(shared_.admit(of(2, Tier::critical, 1, 1), more)->by_share);
    EXPECT_EQ(shared_.held(2).bytes, 100'000u);
}

TEST_F(Sharing, WhatIsLargerThanTheShareNeverFits)
{
    Ticket     ticket;
    auto const refusal = shared_.admit(of(2, Tier::normal, 81), ticket);
    ASSERT_TRUE(refusal);
    EXPECT_TRUE(refusal->never_fits);
    EXPECT_TRUE(refusal->by_share);
    EXPECT_FALSE(shared_.admit(of(2, Tier::normal, 80), ticket));
}

TEST(Shares, AreNeverLessThanOneEvent)
{
    Admission admission({.events = 50, .bytes = 1'000'000, .percent = {70, 80, 90, 100}, .reopen_points = 10,
                         .shares = {1, 99}});
    Ticket    ticket, second;
    EXPECT_FALSE(admission.admit(of(0, Tier::low, 1), ticket));
    EXPECT_TRUE(admission.admit(of(0, Tier::low, 1), second)->by_share);
}

TEST_F(Sharing, TheOnlyProducerHasAll)
{
    EXPECT_EQ(Admitting::flood(Tier::critical), 1'000u);
}

// ---- room

class Expecting : public Admitting {
protected:
    Expecting() { admission_.on_room([this] { ++told_; }); }
    ~Expecting() override { admission_.on_room(nullptr); }
    int told_{0};
};

TEST_F(Expecting, IsToldOnceAndOnlyWhenTheDemandFits)
{
    flood(Tier::normal);
    ASSERT_TRUE(admission_.expect(demand(Tier::normal, 120)));
    tickets_.resize(700);  // the tier is open again
    EXPECT_EQ(told_, 0);
    tickets_.resize(681);
    EXPECT_EQ(told_, 0);
    tickets_.resize(680);
    EXPECT_EQ(told_, 1);
    tickets_.clear();
    EXPECT_EQ(told_, 1);
}

TEST_F(Expecting, ADemandThatFitsOrNeverWillIsNotExpected)
{
    EXPECT_FALSE(admission_.expect(demand(Tier::normal, 10)));
    EXPECT_FALSE(admission_.expect(demand(Tier::normal, 801)));
    flood(Tier::normal);
    ASSERT_TRUE(admission_.expect(demand(Tier::normal, 1)));
    EXPECT_FALSE(admission_.expect(demand(Tier::critical, 1)));
    tickets_.clear();
    EXPECT_EQ(told_, 0) << "the last call replaces the one before";
}

// Against a plain account of what is held: never above capacity, never below zero, no refusal without a reason.
TEST(Admission, KeepsItsBooksWhateverHappens)
{
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
        Random                  random(seed);
        Admission::Limits const limits{
            .events = static_cast<std::uint32_t>(10 + random.below(500)), .bytes = 1'000 + random.below(100'000),
            .percent = {70, 80, 90, 100}, .reopen_points = static_cast<std::uint32_t>(random.below(20)),
            .shares = {75, 40, 100}};
        Admission admission(limits);
        struct Held {
            Ticket        ticket;
            std::uint32_t events;
            std::uint64_t bytes;
            Producer      producer;
        };
        struct {
            std::uint64_t events{0}, bytes{0}, released{0};
        } of[3];
        std::vector<Held>            held;
        std::uint64_t                events = 0, bytes = 0;
        std::array<bool, tier_count> closed{};
        for (int i = 0; i < 3'000; ++i) {
            if (random.chance(0.5)) {
                auto const t = random.below(tier_count);
                auto const n = static_cast<std::uint32_t>(1 + random.below(20));
                auto const b = random.below(4'000);
                auto const producer = static_cast<Producer>(random.below(3));
                Ticket     ticket;
                auto       wanted = demand(static_cast<Tier>(t), n, b);
                wanted.producer = producer;
                auto const refusal = admission.admit(wanted, ticket);
                auto const events_max = limits.events * limits.percent[t] / 100u;
                auto const bytes_max = limits.bytes * limits.percent[t] / 100u;
                auto const share = limits.shares[producer];
                bool const fits = events + n <= events_max && bytes + b <= bytes_max;
                bool const in_share = of[producer].events + n <= events_max * share / 100u &&
                                      of[producer].bytes + b <= bytes_max * share / 100u;
                ASSERT_EQ(!refusal, fits && !closed[t] && (share == 100 || in_share));
                if (!refusal) {
                    events += n;
                    bytes += b;
                    of[producer].events += n;
                    of[producer].bytes += b;
                    held.push_back({std::move(ticket), n, b, producer});
                }
            } else if (!held.empty()) {
                std::swap(held[random.below(held.size())], held.back());
                events -= held.back().events;
                bytes -= held.back().bytes;
                of[held.back().producer].events -= held.back().events;
                of[held.back().producer].bytes -= held.back().bytes;
                of[held.back().producer].released += held.back().events;
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
            for (Producer producer = 0; producer < 3; ++producer) {
                ASSERT_EQ(admission.held(producer).events, of[producer].events);
                ASSERT_EQ(admission.held(producer).bytes, of[producer].bytes);
                ASSERT_EQ(admission.held(producer).released, of[producer].released);
            }
        }
    }
}

}  // namespace
}  // namespace sluice::engine
