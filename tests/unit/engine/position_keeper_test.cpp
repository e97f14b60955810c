// A store that keeps its state itself says how far it is. A start gives it what it may lack, and waits for nothing.
#include "engine/position_keeper.hpp"

#include "contract/forwarding_graph.hpp"
#include "engine/engine.hpp"
#include "files/memory_directory.hpp"
#include "graph/resident_store.hpp"
#include "log/memory_log.hpp"
#include "sim/manual_clock.hpp"

#include <gtest/gtest.h>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;

// What a server holds; it survives the process.
struct Server {
    graph::ResidentStore graph;
    std::string          position;
    bool                 is_away{false};
};

class KeptGraph final : public sluice::test::ForwardingGraph, private graph::Positions {
public:
    explicit KeptGraph(Server& server) : ForwardingGraph(server.graph), server_(server) {}

    graph::Snapshots* snapshots() noexcept override { return nullptr; }
    graph::Positions* positions() noexcept override { return this; }
    std::size_t       repositories_at_once() const noexcept override { return 64; }

    graph::ApplyResult apply(std::span<Event const> events, graph::Decide const& decide) override
    {
        if (server_.is_away || !is_open_)
            return {.outcomes = {}, .error = Error{Errc::unavailable, "away", ""}, .from_store = true};
        applied += events.size();
        return inner_.apply(events, decide);
    }
    std::vector<graph::ApplyResult> apply_all(Runs runs, graph::Decide const& decide) override
    {
        most_at_once = std::max(most_at_once, runs.size());
        return ForwardingGraph::apply_all(runs, decide);
    }

    std::size_t applied{0}, most_at_once{0};

private:
    Result<std::string> begin() override
    {
        if (server_.is_away) return Error{Errc::unavailable, "away", "the server is away"};
        return server_.position;
    }
    void     open() override { is_open_ = true; }
    Result<> save(std::string_view position, Sequence) override
    {
        if (server_.is_away) return Error{Errc::unavailable, "away", "the server is away"};
        server_.position = position;
        return {};
    }
    Result<> clear() override
    {
        server_.graph.clear();
        server_.position.clear();
        return {};
    }

    Server& server_;
    bool    is_open_{false};
};

constexpr std::string_view type_name = "test.put";

Result<Effects> put(Event const& event, RecordView const&)
{
    return Effects{.action = Effects::Action::put, .kind = Kind::entity, .key = *event.fields.text(0), .fields = {}};
}
constexpr EventType    types[] = {{.name = type_name, .required = bit(0)}};
constexpr PayloadField fields[] = {{.names = "uri", .type = PayloadField::Type::at_uri}};
constexpr Processor    first_version{.name = "put", .version = 1, .events = types, .fields = fields, .process = put};
constexpr Processor    second_version{.name = "put", .version = 2, .events = types, .fields = fields, .process = put};

struct Process {
    Process(
        log::MemoryLog::Disk& disk, files::Directory& files, Server& server, Clock const& clock,
        schema::SchemaSet const& schemas, EngineOptions const& options)
        : log(disk), graph(server),
          engine({log, graph, schemas, clock, &files}, options, [](std::vector<BlockRef> const&) {}),
          folded(engine.recover())
    {
    }
    log::MemoryLog log;
    KeptGraph      graph;
    Engine         engine;
    Result<Folded> folded;
};

class StoresWithAPosition : public testing::Test {
protected:
    void SetUp() override { start(); }

    Result<Folded> start()
    {
        process_.reset();
        process_ = std::make_unique<Process>(disk_, files_, server_, clock_, *schemas_, options_);
        return process_->folded;
    }
    Engine& engine() { return process_->engine; }

