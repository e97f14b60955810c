// The cache in a real Redis, alone.
#include "adapters/redis/stored_value.hpp"
#include "cache/fallback_cache.hpp"
#include "cache/memory_cache.hpp"
#include "contract/cache_contract.hpp"
#include "redis/support.hpp"

#include <csignal>

namespace sluice::test {
namespace {

using adapters::RedisAddress;
using adapters::StoredValue;
using namespace std::chrono_literals;

constexpr auto hour = std::chrono::hours(1);

auto const ignores_broken_pipes = std::signal(SIGPIPE, SIG_IGN);

class OnRedis final : public CacheSetup {
public:
    OnRedis() { cache_->check().value(); }
    cache::Cache& cache() override { return *cache_; }
    void          wait(std::chrono::milliseconds time) override { std::this_thread::sleep_for(time); }

private:
    RedisServer                   server_;
    std::unique_ptr<cache::Cache> cache_ = adapters::make_redis_cache(options_of(server_.url()), real_clock);
};

class OnRedisWithFallback final : public CacheSetup {
public:
    OnRedisWithFallback() { cache_.tend(); }
    cache::Cache& cache() override { return cache_; }
    void          wait(std::chrono::milliseconds time) override { std::this_thread::sleep_for(time); }

private:
    RedisServer                   server_;
    std::unique_ptr<cache::Cache> redis_ = adapters::make_redis_cache(options_of(server_.url()), real_clock);
    cache::MemoryCache            memory_{{}, real_clock};
    cache::FallbackCache          cache_{*redis_, memory_, real_clock};
};

INSTANTIATE_TEST_SUITE_P(
    Every, CacheContract,
    testing::Values(
        CacheKind{"redis", [] { return std::make_unique<OnRedis>(); }},
        CacheKind{"redis_with_fallback", [] { return std::make_unique<OnRedisWithFallback>(); }}),
    [](auto const& kind) { return kind.param.name; });

class InRedis : public testing::Test {
protected:
    std::unique_ptr<cache::Cache> make(std::string const& epoch = "e1")
    {
        auto made = adapters::make_redis_cache(options_of(server.url(), epoch), real_clock);
        made->check().value();
        return made;
    }
    std::optional<std::string> get(std::string_view key) { return cache->get(key).value(); }
    void put(std::string_view key, std::string_view value) { ASSERT_TRUE(cache->put(key, value, hour)); }

