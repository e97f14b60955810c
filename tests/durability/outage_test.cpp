// A long outage of the graph, with the log on disk: what waits is small, and nothing is refused or given up.
#include "adapters/rocksdb/rocksdb_log.hpp"
#include "contract/forwarding_graph.hpp"
#include "durability/temp_directory.hpp"
#include "engine/engine.hpp"
#include "graph/resident_store.hpp"
#include "sim/manual_clock.hpp"
#include "unit/engine/support.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <charconv>
#include <fstream>
#include <iostream>

#ifdef __SANITIZE_ADDRESS__
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t events = 150'000, lanes = 2'000;
std::size_t           bytes_in_use() { return __sanitizer_get_current_allocated_bytes(); }
#else
constexpr std::size_t events = 3'000'000, lanes = 20'000;
std::size_t           bytes_in_use()
{
    std::size_t all = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> all >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}
#endif

constexpr EventType types[] = {{.name = "test.fine"}};
constexpr Processor processor{
    .name = "test", .version = 0, .events = types, .fields = {},
    .process = [](Event const&, RecordView const&) -> Result<Effects> { return Effects{}; }};
constexpr Processor const* processors[] = {&processor};

// Away until it is not; then it notes the order in which lanes come.
class Fickle final : public ForwardingGraph {
public:
    explicit Fickle(graph::GraphStore& inner) : ForwardingGraph(inner), last_(lanes) {}

    graph::ApplyResult apply(std::span<Event const> batch, graph::Decide const& decide) override
    {
        ++calls;
        if (is_away) return {.outcomes = {}, .error = Error{Errc::unavailable, "away", ""}, .from_store = true};
        for (auto const& event : batch) {
            std::size_t lane = 0;
            std::from_chars(event.did.data() + 8, event.did.data() + event.did.size(), lane);
            is_in_order = is_in_order && last_[lane] < event.sequence;
            last_[lane] = event.sequence;
        }
        return inner_.apply(batch, decide);
    }

    bool        is_away{true}, is_in_order{true};
    std::size_t calls{0};

private:
    std::vector<Sequence> last_;
};

TEST(Outage, RefusesNothingGivesNothingUpAndKeepsMemoryFlat)
{
    constexpr std::size_t in_block = 5'000;
    TempDirectory         temp;
    auto const            log = adapters::open_rocksdb_log(
                         {.directory = temp.path() / "data", .reserve_bytes = 1, .write_buffer_bytes = 4u << 20})
                         .value();
    sim::ManualClock     clock;
    graph::ResidentStore store;
    Fickle               graph(store);
    schema::SchemaSet    schemas(processors);
    engine::Engine       engine({*log, graph, schemas, clock}, {.workers = 1},
                                [](std::vector<engine::BlockRef> const&) {});

    std::vector<engine::test::Draft> drafts(in_block, {.type = "test.fine"});
    auto const                       before = bytes_in_use();
    std::size_t                      sent = 0, most = 0;
    while (sent < events) {
        for (auto& draft : drafts) draft.did = "did:plc:" + std::to_string(sent++ * 7919 % lanes);
        auto                      block = engine::test::make_block(drafts);
        engine::Admission::Demand demand;
        demand.events[index(Tier::normal)] = in_block;
        demand.bytes = block->data.size();
        ASSERT_FALSE(engine.admission().admit(demand, block->requests[0].ticket)) << sent;
        engine.submit(std::move(block));
        ASSERT_TRUE(engine.append_step());
        ASSERT_FALSE(engine.log_failed());
        for (bool is_more = true; is_more;) is_more = engine.work_step(0).value();
        clock.advance(1s);
        most = std::max(most, bytes_in_use());
    }
    auto const probes = engine.graph_breaker().probes;
    EXPECT_EQ(engine.admission().use().events, 0u);
    EXPECT_EQ(engine.lanes().backlog, events);
    EXPECT_LE(graph.calls, 5 + probes) << "an outage costs a handful of calls";
    EXPECT_LT(most, before + (150u << 20));

    graph.is_away = false;
    for (int i = 0; !engine.graph_answers(); ++i) {
        ASSERT_LT(i, 60);
        clock.advance(1s);
        ASSERT_TRUE(engine.work_step(0));
    }
    auto const began = std::chrono::steady_clock::now();
    while (!engine.idle()) {
        clock.advance(1ms);
        ASSERT_TRUE(engine.work_step(0));
    }
    auto const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    EXPECT_TRUE(graph.is_in_order);
    EXPECT_EQ(engine.state().applied, events);
    EXPECT_EQ(engine.state().dead_lettered, 0u);
    EXPECT_EQ(engine.admission().use().backlog, 0u);
    std::cout << "  memory grew by " << (most - std::min(most, before)) / events << " bytes per event; "
              << static_cast<std::uint64_t>(static_cast<double>(events) / took) << " events/s to catch up\n";
}

}  // namespace
}  // namespace sluice::test