    void send(std::size_t count)
    {
        schema::Decoder decoder(*schemas_);
        for (; count > 0; --count) {
            auto const owner = "did:plc:" + std::string(24, static_cast<char>('a' + sent_ % 7));
            auto const json = R"({"event_type":")" + std::string(type_name) + R"(","payload":{"uri":"at://)" + owner +
                              "/net.rhiz.x/r" + std::to_string(sent_ % 5) + R"("},"did":")" + owner + R"("})";
            ++sent_;
            BlockRef        block(new Block);
            schema::Decoded decoded;
            auto const      padded = json + std::string(schema::Decoder::padding, ' ');
            ASSERT_FALSE(decoder.decode({padded.data(), json.size()}, block->data, decoded));
            block->items.push_back({.offset = decoded.offset, .tier = decoded.tier, .state = {}, .sequence = {}});
            Admission::Demand demand;
            ++demand.events[index(decoded.tier)];
            Block::Request request{.first = 0, .count = 1, .ticket = {}};
            ASSERT_FALSE(engine().admission().admit(demand, request.ticket));
            block->requests.push_back(std::move(request));
            engine().submit(std::move(block));
        }
        while (engine().append_step()) {}
    }
    // Until nothing is left, or the store is away.
    void work()
    {
        for (int i = 0; i < 200; ++i) {
            while (*engine().work_step(0) || engine().append_step()) {}
            clock_.advance(100ms);
        }
    }
    void save()
    {
        clock_.advance(20s);
        ASSERT_TRUE(engine().checkpoint_step());
    }
    Hash128 truth() const
    {
        graph::ResidentStore graph;
        log::MemoryLog const log(disk_);
        EXPECT_TRUE(fold(log, *schemas_, graph, clock_));
        return graph.digest();
    }
    void expect_true() const
    {
        auto const state = process_->engine.state();
        EXPECT_EQ(state.accepted, sent_);
        EXPECT_EQ(state.applied, sent_);
        EXPECT_EQ(state.watermark, Sequence{sent_});
        EXPECT_EQ(server_.graph.digest(), truth());
    }

    static constexpr Processor const* old_processors[] = {&first_version};
    static constexpr Processor const* new_processors[] = {&second_version};

    sim::ManualClock                         clock_;
    mutable log::MemoryLog::Disk             disk_;
    files::MemoryDirectory                   files_;
    Server                                   server_;
    schema::SchemaSet                        old_schemas_{old_processors}, new_schemas_{new_processors};
    schema::SchemaSet const*                 schemas_{&old_schemas_};
    EngineOptions                            options_{};
    std::uint64_t                            sent_{0};
    std::unique_ptr<Process>                 process_;
};

TEST_F(StoresWithAPosition, AreGivenManyRepositoriesInOneCall)
{
    send(30);
    work();
    expect_true();
    EXPECT_EQ(process_->graph.most_at_once, 7u);
}

TEST_F(StoresWithAPosition, GetOnlyWhatTheyMayLackAfterARestart)
{
    send(20);
    work();
    save();
    send(10);
    auto const folded = start();
    ASSERT_TRUE(folded);
    EXPECT_EQ(folded->read, 10u);
    EXPECT_EQ(engine().state().applied, 20u);
    EXPECT_EQ(engine().state().watermark, Sequence{20});
    work();
    EXPECT_EQ(process_->graph.applied, 10u);
    expect_true();
}

TEST_F(StoresWithAPosition, MayBeAskedAgainForWhatTheyHave)
{
    send(10);
    work();
    save();
    send(10);
    work();  // and nothing says so
    ASSERT_TRUE(start());
    EXPECT_EQ(engine().state().applied, 10u);
    work();
    expect_true();
}

TEST_F(StoresWithAPosition, AreNotWaitedForAtAStart)
{
    send(20);
    work();
    save();
    send(10);
    server_.is_away = true;
    auto const folded = start();
    ASSERT_TRUE(folded);
    EXPECT_EQ(folded->read, 10u) << "the copy of the position says what the store has";
    send(5);
    work();
    EXPECT_EQ(process_->graph.applied, 0u);
    EXPECT_EQ(engine().state().accepted, 35u);

    server_.is_away = false;
    work();
    EXPECT_EQ(process_->graph.applied, 0u) << "nothing is applied before its position was judged";
    save();
    work();
    expect_true();
}

