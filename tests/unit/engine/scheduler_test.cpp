#include "engine/scheduler.hpp"

#include "base/random.hpp"
#include "sim/lane_model.hpp"
#include "sim/manual_clock.hpp"
#include "unit/engine/support.hpp"

#include <gtest/gtest.h>

#include <map>
#include <utility>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;
using Kind = NextStep::Kind;

class Lanes : public testing::Test {
protected:
    void push(std::uint64_t key, Tier tier)
    {
        Pending const event{key, block_.get(), 0, tier, 0, Sequence{++sequence_}, {}};
        scheduler_.push({&event, 1}, clock_.now());
    }
    // Sequences of one micro-batch, whose runs stay open.
    std::vector<std::uint64_t> take()
    {
        scheduler_.take(clock_.now(), batch_, 64);
        std::vector<std::uint64_t> sequences;
        for (auto const& event : batch_.events) sequences.push_back(number(event.sequence));
        return sequences;
    }
    void finish_all()
    {
        for (auto const& run : batch_.runs) scheduler_.finish(run, run.count, {}, clock_.now());
    }
    std::vector<std::uint64_t> serve()
    {
        auto const sequences = take();
        finish_all();
        return sequences;
    }

    using Order = std::vector<std::uint64_t>;

    sim::ManualClock clock_;
    BlockRef         block_ = test::make_block({{}});
    std::uint64_t    sequence_{0};
    Batch            batch_;
    LaneScheduler    scheduler_{{.batch_max = 64, .lane_batch_max = 16, .aged_share = 8,
                                 .max_wait = {30s, 5s, 1s, std::chrono::milliseconds::max()}}};
};

TEST_F(Lanes, AreServedByTier)
{
    push(1, Tier::low);
    push(2, Tier::critical);
    push(3, Tier::normal);
    push(4, Tier::high);
    EXPECT_EQ(serve(), (Order{2, 4, 3, 1}));
}

TEST_F(Lanes, OfOneTierAreServedInTheOrderTheyBecameReady)
{
    push(1, Tier::normal);
    push(2, Tier::normal);
    push(1, Tier::normal);
    push(3, Tier::normal);
    EXPECT_EQ(serve(), (Order{1, 3, 2, 4}));
}

TEST_F(Lanes, AreLiftedAsAWholeByTheirMostImportantEvent)
{
    push(1, Tier::low);
    push(2, Tier::normal);
    push(1, Tier::high);
    EXPECT_EQ(serve(), (Order{1, 3, 2}));
}

TEST_F(Lanes, SinkBackOnceTheImportantEventIsTaken)
{
    push(1, Tier::high);
    push(1, Tier::low);
    push(2, Tier::normal);
    EXPECT_EQ(serve(), (Order{1, 3}));
    EXPECT_EQ(serve(), (Order{2}));
}

TEST_F(Lanes, AreInOneBatchAtATime)
{
    push(1, Tier::normal);
    push(2, Tier::normal);
    EXPECT_EQ(take(), (Order{1, 2}));
    push(1, Tier::critical);
    auto const first = batch_;
    EXPECT_EQ(take(), Order{});
    batch_ = first;
    finish_all();
    EXPECT_EQ(serve(), Order{3});
}

TEST_F(Lanes, GiveAtMostTheirShareOfABatch)
{
    for (int i = 0; i < 20; ++i) push(1, Tier::normal);
    EXPECT_EQ(serve().size(), 16u);
    EXPECT_EQ(serve().size(), 4u);
}

TEST_F(Lanes, WaitWhileTheirHeadIsRetriedAndRememberItsAttempts)
{
    push(1, Tier::normal);
    push(1, Tier::critical);
    take();
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now() + 2s, 1}, clock_.now());
    EXPECT_EQ(scheduler_.next_due(), clock_.now() + 2s);
    clock_.advance(1s);
    EXPECT_EQ(take(), Order{});

    clock_.advance(1s);
    EXPECT_EQ(take(), Order{1});
    EXPECT_EQ(batch_.runs[0].attempts, 1u);
    finish_all();
    EXPECT_EQ(take(), Order{2});
    EXPECT_EQ(batch_.runs[0].attempts, 0u);
    finish_all();
    EXPECT_EQ(scheduler_.next_due(), std::nullopt);
}

TEST_F(Lanes, ServeTheEventThatFailedAloneSoThatOthersDoNotFailItAgain)
{
    push(1, Tier::normal);
    push(1, Tier::normal);
    take();
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now(), 1}, clock_.now());
    EXPECT_EQ(take(), Order{1});
    finish_all();
    EXPECT_EQ(serve(), Order{2});
}

