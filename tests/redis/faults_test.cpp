// Whatever happens to Redis, a cached answer is the one that would be computed now, nobody waits long for it, and Redis
// is used again by itself once it can be.
#include "base/random.hpp"
#include "cache/answers.hpp"
#include "cache/fallback_cache.hpp"
#include "cache/memory_cache.hpp"
#include "graph/resident_store.hpp"
#include "redis/support.hpp"
#include "servers/fault_proxy.hpp"
#include "unit/graph/support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>

namespace sluice::test {
namespace {

using namespace graph::test;
using namespace std::chrono_literals;

constexpr std::size_t repositories = 40;

std::string did(std::size_t i) { return "did:plc:r" + std::to_string(i); }

std::string text_of(graph::GraphReader const& graph, std::string const& of)
{
    std::string text;
    for (auto const& record : graph.relationships_of(of).value())
        text += std::to_string(number(record->sequence)) + ' ';
    return text;
}

// Passes reads on, and says that nothing ever changes.
class WithoutStamps final : public graph::GraphReader {
public:
    explicit WithoutStamps(graph::GraphReader const& graph) : graph_(graph) {}
    Result<std::optional<graph::OwnedRecord>> find(Kind kind, std::string_view uri) const override
    {
        return graph_.find(kind, uri);
    }
    Result<std::vector<graph::OwnedRecord>> relationships_of(std::string_view of) const override
    {
        return graph_.relationships_of(of);
    }
    Result<std::vector<graph::OwnedRecord>> attestations_of(std::string_view target) const override
    {
        return graph_.attestations_of(target);
    }
    graph::Stamp stamp(std::string_view) const override { return graph::Stamp{1}; }

private:
    graph::GraphReader const& graph_;
};

// A graph that is written to, and readers who ask the cache and compare.
class Readers {
public:
    Readers(graph::ResidentStore& store, cache::Answers& answers) : store_(store), answers_(answers)
    {
        threads_.emplace_back([this] { write(); });
        for (unsigned i = 0; i < 3; ++i) threads_.emplace_back([this, i] { read(i); });
    }
    ~Readers() { stop(); }

    void stop()
    {
        stop_ = true;
        for (auto& thread : threads_) thread.join();
        threads_.clear();
    }
    std::uint64_t            compared() const { return compared_; }
    std::uint64_t            wrong() const { return wrong_; }
    std::chrono::nanoseconds take_longest() { return std::chrono::nanoseconds(longest_.exchange(0)); }

private:
    void write()
    {
        Random random(7);
        for (std::uint64_t sequence = 1; !stop_; ++sequence) {
            auto const first = random.below(repositories), step = 1 + random.below(repositories - 1);
            auto const owner = did(first), other = did((first + step) % repositories);
            run(store_, {relate(sequence, sequence, owner, "to-" + other, {.other = other})});
            std::this_thread::sleep_for(2ms);
        }
    }
    void read(unsigned seed)
    {
        Random random(seed);
        while (!stop_) {
            auto const of = did(random.below(repositories));
            auto const before = text_of(store_, of);
            auto const begin = real_clock.now();
            auto const cached = answers_.get("of:" + of, false, [&](auto const& graph) { return text_of(graph, of); });
            auto const took = (real_clock.now() - begin).count();
            for (auto longest = longest_.load(); took > longest && !longest_.compare_exchange_weak(longest, took);) {}
            // Nothing was written in between: writers only ever replace a record by a newer one.
            if (text_of(store_, of) != before) continue;
            ++compared_;
            wrong_ += *cached != before;
        }
    }

