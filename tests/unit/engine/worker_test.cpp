#include "engine/engine.hpp"

#include "contract/forwarding_graph.hpp"
#include "graph/resident_store.hpp"
#include "log/memory_log.hpp"
#include "sim/forwarding.hpp"
#include "sim/manual_clock.hpp"
#include "unit/engine/support.hpp"

#include <gtest/gtest.h>

#include <deque>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;

constexpr EventType types[] = {{.name = "test.fine"}, {.name = "test.invalid"}};

Result<Effects> process(Event const& event, RecordView const&)
{
    if (event.type == "test.invalid") return Error{Errc::invalid, "not_today", ""};
    return Effects{};
}

constexpr Processor processor{.name = "test", .version = 0, .events = types, .fields = {}, .process = process};
constexpr Processor const* processors[] = {&processor};

// Answers with the errors it was given, then as the store behind it.
class ScriptedGraph final : public sluice::test::ForwardingGraph {
public:
    using ForwardingGraph::ForwardingGraph;

    graph::ApplyResult apply(std::span<Event const> events, graph::Decide const& decide) override
    {
        calls.emplace_back();
        for (auto const& event : events) calls.back().push_back(number(event.sequence));
        clock_advance(events.size());
        if (errors.empty()) return inner_.apply(events, decide);
        auto const error = errors.front();
        errors.pop_front();
        return {.outcomes = {}, .error = Error{error, "scripted", ""}, .from_store = true};
    }

    std::deque<Errc>                        errors;
    std::vector<std::vector<std::uint64_t>> calls;  // sequences of each
    std::function<void(std::size_t)>        clock_advance = [](std::size_t) {};  // by so many events
};

class Working : public testing::Test {
protected:
    void store(std::vector<std::string> const& event_types, std::string const& did = test::Draft{}.did)
    {
        std::vector<test::Draft> drafts;
        Admission::Demand        demand;
        for (auto const& type : event_types) drafts.push_back({.did = did, .type = type});
        demand.events[index(Tier::normal)] = static_cast<std::uint32_t>(drafts.size());
        auto block = test::make_block(drafts);
        ASSERT_FALSE(engine_.admission().admit(demand, block->requests[0].ticket));
        engine_.submit(std::move(block));
        engine_.append_step();
    }
    void work() { ASSERT_TRUE(engine_.work_step(0)); }
    void wait_and_work()
    {
        clock_.advance(10s);
        work();
    }

    using Calls = std::vector<std::vector<std::uint64_t>>;

    struct TypeGate final : Gate {
        bool any() const noexcept override { return !type.empty(); }
        bool pauses(Tier, Event const& event) const override { return event.type == type; }
        std::string type;
    };

    TypeGate                   gate_;
    sim::ManualClock           clock_;
    log::MemoryLog::Disk       disk_;
    log::MemoryLog             log_{disk_};
    graph::ResidentStore       store_;
    ScriptedGraph              graph_{store_};
    schema::SchemaSet          schemas_{processors};
    std::vector<log::Decision> decided_;
    Engine                     engine_{{log_, graph_, schemas_, clock_, nullptr, &gate_},
                   {},
                   [](std::vector<BlockRef> const&) {},
                   [this](log::Decision const& decision) { decided_.push_back(decision); }};
};

TEST_F(Working, SettlesWhatItApplies)
{
    store({"test.fine", "test.fine"});
    work();
    EXPECT_EQ(engine_.state().applied, 2u);
    EXPECT_EQ(engine_.state().watermark, Sequence{2});
    EXPECT_EQ(engine_.admission().use().events, 0u);
    EXPECT_TRUE(engine_.idle());
}

TEST_F(Working, TakesNoMoreAtOnceThanFitAMillisecond)
{
    graph_.clock_advance = [this](std::size_t events) { clock_.advance(1ms * static_cast<int>(events)); };
    for (int i = 0; i < 100; ++i) store({"test.fine"}, "did:plc:" + std::to_string(i));
    work();
    auto const first = engine_.state().applied;
    EXPECT_GT(first, 1u);
    work();
    EXPECT_EQ(engine_.state().applied, first + 1) << "each event takes a millisecond";

    graph_.clock_advance = [](std::size_t) {};
    for (int i = 0; i < 20; ++i) work();
    EXPECT_TRUE(engine_.idle()) << "once they are fast it takes many again";
}