TEST_F(Lanes, RememberWhatMayBeInTheGraphAndServeItEventByEvent)
{
    for (int i = 0; i < 3; ++i) push(1, Tier::normal);
    take();
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now(), 0, Sequence{2}}, clock_.now());
    for (std::uint64_t sequence = 1; sequence <= 2; ++sequence) {
        EXPECT_EQ(take(), Order{sequence});
        EXPECT_EQ(batch_.runs[0].doubt, Sequence{2});
        finish_all();
    }
    push(1, Tier::normal);
    EXPECT_EQ(serve(), (Order{3, 4}));
}

TEST_F(Lanes, StandStillWhileTheirHeadWaitsForAVerdict)
{
    push(1, Tier::normal);
    push(1, Tier::normal);
    push(2, Tier::normal);
    EXPECT_EQ(take(), (Order{1, 2, 3}));
    auto const held = batch_.runs[0];
    scheduler_.finish(held, 0, {.kind = Kind::held}, clock_.now());
    scheduler_.finish(batch_.runs[1], 1, {}, clock_.now());
    EXPECT_EQ(take(), Order{});
    EXPECT_EQ(scheduler_.stats(clock_.now()).blocked, 1u);

    scheduler_.released(held.lane, clock_.now());
    EXPECT_EQ(serve(), Order{2});
    EXPECT_EQ(scheduler_.stats(clock_.now()).blocked, 0u);
}

TEST_F(Lanes, GiveBackTheirBlocks)
{
    push(1, Tier::normal);
    push(2, Tier::low);
    push(2, Tier::low);
    EXPECT_EQ(block_->refs, 4u);
    take();
    scheduler_.finish(batch_.runs[0], 1, {}, clock_.now());
    EXPECT_EQ(block_->refs, 3u);
    scheduler_.finish(batch_.runs[1], 1, {}, clock_.now());
    EXPECT_EQ(block_->refs, 2u);
}

TEST_F(Lanes, ReportWhatWaits)
{
    push(1, Tier::low);
    clock_.advance(2s);
    push(1, Tier::high);
    push(2, Tier::high);
    clock_.advance(1s);
    auto const stats = scheduler_.stats(clock_.now());
    EXPECT_EQ(stats.pending, (std::array<std::uint64_t, tier_count>{1, 0, 2, 0}));
    EXPECT_EQ(stats.oldest_age[index(Tier::low)], 3s);
    EXPECT_EQ(stats.oldest_age[index(Tier::high)], 1s);
    EXPECT_EQ(stats.oldest_wait, stats.oldest_age);
    EXPECT_EQ(stats.lanes, 2u);
    serve();
    EXPECT_EQ(scheduler_.stats(clock_.now()).lanes, 0u);
}

