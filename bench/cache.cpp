// What keeping answers is worth:
//   cache_bench [--redis URL] [--seconds 5] [--writes 100] [--store-us 500]
#include "adapters/redis/redis_cache.hpp"
#include "base/random.hpp"
#include "bench/latencies.hpp"
#include "cache/answers.hpp"
#include "cache/memory_cache.hpp"
#include "graph/queries.hpp"
#include "graph/resident_store.hpp"
#include "support.hpp"
#include "unit/graph/support.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <thread>

namespace {

using namespace sluice;
using namespace std::chrono_literals;

class RealClock final : public Clock {
public:
    Mono     now() const noexcept override { return std::chrono::steady_clock::now(); }
    WallTime wall() const noexcept override
    {
        return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    }
};
RealClock const clock_of_bench;

struct Arguments {
    std::string   redis{};
    int           seconds{5};
    std::uint64_t writes{100};    // a second, of the reads beside writes
    int           store_us{500};  // that a read takes of a graph behind a server
};

constexpr std::size_t readers = 4;  // as many as the server has
constexpr std::size_t dids = 20'000, relationships = 100'000;

std::string did(std::size_t i) { return "did:plc:" + std::to_string(100'000'000'000 + i); }

// Rank i as often as 1/(i + 1) says.
class Zipf {
public:
    explicit Zipf(std::size_t size)
    {
        double sum = 0;
        for (std::size_t i = 0; i < size; ++i) sums_.push_back(sum += 1 / static_cast<double>(i + 1));
    }
    std::size_t operator()(Random& random) const
    {
        auto const point = static_cast<double>(random.next() >> 11) * 0x1.0p-53 * sums_.back();
        return static_cast<std::size_t>(std::upper_bound(sums_.begin(), sums_.end(), point) - sums_.begin());
    }

private:
    std::vector<double> sums_;
};
Zipf const zipf(dids);

graph::test::Step relationship(Random& random, std::uint64_t sequence, std::string const& name)
{
    auto const other = zipf(random);  // some have tens of thousands
    auto const owner = (other + 1 + random.below(dids - 1)) % dids;
    return graph::test::relate(
        sequence, sequence, did(owner), name,
        {.other = did(other), .strength = static_cast<std::int64_t>(random.below(101))});
}

void write(graph::GraphStore& store, graph::test::Step const& step)
{
    if (graph::test::run(store, std::span(&step, 1)).error) bench::give_up("a write failed");
}

// The same, as far away as a server is.
class DistantGraph final : public graph::GraphReader {
public:
    DistantGraph(graph::GraphReader const& graph, std::chrono::microseconds away) : graph_(graph), away_(away) {}

    Result<std::optional<graph::OwnedRecord>> find(Kind kind, std::string_view uri) const override
    {
        std::this_thread::sleep_for(away_);
        return graph_.find(kind, uri);
    }
    Result<std::vector<graph::OwnedRecord>> relationships_of(std::string_view of) const override
    {
        std::this_thread::sleep_for(away_);
        return graph_.relationships_of(of);
    }
    Result<std::vector<graph::OwnedRecord>> attestations_of(std::string_view target) const override
    {
        return graph_.attestations_of(target);  // there are none
    }
    graph::Stamp stamp(std::string_view name) const override { return graph_.stamp(name); }

private:
    graph::GraphReader const&       graph_;
    std::chrono::microseconds const away_;
};

double us(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e3; }

void print_latencies(bench::Latencies const& all)
{
    std::printf("  p50_us %.1f  p99_us %.1f  max_us %.0f\n", us(all.percentile(0.5)), us(all.percentile(0.99)),
                us(all.max()));
    std::fflush(stdout);
}

void measure_hits(char const* name, cache::Cache& cache, std::size_t bytes, std::size_t threads)
{
    constexpr int keys = 1'000, gets = 20'000;
    for (int i = 0; i < keys; ++i)
        if (!cache.put("hit:" + std::to_string(i), std::string(bytes, 'v'), 1h)) bench::give_up("put failed");
    std::vector<bench::Latencies> of_thread(threads);
    std::atomic<std::uint64_t>    failed{0};  // for want of an answer in time
    std::vector<std::thread>      all;
    for (std::size_t t = 0; t < threads; ++t)
        all.emplace_back([&, t] {
            Random random(t);
            for (int i = 0; i < gets; ++i) {
                auto const key = "hit:" + std::to_string(random.below(keys));
                auto const begin = clock_of_bench.now();
                auto const value = cache.get(key);
                of_thread[t].add(clock_of_bench.now() - begin);
                failed += !value || !*value;
            }
        });
    for (auto& thread : all) thread.join();
    // The thread that was worst off.
    auto const& worst = *std::ranges::max_element(
        of_thread, {}, [](auto const& latencies) { return latencies.percentile(0.99); });
    std::printf("hit  cache %s  bytes %zu  threads %zu  failed %llu", name, bytes, threads,
                static_cast<unsigned long long>(failed));
    print_latencies(worst);
}

std::string neighbors_text(graph::GraphReader const& graph, std::string const& of)
{
    std::string text;
    for (auto const& n : graph::neighbors(graph, of, 0, 100, WallTime(24h * 365 * 56)).value())
        text += R"({"did":")" + n.did + R"(","uri":")" + n.uri + R"(","strength":)" + std::to_string(n.strength) + "},";
    return text;
}

struct Reads {
    char const*               graph;
    graph::GraphReader const& reader;
    char const*               cache_name;
    cache::Cache*             cache;
    std::uint64_t             writes;
};

// The first half of it is for the cache to fill.
void measure_reads(Reads const& of, graph::ResidentStore& store, std::chrono::seconds length)
{
    cache::Answers                answers(of.reader, of.cache);
    std::atomic<bool>             stop{false}, is_measured{false};
    std::vector<bench::Latencies> of_thread(readers);
    std::vector<std::thread>      threads;
    for (std::size_t t = 0; t < readers; ++t)
        threads.emplace_back([&, t] {
            Random random(t);
            while (!stop) {
                auto const who = did(zipf(random));
                auto const begin = clock_of_bench.now();
                auto const text = answers.get(
                    "graph:neighbors:" + who, false, [&](auto const& graph) { return neighbors_text(graph, who); });
                if (!text) bench::give_up("a read failed");
                if (is_measured) of_thread[t].add(clock_of_bench.now() - begin);
            }
        });
    static std::uint64_t   sequence = relationships;
    Random                 random(99);
    std::uint64_t          written = 0;
    cache::Answers::Counts warm;
    auto const             begin = clock_of_bench.now();
    while (clock_of_bench.now() < begin + 2 * length) {
        std::this_thread::sleep_for(1ms);
        if (!is_measured && clock_of_bench.now() >= begin + length) {
            warm = answers.counts();
            is_measured = true;
        }
        auto const seconds = std::chrono::duration<double>(clock_of_bench.now() - begin).count();
        for (; static_cast<double>(written) < seconds * static_cast<double>(of.writes); ++written) {
            ++sequence;
            write(store, relationship(random, sequence, "w" + std::to_string(sequence)));
        }
    }
    stop = true;
    for (auto& thread : threads) thread.join();
    std::uint64_t reads = 0;
    for (auto const& latencies : of_thread) reads += latencies.count();
    if (of.cache != nullptr) (void)of.cache->check();
    auto const counts = answers.counts();
    auto const hit_rate = cache::Answers::Counts{
        counts.hits - warm.hits, counts.misses - warm.misses, counts.shared - warm.shared}.hit_rate();
    std::printf("reads  graph %s  cache %s  writes_per_s %llu  reads_per_s %.0f  hit_rate %.3f  keys %llu", of.graph,
                of.cache_name, static_cast<unsigned long long>(of.writes),
                static_cast<double>(reads) / static_cast<double>(length.count()), hit_rate,
                static_cast<unsigned long long>(answers.stats().keys));
    print_latencies(of_thread[0]);
}

int run(Arguments const& arguments)
{
    std::unique_ptr<cache::Cache> redis;
    if (!arguments.redis.empty()) {
        auto const address = adapters::RedisAddress::parse(arguments.redis);
        if (!address) bench::give_up(address.error().detail);
        redis = adapters::make_redis_cache({.address = *address, .epoch = "bench"}, clock_of_bench);
        if (auto const checked = redis->check(); !checked) bench::give_up(checked.error().detail);
    }
    auto const forget = [&] {
        if (redis && !redis->clear(cache::Pattern::parse("*").value())) bench::give_up("clear failed");
    };
    forget();
    {
        cache::MemoryCache memory({}, clock_of_bench);
        for (std::size_t const bytes : {200u, 2'000u, 20'000u})
            for (std::size_t const threads : {std::size_t{1}, readers}) {
                measure_hits("memory", memory, bytes, threads);
                if (redis) measure_hits("redis", *redis, bytes, threads);
            }
    }
    graph::ResidentStore store;
    Random               random(1);
    for (std::uint64_t sequence = 1; sequence <= relationships; ++sequence)
        write(store, relationship(random, sequence, "r" + std::to_string(sequence)));
    DistantGraph const         distant(store, std::chrono::microseconds(arguments.store_us));
    std::chrono::seconds const length(arguments.seconds);
    using Graph = std::pair<char const*, graph::GraphReader const*>;
    for (auto const& [graph, reader] : {Graph{"memory", &store}, Graph{"distant", &distant}})
        for (auto const writes : {std::uint64_t{0}, arguments.writes}) {
            measure_reads({graph, *reader, "none", nullptr, writes}, store, length);
            cache::MemoryCache memory({}, clock_of_bench);
            measure_reads({graph, *reader, "memory", &memory, writes}, store, length);
            if (redis) measure_reads({graph, *reader, "redis", redis.get(), writes}, store, length);
            forget();
        }
    return 0;
}

}  // namespace

int main(int argc, char** argv)
{
    std::signal(SIGPIPE, SIG_IGN);
    Arguments arguments;
    for (int i = 1; i < argc; i += 2) {
        std::string_view const name = argv[i];
        bool const             has_value = i + 1 < argc;
        if (name == "--redis" && has_value)
            arguments.redis = argv[i + 1];
        else if (name == "--seconds" && has_value)
            arguments.seconds = std::clamp(std::atoi(argv[i + 1]), 1, 600);
        else if (name == "--writes" && has_value)
            arguments.writes = static_cast<std::uint64_t>(std::clamp(std::atoi(argv[i + 1]), 0, 100'000));
        else if (name == "--store-us" && has_value)
            arguments.store_us = std::clamp(std::atoi(argv[i + 1]), 0, 1'000'000);
        else
            bench::give_up("cache_bench [--redis URL] [--seconds 5] [--writes 100] [--store-us 500]");
    }
    return run(arguments);
}