TEST_F(Working, HoldsALaneUntilTheVerdictOnItsHeadIsDurable)
{
    store({"test.fine", "test.invalid", "test.fine"});
    work();
    work();
    EXPECT_EQ(engine_.state().applied, 1u);
    EXPECT_EQ(engine_.state().watermark, Sequence{1});
    EXPECT_FALSE(engine_.idle());

    EXPECT_TRUE(engine_.append_step());
    ASSERT_EQ(decided_.size(), 1u);
    EXPECT_EQ(decided_[0].sequence, Sequence{2});
    EXPECT_EQ(decided_[0].reason, "not_today");
    EXPECT_EQ(disk_.decisions.size(), 1u);
    work();
    EXPECT_EQ(engine_.state().watermark, Sequence{3});
    EXPECT_EQ(engine_.state().dead_lettered, 1u);
    EXPECT_EQ(engine_.admission().use().events, 0u);
    EXPECT_TRUE(engine_.idle());
}

TEST_F(Working, GivesEveryPlaceBackToTheProducerThatHeldIt)
{
    EngineOptions options;
    options.admission.shares = {75, 75, 75};
    Engine engine({log_, graph_, schemas_, clock_}, options, [](std::vector<BlockRef> const&) {});
    for (auto const producer : {Producer{2}, Producer{1}, Producer{1}}) {
        auto block = test::make_block({{.type = "test.fine"}, {.type = "test.invalid"}, {.type = "test.fine"}});
        Admission::Demand demand{.events = {}, .bytes = 0, .producer = producer};
        demand.events[index(Tier::normal)] = 3;
        for (auto& item : block->items) item.producer = producer;
        ASSERT_FALSE(engine.admission().admit(demand, block->requests[0].ticket));
        engine.submit(std::move(block));
        engine.append_step();
    }
    EXPECT_EQ(engine.admission().held(0).events, 0u);
    EXPECT_EQ(engine.admission().held(1).events, 6u);
    EXPECT_EQ(engine.admission().held(2).events, 3u);

    // Up to the first verdict, which is about an event of producer 2.
    ASSERT_TRUE(engine.work_step(0));
    EXPECT_EQ(engine.admission().held(2).events, 2u);
    engine.append_step();
    EXPECT_EQ(engine.admission().held(2).events, 1u);
    EXPECT_EQ(engine.admission().held(1).events, 6u);

    for (int i = 0; i < 20 && !engine.idle(); ++i) {
        ASSERT_TRUE(engine.work_step(0));
        engine.append_step();
    }
    EXPECT_EQ(engine.state().dead_lettered, 3u);
    for (Producer producer = 0; producer < 3; ++producer) EXPECT_EQ(engine.admission().held(producer).events, 0u);
    EXPECT_EQ(engine.admission().held(1).released, 6u);
    EXPECT_EQ(engine.admission().held(2).released, 3u);
}

TEST_F(Working, MeasuresHowLongEventsWereOnTheirWayFromDurableToApplied)
{
    store({"test.fine", "test.fine"});
    clock_.advance(3ms);
    store({"test.fine"});
    clock_.advance(200us);
    work();

    auto const& delays = engine_.counters().delays[index(Tier::normal)];
    EXPECT_EQ(delays.count(Delays::bucket(3200us)), 2u);
    EXPECT_EQ(delays.count(Delays::bucket(200us)), 1u);
    EXPECT_EQ(delays.total(), 2 * 3200us + 200us);
    EXPECT_EQ(engine_.counters().delays[index(Tier::high)].total(), 0us);
}

TEST_F(Working, MeasuresNothingThatWasNotApplied)
{
    store({"test.invalid"});
    work();
    engine_.append_step();
    for (std::size_t i = 0; i < Delays::bucket_count; ++i)
        EXPECT_EQ(engine_.counters().delays[index(Tier::normal)].count(i), 0u);
}

TEST(DelaysTest, EveryDelayIsInTheBucketThatHoldsIt)
{
    for (std::int64_t ns = 0; ns < 40'000'000'000; ns = ns * 9 / 8 + 1) {
        std::chrono::nanoseconds const delay(ns);
        auto const                     bucket = Delays::bucket(delay);
        ASSERT_LT(bucket, Delays::bucket_count);
        auto const lower = bucket == 0 ? 0ns : Delays::upper(bucket - 1);
        EXPECT_GE(delay, lower);
        if (bucket + 1 == Delays::bucket_count) continue;
        EXPECT_LT(delay, Delays::upper(bucket));
        EXPECT_LE(Delays::upper(bucket) - lower, std::max(Delays::unit, Delays::upper(bucket) / 4)) << ns;
    }
    EXPECT_EQ(Delays::bucket(-1ns), 0u);
}