TEST_F(StoresWithAPosition, MayBeAwayWithoutACopyOfTheirPosition)
{
    send(20);
    work();
    server_.is_away = true;
    ASSERT_TRUE(files_.list()->empty());
    auto const folded = start();
    ASSERT_TRUE(folded);
    EXPECT_EQ(folded->read, 20u);
    server_.is_away = false;
    save();
    work();
    expect_true();
}

TEST_F(StoresWithAPosition, ThatWentBackEndTheProcess)
{
    send(10);
    work();
    save();
    auto const backup = server_.position;
    send(10);
    work();
    save();
    server_.is_away = true;
    ASSERT_TRUE(start());
    server_.is_away = false;
    server_.position = backup;
    clock_.advance(20s);
    auto const step = engine().checkpoint_step();
    ASSERT_FALSE(step);
    EXPECT_EQ(step.error().reason, "projection_behind");
    EXPECT_EQ(step.error().code, Errc::corrupt);

    ASSERT_TRUE(start()) << "the next start goes on from what the store says";
    EXPECT_EQ(engine().state().applied, 10u);
    work();
    expect_true();
}

TEST_F(StoresWithAPosition, OfOtherProcessorsAreMadeAgain)
{
    send(20);
    work();
    save();
    schemas_ = &new_schemas_;
    ASSERT_TRUE(start());
    EXPECT_EQ(server_.graph.digest(), Hash128{});
    work();
    expect_true();
}

TEST_F(StoresWithAPosition, KnowTheirPositionAfterAnOrderlyEnd)
{
    send(20);
    work();
    engine().save_position();
    auto const folded = start();
    ASSERT_TRUE(folded);
    EXPECT_EQ(folded->read, 0u);
    expect_true();
}

TEST_F(StoresWithAPosition, WithoutOneBelongToNobody)
{
    send(20);
    work();
    disk_ = {};
    sent_ = 0;
    ASSERT_TRUE(start());
    EXPECT_EQ(server_.graph.digest(), Hash128{});
    send(10);
    work();
    expect_true();
}

TEST_F(StoresWithAPosition, OfAnotherLogAreLeftAlone)
{
    send(20);
    work();
    save();
    auto const held = server_.graph.digest();
    disk_ = {};
    auto const folded = start();
    ASSERT_FALSE(folded);
    EXPECT_EQ(folded.error().code, Errc::invalid);
    EXPECT_EQ(server_.graph.digest(), held);
}

TEST_F(StoresWithAPosition, ThatLackTooMuchAreFoldedIntoAtTheStart)
{
    for (int blocks = 0; blocks < 40; ++blocks) send(50);
    work();
    server_.graph.clear();
    server_.position.clear();
    options_.queued_at_start_max = 100;
    options_.position.interval = 0ms;
    options_.fold_threads = 2;
    auto const folded = start();
    ASSERT_TRUE(folded);
    EXPECT_TRUE(engine().idle());
    EXPECT_GT(process_->graph.most_at_once, 1u);
    expect_true();
    auto const saved = decode_checkpoint_header(server_.position);
    ASSERT_TRUE(saved) << "on the way";
    EXPECT_GT(number(saved->position.last), 0u);
}

TEST_F(StoresWithAPosition, ThatLackTooMuchAndAreAwayAreWaitedFor)
{
    send(200);
    server_.is_away = true;
    options_.queued_at_start_max = 100;
    auto const folded = start();
    ASSERT_FALSE(folded);
    EXPECT_EQ(folded.error().code, Errc::unavailable);
}

TEST_F(StoresWithAPosition, KeepPositionsOfABoundedSize)
{
    options_.position.unsettled_max = 2;
    options_.scheduler.lane_batch_max = 1;
    options_.scheduler.batch_max = 1;
    ASSERT_TRUE(start());
    send(40);
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(engine().work_step(0));
    auto const settled = engine().state().applied;
    ASSERT_GT(settled, 0u);
    save();
    auto const saved = decode_checkpoint_header(server_.position);
    ASSERT_TRUE(saved);
    EXPECT_LE(saved->position.unsettled.size(), 2u);
    ASSERT_TRUE(start());
    EXPECT_LE(engine().state().applied, settled);
    work();
    expect_true();
}

}  // namespace
}  // namespace sluice::engine
