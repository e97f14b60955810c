#include "engine/appender.hpp"

#include "log/memory_log.hpp"
#include "sim/forwarding.hpp"
#include "sim/manual_clock.hpp"
#include "unit/engine/support.hpp"

#include <gtest/gtest.h>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;
using test::add_request;
using test::make_block;
using Outcome = RequestOutcome;
using State = Block::State;

class ScriptedLog final : public sim::ForwardingLog {
public:
    using ForwardingLog::ForwardingLog;

    Result<> append(log::Commit const& commit) override
    {
        ++appends;
        if (is_broken) return Error{Errc::corrupt, "io", "the disk is gone"};
        return inner_.append(commit);
    }
    log::Space check_space() override
    {
        ++looks;
        return {.level = level};
    }

    Result<std::shared_ptr<log::StoredBlock const>> read(Sequence sequence) const override
    {
        if (is_unreadable) return Error{Errc::unavailable, "io", "no descriptors are left"};
        return inner_.read(sequence);
    }

    std::size_t appends{0};
    bool        is_broken{false};
    bool        is_unreadable{false};
    std::size_t looks{0};
    log::Space::Level level{log::Space::Level::ok};
};

class RoomyDedupe final : public MemoryDedupe {
public:
    bool has_room() const override { return is_roomy; }
    bool is_roomy{true};
};

log::Decision dead_letter(Sequence sequence)
{
    return {.sequence = sequence, .verdict = log::Verdict::dead_letter, .attempts = 1, .at = {}, .reason = "a reason",
            .detail = ""};
}

class Appending : public testing::Test {
protected:
    void SetUp() override { restart(); }

    // As after a crash: only the disk is what it was.
    void restart()
    {
        appender_.reset();
        memory_log_ = std::make_unique<log::MemoryLog>(disk_);
        log_ = std::make_unique<ScriptedLog>(*memory_log_);
        appender_ = std::make_unique<Appender>(
            Appender::Deps{*log_, dedupe_, scheduler_, watermark_, counters_, clock_}, options_,
            Appender::Listener{
                .answered =
                    [this](std::vector<BlockRef> blocks) {
                        ++answers_;
                        for (auto& block : blocks) answered_.push_back(std::move(block));
                    },
                .decided =
                    [this](log::Decision const& decision, LaneId lane, Producer) {
                        decided_.push_back({decision.sequence, lane});
                    },
            });
    }

    // Takes the tickets of a block's requests and submits it.
    BlockRef submit(BlockRef block)
    {
        for (auto& request : block->requests) {
            Admission::Demand demand;
            for (std::uint32_t i = 0; i < request.count; ++i)
                ++demand.events[index(block->items[request.first + i].tier)];
            demand.bytes = 10;
            EXPECT_FALSE(admission_.admit(demand, request.ticket));
        }
        appender_->submit(block);
        return block;
    }
    BlockRef append(std::vector<test::Draft> const& drafts, bool atomic = true)
    {
        auto block = submit(make_block(drafts, atomic));
        EXPECT_TRUE(appender_->step());
        return block;
    }
    std::vector<log::StoredBlock> stored() const
    {
        std::vector<log::StoredBlock> blocks;
        auto const                    cursor = memory_log_->blocks(Sequence{1});
        for (auto block = cursor->next(); block.value(); block = cursor->next()) blocks.push_back(std::move(**block));
        return blocks;
    }
    std::vector<std::string> stored_ids() const
    {
        std::vector<std::string> ids;
        for (auto const& block : stored())
            for (std::size_t i = 0; i < block.size(); ++i) ids.push_back(block.record(i).id(block.sequence(i)));
        return ids;
    }
    static Outcome outcome(BlockRef const& block, std::size_t request = 0) { return block->requests[request].outcome; }
    static std::vector<State> states(BlockRef const& block)
    {
        std::vector<State> states;
        for (auto const& item : block->items) states.push_back(item.state);
        return states;
    }
    static std::vector<std::uint64_t> sequences(BlockRef const& block)
    {
        std::vector<std::uint64_t> sequences;
        for (auto const& item : block->items) sequences.push_back(number(item.sequence));
        return sequences;
    }
    std::uint64_t pending() const
    {
        auto const counts = scheduler_.stats(clock_.now()).pending;
        return counts[0] + counts[1] + counts[2] + counts[3];
    }

    using Ids = std::vector<std::string>;
    using Numbers = std::vector<std::uint64_t>;

    sim::ManualClock                clock_;
    Admission                       admission_{{}};
    AppenderOptions                 options_;
    log::MemoryLog::Disk            disk_;
    RoomyDedupe                     dedupe_;
    LaneScheduler                   scheduler_{{}};
    DenseWatermark                  watermark_;
    Counters                        counters_;
    std::unique_ptr<log::MemoryLog> memory_log_;
    std::unique_ptr<ScriptedLog>    log_;
    std::unique_ptr<Appender>       appender_;
    std::vector<BlockRef>           answered_;
    std::size_t                     answers_{0};

