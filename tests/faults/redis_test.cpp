// Redis is optional at every instant: whatever happens to it, answers are those that would be computed, events are
// accepted, and it is used again by itself when it is well.
#include "contract/small_disk.hpp"
#include "e2e/events.hpp"
#include "e2e/harness.hpp"
#include "servers/fault_proxy.hpp"
#include "servers/redis_server.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <sstream>
#include <thread>

namespace sluice::e2e {
namespace {

using namespace std::chrono_literals;
using test::FaultProxy;
using test::KeptProcess;
using test::RedisOptions;
using test::RedisServer;
using test::ServerDirectory;

constexpr std::uint64_t        repositories = 30;
constexpr std::chrono::seconds until_noticed{20}, until_back{60};

class RedisFaults : public testing::Test {
protected:
    explicit RedisFaults(RedisOptions options = {.settings = {"enable-debug-command local"}}) : redis_(options)
    {
        EXPECT_TRUE(eventually([&] { return !is_away(); })) << "it is in use at first";
    }

    // One event for every third repository; once they are applied, every answer that is kept, then every fresh one.
    void round()
    {
        for (std::uint64_t owner = next_ % 3; owner < repositories; owner += 3, ++next_) {
            auto event = relationship(owner, 100 + next_ % 5, next_ % 4, static_cast<int>(next_ % 101), next_ + 1);
            auto const answer = http_.post("/internal/events", event.dump());
            EXPECT_EQ(answer.status, 202) << answer.body;
        }
        settled_state(http_);
        std::map<std::string, Json> kept;
        for (int time = 0; time < 2; ++time)
            for (auto const& target : targets()) {
                auto const answer = read(target, {});
                if (time == 1) wrong_ += answer != kept.at(target);
                kept[target] = answer;
            }
        for (auto const& [target, answer] : kept) {
            ++compared_;
            wrong_ += answer != read(target, {{"Cache-Control", "no-cache"}});
        }
    }

    void rounds(int count)
    {
        for (; count > 0; --count) round();
    }

    // Rounds before, while and after.
    void live_through(std::function<void()> const& fault)
    {
        rounds(3);
        auto const hits_before = hits();
        EXPECT_GT(hits_before, 0) << "nothing was kept at all";
        fault();
        EXPECT_TRUE(eventually([&] { return !is_away(); }, until_back)) << "it is not used again";
        rounds(3);
        EXPECT_GT(hits(), hits_before);

        EXPECT_EQ(wrong_, 0u);
        auto const state = settled_state(http_);
        EXPECT_EQ(state.at("dead_lettered"), 0);
        EXPECT_EQ(state.at("applied"), next_);
        std::cout << "PROMISE P14 " << (HasFailure() ? "fail" : "pass")
                  << " fault=" << testing::UnitTest::GetInstance()->current_test_info()->name()
                  << " compared=" << compared_ << " wrong=" << wrong_ << " slowest_answer_ms="
                  << std::chrono::ceil<std::chrono::milliseconds>(slowest_).count();
        if (fallback_) std::cout << " fallback_seconds=" << fallback_->count();
        std::cout << '\n';
    }

    void expect_fallback()
    {
        auto const since = std::chrono::steady_clock::now();
        EXPECT_TRUE(eventually(
            [&] {
                read(targets().front(), {});
                return is_away();
            },
            until_noticed))
            << "the fault was not even noticed";
        fallback_ = std::chrono::steady_clock::now() - since;
        auto const cache = http_.get("/health/detailed").json().at("dependencies").at("cache");
        EXPECT_FALSE(cache.at("fallback_since").is_null()) << cache;
        EXPECT_EQ(http_.get("/health/ready").status, 200);
    }

    bool   is_away() { return metric("sluice_cache_fallback_active") == 1; }
    double hits() { return metric("sluice_cache_lookups_total{result=\"hit\"}"); }
    double metric(std::string const& name)
    {
        std::istringstream lines(http_.get("/metrics").body);
        for (std::string line; std::getline(lines, line);)
            if (line.starts_with(name + " ")) return std::stod(line.substr(name.size() + 1));
        throw std::runtime_error("no metric " + name);
    }

    // Values of all keys, through a script.
    void for_each_key(std::string const& script) const
    {
        redis_.exec({"EVAL", "local keys = redis.call('KEYS', 'sluice:*') "
                             "for i, key in ipairs(keys) do " + script + " end return #keys", "0"});
    }