// Every repository falls into one lane.
class CollidingKeys final : public sim::ForwardingScheduler {
public:
    CollidingKeys() : ForwardingScheduler(std::make_unique<LaneScheduler>(SchedulerOptions{})) {}
    void push(std::span<Pending const> events, Clock::Mono now) override
    {
        std::vector<Pending> same(events.begin(), events.end());
        for (auto& event : same) event.lane_key = 1;
        inner_->push(same, now);
    }
};

TEST_F(Working, AppliesRepositoriesWhoseLaneKeysCollideOneByOne)
{
    Engine engine({log_, graph_, schemas_, clock_}, {}, [](std::vector<BlockRef> const&) {}, {},
                  {.scheduler = std::make_unique<CollidingKeys>(), .watermark = nullptr, .dedupe = nullptr});
    Admission::Demand demand;
    demand.events[index(Tier::normal)] = 3;
    auto block = test::make_block({{.did = "did:plc:a", .type = "test.fine"},
                                   {.did = "did:plc:a", .type = "test.fine"},
                                   {.did = "did:plc:b", .type = "test.fine"}});
    ASSERT_FALSE(engine.admission().admit(demand, block->requests[0].ticket));
    engine.submit(std::move(block));
    engine.append_step();

    ASSERT_TRUE(engine.work_step(0));
    EXPECT_EQ(graph_.calls, (Calls{{1, 2}, {3}}));
    EXPECT_EQ(engine.state().applied, 3u);
    EXPECT_EQ(engine.state().watermark, Sequence{3});
}

TEST_F(Working, TriesAConflictAgainAtOnce)
{
    store({"test.fine"});
    graph_.errors = {Errc::conflict, Errc::conflict, Errc::conflict};
    work();
    EXPECT_EQ(graph_.calls.size(), 4u);
    EXPECT_EQ(engine_.state().applied, 1u);
    EXPECT_EQ(get(engine_.counters().retries), 0u);
}

TEST_F(Working, GivesUpAnEventThatKeepsFailingAndOnlyThatOne)
{
    store({"test.fine", "test.fine"});
    graph_.errors = {Errc::transient, Errc::transient, Errc::transient, Errc::transient};
    work();
    for (int i = 0; i < 3; ++i) wait_and_work();
    EXPECT_EQ(graph_.calls, (Calls{{1, 2}, {1}, {1}, {1}}));
    engine_.append_step();
    ASSERT_EQ(decided_.size(), 1u);
    EXPECT_EQ(decided_[0].sequence, Sequence{1});
    EXPECT_EQ(decided_[0].attempts, 4u);
    work();
    EXPECT_EQ(engine_.state().applied, 1u);
    EXPECT_TRUE(engine_.idle());
}

TEST_F(Working, NeverGivesUpBecauseOfAnOutage)
{
    store({"test.fine"});
    for (int i = 0; i < 50; ++i) graph_.errors.push_back(Errc::unavailable);
    work();
    for (int i = 0; i < 200; ++i) wait_and_work();
    EXPECT_EQ(graph_.calls.size(), 51u);
    EXPECT_EQ(engine_.state().applied, 1u);
    EXPECT_EQ(engine_.state().dead_lettered, 0u);
}

// After an outage in the middle of a batch nobody knows what of it is in the graph.
TEST_F(Working, NeverGivesUpAnEventThatMayBeInTheGraph)
{
    store({"test.fine", "test.fine"});
    graph_.errors = {Errc::unavailable};
    work();
    wait_and_work();
    for (int i = 0; i < 20; ++i) graph_.errors.push_back(Errc::transient);
    for (int i = 0; i < 21; ++i) wait_and_work();
    EXPECT_EQ(engine_.state().applied, 2u);
    EXPECT_EQ(engine_.state().dead_lettered, 0u);
}