    std::vector<std::pair<Sequence, LaneId>> decided_;
};

TEST_F(Appending, DoesNothingWhenNothingWaits)
{
    EXPECT_TRUE(appender_->idle());
    EXPECT_FALSE(appender_->step());
    EXPECT_EQ(log_->appends, 0u);
}

TEST_F(Appending, MakesEverythingThatWaitsOneCommit)
{
    for (auto const* id : {"a", "b", "c"}) submit(make_block({{.id = id}}));
    EXPECT_FALSE(appender_->idle());
    EXPECT_TRUE(appender_->step());
    EXPECT_TRUE(appender_->idle());

    EXPECT_EQ(log_->appends, 1u);
    ASSERT_EQ(stored().size(), 1u);
    EXPECT_EQ(stored_ids(), (Ids{"a", "b", "c"}));
    EXPECT_EQ(answers_, 1u);
    ASSERT_EQ(answered_.size(), 3u);
    for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(sequences(answered_[i]), Numbers{i + 1});
    EXPECT_EQ(pending(), 3u);
    EXPECT_EQ(get(counters_.accepted), 3u);
}

TEST_F(Appending, TakesBlocksUntilACommitIsFull)
{
    options_.commit_bytes_max = 1'000;
    restart();
    std::string const payload = '"' + std::string(700, 'x') + '"';
    for (auto const* id : {"a", "b", "c"}) submit(make_block({{.id = id, .payload = payload}}));
    EXPECT_TRUE(appender_->step());
    EXPECT_EQ(stored_ids(), (Ids{"a", "b"}));
    EXPECT_TRUE(appender_->step());
    EXPECT_EQ(stored_ids(), (Ids{"a", "b", "c"}));
    EXPECT_FALSE(appender_->step());
}

TEST_F(Appending, NumbersDenselyAndChainsAcrossCommitsAndRestarts)
{
    append({{.id = "a"}, {.id = "b"}});
    append({{.id = "c"}});
    restart();
    append({{.id = "d"}, {.id = "a"}, {.id = "e"}});

    Sequence        expected{1};
    log::Continuity continuity;
    for (auto const& block : stored()) {
        EXPECT_EQ(block.first(), expected);
        EXPECT_TRUE(continuity.check(block));
        expected = next(block.sequence(block.size() - 1));
    }
    EXPECT_EQ(expected, Sequence{6});
    EXPECT_EQ(memory_log_->last(), Sequence{5});
}

TEST_F(Appending, AnswersADuplicateWithTheSequenceOfTheFirst)
{
    append({{.id = "a", .payload = "1"}});
    auto const again = append({{.id = "a", .payload = "1"}, {.id = "b"}});
    EXPECT_EQ(outcome(again), Outcome::stored);
    EXPECT_EQ(states(again), (std::vector{State::duplicate, State::stored}));
    EXPECT_EQ(sequences(again), (Numbers{1, 2}));
    EXPECT_EQ(get(counters_.duplicates), 1u);
    EXPECT_EQ(get(counters_.accepted), 2u);
}

TEST_F(Appending, SeesDuplicatesWithinOneGroup)
{
    auto const first = submit(make_block({{.id = "a"}, {.id = "b"}, {.id = "a"}}));
    auto const second = submit(make_block({{.id = "b"}}));
    appender_->step();
    EXPECT_EQ(sequences(first), (Numbers{1, 2, 1}));
    EXPECT_EQ(states(first), (std::vector{State::stored, State::stored, State::duplicate}));
    EXPECT_EQ(sequences(second), Numbers{2});
    EXPECT_EQ(states(second), std::vector{State::duplicate});
    EXPECT_EQ(stored_ids(), (Ids{"a", "b"}));
}

TEST_F(Appending, WritesNothingForAGroupOfDuplicates)
{
    append({{.id = "a"}});
    append({{.id = "a"}});
    EXPECT_EQ(log_->appends, 1u);
    EXPECT_EQ(answers_, 2u);
    EXPECT_EQ(admission_.use().events, 1u);
}

TEST_F(Appending, TakesEqualIdsOfDifferentContentForAConflict)
{
    append({{.id = "a", .payload = "1"}});
    for (auto const& other :
         {test::Draft{.id = "a", .payload = "2"}, test::Draft{.id = "a", .payload = "1", .rev = Revision{7}},
          test::Draft{.did = "did:web:b.example", .id = "a", .payload = "1"},
          test::Draft{.id = "a", .payload = "1", .type = "other"}}) {
        auto const block = append({other});
        EXPECT_EQ(outcome(block), Outcome::conflict);
    }
    auto const other_tier = append({{.id = "a", .payload = "1", .tier = Tier::critical}});
    EXPECT_EQ(states(other_tier), std::vector{State::duplicate});
    EXPECT_EQ(stored_ids(), Ids{"a"});
    EXPECT_EQ(get(counters_.conflicts), 4u);
}