    TemporaryDirectory directory_;
    RedisServer        redis_;
    FaultProxy         proxy_{redis_.port()};
    Server             server_{{.data = directory_.path() / "data",
                                .environment = {{"REDIS_URL", proxy_.through(redis_.url())}}}};
    Http               http_{server_.http()};

private:
    static std::vector<std::string> const& targets()
    {
        static std::vector<std::string> const all = [] {
            std::vector<std::string> list;
            for (std::uint64_t owner = 0; owner < repositories; ++owner) {
                list.push_back("/v1/graph/neighbors?at=2026-01-01T00:00:00Z&did=" + did(owner));
                list.push_back(
                    "/v1/conviction?at=2026-01-01T00:00:00Z&uri=" +
                    percent_encoded(relationship_uri(did(owner), owner % 4)));
            }
            return list;
        }();
        return all;
    }

    Json read(std::string const& target, Headers const& headers)
    {
        auto const since = std::chrono::steady_clock::now();
        auto const answer = http_.send("GET", target, {}, headers);
        slowest_ = std::max<std::chrono::nanoseconds>(slowest_, std::chrono::steady_clock::now() - since);
        EXPECT_TRUE(answer.status == 200 || answer.status == 404) << answer.body;
        auto body = answer.json();
        body.erase("watermark");  // how far the server is, not what the answer was computed from
        return body;
    }