// However many important events there are, a full backlog of LOW lanes moves: after max_wait, one of eight turns.
TEST_F(Lanes, ThatAreOverdueGetOneOfEightTurnsOldestFirst)
{
    constexpr std::uint64_t backlog = 40;
    for (std::uint64_t i = 0; i < backlog; ++i) push(1'000 + i, Tier::low);
    clock_.advance(30s + 1ms);

    Order         low;
    std::uint64_t key = 0, dispatched = 0;
    while (low.size() < backlog) {
        while (scheduler_.stats(clock_.now()).pending[index(Tier::critical)] < 64) push(key++ % 64, Tier::critical);
        for (auto const sequence : serve()) {
            ++dispatched;
            if (sequence <= backlog) low.push_back(sequence);
        }
        ASSERT_LE(dispatched, 8 * (low.size() + 1) + 64);
    }
    EXPECT_TRUE(std::is_sorted(low.begin(), low.end()));
    EXPECT_LE(dispatched, 8 * backlog + 64);
    EXPECT_GE(dispatched, 8 * (backlog - 1));
}

// A lane whose events are spilled, and an account of their places.
class Backlog : public testing::Test {
protected:
    Backlog() { scheduler_.bind(admission_, breaker_); }

    void push(std::uint64_t key, Tier tier = Tier::normal)
    {
        Admission::Demand demand;
        demand.events[index(tier)] = 1;
        Admission::Ticket ticket;
        ASSERT_FALSE(admission_.admit(demand, ticket));
        ticket.hand_over(1);
        Pending const event{key, block_.get(), 0, tier, 0, Sequence{++sequence_}, {}};
        scheduler_.push({&event, 1}, clock_.now());
    }
    std::vector<std::uint64_t> take(std::size_t limit = 64)
    {
        scheduler_.take(clock_.now(), batch_, limit);
        std::vector<std::uint64_t> sequences;
        for (auto const& event : batch_.events) sequences.push_back(number(event.sequence));
        return sequences;
    }
    void finish_all()
    {
        for (auto const& run : batch_.runs) {
            for (std::uint32_t i = 0; i < run.count; ++i)
                if (batch_.events[run.first + i].block != nullptr) admission_.release(0, 1, 0);
            scheduler_.finish(run, run.count, {}, clock_.now());
        }
    }
    std::vector<std::uint64_t> serve()
    {
        auto const sequences = take();
        finish_all();
        return sequences;
    }
    void go_away()
    {
        while (breaker_.is_closed()) breaker_.failed(Breaker::Permit::all, {}, clock_.now(), random_);
    }
    void come_back()
    {
        while (breaker_.permit(clock_.now()) != Breaker::Permit::probe) clock_.advance(1s);
        breaker_.succeeded(Breaker::Permit::probe, clock_.now());
    }
    void spill_all()
    {
        while (scheduler_.spill()) {
        }
    }

    using Order = std::vector<std::uint64_t>;
    static constexpr auto lane_entries = LaneScheduler::lane_entries;

    sim::ManualClock clock_;
    Random           random_{1};
    BlockRef         block_ = test::make_block({{}});
    std::uint64_t    sequence_{0};
    Batch            batch_;
    Admission        admission_{{.events = 1'000, .backlog = 2'000}};
    Breaker          breaker_{"graph", {}};
    LaneScheduler    scheduler_{{}};
};

TEST_F(Backlog, TakesWhatArrivesWhileTheGraphIsAwayAndItsPlacesGoBack)
{
    go_away();
    for (std::uint64_t key = 1; key <= 3; ++key) push(key), push(key);
    EXPECT_EQ(admission_.use().events, 0u);
    EXPECT_EQ(admission_.use().backlog, 6 + 3 * lane_entries);
    EXPECT_EQ(block_->refs, 1u);
    EXPECT_EQ(scheduler_.stats(clock_.now()).backlog, 6u);
    EXPECT_TRUE(scheduler_.stats(clock_.now()).is_away);
    EXPECT_EQ(scheduler_.stats(clock_.now()).oldest_age[index(Tier::normal)], 0ns);
    EXPECT_EQ(scheduler_.stats(clock_.now()).oldest_wait[index(Tier::normal)], 0ns);

    come_back();
    EXPECT_EQ(serve(), (Order{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(admission_.use().backlog, 0u);
}

TEST_F(Backlog, TakesWhatWasResidentWhenTheGraphWentAway)
{
    for (int i = 0; i < 700; ++i) push(static_cast<std::uint64_t>(i % 7));
    EXPECT_EQ(admission_.use().events, 700u);
    go_away();
    EXPECT_TRUE(scheduler_.spill()) << "a slice is not all";
    EXPECT_GT(admission_.use().events, 0u);
    spill_all();
    EXPECT_EQ(admission_.use().events, 0u);
    EXPECT_EQ(admission_.use().backlog, 700 + 7 * lane_entries);
    EXPECT_EQ(block_->refs, 1u);

    push(3);
    come_back();
    std::map<std::uint64_t, std::uint64_t> last;
    std::size_t                            served = 0;
    while (take(), !batch_.events.empty()) {
        for (auto const& event : batch_.events) {
            EXPECT_EQ(event.block, nullptr);
            EXPECT_LT(std::exchange(last[event.lane_key], number(event.sequence)), number(event.sequence));
            ++served;
        }
        finish_all();
    }
    EXPECT_EQ(served, 701u);
    EXPECT_EQ(admission_.use().backlog, 0u);
}

TEST_F(Backlog, OfALaneIsServedBeforeWhatCameLaterAndThenTheLaneIsResidentAgain)
{
    go_away();
    push(1);
    come_back();
    push(1);
    EXPECT_EQ(scheduler_.stats(clock_.now()).backlog, 2u);
    EXPECT_EQ(serve(), (Order{1, 2}));
    push(1);
    EXPECT_EQ(scheduler_.stats(clock_.now()).backlog, 0u);
    EXPECT_EQ(admission_.use().events, 1u);
    EXPECT_EQ(serve(), Order{3});
}

TEST_F(Backlog, HoldsWhatWaitsBehindAFailedHeadSoThatAFewLanesCannotTakeEveryPlace)
{
    for (int i = 0; i < 10; ++i) push(1);
    push(2);
    take();
    scheduler_.finish(batch_.runs[0], 0, {.kind = Kind::held}, clock_.now());
    admission_.release(0, 1, 0);
    scheduler_.finish(batch_.runs[1], 1, {}, clock_.now());
    spill_all();
    EXPECT_EQ(admission_.use().events, 0u);
    push(1);
    EXPECT_EQ(admission_.use().backlog, 11 + lane_entries);
    EXPECT_FALSE(scheduler_.released(batch_.runs[0].lane, clock_.now())) << "it gave its place back already";
    EXPECT_EQ(serve(), (Order{2, 3, 4, 5, 6, 7, 8, 9, 10, 12}));
    EXPECT_EQ(admission_.use().backlog, 0u);
}

TEST_F(Backlog, KeepsTheAgeOfItsEvents)
{
    push(1);
    clock_.advance(2s);
    go_away();
    spill_all();
    clock_.advance(3s);
    EXPECT_EQ(scheduler_.stats(clock_.now()).oldest_age[index(Tier::normal)], 5s);
    EXPECT_EQ(scheduler_.stats(clock_.now()).oldest_wait[index(Tier::normal)], 0s);
    come_back();
    auto const age = clock_.now() - (Clock::Mono(std::chrono::hours(1)));
    EXPECT_EQ(scheduler_.stats(clock_.now()).oldest_wait[index(Tier::normal)], age);
    take();
    EXPECT_EQ(batch_.events.at(0).since, clock_.now() - age);
}

TEST_F(Backlog, IsReadInTheOrderOfTheLogAndTakesTurnsWithWhatIsResident)
{
    go_away();
    for (int round = 0; round < 3; ++round)
        for (std::uint64_t key = 1; key <= 3; ++key) push(key);
    come_back();
    for (std::uint64_t key = 11; key <= 13; ++key) push(key);
    EXPECT_EQ(serve(), (Order{1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12}));
}

TEST_F(Backlog, GivesOnlyNeighboursInTheLogToOneRun)
{
    go_away();
    push(1);
    push(1);
    sequence_ += 10'000;
    push(1);
    come_back();
    EXPECT_EQ(take(2), (Order{1, 2}));
    finish_all();
    EXPECT_EQ(take(), Order{10'003});
}

TEST_F(Backlog, IsAskedForOneEventWhenOnlyAProbeMayRun)
{
    for (int i = 0; i < 5; ++i) push(1);
    push(2);
    EXPECT_EQ(take(1), Order{1});
}

TEST_F(Backlog, IsBoundedAndThenEverythingIsRefused)
{
    go_away();
    Admission::Demand demand;
    demand.events[index(Tier::critical)] = 1;
    std::uint64_t pushed = 0;
    for (; pushed < 10'000; ++pushed) {
        Admission::Ticket ticket;
        if (admission_.admit(demand, ticket)) break;
        ticket.hand_over(1);
        Pending const event{pushed % 100, block_.get(), 0, Tier::critical, 0, Sequence{++sequence_}, {}};
        scheduler_.push({&event, 1}, clock_.now());
    }
    EXPECT_EQ(pushed + 100 * lane_entries, 3'000u);
    EXPECT_EQ(admission_.excess(Tier::critical), 1u);
    come_back();
    serve();
    Admission::Ticket ticket;
    EXPECT_FALSE(admission_.admit(demand, ticket));
}

TEST_F(Lanes, ArePausedUntilTheyAreResumed)
{
    for (int i = 0; i < 2; ++i) push(1, Tier::normal), push(2, Tier::low);
    EXPECT_EQ(take(), (Order{1, 3, 2, 4}));
    EXPECT_EQ(batch_.runs[1].tier, Tier::low);
    for (auto const& run : batch_.runs) scheduler_.finish(run, 1, {.kind = Kind::paused}, clock_.now());
    EXPECT_EQ(take(), Order{});
    auto const stats = scheduler_.stats(clock_.now());
    EXPECT_EQ(stats.states[static_cast<std::size_t>(LaneState::paused)].lanes, 2u);
    EXPECT_EQ(stats.states[static_cast<std::size_t>(LaneState::paused)].events, 2u);
    EXPECT_EQ(stats.blocked, 2u);
    push(2, Tier::low);
    EXPECT_EQ(take(), Order{});
    push(2, Tier::high);
    EXPECT_EQ(serve(), (Order{4, 5, 6})) << "a higher tier may not be paused";
    scheduler_.resume();
    EXPECT_EQ(serve(), Order{3});
    EXPECT_EQ(scheduler_.stats(clock_.now()).blocked, 0u);
}

TEST_F(Lanes, ThatWereTakenBeforeAPauseWasLiftedAreJudgedAgain)
{
    push(1, Tier::normal);
    take();
    scheduler_.resume();
    scheduler_.finish(batch_.runs[0], 0, {.kind = Kind::paused}, clock_.now());
    EXPECT_EQ(serve(), Order{1});
}

TEST_F(Lanes, ThatWereNotTriedComeBackWithTheirAttemptsAndTheirDoubt)
{
    push(1, Tier::normal);
    push(1, Tier::normal);
    take();
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now(), 2, Sequence{2}}, clock_.now());
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(take(), Order{1});
        EXPECT_EQ(batch_.runs[0].attempts, 2u);
        EXPECT_EQ(batch_.runs[0].doubt, Sequence{2});
        EXPECT_TRUE(batch_.runs[0].is_retry);
        scheduler_.finish(batch_.runs[0], 0, {}, clock_.now());
    }
}

TEST_F(Lanes, TellWhyTheyAreBlockedAndSinceWhen)
{
    push(1, Tier::normal);
    push(1, Tier::high);
    push(2, Tier::normal);
    take();
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now() + 2s, 1, {}, {Errc::transient, "busy", "a"}},
                      clock_.now());
    auto const began = clock_.now();
    clock_.advance(2s);
    auto const second = batch_.runs[1];
    EXPECT_EQ(take(), Order{1});
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now() + 4s, 2, {}, {Errc::transient, "busy", "b"}},
                      clock_.now());
    scheduler_.finish(second, 0, {.kind = Kind::held, .error = {Errc::invalid, "bad", "c"}}, clock_.now());

    auto const info = scheduler_.lane(1, clock_.now()).value();
    EXPECT_EQ(info.state, LaneState::retrying);
    EXPECT_EQ(info.head, Sequence{1});
    EXPECT_EQ(info.depth, (std::array<std::uint32_t, tier_count>{0, 1, 1, 0}));
    EXPECT_EQ(info.resident, 2u);
    EXPECT_EQ(info.blocked_since, began);
    EXPECT_EQ(info.next_retry, clock_.now() + 4s);
    EXPECT_EQ(info.attempts, 2u);
    ASSERT_EQ(info.errors.size(), 2u);
    EXPECT_EQ(info.errors[1].detail, "b");
    EXPECT_FALSE(scheduler_.lane(3, clock_.now()));

    auto const first = scheduler_.blocked(1, std::nullopt, {}, clock_.now());
    ASSERT_EQ(first.size(), 1u);
    EXPECT_EQ(first[0].lane_key, 1u);
    auto const rest = scheduler_.blocked(5, 1, *first[0].blocked_since, clock_.now());
    ASSERT_EQ(rest.size(), 1u);
    EXPECT_EQ(rest[0].lane_key, 2u);
    EXPECT_EQ(rest[0].errors.at(0).reason, "bad");
}

