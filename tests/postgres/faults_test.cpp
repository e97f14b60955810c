// What a server can do to a store, and that the store comes to the same in the end.
#include "support.hpp"

#include "graph/resident_store.hpp"
#include "servers/fault_proxy.hpp"

#include <random>
#include <thread>

namespace sluice::adapters::test {
namespace {

using namespace graph;
using namespace graph::test;
using sluice::test::FaultProxy;
using sluice::test::PostgresServer;

using enum Outcome;

std::string const alice = "did:plc:alice", bob = "did:plc:bob";

Step a(std::uint64_t sequence) { return relate(sequence, 0, alice, "a"); }
Step b(std::uint64_t sequence) { return relate(sequence, 0, alice, "b"); }

Clock::Mono now() { return real_clock.now(); }

// The quiet server behind a proxy.
class PostgresFaults : public testing::Test {
protected:
    PostgresFaults() { options.url = proxy.through(options.url); }
    ~PostgresFaults() override
    {
        store.reset();
        options.url = quiet_server().url();
        EXPECT_TRUE(drop_generation(options, real_clock, *options.generation));
    }

    // With every statement prepared that applying needs, so that a proxy meets its name only when it is carried out.
    void begin()
    {
        store = begun(options);
        ASSERT_FALSE(apply({a(1)}).error);
        ASSERT_TRUE(store->positions()->clear());
    }
    ApplyResult apply(std::vector<Step> const& steps) { return run(*store, std::span(steps)); }
    // As a lane does after `unavailable`.
    void apply_until_done(std::vector<Step> const& steps)
    {
        auto const end = now() + std::chrono::seconds(60);
        auto       result = apply(steps);
        while (result.error && now() < end) {
            ASSERT_TRUE(result.from_store);
            ASSERT_EQ(result.error->code, Errc::unavailable) << result.error->detail;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            result = apply(steps);
        }
        ASSERT_FALSE(result.error);
    }
    void expect_as(std::vector<Step> const& steps)
    {
        ResidentStore expected;
        run(expected, steps);
        EXPECT_EQ(store->digest(), expected.digest());
        EXPECT_EQ(store->counts().live, expected.counts().live);
        EXPECT_EQ(digest_by_scan(options), expected.digest());
    }