TEST_F(Working, AsksAGraphThatIsAwayAHandfulOfTimesAndThenWithOneEvent)
{
    for (int lane = 0; lane < 12; ++lane) store({"test.fine", "test.fine"}, "did:plc:" + std::to_string(lane));
    for (int i = 0; i < 7; ++i) graph_.errors.push_back(Errc::unavailable);
    work();
    EXPECT_EQ(graph_.calls.size(), 5u) << "the rest of the batch is not tried";
    EXPECT_FALSE(engine_.graph_answers());
    work();
    EXPECT_EQ(graph_.calls.size(), 5u);
    EXPECT_EQ(engine_.admission().use().events, 0u) << "places go back";
    EXPECT_EQ(engine_.graph_breaker().last_error->reason, "scripted");

    for (int probe = 0; probe < 3; ++probe) {
        clock_.advance(*engine_.next_due() - clock_.now() - 1ns);
        EXPECT_FALSE(engine_.work_step(0).value()) << "not before its time";
        clock_.advance(1ns);
        work();
        EXPECT_EQ(graph_.calls.size(), 6u + static_cast<std::size_t>(probe));
        EXPECT_EQ(graph_.calls.back().size(), 1u);
    }
    EXPECT_TRUE(engine_.graph_answers());
    for (int i = 0; i < 20; ++i) wait_and_work();
    EXPECT_EQ(engine_.state().applied, 24u);
    EXPECT_EQ(engine_.state().dead_lettered, 0u);
    EXPECT_TRUE(engine_.idle());
}

TEST_F(Working, LeavesWhatItDidNotTryAsItWas)
{
    store({"test.fine"}, "did:plc:a");
    graph_.errors = {Errc::transient};
    work();
    for (int lane = 0; lane < 5; ++lane) store({"test.fine"}, "did:plc:" + std::to_string(lane));
    for (int i = 0; i < 5; ++i) graph_.errors.push_back(Errc::unavailable);
    work();
    ASSERT_FALSE(engine_.graph_answers());
    EXPECT_EQ(engine_.lane(log::lane_key(0, "did:plc:a"))->attempts, 1u);
    for (int i = 0; i < 5; ++i) graph_.errors.push_back(Errc::unavailable);
    for (int i = 0; i < 20; ++i) wait_and_work();
    EXPECT_EQ(engine_.state().applied, 6u);
    EXPECT_EQ(engine_.state().dead_lettered, 0u);
}

TEST_F(Working, DoesNotProbeWithAnEventThatNeverAsksTheGraph)
{
    store({"test.fine"}, "did:plc:a");
    for (int i = 0; i < 5; ++i) graph_.errors.push_back(Errc::unavailable);
    while (engine_.graph_answers()) {
        clock_.advance(1s);
        work();
    }
    gate_.type = "test.fine";
    wait_and_work();
    EXPECT_EQ(graph_.calls.size(), 5u);
    EXPECT_EQ(engine_.graph_breaker().probes, 0u);
    gate_.type.clear();
    engine_.resume_lanes();
    for (int i = 0; i < 3; ++i) wait_and_work();
    EXPECT_TRUE(engine_.graph_answers());
    EXPECT_EQ(engine_.state().applied, 1u);
}

TEST_F(Working, SetsALaneAsideAtAnEventThatIsPaused)
{
    gate_.type = "test.invalid";
    store({"test.fine", "test.invalid", "test.fine"});
    work();
    work();
    EXPECT_EQ(graph_.calls, Calls{{1}});
    EXPECT_EQ(engine_.lanes().blocked, 1u);
    EXPECT_EQ(engine_.blocked_lanes(9, std::nullopt, {}).at(0).head, Sequence{2});
    gate_.type.clear();
    engine_.resume_lanes();
    work();
    engine_.append_step();
    work();
    EXPECT_EQ(engine_.state().applied, 2u);
    EXPECT_EQ(engine_.state().dead_lettered, 1u);
    EXPECT_TRUE(engine_.idle());
}

// Reads the log of everybody else, until it does not.
class Unreadable final : public sim::ForwardingLog {
public:
    using ForwardingLog::ForwardingLog;
    Result<std::shared_ptr<log::StoredBlock const>> read(Sequence sequence) const override
    {
        ++reads;
        if (error) return Error{*error, "scripted", ""};
        return inner_.read(sequence);
    }
    std::optional<Errc>   error;
    mutable std::uint64_t reads{0};
};