    graph::ResidentStore&      store_;
    cache::Answers&            answers_;
    std::atomic<bool>          stop_{false};
    std::atomic<std::uint64_t> compared_{0}, wrong_{0};
    std::atomic<std::int64_t>  longest_{0};
    std::vector<std::thread>   threads_;
};

adapters::RedisCacheOptions as_served(std::string const& url)
{
    auto options = options_of(url);
    options.timeouts = {};
    return options;
}

bool eventually(std::function<bool()> const& condition)
{
    auto const deadline = real_clock.now() + server_patience;
    while (!condition()) {
        if (real_clock.now() > deadline) return false;
        std::this_thread::sleep_for(10ms);
    }
    return true;
}

class RedisFaults : public testing::Test {
protected:
    struct Fault {
        char const*           name;
        std::function<void()> strike, heal;
        bool                  is_felt{true};  // memory has to take over
    };

    ~RedisFaults() override
    {
        tender_.request_stop();
        tender_.join();
    }

    bool in_use() const { return cache_.stats().backend == "redis"; }

    // Overwrites keys of the cache by hand, with what somebody else might have put there.
    void write_garbage()
    {
        constexpr char const* list_instead = "redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], 1)";
        for (std::size_t i = 0; i < repositories; ++i) {
            auto const key = redis_key("of:" + did(i));
            if (i % 4 == 0) server_.exec({"SET", key, "garbage"});
            if (i % 4 == 1) server_.exec({"EVAL", list_instead, "1", key});
            if (i % 4 == 2) server_.exec({"SET", key, std::string("SLC\x01", 4) + std::string(64, 'x')});
            if (i % 4 == 3) server_.exec({"SET", key, std::string(100'000, 'y')});
        }
    }

    // Values of ours at the keys of others.
    void shuffle_values()
    {
        for (std::size_t i = 0; i < repositories; ++i) {
            auto const from = redis_key("of:" + did(i)), to = redis_key("of:" + did((i + 1) % repositories));
            server_.exec({"COPY", from, to, "REPLACE"});
        }
    }

    // As a server that is started on an old file does.
    void bring_back_old_values()
    {
        auto const copy_all = [this](std::string const& from_prefix, std::string const& to_prefix) {
            for (std::size_t i = 0; i < repositories; ++i) {
                auto const key = redis_key("of:" + did(i));
                server_.exec({"COPY", from_prefix + key, to_prefix + key, "REPLACE"});
            }
        };
        copy_all("", "old:");
        std::this_thread::sleep_for(200ms);
        copy_all("old:", "");
    }

    std::vector<Fault> faults()
    {
        auto const nothing = [] {};
        auto const set = [this](char const* name, char const* value) {
            return [this, name, value] { server_.config_set(name, value); };
        };
        auto const pass = [this] { proxy_.pass(); };
        return {
            {"kill -9", [this] { server_.kill_9(); }, [this] { server_.start(); }},
            {"stands still", [this] { server_.suspend(); }, [this] { server_.resume(); }},
            {"restart", [this] { server_.restart(); }, nothing, false},
            {"flush", [this] { server_.exec({"FLUSHALL"}); }, nothing, false},
            {"client pause", [this] { server_.exec({"CLIENT", "PAUSE", "700"}); }, nothing},
            {"no memory", set("maxmemory", "1"), set("maxmemory", "0")},
            {"read-only", [this] { server_.exec({"REPLICAOF", "127.0.0.1", "1"}); },
             [this] { server_.exec({"REPLICAOF", "NO", "ONE"}); }},
            {"eviction",
             [this] {
                 server_.config_set("maxmemory-policy", "allkeys-random");
                 server_.config_set("maxmemory", "1200000");
             },
             [this] {
                 server_.config_set("maxmemory", "0");
                 server_.config_set("maxmemory-policy", "noeviction");
             },
             false},
            {"garbage", [this] { write_garbage(); }, nothing, false},
            {"others' values", [this] { shuffle_values(); }, nothing, false},
            {"old values", [this] { bring_back_old_values(); }, nothing, false},
            {"resets", [this] { proxy_.reset_all(); }, nothing, false},
            {"refused",
             [this] {
                 proxy_.refuse();
                 proxy_.reset_all();
             },
             pass},
            {"black hole", [this] { proxy_.black_hole(); }, pass},
            {"accepted and not heard",
             [this] {
                 proxy_.hang();
                 proxy_.reset_all();
             },
             pass},
            {"slow", [this] { proxy_.delay(200ms); }, pass},
            {"cut within an answer", [this] { proxy_.cut_after(1'000); }, pass, false},
        };
    }

    RedisServer           server_;
    FaultProxy            proxy_{server_.port()};
    graph::ResidentStore  store_;
    std::unique_ptr<cache::Cache> redis_ =
        adapters::make_redis_cache(as_served(proxy_.through(server_.url())), real_clock);
    cache::MemoryCache   memory_{{}, real_clock};
    cache::FallbackCache cache_{*redis_, memory_, real_clock};
    cache::Answers       answers_{store_, &cache_};
    std::jthread         tender_{[this](std::stop_token stop) {
        while (!stop.stop_requested()) {
            cache_.tend();
            std::this_thread::sleep_for(20ms);
        }
    }};
};

TEST_F(RedisFaults, TwentyOfThemMakeNoAnswerWrong)
{
    auto         rounds = faults();
    std::mt19937 random(5);
    while (rounds.size() < 20) rounds.push_back(faults()[random() % faults().size()]);
    std::shuffle(rounds.begin(), rounds.end(), random);

    Readers                  readers(store_, answers_);
    std::chrono::nanoseconds longest{0}, longest_return{0};
    for (auto const& fault : rounds) {
        ASSERT_TRUE(eventually([&] { return in_use(); })) << "before: " << fault.name;
        auto const hits = answers_.counts().hits;
        ASSERT_TRUE(eventually([&] { return answers_.counts().hits > hits + 100; })) << "before: " << fault.name;
        readers.take_longest();
        fault.strike();
        EXPECT_TRUE(!fault.is_felt || eventually([&] { return !in_use(); })) << fault.name;
        auto const compared = readers.compared();
        EXPECT_TRUE(eventually([&] { return readers.compared() > compared + 200; })) << fault.name;
        std::this_thread::sleep_for(200ms);
        fault.heal();
        auto const healed = real_clock.now();
        EXPECT_TRUE(eventually([&] { return in_use(); })) << "after: " << fault.name;
        auto const back = real_clock.now() - healed;
        auto const waited = readers.take_longest();
        // 200 ms to connect, 50 ms for an answer, and a machine that does other things as well.
        EXPECT_LT(waited, 2s) << fault.name;
        std::printf("%-24s longest answer %5.0f ms, back after %5.0f ms\n", fault.name,
                    std::chrono::duration<double, std::milli>(waited).count(),
                    std::chrono::duration<double, std::milli>(back).count());
        longest = std::max(longest, waited);
        longest_return = std::max(longest_return, back);
    }
    readers.stop();
    std::printf("PROMISE P14 %s faults=%zu requests=%llu wrong=%llu longest_ms=%.0f return_ms=%.0f hits=%llu\n",
                readers.wrong() == 0 ? "pass" : "FAIL", rounds.size(),
                static_cast<unsigned long long>(readers.compared()), static_cast<unsigned long long>(readers.wrong()),
                std::chrono::duration<double, std::milli>(longest).count(),
                std::chrono::duration<double, std::milli>(longest_return).count(),
                static_cast<unsigned long long>(answers_.counts().hits));
    EXPECT_EQ(readers.wrong(), 0u);
    EXPECT_GT(cache_.stats().corrupt, 0u);
    EXPECT_GT(cache_.stats().fallbacks, 5u);
}

TEST_F(RedisFaults, TheHarnessFindsAnswersThatAreKeptTooLong)
{
    WithoutStamps const planted(store_);
    cache::Answers      answers(planted, &cache_);
    Readers             readers(store_, answers);
    EXPECT_TRUE(eventually([&] { return readers.wrong() > 0; }));
}

}  // namespace
}  // namespace sluice::test