TEST_F(Appending, RefusesAnAtomicRequestWholeAndForgetsItsIds)
{
    append({{.id = "a", .payload = "1"}});
    auto const refused = append({{.id = "b"}, {.id = "c"}, {.id = "a", .payload = "2"}, {.id = "d"}});
    EXPECT_EQ(outcome(refused), Outcome::conflict);
    EXPECT_EQ(refused->requests[0].conflict_at, 2u);
    EXPECT_EQ(stored_ids(), Ids{"a"});
    EXPECT_EQ(admission_.use().events, 1u);

    auto const again = append({{.id = "b", .payload = "other"}, {.id = "c"}});
    EXPECT_EQ(outcome(again), Outcome::stored);
    EXPECT_EQ(sequences(again), (Numbers{2, 3}));
}

TEST_F(Appending, RefusesAnAtomicRequestThatContradictsItself)
{
    auto const block = append({{.id = "a", .payload = "1"}, {.id = "a", .payload = "2"}});
    EXPECT_EQ(outcome(block), Outcome::conflict);
    EXPECT_EQ(block->requests[0].conflict_at, 1u);
    EXPECT_EQ(memory_log_->last(), Sequence::none);
    EXPECT_EQ(dedupe_.size(), 0u);
}

TEST_F(Appending, LetsTheOthersOfAGroupPassARefusedRequest)
{
    BlockRef block(new Block);
    add_request(*block, {{.id = "a", .payload = "1"}});
    add_request(*block, {{.id = "b"}, {.id = "a", .payload = "2"}});
    add_request(*block, {{.id = "b", .payload = "other"}, {.id = "c"}});
    submit(block);
    auto const last = submit(make_block({{.id = "d"}}));
    appender_->step();
    EXPECT_EQ(outcome(block, 0), Outcome::stored);
    EXPECT_EQ(outcome(block, 1), Outcome::conflict);
    EXPECT_EQ(outcome(block, 2), Outcome::stored);
    EXPECT_EQ(stored_ids(), (Ids{"a", "b", "c", "d"}));
    EXPECT_EQ(sequences(last), Numbers{4});
    ASSERT_EQ(stored().size(), 1u);
    EXPECT_EQ(pending(), 4u);
}

TEST_F(Appending, LetsItemsOfAPartialRequestStandAlone)
{
    append({{.id = "a", .payload = "1"}});
    auto const block =
        append({{.id = "b"}, {.id = "a", .payload = "2"}, {.id = "c"}, {.id = "a", .payload = "1"}}, false);
    EXPECT_EQ(outcome(block), Outcome::stored);
    EXPECT_EQ(states(block), (std::vector{State::stored, State::conflict, State::stored, State::duplicate}));
    EXPECT_EQ(stored_ids(), (Ids{"a", "b", "c"}));
    EXPECT_EQ(admission_.use().events, 3u);
}

TEST_F(Appending, StoresEventsWithoutAnIdEachTime)
{
    auto const block = append({{.payload = "1"}, {.payload = "1"}});
    EXPECT_EQ(states(block), (std::vector{State::stored, State::stored}));
    EXPECT_EQ(dedupe_.size(), 0u);
    EXPECT_EQ(stored_ids(), (Ids{"00000000-0000-8000-8000-000000000001", "00000000-0000-8000-8000-000000000002"}));
}

TEST_F(Appending, RefusesOnAFullDiskStoresNothingAndResumes)
{
    log_->level = log::Space::Level::full;
    auto const refused = append({{.id = "a"}});
    EXPECT_EQ(outcome(refused), Outcome::disk_full);
    EXPECT_EQ(log_->appends, 0u);
    EXPECT_EQ(admission_.use().events, 0u);
    EXPECT_EQ(dedupe_.size(), 0u);
    EXPECT_FALSE(appender_->failed());

    log_->level = log::Space::Level::ok;
    EXPECT_EQ(outcome(append({{.id = "a"}})), Outcome::stored);
    EXPECT_EQ(stored_ids(), Ids{"a"});
}

TEST_F(Appending, LooksAtTheDiskBeforeEachGroupAndOnceASecond)
{
    append({{.id = "a"}});
    append({{.id = "b"}});
    EXPECT_EQ(log_->looks, 2u);
    appender_->step();
    EXPECT_EQ(log_->looks, 2u) << "it just has";
    clock_.advance(std::chrono::seconds(1));
    appender_->step();
    appender_->step();
    EXPECT_EQ(log_->looks, 3u);
    appender_->submit(dead_letter(Sequence{1}), 0);
    appender_->step();
    EXPECT_EQ(log_->looks, 4u) << "a verdict needs room too";
}