TEST_F(Working, WaitsForALogThatDoesNotGiveAnEventBack)
{
    Unreadable log(log_);
    Engine     engine({log, graph_, schemas_, clock_}, {}, [](std::vector<BlockRef> const&) {});
    auto const store = [&](std::size_t events) {
        Admission::Demand demand;
        demand.events[index(Tier::normal)] = static_cast<std::uint32_t>(events);
        auto block = test::make_block(std::vector<test::Draft>(events, {.type = "test.fine"}));
        ASSERT_FALSE(engine.admission().admit(demand, block->requests[0].ticket));
        engine.submit(std::move(block));
        engine.append_step();
    };
    for (int i = 0; i < 5; ++i) graph_.errors.push_back(Errc::unavailable);
    store(1);
    while (engine.graph_answers()) {
        clock_.advance(1s);
        ASSERT_TRUE(engine.work_step(0));
    }
    store(20);
    EXPECT_EQ(engine.lanes().backlog, 21u);
    log.error = Errc::transient;
    for (int i = 0; i < 20; ++i) {
        clock_.advance(10s);
        ASSERT_TRUE(engine.work_step(0));
    }
    EXPECT_EQ(engine.state().applied, 1u) << "whose block was at hand";
    EXPECT_EQ(engine.state().dead_lettered, 0u);
    log.error.reset();
    log.reads = 0;
    for (int i = 0; i < 20; ++i) {
        clock_.advance(10s);
        ASSERT_TRUE(engine.work_step(0));
    }
    EXPECT_EQ(engine.state().applied, 21u);
    EXPECT_LE(log.reads, 2u) << "neighbours are read once";
    EXPECT_TRUE(engine.idle());
}

TEST_F(Working, StopsOnCorruption)
{
    store({"test.fine"});
    graph_.errors = {Errc::corrupt};
    auto const worked = engine_.work_step(0);
    ASSERT_FALSE(worked);
    EXPECT_EQ(worked.error().code, Errc::corrupt);
}

TEST_F(Working, FoldsWhatWasUnsettledReadingEachBlockOnce)
{
    Unreadable const log(log_);
    store(std::vector<std::string>(50, "test.fine"));
    store(std::vector<std::string>(50, "test.fine"));
    Checkpoint checkpoint;
    checkpoint.position = {.last = Sequence{100}, .stale = 0, .unsettled = {{Sequence{3}, 20}, {Sequence{40}, 30}}};
    graph::ResidentStore fresh;
    auto const           folded = fold(log, schemas_, fresh, clock_, 1, std::move(checkpoint));
    ASSERT_TRUE(folded);
    EXPECT_EQ(folded->read, 50u);
    EXPECT_EQ(folded->applied, 100u);
    EXPECT_EQ(log.reads, 2u);
}

TEST_F(Working, FoldsTheNewestVerdictOfEachEvent)
{
    store({"test.fine", "test.fine", "test.fine", "test.invalid", "test.unheard_of"});
    auto const decide = [&](std::uint64_t sequence, log::Verdict verdict) {
        log::Decision const decision{.sequence = Sequence{sequence}, .verdict = verdict, .attempts = 1, .at = {},
                                     .reason = "by hand", .detail = ""};
        ASSERT_TRUE(log_.append({.first = next(log_.last()), .count = 0, .chain_after = log_.last_chain(),
                                 .received_at = log_.last_received_at(), .parts = {}, .decisions = {&decision, 1}}));
    };
    decide(1, log::Verdict::dead_letter);
    decide(2, log::Verdict::parked);
    decide(3, log::Verdict::dead_letter);
    decide(3, log::Verdict::dropped);

    graph::ResidentStore fresh;
    auto const           folded = fold(log_, schemas_, fresh, clock_);
    ASSERT_TRUE(folded);
    EXPECT_EQ(folded->events, 5u);
    EXPECT_EQ(folded->applied, 0u);
    EXPECT_EQ(folded->last, Sequence{5});
    ASSERT_EQ(folded->undecided.size(), 2u);
    EXPECT_EQ(folded->undecided[0].verdict, log::Verdict::dead_letter);
    EXPECT_EQ(folded->undecided[1].verdict, log::Verdict::parked);
    EXPECT_EQ(folded->dead_lettered, 3u);
    EXPECT_EQ(folded->parked, 2u);
}

}  // namespace
}  // namespace sluice::engine
