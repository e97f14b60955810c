// How fast events get into a graph store, and records out of it:
//   projection [--url postgresql://...] [--threads 10] [--events 300000] [--batch 64] [--dids 100000]
// Without a URL the store is the one in memory. The database gets a generation for the run and loses it again.
#include "support.hpp"

#include "adapters/postgres/postgres_graph.hpp"
#include "base/hash.hpp"
#include "base/hex.hpp"
#include "engine/decide.hpp"
#include "graph/resident_store.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <thread>

namespace {

using namespace sluice;
using namespace sluice::bench;

struct Arguments {
    std::string url{};
    std::size_t threads{10}, events{300'000}, batch{64}, dids{100'000}, reads{20'000};
};

class RealClock final : public Clock {
public:
    Mono     now() const noexcept override { return std::chrono::steady_clock::now(); }
    WallTime wall() const noexcept override
    {
        return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    }
};

constexpr WallTime received_at{std::chrono::days(20'000)};

// A thread's share: the lanes that are its, cut into micro-batches as the scheduler would.
class Share {
public:
    Share(Arguments const& arguments, schema::SchemaSet const& schemas) : arguments_(arguments), decider_(schemas) {}

    void add(Event const& event) { events_.push_back(event); }

    void apply(graph::GraphStore& store)
    {
        auto const decide = [this](Event const& event, RecordView const& view) { return decider_(event, view); };
        for (std::size_t at = 0; at < events_.size(); at += arguments_.batch) {
            auto const size = std::min(arguments_.batch, events_.size() - at);
            auto const batch = std::span(events_).subspan(at, size);
            std::ranges::stable_sort(batch, {}, &Event::did);
            std::vector<std::span<Event const>> runs;
            for (std::size_t i = 0, same = 0; i < size; i += same) {
                for (same = 1; i + same < size && batch[i + same].did == batch[i].did;) ++same;
                runs.push_back(batch.subspan(i, same));
            }
            for (auto const& result : store.apply_all(runs, decide))
                if (result.error) give_up(result.error->reason + ": " + result.error->detail);
        }
    }

    std::vector<Event> const& events() const noexcept { return events_; }

private:
    Arguments const&   arguments_;
    engine::Decider    decider_;
    std::vector<Event> events_;
};

template <class F>
std::chrono::nanoseconds in_threads(Clock const& clock, std::deque<Share>& shares, F const& work)
{
    auto const               start = clock.now();
    std::vector<std::thread> threads;
    for (auto& share : shares) threads.emplace_back([&] { work(share); });
    for (auto& thread : threads) thread.join();
    return clock.now() - start;
}

void print(char const* what, std::size_t count, std::chrono::nanoseconds took)
{
    std::printf("%s %zu in %.2f s: %.0f/s\n", what, count, static_cast<double>(took.count()) / 1e9,
                static_cast<double>(count) * 1e9 / static_cast<double>(took.count()));
}

// The same events for every store: new relationships, a micro-batch's worth of them at a time for each thread.
class Input {
public:
    explicit Input(Arguments const& arguments)
    {
        schema::Decoder decoder(schemas_);
        engine::Decider reader(schemas_);
        Workload        workload({.dids = arguments.dids}, std::uint64_t{1} << 60);
        for (std::size_t i = 0; i < arguments.threads; ++i) shares.emplace_back(arguments, schemas_);
        for (std::uint64_t sequence = 1; sequence <= arguments.events;) {
            auto& block = *blocks_.emplace_back(new engine::Block);
            for (std::size_t i = 0; i < 1'000 && sequence + i <= arguments.events; ++i) {
                std::string text(Workload::body_bytes_max + schema::Decoder::padding, '\0');
                auto const  size = workload.put(text.data());
                schema::Decoded decoded;
                if (auto const error = decoder.decode(std::string_view(text).substr(0, size), block.data, decoded))
                    give_up(error->detail);
                block.items.push_back({.offset = decoded.offset, .tier = decoded.tier});
            }
            for (std::size_t i = 0; i < block.items.size(); ++i, ++sequence) {
                auto const event = reader.read(block.record(i), Sequence{sequence}, received_at);
                shares[hash64(event.did) % shares.size()].add(event);
            }
        }
    }

    std::deque<Share> shares;  // one for each thread

private:
    schema::SchemaSet             schemas_{all_processors()};
    std::vector<engine::BlockRef> blocks_;
};

void measure(Arguments const& arguments, Input& input, graph::GraphStore& store, Clock const& clock)
{
    auto& shares = input.shares;
    auto const took = in_threads(clock, shares, [&](Share& share) { share.apply(store); });
    print("applied", arguments.events, took);

    auto const each = arguments.reads / arguments.threads;
    auto const found = in_threads(clock, shares, [&](Share& share) {
        for (std::size_t i = 0; i < each && i < share.events().size(); ++i)
            if (!store.find(Kind::relationship, *share.events()[i].fields.text(0))) give_up("find");
    });
    print("find", each * arguments.threads, found);
    // Of each repository once: hubs are read as often as everybody else.
    std::atomic<std::size_t> reads{0}, records{0};
    auto const               related = in_threads(clock, shares, [&](Share& share) {
        std::set<std::string_view> dids;
        for (auto const& event : share.events()) {
            if (dids.size() == each) break;
            if (!dids.insert(event.did).second) continue;
            auto const answer = store.relationships_of(event.did);
            if (!answer) give_up(answer.error().detail);
            ++reads;
            records += answer->size();
        }
    });
    print("relationships_of", reads, related);
    print("  records in them", records, related);
    auto const status = store.status();
    std::printf("transactions %llu, queries %llu, slow %llu\n", static_cast<unsigned long long>(status.transactions),
                static_cast<unsigned long long>(status.queries), static_cast<unsigned long long>(status.slow_queries));
}

}  // namespace

int main(int count, char** values)
{
    Arguments arguments;
    std::map<std::string_view, std::size_t*> const numbers{
        {"--threads", &arguments.threads}, {"--events", &arguments.events}, {"--batch", &arguments.batch},
        {"--dids", &arguments.dids},       {"--reads", &arguments.reads}};
    for (int i = 1; i + 1 < count; i += 2) {
        if (std::string_view(values[i]) == "--url")
            arguments.url = values[i + 1];
        else if (auto const number = numbers.find(values[i]); number != numbers.end())
            *number->second = std::strtoull(values[i + 1], nullptr, 10);
        else
            give_up("unknown option");
    }
    RealClock const clock;
    Input           input(arguments);
    auto const      resident = graph::make_resident_store();
    if (arguments.url.empty()) {
        measure(arguments, input, *resident, clock);
        return 0;
    }
    adapters::PostgresOptions options{.url = arguments.url};
    options.writers = static_cast<std::uint32_t>(arguments.threads);
    options.generation = adapters::create_generation(options, clock).value();
    {
        auto const store = adapters::open_postgres_graph(options, clock);
        if (auto const begun = store->positions()->begin(); !begun) give_up(begun.error().detail);
        store->positions()->open();
        measure(arguments, input, *store, clock);
        in_threads(clock, input.shares, [&](Share& share) { share.apply(*resident); });
        std::printf("digest %s, in memory %s\n", hex(store->digest()).c_str(), hex(resident->digest()).c_str());
    }
    adapters::drop_generation(options, clock, *options.generation).value();
}