TEST_F(Lanes, ForgetTheirTroubleOnceTheirHeadIsSettled)
{
    push(1, Tier::normal);
    push(1, Tier::normal);
    take();
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now(), 1, {}, {Errc::transient, "busy", ""}},
                      clock_.now());
    serve();
    EXPECT_TRUE(scheduler_.blocked(9, std::nullopt, {}, clock_.now()).empty());
    EXPECT_TRUE(scheduler_.lane(1, clock_.now())->errors.empty());
    EXPECT_FALSE(scheduler_.lane(1, clock_.now())->blocked_since);
}

TEST_F(Lanes, WithWorkThatDoesNotMoveAreNamed)
{
    push(7, Tier::normal);
    push(8, Tier::low);
    take();
    scheduler_.finish(batch_.runs[1], 0, {}, clock_.now());
    clock_.advance(29s);
    EXPECT_TRUE(scheduler_.stats(clock_.now()).stuck.empty());
    clock_.advance(2s);
    auto const stuck = scheduler_.stats(clock_.now()).stuck;
    ASSERT_EQ(stuck.size(), 2u);
    EXPECT_EQ(stuck[0].lane_key, 7u);
    EXPECT_EQ(stuck[0].state, LaneState::running);
    EXPECT_EQ(stuck[1].lane_key, 8u);
    EXPECT_EQ(stuck[1].state, LaneState::ready);
}