TEST_F(Appending, SaysThatTheIndexOfIdsIsBehindAndResumes)
{
    dedupe_.is_roomy = false;
    EXPECT_EQ(outcome(append({{.id = "a"}})), Outcome::ids_behind);
    EXPECT_EQ(log_->appends, 0u);
    EXPECT_EQ(admission_.use().events, 0u);
    dedupe_.is_roomy = true;
    EXPECT_EQ(outcome(append({{.id = "a"}})), Outcome::stored);
}

TEST_F(Appending, SaysThatNothingWasStoredWhenALookupFailsAndStops)
{
    append({{.id = "a"}});
    log_->is_unreadable = true;
    EXPECT_EQ(outcome(append({{.id = "b"}, {.id = "a"}})), Outcome::read_failed);
    EXPECT_TRUE(appender_->failed());
    log_->is_unreadable = false;
    EXPECT_EQ(outcome(append({{.id = "c"}})), Outcome::read_failed);
    EXPECT_EQ(stored_ids(), Ids{"a"});
}

TEST_F(Appending, KeepsDecidingOnAFullDisk)
{
    append({{.id = "a"}});
    log_->level = log::Space::Level::full;
    appender_->submit(dead_letter(Sequence{1}), 0);
    auto const refused = append({{.id = "b"}});
    EXPECT_EQ(outcome(refused), Outcome::disk_full);
    EXPECT_EQ(decided_.size(), 1u);
    EXPECT_EQ(disk_.decisions.size(), 1u);
}

TEST_F(Appending, FailsForEverAfterAFailedWrite)
{
    log_->is_broken = true;
    auto const first = submit(make_block({{.id = "a"}}));
    auto const second = submit(make_block({{.id = "b"}}));
    appender_->step();
    EXPECT_TRUE(appender_->failed());
    EXPECT_EQ(outcome(first), Outcome::log_failed);
    EXPECT_EQ(outcome(second), Outcome::log_failed);

    log_->is_broken = false;
    EXPECT_EQ(outcome(append({{.id = "c"}})), Outcome::log_failed);
    EXPECT_EQ(log_->appends, 1u);
    EXPECT_EQ(admission_.use().events, 0u);
    EXPECT_EQ(pending(), 0u);
}

TEST_F(Appending, TellsVerdictsOnlyOnceTheyAreDurable)
{
    append({{.id = "a"}});
    appender_->submit(dead_letter(Sequence{1}), 5);
    log_->is_broken = true;
    appender_->step();
    EXPECT_TRUE(decided_.empty());

    restart();
    appender_->submit(dead_letter(Sequence{1}), 5);
    EXPECT_TRUE(appender_->step());
    EXPECT_EQ(decided_, (std::vector<std::pair<Sequence, LaneId>>{{Sequence{1}, 5}}));
    EXPECT_EQ(disk_.decisions.size(), 1u);
    EXPECT_EQ(memory_log_->last(), Sequence{1});
}

TEST_F(Appending, NeverLetsReceivedAtGoBackwards)
{
    append({{.id = "a"}});
    clock_.shift_wall(-1h);
    append({{.id = "b"}});
    restart();
    append({{.id = "c"}});
    clock_.shift_wall(2h);
    append({{.id = "d"}});
    auto const blocks = stored();
    ASSERT_EQ(blocks.size(), 4u);
    EXPECT_EQ(blocks[1].received_at(), blocks[0].received_at());
    EXPECT_EQ(blocks[2].received_at(), blocks[0].received_at());
    EXPECT_EQ(blocks[3].received_at(), blocks[0].received_at() + 1h);
}

TEST_F(Appending, HandsStoredEventsToTheirLanesWithWhatWorkersNeed)
{
    auto const block = append({{.did = "did:web:b.example", .id = "a", .payload = "[1]", .tier = Tier::high}});
    Batch      batch;
    ASSERT_TRUE(scheduler_.take(clock_.now(), batch, 64));
    auto const& event = batch.events.at(0);
    EXPECT_EQ(event.lane_key, log::lane_key(0, "did:web:b.example"));
    EXPECT_EQ(event.block, block.get());
    EXPECT_EQ(event.block->record(event.item).payload(), "[1]");
    EXPECT_EQ(event.tier, Tier::high);
    EXPECT_EQ(event.sequence, Sequence{1});
    EXPECT_EQ(event.received_at, stored().at(0).received_at());
    EXPECT_EQ(admission_.use().events, 1u);
}

}  // namespace
}  // namespace sluice::engine