    RedisServer                   server;
    std::unique_ptr<cache::Cache> cache = make();
};

TEST_F(InRedis, NothingIsKnownBeforeTheServerWasFound)
{
    auto const unfound = adapters::make_redis_cache(options_of(server.url()), real_clock);
    EXPECT_EQ(unfound->get("a").error().code, Errc::unavailable);
    EXPECT_EQ(unfound->put("a", "b", hour).error().code, Errc::unavailable);
}

TEST_F(InRedis, AnotherStartSeesNothingOfTheOneBefore)
{
    put("a", "old");
    auto const next = make("e2");
    EXPECT_EQ(next->get("a").value(), std::nullopt);
    EXPECT_EQ(next->clear(cache::Pattern::parse("*").value()).value(), 0u);
    EXPECT_EQ(get("a"), "old");
}

TEST_F(InRedis, EveryKeyHasItsTime)
{
    put("a", "1");
    cache->put("b", "1", 700ms).value();
    auto const time = [&](char const* key) { return std::stoll(server.exec({"PTTL", redis_key(key)})); };
    EXPECT_GT(time("a"), 3'500'000);
    EXPECT_LE(time("a"), 3'600'000);
    EXPECT_GT(time("b"), 0);
    EXPECT_LE(time("b"), 700);
}

TEST_F(InRedis, WhatIsNotOursIsAMissAndGoes)
{
    put("other", "theirs");
    auto const foreign = [&](std::vector<std::string> const& command) {
        auto const corrupt = cache->stats().corrupt;
        server.exec(command);
        EXPECT_EQ(get("a"), std::nullopt) << command[0];
        EXPECT_EQ(cache->stats().corrupt, corrupt + 1) << command[0];
        EXPECT_EQ(server.exec({"EXISTS", redis_key("a")}), "0") << command[0];
    };
    foreign({"SET", redis_key("a"), "garbage"});
    foreign({"SET", redis_key("a"), std::string(100'000, 'x')});
    foreign({"SETRANGE", redis_key("a"), "50000000", "x"});
    foreign({"LPUSH", redis_key("a"), "x"});
    foreign({"HSET", redis_key("a"), "x", "y"});
    foreign({"COPY", redis_key("other"), redis_key("a")});
    foreign({"SETBIT", redis_key("a"), "7", "1"});
    put("a", "mine");
    EXPECT_EQ(get("a"), "mine");
    EXPECT_EQ(get("other"), "theirs");
    EXPECT_EQ(cache->stats().errors, 0u);
}

TEST_F(InRedis, NoBitOfAValueCanChangeUnseen)
{
    put("a", "12 bytes");
    auto const bits = 8 * std::stoll(server.exec({"STRLEN", redis_key("a")}));
    auto const flip = "return redis.call('SETBIT', KEYS[1], ARGV[1], 1 - redis.call('GETBIT', KEYS[1], ARGV[1]))";
    for (auto bit = 0; bit < bits; ++bit) {
        put("a", "12 bytes");
        server.exec({"EVAL", flip, "1", redis_key("a"), std::to_string(bit)});
        ASSERT_EQ(get("a"), std::nullopt) << bit;
    }
}

TEST_F(InRedis, AServerThatStandsStillCostsTheTimeoutAndNoMore)
{
    auto options = options_of(server.url());
    options.timeouts = {.connect = 200ms, .answer = 200ms};
    auto const impatient = adapters::make_redis_cache(options, real_clock);
    ASSERT_TRUE(impatient->check());
    impatient->put("a", "1", hour).value();
    server.suspend();
    auto const begin = real_clock.now();
    EXPECT_EQ(impatient->get("a").error().code, Errc::transient);
    EXPECT_EQ(impatient->get("a").error().code, Errc::unavailable) << "no new connection either";
    EXPECT_FALSE(impatient->check());
    EXPECT_LT(real_clock.now() - begin, 5s);
    server.resume();
    ASSERT_TRUE(impatient->check());
    EXPECT_EQ(impatient->get("a").value(), "1");
}

TEST_F(InRedis, ConnectionsThatWereClosedWhileNobodyLookedAreNoFailure)
{
    put("a", "1");
    server.exec({"CLIENT", "KILL", "TYPE", "normal"});
    EXPECT_EQ(get("a"), "1");
    server.restart();
    EXPECT_EQ(get("a"), std::nullopt);
    EXPECT_EQ(cache->stats().errors, 0u);
}

TEST_F(InRedis, NoMoreConnectionsAreMadeThanAllowedAndAllAreKept)
{
    auto options = options_of(server.url());
    options.connections_max = 3;
    auto const few = adapters::make_redis_cache(options, real_clock);
    few->check().value();
    std::vector<std::thread> threads;
    for (int t = 0; t < 12; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 300; ++i) {
                auto const found = few->get("a");
                EXPECT_TRUE(found || found.error().code == Errc::full);
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_LE(few->stats().connections, 3u);
    server.exec({"CONFIG", "RESETSTAT"});
    for (int i = 0; i < 100; ++i) few->get("a").value();
    EXPECT_NE(server.exec({"INFO", "stats"}).find("total_connections_received:1\r"), std::string::npos)
        << "this question's alone";
}

TEST_F(InRedis, AServerFullOfOthersIsAwayAndOneFullOfUsIsBusy)
{
    server.config_set("maxclients", "1");
    EXPECT_FALSE(adapters::make_redis_cache(options_of(server.url()), real_clock)->check());
    std::atomic<int>         answered{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 200; ++i) {
                auto const found = cache->get("a");
                EXPECT_TRUE(found || found.error().code == Errc::full);
                answered += found.has_value();
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_GT(answered, 0);
}

TEST_F(InRedis, WhatTheServerRefusesIsSaid)
{
    put("a", "1");
    server.config_set("maxmemory", "1");
    EXPECT_EQ(get("a"), "1");
    auto const full = cache->put("b", "1", hour);
    EXPECT_EQ(full.error().code, Errc::transient);
    EXPECT_TRUE(full.error().detail.starts_with("OOM")) << full.error().detail;
    EXPECT_FALSE(cache->check());
    server.config_set("maxmemory", "0");
    EXPECT_TRUE(cache->check());
    server.exec({"REPLICAOF", "127.0.0.1", "1"});
    EXPECT_TRUE(cache->put("b", "1", hour).error().detail.starts_with("READONLY"));
    EXPECT_FALSE(cache->check());
    server.exec({"REPLICAOF", "NO", "ONE"});
    EXPECT_TRUE(cache->check());
}

TEST(RedisAccess, NeedsTheRightPasswordUserAndDatabase)
{
    RedisServer const server({.password = "p@ss:w/rd"});
    auto const        at = "127.0.0.1:" + std::to_string(server.port());
    auto const        check = [](std::string const& url) {
        return adapters::make_redis_cache(options_of(url), real_clock)->check();
    };
    EXPECT_TRUE(check("redis://:p%40ss%3Aw%2Frd@" + at + "/3"));
    EXPECT_TRUE(check("redis://default:p%40ss%3Aw%2Frd@" + at));
    EXPECT_EQ(check("redis://" + at).error().code, Errc::unavailable);
    EXPECT_EQ(check("redis://:wrong@" + at).error().code, Errc::unavailable);
    EXPECT_EQ(check("redis://nobody:p%40ss%3Aw%2Frd@" + at).error().code, Errc::unavailable);
    EXPECT_EQ(check("redis://:p%40ss%3Aw%2Frd@" + at + "/99").error().code, Errc::unavailable);
    EXPECT_TRUE(check("redis://:p%40ss%3Aw%2Frd@localhost:" + std::to_string(server.port())));
    EXPECT_EQ(check("redis://nowhere.invalid:" + std::to_string(server.port())).error().code, Errc::unavailable);
}

TEST(RedisAccess, DatabasesAreApart)
{
    RedisServer const server;
    auto const        url = "redis://127.0.0.1:" + std::to_string(server.port());
    auto const        three = adapters::make_redis_cache(options_of(url + "/3"), real_clock);
    auto const        zero = adapters::make_redis_cache(options_of(url), real_clock);
    three->check().value();
    zero->check().value();
    three->put("a", "1", hour).value();
    EXPECT_EQ(zero->get("a").value(), std::nullopt);
    EXPECT_EQ(three->get("a").value(), "1");
}

TEST(RedisAccess, GoesThroughAUnixSocketToo)
{
    ServerDirectory const   directory;
    auto const              path = (directory.path() / "socket").string();
    RedisServer const       server({.settings = {"unixsocket " + path}});
    auto const cache = adapters::make_redis_cache(options_of("unix://" + path + "?db=2"), real_clock);
    ASSERT_TRUE(cache->check());
    cache->put("a", "1", hour).value();
    EXPECT_EQ(cache->get("a").value(), "1");
    EXPECT_NE(server.exec({"INFO", "keyspace"}).find("db2:"), std::string::npos);
}

TEST(RedisUrl, SaysWhereAndWho)
{
    auto const plain = RedisAddress::parse("redis://cache.example").value();
    EXPECT_EQ(plain.host, "cache.example");
    EXPECT_EQ(plain.port, 6379);
    EXPECT_EQ(plain.database, 0u);
    EXPECT_TRUE(plain.password.empty());
    auto const full = RedisAddress::parse("redis://me:a%3Ab@c@[::1]:7000/12").value();
    EXPECT_EQ(full.host, "::1");
    EXPECT_EQ(full.port, 7000);
    EXPECT_EQ(full.database, 12u);
    EXPECT_EQ(full.user, "me");
    EXPECT_EQ(full.password, "a:b@c");
    EXPECT_EQ(RedisAddress::parse("redis://:x@h/")->password, "x");
    auto const local = RedisAddress::parse("unix://:x@/run/redis.sock?db=1").value();
    EXPECT_EQ(local.socket, "/run/redis.sock");
    EXPECT_EQ(local.database, 1u);
    EXPECT_TRUE(local.host.empty());
}

TEST(RedisUrl, AMistakeIsSaidWithoutTheSecret)
{
    for (auto const* const url :
         {"", "http://secret", "rediss://:secret@h", "redis://", "redis://:secret@", "redis://secret@h", "redis://u:@h",
          "redis://:secret@h:0", "redis://:secret@h:70000", "redis://:secret@h:1x", "redis://:secret@h/x",
          "redis://:secret%@h", "redis://:secret%4@h", "redis://:secret%zz@h", "redis://:secret@[::1", "unix://secret",
          "unix:///a?secret=1", "unix:///a?db=x", "redis://:secret@[::1]x"}) {
        auto const address = RedisAddress::parse(url);
        ASSERT_FALSE(address) << url;
        EXPECT_EQ(address.error().code, Errc::invalid);
        EXPECT_EQ(address.error().detail.find("secret"), std::string::npos) << address.error().detail;
    }
}

TEST(StoredValues, AreOfOneKey)
{
    auto const stored = StoredValue::pack("key", "value");
    EXPECT_EQ(stored.size(), StoredValue::overhead + 5);
    EXPECT_EQ(StoredValue::unpack("key", stored), "value");
    EXPECT_EQ(StoredValue::unpack("kez", stored), std::nullopt);
    EXPECT_EQ(StoredValue::unpack("", stored), std::nullopt);
    for (std::size_t size = 0; size < stored.size(); ++size)
        EXPECT_EQ(StoredValue::unpack("key", std::string_view(stored).substr(0, size)), std::nullopt) << size;
    EXPECT_EQ(StoredValue::unpack("k", StoredValue::pack("k", "")), "");
}

}  // namespace
}  // namespace sluice::test
