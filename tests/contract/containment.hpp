// Real threads over a log on disk, before a graph that is slow, away, or fails one lane: what a failure does to
// everybody else. Measured by bench/containment.cpp, promised by tests/durability/containment_test.cpp.
#pragma once

#include "adapters/rocksdb/rocksdb_log.hpp"
#include "app/system_clock.hpp"
#include "bench/latencies.hpp"
#include "contract/forwarding_graph.hpp"
#include "engine/runner.hpp"
#include "graph/resident_store.hpp"
#include "schema/decoder.hpp"

#include <unistd.h>

#include <atomic>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace sluice::test {

inline std::string lane_did(std::size_t lane) { return "did:plc:" + std::to_string(lane); }

inline std::size_t lane_of(std::string_view did)
{
    std::size_t lane = 0;
    std::from_chars(did.data() + 8, did.data() + did.size(), lane);
    return lane;
}

inline std::size_t resident_bytes()
{
    std::size_t all = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> all >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// Whether each lane's events came in their order, and what was asked. Members are set and read by any thread.
class TroubledGraph final : public ForwardingGraph {
public:
    static constexpr std::size_t none = ~std::size_t{0};

    TroubledGraph(graph::GraphStore& inner, std::size_t lanes) : ForwardingGraph(inner), lanes_(lanes) {}

    graph::ApplyResult apply(std::span<Event const> batch, graph::Decide const& decide) override
    {
        auto const at = lane_of(batch.front().did);
        auto&      lane = lanes_[at];
        while (is_held) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ++calls;
        retries += lane.failed == batch.front().sequence;
        spend(batch.size());
        if (is_away || at == poisoned) {
            lane.failed = batch.front().sequence;
            auto const code = is_away ? Errc::unavailable : Errc::transient;
            return {.outcomes = {}, .error = Error{code, "trouble", ""}, .from_store = true};
        }
        auto result = inner_.apply(batch, decide);
        for (std::size_t i = 0; i < result.outcomes.size(); ++i) {
            auto const& event = batch[i];
            if (lane.last >= event.sequence) is_in_order = false;
            lane.last = event.sequence;
            ++applied[index(event.tier)];
            if (on_applied) on_applied(event);
        }
        return result;
    }

    std::atomic<bool>                                      is_away{false}, is_held{false};  // held: no answer yet
    std::atomic<bool>                                      is_in_order{true};
    std::atomic<std::size_t>                               poisoned{none};  // a lane: its events fail, and count
    std::atomic<std::chrono::nanoseconds>                  service{};       // of an event; callers do not share it
    std::atomic<std::uint64_t>                             calls{0}, retries{0};  // of what failed at its try before
    std::array<std::atomic<std::uint64_t>, tier_count>     applied{};
    std::function<void(Event const&)>                      on_applied{};  // set before the first event

private:
    struct Lane {
        Sequence last{}, failed{};
    };

    // What a thread oversleeps it may make up for, so that the capacity is that of the graph.
    void spend(std::size_t events)
    {
        using namespace std::chrono_literals;
        auto const each = service.load();
        if (each == 0ns) return;
        Clock::Mono until;
        {
            std::lock_guard lock(mutex_);
            auto&           free_at = free_at_[std::this_thread::get_id()];
            until = free_at = std::max(free_at, std::chrono::steady_clock::now() - 5ms) + each * events;
        }
        std::this_thread::sleep_until(until);
    }

    std::vector<Lane>                      lanes_;
    std::mutex                             mutex_;
    std::map<std::thread::id, Clock::Mono> free_at_;  // guarded by mutex_
};

// The server without its network: everything from admission to the graph on its own threads.
class Rig {
public:
    struct Options {
        std::size_t              lanes{1'000};
        std::chrono::nanoseconds service{};
        engine::EngineOptions    engine{};
        std::size_t              journeys_max{1'000'000};  // events whose way is timed
        std::size_t              write_buffer_bytes{64u << 20};
    };
    struct Posts {
        std::size_t      first_lane{0}, lanes{1};  // the i-th event is of lane first_lane + i % lanes
        Tier             tier{Tier::normal};
        engine::Producer producer{0};
        bool             is_refused{false};  // by its processor, as invalid
    };

    Rig(std::filesystem::path const& directory, Options options)
        : log_(adapters::open_rocksdb_log(
                   {.directory = directory, .reserve_bytes = 1, .write_buffer_bytes = options.write_buffer_bytes})
                   .value()),
          store_(graph::make_resident_store()), graph(*store_, options.lanes), processors_(with_refusing()),
          schemas(processors_), journeys_(options.journeys_max),
          engine({*log_, graph, schemas, clock}, options.engine,
                 [this](std::vector<engine::BlockRef> const& blocks) { answered(blocks); }),
          runner_(engine, clock, [](Error const& error) { throw std::runtime_error(error.detail); })
    {
        graph.service = options.service;
        graph.on_applied = [this](Event const& event) {
            if (number(event.sequence) < journeys_.size()) journeys_[number(event.sequence)].applied = since_epoch();
        };
        runner_.start();
    }
    ~Rig() { runner_.stop(); }

    // One request of events number `from` and on. False: there was no room.
    bool post(schema::Decoder& decoder, Posts const& posts, std::uint64_t from, std::size_t count)
    {
        engine::BlockRef block(new engine::Block);
        for (std::size_t i = 0; i < count; ++i) {
            auto const did = lane_did(posts.first_lane + (from + i) % posts.lanes);
            auto const record = std::to_string((from + i) / posts.lanes % 16);
            auto       text = R"({"event_type":")" +
                        std::string(posts.is_refused ? "test.refused" : "relationship.created") + R"(","did":")" + did +
                        R"(","priority":)" + std::to_string(index(posts.tier)) + R"(,"payload":{"uri":"at://)" + did +
                        "/net.rhiz.relationship/r" + record +
                        R"(","cid":"bafyreigh2akiscaildc","participants":[")" + did +
                        R"(","did:plc:other"],"type":"civic","strength":50,"created_at":"2026-01-01T00:00:00Z",)"
                        R"("context":"worked together worked together worked together worked together"}})";
            auto const size = text.size();
            text.resize(size + schema::Decoder::padding);
            schema::Decoded decoded;
            if (auto const wrong = decoder.decode(std::string_view(text).substr(0, size), block->data, decoded))
                throw std::runtime_error(wrong->detail);
            block->items.push_back({.offset = decoded.offset, .tier = decoded.tier, .producer = posts.producer});
        }
        block->requests.push_back({.count = static_cast<std::uint32_t>(count)});
        engine::Admission::Demand demand{.bytes = block->data.size(), .producer = posts.producer};
        demand.events[index(posts.tier)] = static_cast<std::uint32_t>(count);
        if (engine.admission().admit(demand, block->requests[0].ticket)) return false;
        runner_.submit(std::move(block));
        return true;
    }

    // False: not within the time.
    bool await(std::function<bool()> const& is_so, std::chrono::nanoseconds limit) const
    {
        auto const end = clock.now() + limit;
        while (!is_so()) {
            if (clock.now() > end) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return true;
    }
    bool drain(std::chrono::nanoseconds limit) const
    {
        return await([this] { return engine.idle(); }, limit);
    }

    // From durable to applied, of what is applied. While nothing happens.
    bench::Latencies journeys(Tier tier) const
    {
        bench::Latencies latencies;
        for (auto const& journey : journeys_)
            if (journey.applied != 0 && journey.tier == index(tier))
                latencies.add(std::chrono::nanoseconds(journey.applied - journey.durable));
        return latencies;
    }

private:
    struct Journey {
        std::atomic<std::int64_t> durable{0}, applied{0};
        std::atomic<std::size_t>  tier{0};
    };
    static constexpr EventType refused[] = {{.name = "test.refused"}};
    static constexpr Processor refusing{
        .name = "refusing", .version = 1, .events = refused, .fields = {},
        .process = [](Event const&, RecordView const&) -> Result<Effects> {
            return Error{Errc::invalid, "refused", "as asked for"};
        }};

    static std::vector<Processor const*> with_refusing()
    {
        std::vector<Processor const*> all(all_processors().begin(), all_processors().end());
        all.push_back(&refusing);
        return all;
    }
    std::int64_t since_epoch() const { return clock.now().time_since_epoch().count(); }
    void         answered(std::vector<engine::BlockRef> const& blocks)
    {
        auto const now = since_epoch();
        for (auto const& block : blocks)
            for (auto const& item : block->items) {
                if (number(item.sequence) >= journeys_.size()) continue;
                auto& journey = journeys_[number(item.sequence)];
                journey.durable = now;
                journey.tier = index(item.tier);
            }
    }

    std::unique_ptr<log::EventLog>     log_;
    std::unique_ptr<graph::GraphStore> store_;

public:
    app::SystemClock clock;
    TroubledGraph    graph;

private:
    std::vector<Processor const*> processors_;

public:
    schema::SchemaSet schemas;

private:
    std::vector<Journey> journeys_;  // by sequence

public:
    engine::Engine engine;

private:
    engine::Runner runner_;
};

// Posts from a thread of its own until it is destroyed: so many a second, or as many as keep `depth` pending.
class Load {
public:
    struct Options {
        Rig::Posts  posts{};
        double      rate{0};
        std::size_t depth{0};
        std::size_t request{50};  // events, at most
    };

    Load(Rig& rig, Options options) : rig_(rig), options_(options), thread_([this] { run(); }) {}
    ~Load() { stop(); }
    void stop()
    {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    std::atomic<std::uint64_t> posted{0}, refused{0};

private:
    void run()
    {
        schema::Decoder decoder(rig_.schemas);
        auto const      start = rig_.clock.now();
        auto const&     applied = rig_.graph.applied[index(options_.posts.tier)];
        auto const      before = applied.load();
        while (!stop_) {
            auto const seconds = std::chrono::duration<double>(rig_.clock.now() - start).count();
            auto const wanted = options_.rate != 0 ? static_cast<std::uint64_t>(options_.rate * seconds)
                                                   : applied - before + options_.depth;
            auto const sent = posted + refused;
            if (wanted <= sent) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                continue;
            }
            auto const count = std::min<std::uint64_t>(wanted - sent, options_.request);
            if (rig_.post(decoder, options_.posts, sent, count))
                posted += count;
            else if (options_.rate != 0)
                refused += count;
            else
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

    Rig&              rig_;
    Options const     options_;
    std::atomic<bool> stop_{false};
    std::thread       thread_;
};

// --- the figures ---

using Seconds = std::chrono::duration<double>;

struct PoisonFigure {
    double        baseline{0}, beside_transient{0};          // applied a second, other lanes
    double        baseline_again{0}, beside_invalid{0};
    std::uint64_t attempts{0};       // at the lane that fails
    std::uint64_t dead_letters{0};
    bool          is_drained{false}, is_in_order{false};
};

// One lane among those of a graph that has all the work it can do; rounds with and without trouble take turns. What is
// invalid is served before everything else.
inline PoisonFigure measure_poison(
    std::filesystem::path const& directory, Rig::Options const& options, std::chrono::nanoseconds length, int rounds)
{
    using namespace std::chrono_literals;
    Rig             rig(directory, options);
    Load            load(rig, {.posts = {.lanes = options.lanes}, .depth = 4 * options.lanes});
    schema::Decoder decoder(rig.schemas);
    PoisonFigure    figure;
    auto const      applied_in = [&](double& sum) {
        auto const& applied = rig.graph.applied[index(Tier::normal)];
        auto const  before = applied.load();
        auto const  start = rig.clock.now();
        std::this_thread::sleep_for(length);
        sum += static_cast<double>(applied - before) / Seconds(rig.clock.now() - start).count() / rounds;
    };
    std::this_thread::sleep_for(length / 2);
    for (int round = 0; round < rounds; ++round) {
        applied_in(figure.baseline);
        auto const retries = rig.graph.retries.load();
        rig.graph.poisoned = 0;
        applied_in(figure.beside_transient);
        figure.attempts += rig.graph.retries - retries;
        rig.graph.poisoned = TroubledGraph::none;
    }
    for (int round = 0; round < rounds; ++round) {
        applied_in(figure.baseline_again);
        auto const before = rig.engine.state().dead_lettered;
        auto const count = static_cast<std::size_t>(100 * Seconds(length).count());
        rig.post(decoder, {.first_lane = 1, .tier = Tier::high, .is_refused = true}, 0, count);
        applied_in(figure.beside_invalid);
        figure.dead_letters += rig.engine.state().dead_lettered - before;
        rig.await([&] { return rig.engine.state().dead_lettered >= before + count; }, 60s);
    }
    load.stop();
    figure.is_drained = rig.drain(60s);
    figure.is_in_order = rig.graph.is_in_order;
    return figure;
}

struct OutageFigure {
    struct Window {
        double        from{0};  // seconds since the outage began
        std::uint64_t calls{0}, retries{0}, applied{0}, allowed{0};  // of the budget
    };
    std::vector<Window> windows;
    std::uint64_t       calls_away{0}, probes{0};  // while the graph was away
    double              worst_share{0};      // of the budget, in any window
    double              seconds_to_notice{0}, seconds_to_catch_up{0};  // after the graph is back
    std::uint64_t       posted{0}, refused{0}, applied{0}, dead_letters{0};
    bool                is_drained{false}, is_in_order{false};
};

// The graph is away for a while under a steady load.
inline OutageFigure measure_outage(
    std::filesystem::path const& directory, Rig::Options const& options, double rate, std::chrono::nanoseconds length,
    std::chrono::nanoseconds window)
{
    using namespace std::chrono_literals;
    struct Sample {
        Clock::Mono   at{};
        std::uint64_t calls{0}, retries{0}, applied{0};
    };
    Rig                 rig(directory, options);
    Load                load(rig, {.posts = {.lanes = options.lanes}, .rate = rate});
    OutageFigure        figure;
    std::vector<Sample> samples;
    auto const&         budget = options.engine.scheduler.budget;
    auto const          between = [&](Sample const& a, Sample const& b) {
        OutageFigure::Window w{.calls = b.calls - a.calls, .retries = b.retries - a.retries,
                               .applied = b.applied - a.applied};
        w.allowed = w.applied * budget.percent / 100 + budget.saved_max +
                    static_cast<std::uint64_t>(Seconds(b.at - a.at).count() * budget.per_second);
        return w;
    };
    auto const look = [&] {
        samples.push_back({rig.clock.now(), rig.graph.calls, rig.graph.retries,
                           rig.graph.applied[index(Tier::normal)]});
        for (auto i = samples.size() - 1; i-- > 0 && samples.back().at - samples[i].at <= window;) {
            auto const w = between(samples[i], samples.back());
            figure.worst_share =
                std::max(figure.worst_share, static_cast<double>(w.retries) / static_cast<double>(w.allowed));
        }
    };
    auto const watch_until = [&](std::function<bool()> const& is_so, std::chrono::nanoseconds limit) {
        for (auto const end = rig.clock.now() + limit; !is_so() && rig.clock.now() < end;) {
            std::this_thread::sleep_for(50ms);
            look();
        }
    };
    watch_until([] { return false; }, 1s);
    samples.clear();
    look();
    auto const start = rig.clock.now();
    rig.graph.is_away = true;
    watch_until([] { return false; }, length);
    rig.graph.is_away = false;
    auto const back = rig.clock.now();
    figure.calls_away = rig.graph.calls - samples.front().calls;
    figure.probes = rig.engine.graph_breaker().probes;
    watch_until([&] { return rig.engine.graph_answers(); }, 60s);
    figure.seconds_to_notice = Seconds(rig.clock.now() - back).count();
    auto const is_caught_up = [&] {
        return static_cast<double>(load.posted - rig.graph.applied[index(Tier::normal)]) < rate / 5;
    };
    watch_until(is_caught_up, length * 10);
    figure.seconds_to_catch_up = Seconds(rig.clock.now() - back).count() - figure.seconds_to_notice;
    watch_until([] { return false; }, 1s);
    load.stop();
    figure.is_drained = rig.drain(60s);
    for (std::size_t i = 0, j = 0; j < samples.size(); ++j) {
        if (samples[j].at - samples[i].at < window && j + 1 < samples.size()) continue;
        auto w = between(samples[i], samples[j]);
        w.from = Seconds(samples[i].at - start).count();
        figure.windows.push_back(w);
        i = j;
    }
    auto const state = rig.engine.state();
    figure.posted = load.posted;
    figure.refused = load.refused;
    figure.applied = state.applied;
    figure.dead_letters = state.dead_lettered;
    figure.is_in_order = rig.graph.is_in_order;
    return figure;
}

struct FloodFigure {
    double                     rate{0};  // of the graph
    std::uint64_t              low_posted{0}, low_refused{0}, low_applied{0};  // during the flood
    Seconds                    least_bound{1e9}, most_bound{0};
    Seconds                    longest_wait{0};  // of LOW, as exported
    std::uint64_t              looks{0}, above{0};  // above: the exported wait passed the exported bound
    std::array<bench::Latencies, tier_count> journeys{};
    bool                       is_drained{false}, is_in_order{false};
};

// HIGH without end, as much as one producer may have pending, and now and then a LOW of somebody else.
inline FloodFigure measure_flood(
    std::filesystem::path const& directory, Rig::Options options, double low_rate, std::chrono::nanoseconds length)
{
    using namespace std::chrono_literals;
    options.engine.admission.shares = {60, 100};
    Rig         rig(directory, options);
    auto const  half = options.lanes / 2;
    FloodFigure figure;
    {
        Load       flood(rig, {.posts = {.lanes = half, .tier = Tier::high},
                               .depth = options.engine.admission.events,
                               .request = std::min<std::size_t>(200, options.engine.admission.events / 100)});
        Load       low(rig, {.posts = {.first_lane = half, .lanes = half, .tier = Tier::low, .producer = 1},
                             .rate = low_rate});
        auto const start = rig.clock.now();
        auto const warm = start + length / 5;
        while (rig.clock.now() < start + length) {
            std::this_thread::sleep_for(20ms);
            if (rig.clock.now() < warm) continue;
            auto const    lanes = rig.engine.lanes();
            Seconds const bound = lanes.wait_bound[0], wait = lanes.oldest_wait[0];
            ++figure.looks;
            figure.above += wait > bound;
            figure.least_bound = std::min(figure.least_bound, bound);
            figure.most_bound = std::max(figure.most_bound, bound);
            figure.longest_wait = std::max(figure.longest_wait, wait);
        }
        figure.low_posted = low.posted;
        figure.low_refused = low.refused;
        figure.low_applied = rig.graph.applied[0];
        figure.rate = static_cast<double>(rig.graph.applied[0] + rig.graph.applied[index(Tier::high)]) /
                      Seconds(rig.clock.now() - start).count();
    }
    figure.is_drained = rig.drain(120s);
    for (std::uint8_t t = 0; t < tier_count; ++t) figure.journeys[t] = rig.journeys(Tier{t});
    figure.is_in_order = rig.graph.is_in_order;
    return figure;
}

struct CriticalFigure {
    double           rate{0};     // of the graph
    std::uint64_t    most{0}, least{0};  // LOW pending
    bench::Latencies critical{}, low{};
    bool             is_drained{false}, is_in_order{false};
};

// CRITICAL in lanes of its own while LOW holds every place it may have; for so long, or until half of LOW is gone: the
// graph may be faster than what comes in.
inline CriticalFigure measure_critical(
    std::filesystem::path const& directory, Rig::Options const& options, double rate, std::chrono::nanoseconds length)
{
    using namespace std::chrono_literals;
    Rig            rig(directory, options);
    CriticalFigure figure;
    auto const     few = options.lanes / 10;
    {
        rig.graph.is_held = true;
        Load       low(rig, {.posts = {.first_lane = few, .lanes = options.lanes - few, .tier = Tier::low},
                             .depth = options.engine.admission.events,
                             .request = std::min<std::size_t>(500, options.engine.admission.events / 100)});
        bool const is_full = rig.await(
            [&] { return rig.engine.lanes().pending[0] >= options.engine.admission.events / 100 * 65; }, 60s);
        rig.graph.is_held = false;
        Load       critical(rig, {.posts = {.lanes = few, .tier = Tier::critical}, .rate = rate});
        auto const start = rig.clock.now();
        figure.most = figure.least = is_full ? rig.engine.lanes().pending[0] : 0;
        while (rig.clock.now() < start + length && figure.least > figure.most / 2) {
            std::this_thread::sleep_for(20ms);
            figure.least = std::min(figure.least, rig.engine.lanes().pending[0]);
        }
        figure.rate =
            static_cast<double>(rig.graph.applied[0]) / Seconds(rig.clock.now() - start).count();
    }
    figure.is_drained = rig.drain(120s);
    figure.critical = rig.journeys(Tier::critical);
    figure.low = rig.journeys(Tier::low);
    figure.is_in_order = rig.graph.is_in_order;
    return figure;
}

}  // namespace sluice::test