    PostgresOptions             options{new_graph()};
    FaultProxy                  proxy{quiet_server().port()};
    std::unique_ptr<GraphStore> store;
};

TEST_F(PostgresFaults, ACommitWhoseAnswerIsLostCountsOnce)
{
    ASSERT_NO_FATAL_FAILURE(begin());
    proxy.swallow_after("write_1");
    auto const result = apply({a(1)});
    EXPECT_EQ(proxy.counts().swallowed, 1u);
    EXPECT_FALSE(result.error);
    EXPECT_EQ(result.outcomes, std::vector{applied});
    EXPECT_EQ(store->status().unknown_commits, 1u);
    expect_as({a(1)});
}

TEST_F(PostgresFaults, ACommitThatNeverArrivedIsUnavailableAndCountsOnceWhenTriedAgain)
{
    ASSERT_NO_FATAL_FAILURE(begin());
    proxy.reset_before("write_1");
    auto const result = apply({a(1)});
    EXPECT_EQ(proxy.counts().reset_before, 1u);
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->code, Errc::unavailable);
    EXPECT_TRUE(result.from_store);
    EXPECT_EQ(store->digest(), Hash128{});
    ASSERT_NO_FATAL_FAILURE(apply_until_done({a(1)}));
    expect_as({a(1)});
}

// It may still be on its way when the store has gone on without it.
TEST_F(PostgresFaults, ACommitThatWasFoundMissingCannotHappenLater)
{
    ASSERT_NO_FATAL_FAILURE(begin());
    auto const writers = "sluice_g" + std::to_string(*options.generation) + ".writer";
    auto const row = quiet_server().exec(
        "select format('(%s, %s, %s, %s)', number, epoch, era, commits) from " + writers + " where number = 0");
    auto const is_known = "select count(*) from " + writers + " where (number, epoch, era, commits) = " + row;
    EXPECT_EQ(quiet_server().exec(is_known), "1\n");
    proxy.reset_before("write_1");
    ASSERT_TRUE(apply({a(1)}).error);
    EXPECT_EQ(quiet_server().exec(is_known), "0\n");
}

// The question whether it happened is lost as well: nobody writes until it is answered.
TEST_F(PostgresFaults, ACommitInDoubtIsSettledBeforeAnythingElse)
{
    for (bool const happened : {true, false}) {
        SCOPED_TRACE(happened);
        ASSERT_NO_FATAL_FAILURE(begin());
        auto const stamp = store->stamp(alice);
        if (happened)
            proxy.swallow_after("write", 3);  // also in settle_writer
        else
            proxy.reset_before("write", 3);
        for (int i = 0; i < 3; ++i) {
            auto const result = apply({a(1)});
            if (!result.error) break;
            EXPECT_EQ(result.error->code, Errc::unavailable);
        }
        proxy.pass();
        ASSERT_NO_FATAL_FAILURE(apply_until_done({b(2)}));
        ASSERT_NO_FATAL_FAILURE(apply_until_done({a(1)}));
        expect_as({a(1), b(2)});
        EXPECT_NE(store->stamp(alice), stamp);
    }
}

TEST_F(PostgresFaults, TheEndOfAnAccountWhoseCommitIsLostCountsOnce)
{
    for (bool const happened : {true, false}) {
        SCOPED_TRACE(happened);
        ASSERT_NO_FATAL_FAILURE(begin());
        std::vector const steps{a(1), b(2), remove_repository(3, 0, alice), a(4)};
        if (happened)
            proxy.swallow_after("commit");
        else
            proxy.reset_before("commit");
        ASSERT_NO_FATAL_FAILURE(apply_until_done(steps));
        EXPECT_EQ(proxy.counts().swallowed + proxy.counts().reset_before, happened ? 1u : 2u);
        expect_as(steps);
    }
}

// Its connection is lost while the server still works on it.
TEST_F(PostgresFaults, ACommitThatIsStillOnItsWayCountsOnce)
{
    ASSERT_NO_FATAL_FAILURE(begin());
    auto const table = "sluice_g" + std::to_string(*options.generation) + ".relationship";
    auto const waiting = [&] {
        return quiet_server().exec(
            "select count(*) from pg_stat_activity "
            "where wait_event_type = 'Lock' and query like '%writer set commits%'");
    };
    std::thread holder(
        [&] { quiet_server().exec("begin; lock " + table + " in share mode; select pg_sleep(1.5); commit"); });
    while (quiet_server().exec("select count(*) from pg_locks where mode = 'ShareLock' and relation is not null and "
                               "relation = '" + table + "'::regclass") == "0\n")
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::thread breaker([&] {
        for (int i = 0; i < 400 && waiting() == "0\n"; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        proxy.reset_all();
    });
    auto const result = apply({a(1)});
    holder.join();
    breaker.join();
    EXPECT_EQ(proxy.counts().reset, 1u);
    EXPECT_EQ(store->status().unknown_commits, 1u);
    EXPECT_FALSE(result.error) << result.error->detail;
    expect_as({a(1)});
}

TEST_F(PostgresFaults, ComesToTheSameThoughConnectionsBreakAnywhere)
{
    store = begun(options);
    std::mt19937      random(1);
    std::vector<Step> all;
    for (std::uint64_t sequence = 1; sequence <= 240; sequence += 3) {
        std::vector<Step> steps{
            relate(sequence, 0, alice, "r" + std::to_string(random() % 20)),
            attest(sequence + 1, 0, alice, "t" + std::to_string(random() % 20), uri(bob, "x")),
            remove(sequence + 2, 0, alice, "r" + std::to_string(random() % 20))};
        if (random() % 8 == 0) steps.push_back(remove_repository(++sequence + 2, 0, alice));
        all.insert(all.end(), steps.begin(), steps.end());
        proxy.cut_after(random() % 1'500);
        ASSERT_NO_FATAL_FAILURE(apply_until_done(steps));
    }
    EXPECT_GT(proxy.counts().cut, 30u);
    proxy.pass();
    expect_as(all);
}

TEST_F(PostgresFaults, EveryCallEndsThoughTheNetworkSwallowsEverything)
{
    options.connect_timeout = std::chrono::seconds(2);
    options.statement_timeout = std::chrono::milliseconds(500);
    store = begun(options);
    ASSERT_FALSE(apply({a(1)}).error);
    proxy.black_hole();
    auto const start = now();
    EXPECT_EQ(apply({b(2)}).error->code, Errc::unavailable);
    EXPECT_EQ(store->find(Kind::relationship, uri(alice, "a")).error().code, Errc::unavailable);
    EXPECT_EQ(store->positions()->save("p", Sequence{1}).error().code, Errc::unavailable);
    EXPECT_LT(now() - start, std::chrono::seconds(30));
    EXPECT_FALSE(store->status().is_up);

    proxy.pass();
    proxy.reset_all();
    ASSERT_NO_FATAL_FAILURE(apply_until_done({b(2)}));
    EXPECT_TRUE(store->status().is_up);
    expect_as({a(1), b(2)});
}

// A lot of callers are not told one after the other.
TEST_F(PostgresFaults, WhoCannotConnectIsToldAtOnceForAWhile)
{
    options.connect_timeout = std::chrono::seconds(2);
    store = begun(options);
    proxy.hang();
    proxy.reset_all();
    auto const connected = proxy.counts().connections;
    auto const start = now();
    for (int i = 0; i < 30; ++i) EXPECT_EQ(apply({a(1)}).error->reason, "postgres_unreachable");
    EXPECT_LT(now() - start, std::chrono::seconds(30));  // of the 60 that each for itself would take
    EXPECT_LT(proxy.counts().connections, connected + 15);
    proxy.pass();
    ASSERT_NO_FATAL_FAILURE(apply_until_done({a(1)}));
}

TEST_F(PostgresFaults, ConnectionsTheServerClosedAreNotUsed)
{
    store = begun(options);
    for (int i = 0; i < 3; ++i) ASSERT_FALSE(apply({a(1)}).error);
    quiet_server().exec("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sluice'");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_TRUE(store->find(Kind::relationship, uri(alice, "a")));
    EXPECT_EQ(store->status().lost, 0u);
}

TEST_F(PostgresFaults, AServerThatTakesNoWritesIsUnavailableAndNoEventIsBlamed)
{
    store = begun(options);
    quiet_server().exec("alter role sluice set default_transaction_read_only = on");
    quiet_server().exec("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sluice'");
    auto const result = apply({a(1)});
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->code, Errc::unavailable);
    EXPECT_TRUE(result.from_store);
    quiet_server().exec("alter role sluice reset default_transaction_read_only");  // sessions stay as they are
    ASSERT_NO_FATAL_FAILURE(apply_until_done({a(1)}));
    expect_as({a(1)});
}

TEST_F(PostgresFaults, AServerWithoutRoomForConnectionsIsUnavailable)
{
    quiet_server().exec("alter role sluice connection limit 0");
    store = open_postgres_graph(options, real_clock);
    auto const begun = store->positions()->begin();
    quiet_server().exec("alter role sluice connection limit -1");
    ASSERT_FALSE(begun);
    EXPECT_EQ(begun.error().code, Errc::unavailable);
    EXPECT_EQ(begun.error().reason, "postgres_unreachable");
}

TEST(PostgresServerFaults, StandsStillDiesAndComesBack)
{
    PostgresServer  server;
    PostgresOptions options{.url = server.url(), .writers = 4};
    options.connect_timeout = std::chrono::seconds(2);
    options.statement_timeout = std::chrono::milliseconds(500);
    auto const    store = begun(options);
    ResidentStore expected;
    std::uint64_t sequence = 0;
    auto const    step = [&] {
        ++sequence;
        return relate(sequence, 0, alice, "r" + std::to_string(sequence % 5));
    };
    auto const    apply = [&](Step const& one) {
        auto const end = now() + std::chrono::seconds(60);
        run(expected, {one});
        while (now() < end) {
            if (auto const result = run(*store, std::span(&one, 1)); !result.error) return;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        FAIL() << "the store did not come back";
    };
    for (int round = 0; round < 3; ++round) {
        SCOPED_TRACE(round);
        ASSERT_NO_FATAL_FAILURE(apply(step()));
        server.suspend();
        auto const start = now();
        auto const caught = step();
        EXPECT_EQ(run(*store, std::span(&caught, 1)).error->code, Errc::unavailable);
        EXPECT_FALSE(store->find(Kind::relationship, uri(alice, "r1")));
        EXPECT_LT(now() - start, std::chrono::seconds(30));
        server.resume();
        ASSERT_NO_FATAL_FAILURE(apply(caught));
        if (round == 1) {
            server.kill_9();
            EXPECT_FALSE(store->find(Kind::relationship, uri(alice, "r1")));
            server.start();
        }
        if (round == 2) server.restart();
        ASSERT_NO_FATAL_FAILURE(apply(step()));
        EXPECT_EQ(store->digest(), expected.digest());
        EXPECT_EQ(digest_by_scan(options), expected.digest());
    }
}

TEST(PostgresServerFaults, IsNoReasonNotToOpenAStore)
{
    auto const store = open_postgres_graph({.url = "postgresql://nobody@127.0.0.1:1/none"}, real_clock);
    EXPECT_EQ(store->find(Kind::relationship, "at://x").error().code, Errc::unavailable);
    EXPECT_EQ(store->positions()->begin().error().reason, "postgres_unreachable");
    EXPECT_FALSE(store->status().is_up);
    EXPECT_EQ(store->status().last_error->reason, "postgres_unreachable");

    auto const wrong = open_postgres_graph({.url = "postgresql://a:secret@b/?no=parameter"}, real_clock);
    auto const begun = wrong->positions()->begin();
    EXPECT_EQ(begun.error().reason, "bad_url");
    EXPECT_EQ(begun.error().code, Errc::invalid);
    EXPECT_EQ(begun.error().detail.find("secret"), std::string::npos);
}

}  // namespace
}  // namespace sluice::adapters::test
