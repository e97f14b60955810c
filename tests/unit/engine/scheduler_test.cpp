#include "engine/scheduler.hpp"

#include "base/random.hpp"
#include "sim/lane_model.hpp"
#include "sim/manual_clock.hpp"
#include "unit/engine/support.hpp"

#include <gtest/gtest.h>

#include <map>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;
using Kind = NextStep::Kind;

class Lanes : public testing::Test {
protected:
    void push(std::uint64_t key, Tier tier)
    {
        Pending const event{key, block_.get(), 0, tier, Sequence{++sequence_}, {}};
        scheduler_.push({&event, 1}, clock_.now());
    }
    // Sequences of one micro-batch, whose runs stay open.
    std::vector<std::uint64_t> take()
    {
        scheduler_.take(clock_.now(), batch_);
        std::vector<std::uint64_t> sequences;
        for (auto const& event : batch_.events) sequences.push_back(number(event.sequence));
        return sequences;
    }
    void finish_all()
    {
        for (auto const& run : batch_.runs) scheduler_.finish(run, run.count, {});
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
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now() + 2s, 1});
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
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now(), 1});
    EXPECT_EQ(take(), Order{1});
    finish_all();
    EXPECT_EQ(serve(), Order{2});
}

TEST_F(Lanes, RememberWhatMayBeInTheGraphAndServeItEventByEvent)
{
    for (int i = 0; i < 3; ++i) push(1, Tier::normal);
    take();
    scheduler_.finish(batch_.runs[0], 0, {Kind::retry, clock_.now(), 0, Sequence{2}});
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
    scheduler_.finish(held, 0, {.kind = Kind::held});
    scheduler_.finish(batch_.runs[1], 1, {});
    EXPECT_EQ(take(), Order{});
    EXPECT_EQ(scheduler_.stats(clock_.now()).blocked, 1u);

    scheduler_.released(held.lane);
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
    scheduler_.finish(batch_.runs[0], 1, {});
    EXPECT_EQ(block_->refs, 3u);
    scheduler_.finish(batch_.runs[1], 1, {});
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

// Random pushes, batches, failures and verdicts, judged by a slow model of every promise.
void run_against_model(std::uint64_t seed)
{
    SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
    Random           random(seed);
    SchedulerOptions options;
    options.batch_max = 1 + random.below(32);
    options.lane_batch_max = 1 + random.below(8);
    options.aged_share = static_cast<std::uint32_t>(2 + random.below(8));
    auto const wait = [&](std::uint64_t most) { return std::chrono::milliseconds(1 + random.below(most)); };
    options.max_wait = {wait(60), wait(30), wait(15), std::chrono::milliseconds::max()};
    sim::LaneModel   model(options);
    LaneScheduler    scheduler(options);
    sim::ManualClock clock;
    BlockRef const   block = test::make_block({{}});
    auto const       lanes = 1 + random.below(24);
    std::uint64_t    sequence = 0, settled = 0;
    std::vector<Run>    open;
    std::vector<LaneId> held;

    auto const push = [&] {
        std::vector<Pending> events;
        for (auto n = 1 + random.below(6); n > 0; --n)
            events.push_back({random.below(lanes), block.get(), 0, static_cast<Tier>(random.below(tier_count)),
                              Sequence{++sequence}, {}});
        scheduler.push(events, clock.now());
        model.pushed(events, clock.now());
    };
    auto const take = [&] {
        Batch      batch;
        auto const is_any = scheduler.take(clock.now(), batch);
        model.taken(batch, is_any, clock.now());
        open.insert(open.end(), batch.runs.begin(), batch.runs.end());
    };
    auto const finish = [&](bool is_draining) {
        if (open.empty()) return;
        auto const at = open.begin() + static_cast<std::ptrdiff_t>(random.below(open.size()));
        auto const run = *at;
        open.erase(at);
        auto     done = static_cast<std::uint32_t>(is_draining ? run.count : random.below(run.count + 1));
        NextStep next;
        if (done < run.count && random.chance(0.4)) {
            next = {.kind = Kind::held};
            held.push_back(run.lane);
        } else if (done < run.count) {
            next = {Kind::retry, clock.now() + std::chrono::milliseconds(random.below(20)), run.attempts + 1};
        }
        scheduler.finish(run, done, next);
        model.finished(run, done, next);
        settled += done;
    };
    auto const release = [&] {
        if (held.empty()) return;
        auto const at = held.begin() + static_cast<std::ptrdiff_t>(random.below(held.size()));
        auto const lane = *at;
        held.erase(at);
        scheduler.released(lane);
        model.released(lane);
        ++settled;
    };

    for (int i = 0; i < 500; ++i) {
        switch (random.below(8)) {
        case 0:
        case 1: push(); break;
        case 2:
        case 3: take(); break;
        case 4:
        case 5: finish(false); break;
        case 6: release(); break;
        default: clock.advance(std::chrono::milliseconds(random.below(10)));
        }
        ASSERT_EQ(model.violation(), "");
        auto const stats = scheduler.stats(clock.now());
        ASSERT_EQ(stats.pending[0] + stats.pending[1] + stats.pending[2] + stats.pending[3], sequence - settled);
    }
    for (int i = 0; settled < sequence; ++i) {
        ASSERT_LT(i, 20'000) << "does not drain";
        clock.advance(1ms);
        take();
        while (!open.empty()) finish(true);
        release();
        ASSERT_EQ(model.violation(), "");
    }
    EXPECT_EQ(scheduler.stats(clock.now()).lanes, 0u);
    EXPECT_EQ(scheduler.stats(clock.now()).blocked, 0u);
    EXPECT_EQ(block->refs, 1u);
}

TEST(LaneScheduler, KeepsItsPromisesWhateverHappens)
{
    for (std::uint64_t seed = 1; seed <= 300 && !testing::Test::HasFailure(); ++seed) run_against_model(seed);
}

}  // namespace
}  // namespace sluice::engine
