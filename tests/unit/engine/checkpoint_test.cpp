// A restart from a checkpoint ends in the state a restart from the log ends in, whatever became of the checkpoint.
#include "engine/checkpoint.hpp"

#include "base/hash.hpp"
#include "base/random.hpp"
#include "contract/forwarding_graph.hpp"
#include "engine/runner.hpp"
#include "files/memory_directory.hpp"
#include "graph/resident_store.hpp"
#include "log/memory_log.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>

namespace sluice::engine {
namespace {

class StillClock final : public Clock {
public:
    Mono     now() const noexcept override { return Mono(at); }
    WallTime wall() const noexcept override { return WallTime(std::chrono::microseconds(1'767'225'600'000'000)); }

    std::chrono::nanoseconds at{0};
};

struct Process {
    Process(
        log::MemoryLog::Disk& disk, files::Directory& files, Clock const& clock, schema::SchemaSet const& schemas,
        CheckpointOptions const& checkpoint)
        : log(disk),
          engine({log, graph, schemas, clock, &files}, options(checkpoint), [](std::vector<BlockRef> const&) {})
    {
        auto const result = engine.recover(&refused);
        EXPECT_TRUE(result) << result.error().detail;
        if (result) folded = *result;
    }
    static EngineOptions options(CheckpointOptions const& checkpoint)
    {
        EngineOptions options;
        options.workers = 1;
        options.checkpoint = checkpoint;
        return options;
    }

    std::vector<Error>   refused;
    log::MemoryLog       log;
    graph::ResidentStore graph;
    Engine               engine;
    Folded               folded;
};

// Refuses what it has accepted before: an event that is decided again is decided otherwise.
Result<Effects> put_once(Event const& event, RecordView const& view)
{
    auto const uri = *event.fields.text(0);
    if (view.find(Kind::entity, uri)) return Error{Errc::invalid, "exists", ""};
    return Effects{.action = Effects::Action::put, .kind = Kind::entity, .key = uri, .fields = {}};
}
constexpr EventType    once_types[] = {{.name = "test.once", .tier = Tier::normal, .required = bit(0)}};
constexpr PayloadField once_fields[] = {{.names = "uri", .type = PayloadField::Type::at_uri}};
constexpr Processor    once{.name = "once", .events = once_types, .fields = once_fields, .process = put_once};

std::vector<Processor const*> processors()
{
    std::vector<Processor const*> all(all_processors().begin(), all_processors().end());
    all.push_back(&once);
    return all;
}

std::string did(std::size_t i) { return "did:plc:" + std::string(24, static_cast<char>('a' + i % 20)); }

class Checkpoints : public testing::Test {
protected:
    void SetUp() override { restart(); }
    void restart() { restart(files_); }
    void restart(files::Directory& files)
    {
        process_.reset();
        process_ = std::make_unique<Process>(disk_, files, clock_, schemas_, options_);
    }
    Engine& engine() { return process_->engine; }

    void send(std::size_t count)
    {
        for (; count > 0; --count) {
            auto const owner = did(random_.below(12)), other = did(12 + random_.below(8));
            auto const key = "at://" + owner + "/net.rhiz.relationship.record/r" + std::to_string(random_.below(keys_));
            auto const json = random_.chance(0.1)
                ? R"({"event_type":"something.unknown","payload":{},"did":")" + owner + R"("})"
                : R"({"event_type":"relationship.created","payload":{"uri":")" + key + R"(","cid":"c",)"
                  R"("participants":[")" + owner + R"(",")" + other + R"("],"type":"social",)"
                  R"("created_at":"2026-01-01T00:00:00Z","strength":)" +
                  std::to_string(random_.below(101)) + R"(},"did":")" + owner + R"("})";
            ASSERT_NO_FATAL_FAILURE(submit(json));
        }
        while (engine().append_step()) {}
    }
    void submit(std::string const& json)
    {
        BlockRef        block(new Block);
        schema::Decoded decoded;
        auto const      padded = json + std::string(schema::Decoder::padding, ' ');
        auto const      error = decoder_.decode({padded.data(), json.size()}, block->data, decoded);
        ASSERT_FALSE(error) << error->detail << json;
        block->items.push_back({.offset = decoded.offset, .tier = decoded.tier, .state = {}, .sequence = {}});
        Admission::Demand demand;
        ++demand.events[index(decoded.tier)];
        Block::Request request{.first = 0, .count = 1, .ticket = {}};
        ASSERT_FALSE(engine().admission().admit(demand, request.ticket));
        block->requests.push_back(std::move(request));
        engine().submit(std::move(block));
    }
    void work()
    {
        while (*engine().work_step(0) || engine().append_step()) {}
    }
    bool checkpoint()
    {
        auto const before = engine().checkpoints().written;
        int steps = 0;
        while (steps < 10'000 && engine().checkpoint_step().value()) ++steps;
        EXPECT_LT(steps, 10'000) << "checkpoints without end";
        return engine().checkpoints().written > before;
    }
    // From the log alone.
    Hash128 truth()
    {
        graph::ResidentStore graph;
        log::MemoryLog const log(disk_);
        EXPECT_TRUE(fold(log, schemas_, graph, clock_));
        return graph.digest();
    }
    void expect_true_after_restart()
    {
        restart();
        auto const state = engine().state();
        EXPECT_EQ(process_->graph.digest(), truth());
        EXPECT_EQ(process_->graph.digest(), process_->graph.digest_by_scan());
        EXPECT_EQ(number(state.last_sequence), number(process_->log.last()));
        EXPECT_EQ(state.accepted, state.applied + state.dead_lettered + state.parked);
        EXPECT_EQ(state.watermark, state.last_sequence);
    }
    std::vector<std::string> names() const { return *files_.list(); }
    // Of the files as they are.
    void expect_refused(std::size_t refused, std::string const& what)
    {
        graph::ResidentStore graph;
        log::MemoryLog const log(disk_);
        auto checkpoint = load_checkpoint(files_, log, schemas_, graph);
        ASSERT_EQ(checkpoint.refused.size(), refused) << what;
        ASSERT_TRUE(fold(log, schemas_, graph, clock_, 1, std::move(checkpoint)));
        ASSERT_EQ(graph.digest(), truth()) << what;
    }

    CheckpointOptions             options_{.events = 10, .interval = std::chrono::seconds(60), .frame_bytes = 300};
    std::uint64_t                 keys_{4};  // of a repository
    StillClock                    clock_;
    Random                        random_{7};
    std::vector<Processor const*> processors_{processors()};
    schema::SchemaSet             schemas_{processors_};
    schema::Decoder          decoder_{schemas_};
    log::MemoryLog::Disk     disk_;
    files::MemoryDirectory   files_;
    std::unique_ptr<Process> process_;
};

TEST_F(Checkpoints, ARestartReadsOnlyWhatCameAfter)
{
    send(40);
    work();
    ASSERT_TRUE(checkpoint());
    send(3);
    work();
    expect_true_after_restart();
    EXPECT_EQ(process_->folded.read, 3u);
    EXPECT_EQ(process_->folded.events, 43u);
}

TEST_F(Checkpoints, AreDueAfterEnoughEventsOrTime)
{
    EXPECT_FALSE(checkpoint()) << "nothing has happened";
    send(9);
    work();
    EXPECT_FALSE(checkpoint());
    send(1);
    work();
    EXPECT_TRUE(checkpoint());
    EXPECT_FALSE(checkpoint());
    send(1);
    work();
    clock_.at += std::chrono::seconds(59);
    EXPECT_FALSE(checkpoint());
    clock_.at += std::chrono::seconds(1);
    EXPECT_TRUE(checkpoint());
    clock_.at += std::chrono::seconds(600);
    EXPECT_FALSE(checkpoint()) << "nothing has happened since";
}

TEST_F(Checkpoints, RestLongEnoughToLeaveOthersTheDisk)
{
    options_.bytes_per_second = 1'000;
    restart();
    send(40);
    work();
    std::chrono::nanoseconds rested{0};
    while (engine().checkpoint_step().value()) rested += engine().checkpoint_pause();
    ASSERT_EQ(names().size(), 1u);
    EXPECT_EQ(rested, std::chrono::milliseconds(files_.content(names().front()).size()));
}

TEST_F(Checkpoints, RememberHowManyEventsWereStale)
{
    auto const owner = did(1);
    for (auto const* const rev : {"3m6w4jsghk333", "3m6w4jsghk222", "3m6w4jsghk223"})
        ASSERT_NO_FATAL_FAILURE(submit(
            R"({"event_type":"relationship.created","payload":{"uri":"at://)" + owner +
            R"(/net.rhiz.relationship.record/r","cid":"c","participants":[")" + owner + R"(",")" + did(2) +
            R"("],"type":"social","created_at":"2026-01-01T00:00:00Z","strength":1},"rev":")" + rev + R"(","did":")" +
            owner + R"("})"));
    while (engine().append_step()) {}
    work();
    send(20);
    work();
    ASSERT_EQ(engine().state().stale, 2u);
    ASSERT_TRUE(checkpoint());
    expect_true_after_restart();
    EXPECT_EQ(process_->folded.read, 0u);
    EXPECT_EQ(engine().state().stale, 2u);
}

TEST_F(Checkpoints, WhatIsPendingIsDoneAfterTheRestart)
{
    send(30);
    work();
    send(20);  // durable, and nobody works
    ASSERT_TRUE(checkpoint());
    expect_true_after_restart();
    EXPECT_EQ(process_->folded.read, 20u) << "only what was not settled is read again";
}

// The watermark stands still behind the oldest unsettled event; what is settled beyond it is not read again.
TEST_F(Checkpoints, AnOldUnsettledEventDoesNotMakeTheTailLong)
{
    send(1);
    auto const oldest = process_->log.last();
    send(200);
    // One micro-batch after the other, until little is left, the oldest or not.
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(*engine().work_step(0));
    auto const pending = engine().state();
    ASSERT_TRUE(checkpoint());
    auto const left = pending.accepted - pending.applied - pending.parked;
    ASSERT_GT(left, 0u);
    ASSERT_LT(left, 201u);
    restart();
    EXPECT_LE(process_->folded.read, left + 20) << "of " << number(oldest);
    EXPECT_EQ(process_->graph.digest(), truth());
}

TEST_F(Checkpoints, WrittenWhileEventsAreAppliedTheyAreTrue)
{
    for (int round = 0; round < 30; ++round) {
        for (int i = 0; i < 12; ++i) {
            send(random_.below(4));
            if (random_.chance(0.7)) (void)*engine().work_step(0);
            for (auto steps = random_.below(3); steps > 0; --steps) (void)engine().checkpoint_step();
        }
        expect_true_after_restart();
    }
    EXPECT_GT(names().size(), 0u);
}

TEST_F(Checkpoints, DeltasFollowABaseUntilTheyOutweighIt)
{
    send(100);
    work();
    ASSERT_TRUE(checkpoint());
    ASSERT_EQ(names(), (std::vector<std::string>{"0000000001.base"}));
    for (int i = 0; i < 40; ++i) {
        send(10);
        work();
        ASSERT_TRUE(checkpoint());
        std::size_t bases = 0;
        for (auto const& name : names()) bases += name.ends_with(".base");
        EXPECT_LE(bases, 2u) << "one chain, and the one before";
        if (i % 7 == 0) expect_true_after_restart();
    }
    EXPECT_GT(names().size(), 2u);
    EXPECT_FALSE(names().front().starts_with("0000000001")) << "old chains go";
}

// Each file of the chain, cut off and changed at every few bytes.
TEST_F(Checkpoints, ADamagedOneIsRefusedAndTheRestIsUsed)
{
    send(12);
    work();
    ASSERT_TRUE(checkpoint());
    send(10);
    work();
    ASSERT_TRUE(checkpoint());
    ASSERT_EQ(names(), (std::vector<std::string>{"0000000001.base", "0000000002.delta"}));
    expect_refused(0, "nothing");
    for (auto const& name : names()) {
        auto const whole = files_.content(name);
        for (std::size_t i = 0; i < whole.size(); i += 7) {
            files_.content(name) = whole.substr(0, i);
            ASSERT_NO_FATAL_FAILURE(expect_refused(1, name + " cut off at " + std::to_string(i)));
            files_.content(name) = whole;
            files_.content(name)[i] ^= static_cast<char>(1 << i % 8);
            ASSERT_NO_FATAL_FAILURE(expect_refused(1, name + " changed at " + std::to_string(i)));
        }
        files_.content(name) = whole + "x";
        ASSERT_NO_FATAL_FAILURE(expect_refused(1, name + " with more"));
        files_.content(name) = whole;
    }
    ASSERT_TRUE(files_.remove("0000000001.base"));
    expect_refused(1, "a delta without its base");
}

// Frames as they stand in a file, and back.
struct Frame {
    std::uint32_t kind{0};
    std::string   bytes, head;
};
constexpr std::size_t head_size = 16;

std::vector<Frame> frames_of(std::string_view file)
{
    std::vector<Frame> frames;
    while (!file.empty()) {
        std::uint32_t size = 0;
        Frame         frame;
        std::memcpy(&size, file.data(), sizeof size);
        std::memcpy(&frame.kind, file.data() + sizeof size, sizeof frame.kind);
        frame.head = file.substr(0, head_size);
        frame.bytes = file.substr(head_size, size);
        frames.push_back(frame);
        file.remove_prefix(head_size + size);
    }
    return frames;
}

std::string file_of(std::vector<Frame> const& frames)
{
    std::string file;
    for (auto const& frame : frames) file += frame.head + frame.bytes;
    return file;
}

// As if they had been written so.
std::string sealed(std::vector<Frame> frames)
{
    std::uint64_t check = 0;
    for (auto& frame : frames) {
        auto const size = static_cast<std::uint32_t>(frame.bytes.size());
        check = hash64(frame.bytes, check + frame.kind);
        std::memcpy(frame.head.data(), &size, sizeof size);
        std::memcpy(frame.head.data() + 8, &check, sizeof check);
    }
    return file_of(frames);
}

// Each frame is whole.
TEST_F(Checkpoints, WithAFrameMissingTwiceOrElsewhereAreRefused)
{
    send(60);
    work();
    ASSERT_TRUE(checkpoint());
    auto&      file = files_.content("0000000001.base");
    auto const frames = frames_of(file);
    ASSERT_GT(frames.size(), 4u) << "a header, repositories, an end";
    for (std::size_t i = 0; i + 1 < frames.size(); ++i) {
        auto const place = static_cast<std::ptrdiff_t>(i);
        auto       changed = frames;
        changed.erase(changed.begin() + place);
        file = file_of(changed);
        ASSERT_NO_FATAL_FAILURE(expect_refused(1, "missing: " + std::to_string(i)));
        changed = frames;
        changed.insert(changed.begin() + place, frames[i]);
        file = file_of(changed);
        ASSERT_NO_FATAL_FAILURE(expect_refused(1, "twice: " + std::to_string(i)));
        changed = frames;
        std::swap(changed[i], changed[i + 1]);
        file = file_of(changed);
        ASSERT_NO_FATAL_FAILURE(expect_refused(1, "after the next: " + std::to_string(i)));
    }
    file = file_of(frames);
    expect_refused(0, "as it was");
}

// Every frame is in its place, and what the header says cannot be.
TEST_F(Checkpoints, WithAHeaderThatDoesNotFitAreRefused)
{
    constexpr std::size_t number_at = 0, base_at = 4, last_at = 8, chain_at = 24, count_at = 32, unsettled_at = 40;
    send(12);
    work();
    ASSERT_TRUE(checkpoint());
    send(10);
    work();
    ASSERT_TRUE(checkpoint());
    auto&      file = files_.content("0000000002.delta");
    auto const frames = frames_of(file);
    auto const with = [&](std::size_t at, auto value) {
        auto changed = frames;
        std::memcpy(changed.front().bytes.data() + at, &value, sizeof value);
        return changed;
    };
    auto const unsettled = [&](std::vector<std::array<std::uint64_t, 2>> const& ranges) {
        auto changed = with(count_at, std::uint64_t{ranges.size()});
        changed.front().bytes.insert(
            unsettled_at, reinterpret_cast<char const*>(ranges.data()), 16 * ranges.size());
        return sealed(changed);
    };
    auto const expect = [&](std::string const& changed, std::size_t refused, std::string const& what) {
        file = changed;
        ASSERT_NO_FATAL_FAILURE(expect_refused(refused, what));
    };
    expect(sealed(frames), 0, "nothing changed");
    expect(unsettled({{21, 2}}), 0, "the last two unsettled");
    expect(unsettled({{20, 1}, {22, 1}}), 0, "one between them settled");
    expect(sealed(with(number_at, 3u)), 1, "another number");
    expect(sealed(with(base_at, 2u)), 1, "a base that is called a delta");
    expect(sealed(with(base_at, 7u)), 1, "another chain");
    expect(sealed(with(last_at, std::uint64_t{23})), 1, "ahead of the log");
    expect(sealed(with(last_at, std::uint64_t{21})), 1, "the chain of another record");
    expect(sealed(with(chain_at, std::uint64_t{1})), 1, "a chain the log does not have");
    expect(unsettled({{22, 1}, {21, 1}}), 1, "out of order");
    expect(unsettled({{20, 2}, {21, 1}}), 1, "one twice");
    expect(unsettled({{0, 1}}), 1, "no event");
    expect(unsettled({{21, 0}}), 1, "an empty range");
    expect(unsettled({{22, 2}}), 1, "beyond the position");
    expect(unsettled({{21, ~std::uint64_t{0}}}), 1, "a range that has no end");
    expect(sealed(with(count_at, ~std::uint64_t{0})), 1, "more than there are");
}

// A repository that is written while a checkpoint is, is in it as it is then: what that holds is not decided again.
TEST_F(Checkpoints, WhatARepositoryIsAheadOfThePositionIsNotDecidedAgain)
{
    auto const once_for = [](std::string const& owner) {
        auto const uri = "at://" + owner + "/net.rhiz.test.once/k";
        return R"({"event_type":"test.once","payload":{"uri":")" + uri + R"("},"did":")" + owner + R"("})";
    };
    send(20);
    work();
    submit(once_for(did(0)));  // before the position, and not settled
    while (engine().append_step()) {}
    ASSERT_TRUE(engine().checkpoint_step().value());
    submit(once_for(did(1)));  // after it
    while (engine().append_step()) {}
    work();
    ASSERT_TRUE(checkpoint());
    auto const before = engine().state();
    ASSERT_EQ(before.dead_lettered, 0u);
    expect_true_after_restart();
    EXPECT_EQ(engine().state().dead_lettered, 0u);
    EXPECT_EQ(engine().state().applied, before.applied);
    EXPECT_EQ(process_->folded.read, 2u);
}

TEST_F(Checkpoints, AfterARefusalTheNextIsABase)
{
    send(30);
    work();
    ASSERT_TRUE(checkpoint());
    files_.content("0000000001.base").resize(100);
    expect_true_after_restart();
    EXPECT_EQ(process_->refused.size(), 1u);
    send(10);
    work();
    ASSERT_TRUE(checkpoint());
    EXPECT_EQ(names().back(), "0000000002.base");
    expect_true_after_restart();
    EXPECT_EQ(process_->folded.read, 0u);
}

TEST_F(Checkpoints, OfAnotherLogAreRefused)
{
    send(30);
    work();
    ASSERT_TRUE(checkpoint());
    process_.reset();
    disk_ = {};
    restart();
    EXPECT_EQ(process_->refused.size(), 1u) << "ahead of the log";
    send(40);
    work();
    expect_true_after_restart();
    EXPECT_EQ(process_->refused.size(), 1u) << "another record stands at its position";
}

TEST_F(Checkpoints, OfOtherVersionsOfTheProcessorsAreRefused)
{
    send(30);
    work();
    ASSERT_TRUE(checkpoint());
    auto      others = processors_;
    Processor changed = *others.front();
    changed.version += 1;
    others.front() = &changed;
    schema::SchemaSet const newer(others);
    graph::ResidentStore    graph;
    log::MemoryLog const    log(disk_);
    auto const              checkpoint = load_checkpoint(files_, log, newer, graph);
    ASSERT_EQ(checkpoint.refused.size(), 1u);
    EXPECT_EQ(checkpoint.refused.front().reason, "other_processors") << "which is no damage";
    EXPECT_EQ(checkpoint.position.last, Sequence::none);
    EXPECT_EQ(graph.digest(), Hash128{});
}

TEST_F(Checkpoints, AnyNumberOfThreadsFoldsToTheSame)
{
    send(60);
    work();
    ASSERT_TRUE(checkpoint());
    send(400);
    ASSERT_TRUE(*engine().work_step(0));
    process_.reset();

    log::MemoryLog const log(disk_);
    for (bool const from_checkpoint : {false, true}) {
        std::optional<Folded> one;
        Hash128               digest{};
        for (std::size_t const threads : {1, 2, 3, 8}) {
            graph::ResidentStore graph;
            Checkpoint           checkpoint;
            if (from_checkpoint) checkpoint = load_checkpoint(files_, log, schemas_, graph);
            auto const folded = fold(log, schemas_, graph, clock_, threads, std::move(checkpoint));
            ASSERT_TRUE(folded);
            EXPECT_EQ(folded->read, from_checkpoint ? 400u : 460u);
            EXPECT_EQ(folded->applied + folded->parked, 460u);
            EXPECT_TRUE(std::ranges::is_sorted(folded->undecided, {}, &log::Decision::sequence));
            if (!one) {
                one = *folded;
                digest = graph.digest();
            }
            EXPECT_EQ(graph.digest(), digest) << threads;
            EXPECT_EQ(folded->applied, one->applied);
            EXPECT_EQ(folded->stale, one->stale);
            EXPECT_EQ(folded->parked, one->parked);
            EXPECT_EQ(folded->last, one->last);
            EXPECT_EQ(folded->undecided.size(), one->undecided.size());
        }
        EXPECT_EQ(digest, truth());
    }
}

// Every event fails in the store, from the n-th on.
class FailingGraph final : public sluice::test::ForwardingGraph {
public:
    FailingGraph(graph::GraphStore& inner, int works) : ForwardingGraph(inner), works_(works) {}

    graph::ApplyResult apply(std::span<Event const> events, graph::Decide const& decide) override
    {
        if (works_-- > 0) return inner_.apply(events, decide);
        return {.outcomes = {}, .error = Error{Errc::unavailable, "away", ""}, .from_store = true};
    }

private:
    std::atomic<int> works_;
};

TEST_F(Checkpoints, AGraphThatIsAwayEndsTheFoldOnAnyNumberOfThreads)
{
    for (int i = 0; i < 30; ++i) send(10);  // many blocks
    for (std::size_t const threads : {1, 2, 5})
        for (int const works : {0, 1, 150}) {
            graph::ResidentStore store;
            FailingGraph         graph(store, works);
            log::MemoryLog const log(disk_);
            auto const           folded = fold(log, schemas_, graph, clock_, threads);
            ASSERT_FALSE(folded);
            EXPECT_EQ(folded.error().reason, "away");
        }
}

// Fails after so many bytes.
class FullDirectory final : public files::Directory {
public:
    explicit FullDirectory(files::Directory& inner) : inner_(inner) {}
    Result<std::unique_ptr<files::Writer>> create(std::string const& name) override
    {
        auto inner = inner_.create(name);
        return std::unique_ptr<files::Writer>(std::make_unique<Full>(std::move(*inner), room));
    }
    Result<std::unique_ptr<files::Reader>> open(std::string const& name) const override { return inner_.open(name); }
    Result<std::vector<std::string>>       list() const override { return inner_.list(); }
    Result<>                               remove(std::string const& name) override { return inner_.remove(name); }

    std::atomic<std::size_t> room{0};

private:
    class Full final : public files::Writer {
    public:
        Full(std::unique_ptr<files::Writer> inner, std::atomic<std::size_t>& room)
            : inner_(std::move(inner)), room_(room)
        {
        }
        Result<> append(std::string_view bytes) override
        {
            if (bytes.size() > room_) return Error{Errc::full, "disk_full", ""};
            room_ -= bytes.size();
            return inner_->append(bytes);
        }
        Result<> commit() override { return inner_->commit(); }

    private:
        std::unique_ptr<files::Writer> inner_;
        std::atomic<std::size_t>&      room_;
    };

    files::Directory& inner_;
};

TEST_F(Checkpoints, AFullDiskCostsACheckpointAndNothingElse)
{
    FullDirectory full(files_);
    restart(full);
    full.room = 1u << 20;
    send(100);
    work();
    ASSERT_TRUE(checkpoint());
    full.room = 500;
    send(20);
    work();
    EXPECT_FALSE(checkpoint());
    EXPECT_EQ(engine().checkpoints().failed, 1u);
    ASSERT_TRUE(engine().checkpoints().failure);
    EXPECT_EQ(engine().checkpoints().failure->reason, "disk_full");
    EXPECT_EQ(names(), (std::vector<std::string>{"0000000001.base"}));
    full.room = 1u << 20;
    EXPECT_FALSE(checkpoint()) << "not again at once";
    clock_.at += std::chrono::seconds(60);
    ASSERT_TRUE(checkpoint());
    EXPECT_FALSE(engine().checkpoints().failure);
    EXPECT_EQ(names().back(), "0000000003.base") << "what the failed one had taken must not be missing";
    expect_true_after_restart();
    EXPECT_EQ(process_->folded.read, 0u);
}

// Its readers would refuse it, and the chain that is good would be gone by then.
TEST_F(Checkpoints, AFrameNobodyWouldReadIsNotWritten)
{
    keys_ = 40;
    send(100);
    work();
    ASSERT_TRUE(checkpoint());
    options_.frame_bytes_max = 1'000;
    restart();
    send(200);
    work();
    EXPECT_FALSE(checkpoint());
    clock_.at += options_.interval;
    EXPECT_FALSE(checkpoint());
    EXPECT_EQ(engine().checkpoints().failed, 2u);
    ASSERT_TRUE(engine().checkpoints().failure);
    EXPECT_EQ(engine().checkpoints().failure->reason, "frame_too_large");
    EXPECT_EQ(names(), (std::vector<std::string>{"0000000001.base"}));
    expect_true_after_restart();
    EXPECT_TRUE(process_->refused.empty());
}

// A restart opens each file of a chain, however small.
TEST_F(Checkpoints, AChainHasAtMost64Deltas)
{
    keys_ = 1'000;
    send(3'000);
    work();
    ASSERT_TRUE(checkpoint());
    std::size_t most = 0;
    for (int i = 0; i < 70; ++i) {
        send(1);
        work();
        clock_.at += options_.interval;
        ASSERT_TRUE(checkpoint());
        auto const all = names();
        auto const newest_base =
            std::find_if(all.rbegin(), all.rend(), [](auto const& name) { return name.ends_with(".base"); });
        most = std::max<std::size_t>(most, static_cast<std::size_t>(newest_base - all.rbegin()));
    }
    EXPECT_EQ(most, 64u);
    expect_true_after_restart();
}

TEST_F(Checkpoints, TheChainThatIsGoodStaysUntilTheNextButOneBase)
{
    FullDirectory full(files_);
    restart(full);
    auto const next = [&](std::size_t room) {
        full.room = room;
        send(10);
        work();
        clock_.at += options_.interval;
        return checkpoint();
    };
    send(100);
    ASSERT_TRUE(next(1u << 20) && next(1u << 20));
    ASSERT_FALSE(next(10)) << "so that a base follows";
    ASSERT_TRUE(next(1u << 20) && next(1u << 20));
    std::vector<std::string> const good{"0000000001.base", "0000000002.delta"};
    ASSERT_EQ(names(), (std::vector<std::string>{good[0], good[1], "0000000004.base", "0000000005.delta"}));

    files_.content("0000000004.base").resize(100);
    restart(full);
    EXPECT_EQ(process_->refused.size(), 1u);
    EXPECT_LT(process_->folded.read, 100u) << "the chain before is used";
    ASSERT_TRUE(next(1u << 20));
    EXPECT_EQ(names(), (std::vector<std::string>{good[0], good[1], "0000000006.base"}));

    files_.content("0000000006.base").resize(100);
    expect_true_after_restart();
    EXPECT_LT(process_->folded.read, 100u) << "and is there once more";
}

// Little has changed, but the whole table is looked through.
TEST_F(Checkpoints, AStepIsBoundedHoweverLittleItFinds)
{
    options_.frame_bytes = 1u << 20;
    options_.visits = 4;
    restart();
    send(100);
    work();
    ASSERT_TRUE(checkpoint());
    send(10);
    work();
    int steps = 0;
    while (engine().checkpoint_step().value()) ++steps;
    EXPECT_GT(steps, 16) << "of the 64 parts of the table, four a step";
    ASSERT_EQ(names().back(), "0000000002.delta");
    expect_true_after_restart();
}

// Waits for what a runner tells.
class Told {
public:
    Runner::Trouble listener()
    {
        return [this](char const* what, Error const* error) {
            std::lock_guard const lock(mutex_);
            texts_.push_back(what + (error ? ": " + error->reason : std::string(" again")));
            told_.notify_all();
        };
    }
    std::vector<std::string> after(std::size_t count)
    {
        std::unique_lock lock(mutex_);
        told_.wait_for(lock, std::chrono::seconds(60), [&] { return texts_.size() >= count; });
        return texts_;
    }

private:
    std::mutex               mutex_;  // guards all below
    std::condition_variable  told_;
    std::vector<std::string> texts_;
};

TEST_F(Checkpoints, ARunnerTellsWhenTheyBeginAndCeaseToFail)
{
    FullDirectory full(files_);
    Told          told;
    options_.interval = std::chrono::seconds(0);  // tried again and again
    restart(full);
    send(10);
    work();
    Runner runner(engine(), clock_, [](Error const&) {}, told.listener());
    runner.start();
    EXPECT_EQ(told.after(1), (std::vector<std::string>{"checkpoints: disk_full"}));
    while (engine().checkpoints().failed < 10) std::this_thread::yield();
    full.room = 1u << 20;
    EXPECT_EQ(told.after(2), (std::vector<std::string>{"checkpoints: disk_full", "checkpoints again"}));
    runner.stop();
}

// Cannot write, then begins to and cannot again, then can.
class FailingDedupe final : public DedupeIndex {
public:
    Result<>     recover(log::EventLog const&) override { return {}; }
    Result<bool> find(Hash128, Confirm const&) override { return false; }
    void         insert(Hash128, Sequence) override {}
    void         erase(Hash128, Sequence) override {}
    void         committed(Sequence, std::uint64_t) override {}
    bool         has_room() const override { return true; }
    DedupeStats  stats() const override { return {}; }
    Result<bool> maintain() override
    {
        switch (calls_++) {
        case 0: return false;
        case 1:
        case 3: return Error{Errc::full, "disk_full", ""};
        case 2:  // a merge that began, and failed later
        case 4: return true;
        default: return false;
        }
    }

private:
    int calls_{0};
};

TEST_F(Checkpoints, ARunnerTellsWhenIdsBeginAndCeaseToFail)
{
    Told                 told;
    log::MemoryLog       log(disk_);
    graph::ResidentStore graph;
    Engine               engine(
        {log, graph, schemas_, clock_}, Process::options(options_), [](std::vector<BlockRef> const&) {}, {},
        {.scheduler = nullptr, .watermark = nullptr, .dedupe = std::make_unique<FailingDedupe>()});
    Runner runner(engine, clock_, [](Error const&) {}, told.listener());
    runner.start();
    EXPECT_EQ(told.after(2), (std::vector<std::string>{"ids: disk_full", "ids again"}));
    runner.stop();
}

}  // namespace
}  // namespace sluice::engine