TEST_F(Lanes, SayHowLongAHeadMayWaitAtTheRateItIsServedNow)
{
    for (int second = 0; second < 8; ++second) {
        for (int i = 0; i < 100; ++i) push(1'000u + static_cast<std::uint64_t>(i), Tier::normal);
        while (!serve().empty()) {
        }
        clock_.advance(1s);
    }
    for (std::uint64_t key = 1; key <= 200; ++key) push(key, Tier::low);
    auto const stats = scheduler_.stats(clock_.now());
    EXPECT_DOUBLE_EQ(stats.rate, 100.0);
    EXPECT_EQ(stats.wait_bound[index(Tier::low)], 30s + 16s);
    EXPECT_EQ(stats.wait_bound[index(Tier::high)], 1s + 16s);
    EXPECT_EQ(stats.lag[index(Tier::low)], 2s);
    EXPECT_EQ(stats.lag[index(Tier::normal)], 0s);
}

TEST_F(Lanes, MeasureTheTimeFromReadyToTaken)
{
    push(1, Tier::normal);
    clock_.advance(3ms);
    take();
    EXPECT_EQ(scheduler_.waits(Tier::normal).total(), 3ms);
    EXPECT_EQ(scheduler_.waits(Tier::normal).count(Delays::bucket(3ms)), 1u);
}

// What fails again and again next to a lot that works: in no ten seconds more than a tenth of that, the floor and what
// was saved.
TEST(Retries, StayWithinTheirBudgetInAnyTenSeconds)
{
    RetryBudgetOptions const budget{.percent = 10, .per_second = 5, .saved_max = 20};
    sim::ManualClock clock;
    Random           random(3);
    LaneScheduler    scheduler({.budget = budget});
    BlockRef const   block = test::make_block({{}});
    Batch            batch;
    std::uint64_t    sequence = 0;
    std::vector<std::uint64_t> retries(60), settled(60);  // by second
    constexpr std::uint64_t failing = 2'000;
    auto const push = [&](std::uint64_t key) {
        Pending const event{key, block.get(), 0, Tier::normal, 0, Sequence{++sequence}, {}};
        scheduler.push({&event, 1}, clock.now());
    };
    for (std::uint64_t key = 0; key < failing; ++key) push(key);
    for (std::size_t second = 0; second < 60; ++second) {
        for (int tenth = 0; tenth < 10; ++tenth) {
            auto const load = second < 30 ? 100u : 0u;
            for (auto n = 0u; n < load; ++n) push(failing + random.below(1'000));
            while (scheduler.take(clock.now(), batch, 64))
                for (auto const& run : batch.runs) {
                    bool const fails = batch.events[run.first].lane_key < failing;
                    retries[second] += run.is_retry;
                    if (!fails) settled[second] += run.count;
                    scheduler.finish(run, fails ? 0 : run.count,
                                     fails ? NextStep{NextStep::Kind::retry, clock.now() + 500ms, 0} : NextStep{},
                                     clock.now());
                }
            clock.advance(100ms);
        }
    }
    std::uint64_t most = 0;
    for (std::size_t from = 0; from + 10 <= 60; ++from) {
        std::uint64_t r = 0, s = 0;
        for (auto second = from; second < from + 10; ++second) r += retries[second], s += settled[second];
        EXPECT_LE(r, s / 10 + budget.per_second * 10 + budget.saved_max) << from;
        most = std::max(most, r);
    }
    EXPECT_GT(most, 900u) << "the budget is used";
    for (std::size_t second = 32; second < 60; ++second) EXPECT_GE(retries[second], 4u) << "the floor holds";
    EXPECT_GT(scheduler.stats(clock.now()).waiting_for_budget, 1'000u);
}

TEST(Retries, WithoutBudgetWaitInTheirOrderAndWakeWhenThereIsSome)
{
    sim::ManualClock clock;
    LaneScheduler    scheduler({.budget = {.percent = 50, .per_second = 0, .saved_max = 1}});
    BlockRef const   block = test::make_block({{}});
    Batch            batch;
    for (std::uint64_t n = 1; n <= 4; ++n) {
        Pending const event{n, block.get(), 0, Tier::normal, 0, Sequence{n}, {}};
        scheduler.push({&event, 1}, clock.now());
    }
    ASSERT_TRUE(scheduler.take(clock.now(), batch, 64));
    auto const runs = batch.runs;
    for (std::size_t i = 0; i < 3; ++i)
        scheduler.finish(runs[i], 0, {Kind::retry, clock.now() + 10ms, 1}, clock.now());
    clock.advance(10ms);
    ASSERT_TRUE(scheduler.take(clock.now(), batch, 64));
    ASSERT_EQ(batch.events.size(), 1u);
    EXPECT_EQ(batch.events[0].sequence, Sequence{1});
    EXPECT_EQ(scheduler.next_due(), Clock::Mono::max());
    scheduler.finish(batch.runs[0], 1, {}, clock.now());
    EXPECT_FALSE(scheduler.take(clock.now(), batch, 64)) << "a retry that settles earns nothing";
    Pending const more[] = {{8, block.get(), 0, Tier::normal, 0, Sequence{8}, {}},
                            {9, block.get(), 0, Tier::normal, 0, Sequence{9}, {}}};
    scheduler.finish(runs[3], 1, {}, clock.now());
    scheduler.push(more, clock.now());
    ASSERT_TRUE(scheduler.take(clock.now(), batch, 1));
    scheduler.finish(batch.runs[0], 1, {}, clock.now());
    ASSERT_TRUE(scheduler.take(clock.now(), batch, 64));
    ASSERT_EQ(batch.events.size(), 2u);
    EXPECT_EQ(batch.events[1].sequence, Sequence{2}) << "two that settled at once pay for one retry";
}

// Random pushes, batches, failures, verdicts, pauses and outages, judged by a slow model of every promise.
void run_against_model(std::uint64_t seed)
{
    SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
    Random           random(seed);
    SchedulerOptions options;
    options.batch_max = 1 + random.below(32);
    options.lane_batch_max = 1 + random.below(8);
    options.aged_share = static_cast<std::uint32_t>(2 + random.below(8));
    options.slice_max = 1 + random.below(8);
    options.read_span = static_cast<std::uint32_t>(1 + random.below(60));
    options.budget = {.percent = static_cast<std::uint32_t>(random.below(50)),
                      .per_second = static_cast<std::uint32_t>(50 + random.below(500)),
                      .saved_max = static_cast<std::uint32_t>(1 + random.below(5))};
    auto const wait = [&](std::uint64_t most) { return std::chrono::milliseconds(1 + random.below(most)); };
    options.max_wait = {wait(60), wait(30), wait(15), std::chrono::milliseconds::max()};
    bool const       has_backlog = random.chance(0.7);
    sim::LaneModel   model(options);
    LaneScheduler    scheduler(options);
    Admission        admission({.events = 100'000, .bytes = 1, .backlog = 100'000});
    Breaker          breaker("graph", {.failures_in_row = 1, .first_probe = 1ms});
    sim::ManualClock clock;
    BlockRef const   block = test::make_block({{}});
    auto const       lanes = 1 + random.below(24);
    std::uint64_t    sequence = 0, settled = 0;
    struct Open {
        Run  run;
        bool is_resident;
    };
    std::vector<Open>   open;
    std::vector<LaneId> held;
    if (has_backlog) scheduler.bind(admission, breaker);

    auto const settle = [&](std::uint32_t count, bool is_resident) {
        settled += count;
        if (is_resident && has_backlog) admission.release(0, count, 0);
    };
    auto const push = [&] {
        std::vector<Pending> events;
        for (auto n = 1 + random.below(6); n > 0; --n)
            events.push_back({random.below(lanes), block.get(), 0, static_cast<Tier>(random.below(tier_count)),
                              0, Sequence{sequence += 1 + random.below(3) / 2 * random.below(30)}, {}});
        Admission::Demand demand;
        demand.events[index(Tier::critical)] = static_cast<std::uint32_t>(events.size());
        Admission::Ticket ticket;
        if (has_backlog) {
            ASSERT_FALSE(admission.admit(demand, ticket));
            ticket.hand_over(static_cast<std::uint32_t>(events.size()));
        }
        scheduler.push(events, clock.now());
        model.pushed(events, clock.now());
    };
    std::uint64_t pushed = 0;
    auto const    take = [&] {
        Batch      batch;
        auto const limit = random.chance(0.2) ? 1 + random.below(4) : ~std::size_t{0};
        auto const is_any = scheduler.take(clock.now(), batch, limit);
        model.taken(batch, is_any, clock.now(), limit);
        for (auto const& run : batch.runs) open.push_back({run, batch.events[run.first].block != nullptr});
    };
    auto const finish = [&](bool is_draining) {
        if (open.empty()) return;
        auto const at = open.begin() + static_cast<std::ptrdiff_t>(random.below(open.size()));
        auto const [run, is_resident] = *at;
        open.erase(at);
        auto     done = static_cast<std::uint32_t>(is_draining ? run.count : random.below(run.count + 1));
        NextStep next;
        if (done < run.count && random.chance(0.3)) {
            next = {.kind = Kind::held};
            held.push_back(run.lane);
        } else if (done < run.count && random.chance(0.2)) {
            next = {.kind = Kind::paused};
        } else if (done < run.count && random.chance(0.8)) {
            next = {Kind::retry, clock.now() + std::chrono::milliseconds(random.below(20)), run.attempts + 1};
        }
        settle(done, is_resident);
        scheduler.finish(run, done, next, clock.now());
        model.finished(run, done, next);
    };
    auto const release = [&] {
        if (held.empty()) return;
        auto const at = held.begin() + static_cast<std::ptrdiff_t>(random.below(held.size()));
        auto const lane = *at;
        held.erase(at);
        settle(1, scheduler.released(lane, clock.now()));
        model.released(lane);
    };
    auto const resume = [&] {
        scheduler.resume();
        model.resumed();
    };
    auto const toggle = [&] {
        if (breaker.is_closed()) return breaker.failed(Breaker::Permit::all, {}, clock.now(), random);
        if (breaker.permit(clock.now()) == Breaker::Permit::probe)
            breaker.succeeded(Breaker::Permit::probe, clock.now());
    };
    auto const judge = [&] {
        ASSERT_EQ(model.violation(), "");
        auto const stats = scheduler.stats(clock.now());
        auto const pending = stats.pending[0] + stats.pending[1] + stats.pending[2] + stats.pending[3];
        ASSERT_EQ(pending, pushed - settled);
        std::uint64_t by_state = 0, lanes_by_state = 0;
        for (auto const& state : stats.states) by_state += state.events, lanes_by_state += state.lanes;
        ASSERT_EQ(by_state, pending);
        ASSERT_EQ(lanes_by_state, stats.lanes);
        ASSERT_EQ(block->refs, 1 + pending - stats.backlog) << "a resident event holds its block, and no other does";
        if (!has_backlog) return;
        ASSERT_EQ(admission.use().events, pending - stats.backlog);
        ASSERT_EQ(admission.use().backlog, stats.backlog + stats.backlog_lanes * LaneScheduler::lane_entries);
    };

    for (int i = 0; i < 500; ++i) {
        switch (random.below(9)) {
        case 0:
        case 1: {
            auto const before = scheduler.stats(clock.now()).pending;
            push();
            auto const after = scheduler.stats(clock.now()).pending;
            for (std::size_t t = 0; t < tier_count; ++t) pushed += after[t] - before[t];
            break;
        }
        case 2:
        case 3: take(); break;
        case 4:
        case 5: finish(false); break;
        case 6: release(); break;
        case 7:
            switch (random.below(4)) {
            case 0: resume(); break;
            case 1: toggle(); break;
            default: scheduler.spill();
            }
            break;
        default: clock.advance(std::chrono::milliseconds(random.below(10)));
        }
        ASSERT_NO_FATAL_FAILURE(judge());
    }
    while (!breaker.is_closed()) {
        clock.advance(1ms);
        toggle();
    }
    for (int i = 0; settled < pushed; ++i) {
        ASSERT_LT(i, 20'000) << "does not drain";
        clock.advance(1ms);
        resume();
        take();
        while (!open.empty()) finish(true);
        release();
        ASSERT_NO_FATAL_FAILURE(judge());
    }
    EXPECT_EQ(scheduler.stats(clock.now()).lanes, 0u);
    EXPECT_EQ(scheduler.stats(clock.now()).blocked, 0u);
    EXPECT_EQ(block->refs, 1u);
    EXPECT_TRUE(scheduler.blocked(9, std::nullopt, {}, clock.now()).empty());
}

TEST(LaneScheduler, AHigherTierThatComesWhileALaneIsInHandIsNotPausedWithIt)
{
    sim::ManualClock clock;
    LaneScheduler    scheduler{SchedulerOptions{}};
    auto const       block = test::make_block({{}, {}});
    auto const       push = [&](Tier tier, std::uint64_t sequence) {
        Pending const event{1, block.get(), 0, tier, 0, Sequence{sequence}, {}};
        scheduler.push({&event, 1}, clock.now());
    };
    push(Tier::normal, 1);
    Batch batch;
    ASSERT_TRUE(scheduler.take(clock.now(), batch, 64));
    push(Tier::critical, 2);
    auto const run = batch.runs[0];
    scheduler.finish(run, 0, {.kind = NextStep::Kind::paused}, clock.now());
    EXPECT_TRUE(scheduler.take(clock.now(), batch, 64));
}

TEST(LaneScheduler, KeepsItsPromisesWhateverHappens)
{
    for (std::uint64_t seed = 1; seed <= 300 && !testing::Test::HasFailure(); ++seed) run_against_model(seed);
}

}  // namespace
}  // namespace sluice::engine