    std::uint64_t                                 next_{0}, compared_{0}, wrong_{0};
    std::chrono::nanoseconds                      slowest_{0};
    std::optional<std::chrono::duration<double>> fallback_;
};

TEST_F(RedisFaults, Kill9)
{
    live_through([&] {
        redis_.kill_9();
        expect_fallback();
        rounds(3);
        redis_.start();
    });
}

TEST_F(RedisFaults, RestartsInARow)
{
    live_through([&] {
        for (int time = 0; time < 4; ++time) {
            redis_.restart();
            round();
        }
    });
}

TEST_F(RedisFaults, StandsStill)
{
    live_through([&] {
        redis_.suspend();
        expect_fallback();
        rounds(3);
        redis_.resume();
    });
}

TEST_F(RedisFaults, PausesItsClients)
{
    live_through([&] {
        redis_.exec({"CLIENT", "PAUSE", "4000", "ALL"});
        expect_fallback();
        rounds(3);
    });
}

TEST_F(RedisFaults, Sleeps)
{
    live_through([&] {
        ServerDirectory const directory;
        KeptProcess const     sleep(
            {"redis-cli", "-p", std::to_string(redis_.port()), "DEBUG", "SLEEP", "4"}, directory.path() / "log");
        expect_fallback();
        rounds(3);
    });
}

TEST_F(RedisFaults, IsFlushedAgainAndAgain)
{
    live_through([&] {
        for (int time = 0; time < 10; ++time) {
            redis_.exec({"FLUSHALL"});
            round();
        }
    });
}

TEST_F(RedisFaults, HasNoMemoryLeft)
{
    live_through([&] {
        redis_.config_set("maxmemory", "1");
        expect_fallback();
        rounds(3);
        redis_.config_set("maxmemory", "0");
    });
}

TEST_F(RedisFaults, EvictsNearlyEverything)
{
    live_through([&] {
        redis_.config_set("maxmemory-policy", "allkeys-random");
        redis_.config_set("maxmemory", "1500kb");
        rounds(5);
        redis_.config_set("maxmemory", "0");
    });
}

TEST_F(RedisFaults, HoldsGarbage)
{
    live_through([&] {
        for (auto const* const garbage :
             {"''", "'garbage'", "redis.call('GET', key):sub(1, -2)", "redis.call('GET', key) .. '}'",
              "redis.call('GET', key):gsub('%d', '7')", "string.rep('x', 100000)"}) {
            for_each_key(std::string("local value = ") + garbage + " redis.call('SET', key, value)");
            round();
        }
        for_each_key("redis.call('DEL', key) redis.call('RPUSH', key, 'of another type')");
        round();
        EXPECT_GT(metric("sluice_cache_corrupt_total"), 0);
    });
}

TEST_F(RedisFaults, HoldsValuesOfOtherKeys)
{
    live_through([&] {
        for_each_key("redis.call('COPY', keys[i % #keys + 1], 'other:' .. key, 'REPLACE')");
        for_each_key("redis.call('COPY', 'other:' .. key, key, 'REPLACE')");
        round();
        EXPECT_GT(metric("sluice_cache_corrupt_total"), 0);
    });
}

TEST_F(RedisFaults, HoldsValuesOfYesterday)
{
    live_through([&] {
        for_each_key("redis.call('COPY', key, 'old:' .. key, 'REPLACE')");
        for (int time = 0; time < 4; ++time) {
            round();
            for_each_key("redis.call('COPY', 'old:' .. key, key, 'REPLACE')");
        }
        round();
    });
}

TEST_F(RedisFaults, WrongPassword)
{
    live_through([&] {
        redis_.exec({"CONFIG", "SET", "requirepass", "another"});
        redis_.exec({"-a", "another", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal"});
        expect_fallback();
        rounds(3);
        redis_.exec({"-a", "another", "--no-auth-warning", "CONFIG", "SET", "requirepass", ""});
    });
}

TEST_F(RedisFaults, ReadOnly)
{
    live_through([&] {
        redis_.exec({"REPLICAOF", "127.0.0.1", "1"});
        expect_fallback();
        rounds(3);
        redis_.exec({"REPLICAOF", "NO", "ONE"});
    });
}

TEST_F(RedisFaults, ConnectionLimit)
{
    live_through([&] {
        ServerDirectory const                     directory;
        std::vector<std::unique_ptr<KeptProcess>> others;
        for (int i = 0; i < 4; ++i)
            others.push_back(std::make_unique<KeptProcess>(
                std::vector<std::string>{"redis-cli", "-p", std::to_string(redis_.port()), "SUBSCRIBE", "nothing"},
                directory.path() / "log"));
        ASSERT_TRUE(eventually([&] { return redis_.exec({"PUBLISH", "nothing", "."}) == "4"; }));
        redis_.config_set("maxclients", "4");
        proxy_.reset_all();
        expect_fallback();
        rounds(3);
    });
}

TEST_F(RedisFaults, BlackHole)
{
    live_through([&] {
        proxy_.black_hole();
        expect_fallback();
        rounds(3);
        proxy_.pass();
    });
}

TEST_F(RedisFaults, NobodyListens)
{
    live_through([&] {
        proxy_.refuse();
        proxy_.reset_all();
        expect_fallback();
        rounds(3);
        proxy_.pass();
    });
}

TEST_F(RedisFaults, ConnectionsAreTakenAndNobodySpeaks)
{
    live_through([&] {
        proxy_.hang();
        proxy_.reset_all();
        expect_fallback();
        rounds(3);
        proxy_.pass();
    });
}

TEST_F(RedisFaults, FarAway)
{
    live_through([&] {
        proxy_.delay(100ms);
        expect_fallback();
        rounds(3);
        proxy_.pass();
    });
}

TEST_F(RedisFaults, ConnectionsAreResetAgainAndAgain)
{
    live_through([&] {
        for (int time = 0; time < 10; ++time) {
            proxy_.reset_all();
            round();
        }
    });
}

TEST_F(RedisFaults, AnswersAreCutInTheMiddle)
{
    live_through([&] {
        for (std::uint64_t time = 0; time < 12; ++time) {
            proxy_.cut_after(1 + time * 61);
            round();
        }
        EXPECT_GT(proxy_.counts().cut, 3u);
        proxy_.pass();
    });
}

class RedisOnASmallDisk : public RedisFaults {
public:
    static constexpr std::uint64_t bytes = 16u << 20;

    explicit RedisOnASmallDisk(std::filesystem::path const& disk)
        : RedisFaults({.settings = {"dir " + disk.string(), "appendonly yes", "appendfsync everysec"}}), filler_(disk)
    {
    }
    void TestBody() override
    {
        live_through([&] {
            filler_.fill(0);
            rounds(5);  // until what it tries to keep does not fit
            expect_fallback();
            rounds(3);
            filler_.remove();
            if (!redis_.is_running()) redis_.start();
        });
    }

private:
    test::Filler const filler_;
};

TEST(RedisDisk, IsFilledByOthers)
{
    ServerDirectory const directory;
    auto const            disk = directory.path() / "disk";
    std::filesystem::create_directory(disk);
    EXPECT_TRUE(test::on_a_small_disk(disk, RedisOnASmallDisk::bytes, [&] {
        try {
            test::give_away(disk);
            RedisOnASmallDisk(disk).TestBody();
        } catch (std::exception const& error) {
            ADD_FAILURE() << error.what();
        }
    })) << "neither root's mount nor a user namespace is allowed here";
}

}  // namespace
}  // namespace sluice::e2e
