// Postgres fails, ingest does not: whatever happens to the store, every event is accepted, none is given up for it,
// order holds, and the store catches up by itself until it holds what the log says, each event once.
#include "contract/small_disk.hpp"
#include "e2e/events.hpp"
#include "faults/load.hpp"
#include "postgres/support.hpp"
#include "servers/fault_proxy.hpp"

#include "base/hex.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <sstream>

namespace sluice::e2e {
namespace {

using namespace std::chrono_literals;
using test::FaultCounts;
using test::FaultProxy;
using test::KeptProcess;
using test::PostgresOptions;
using test::PostgresServer;
using test::ServerDirectory;

constexpr std::chrono::seconds until_noticed{40};  // a server that hangs is cut after 6 s
constexpr std::chrono::seconds until_caught_up{150};  // probes come every 30 s at last
constexpr auto                 a_while = 2s;

// As libpq sends them: the query of a transaction's end, and the execution of a statement that is a transaction itself.
std::string const commit_message("Q\0\0\0\x0b" "commit\0", 12), write_message("\0write_", 7);

auto const suppressions = source_directory() / "tests/faults/libpqxx.supp";

double metric(Http& http, std::string const& name)
{
    std::istringstream lines(http.get("/metrics").body);
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with(name + " ")) return std::stod(line.substr(name.size() + 1));
    throw std::runtime_error("no metric " + name);
}

class PostgresFaults : public testing::Test {
protected:
    explicit PostgresFaults(PostgresOptions options = {}) : postgres_(std::move(options)) {}

    void serve()
    {
        server_ = std::make_unique<Server>(ServerOptions{
            .data = directory_.path() / "data",
            .flags = {"--workers", "4"},
            .environment = {{"DATABASE_URL", proxy_.through(postgres_.url())},
                            {"LSAN_OPTIONS", "print_suppressions=0:suppressions=" + suppressions.string()}}});
        http_ = std::make_unique<Http>(server_->http());
    }

    // Load before, while and after; then everything must be there.
    void live_through(std::function<void()> const& fault)
    {
        serve();
        load_.start(*server_);
        ASSERT_TRUE(eventually([&] { return metric(*http_, "sluice_events_applied_total") > 300; }));
        fault();
        auto const since = std::chrono::steady_clock::now();
        std::this_thread::sleep_for(a_while);
        load_.stop();
        expect_all_is_there(since);
    }

    // It cannot be written to.
    void expect_noticed()
    {
        EXPECT_TRUE(eventually([&] { return !answers(); }, until_noticed)) << "the fault was not even noticed";
        EXPECT_EQ(http_->get("/health").status, 200);
        std::this_thread::sleep_for(a_while);
    }

    // Nor read.
    void expect_away()
    {
        expect_noticed();
        auto const read =
            http_->send("GET", "/v1/graph/neighbors?did=" + repository(0), {}, {{"Cache-Control", "no-cache"}});
        EXPECT_EQ(read.status, 503) << read.body;
    }

    bool answers()
    {
        auto const  body = http_->get("/health/detailed").json();
        auto const& reasons = body.at("dependencies").at("event_pipeline").at("reasons");
        return std::find(reasons.begin(), reasons.end(), "graph_unavailable") == reasons.end();
    }

    void expect_all_is_there(std::chrono::steady_clock::time_point since)
    {
        auto const live = settled_state(*http_, until_caught_up);
        auto const caught_up = std::chrono::steady_clock::now() - since;
        EXPECT_EQ(load_.refusals(), std::vector<std::string>());
        EXPECT_EQ(live.at("accepted"), load_.accepted());
        EXPECT_EQ(live.at("applied"), load_.accepted());
        EXPECT_EQ(live.at("dead_lettered"), 0);
        EXPECT_EQ(live.at("parked"), 0);
        EXPECT_EQ(live.at("stale"), 0) << "an event was overtaken by one of its repository";
        expect_numbers_add_up(live);
        EXPECT_LT(load_.slowest(), 5s) << "an answer to a producer waited for the store";
        auto const unknown = metric(*http_, "sluice_graph_unknown_commits_total");

        EXPECT_EQ(server_->stop(), 0) << read_file(directory_.path() / "data.log");
        auto const replayed = replay(directory_.path() / "data");
        EXPECT_EQ(replayed.at("stale"), 0);
        EXPECT_EQ(live.at("digest"), replayed.at("digest"));
        EXPECT_EQ(stored_digest(), replayed.at("digest")) << "what Postgres holds, row by row";
        serve();
        EXPECT_EQ(settled_state(*http_).at("digest"), replayed.at("digest")) << "what a new process goes on from";

        std::cout << "PROMISE P13 " << (HasFailure() ? "fail" : "pass")
                  << " fault=" << testing::UnitTest::GetInstance()->current_test_info()->name()
                  << " acked=" << load_.accepted() << " refused=" << load_.refusals().size()
                  << " dead_letters=" << live.at("dead_lettered") << " unknown_commits=" << unknown
                  << " slowest_answer_ms=" << load_.slowest().count() << " caught_up_seconds="
                  << std::chrono::duration<double>(caught_up).count() << '\n';
    }

    std::string stored_digest() const
    {
        return hex(adapters::test::digest_by_scan({.url = postgres_.url()}));
    }

    // Each time once the store is well again: otherwise probes would become rare.
    void one_by_one(std::uint64_t times, std::uint64_t FaultCounts::* count, std::function<void()> const& arm)
    {
        for (std::uint64_t time = 1; time <= times; ++time) {
            arm();
            EXPECT_TRUE(eventually([&] { return proxy_.counts().*count == time; }, until_noticed));
            EXPECT_TRUE(eventually([&] { return answers(); }, until_noticed));
        }
    }

    void end_sessions() const
    {
        postgres_.exec("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'sluice'");
    }

    TemporaryDirectory      directory_;
    PostgresServer          postgres_;
    FaultProxy              proxy_{postgres_.port()};
    Load                    load_;
    std::unique_ptr<Server> server_;
    std::unique_ptr<Http>   http_;
};

TEST_F(PostgresFaults, Kill9)
{
    live_through([&] {
        postgres_.kill_9();
        expect_away();
        postgres_.start();
    });
}

TEST_F(PostgresFaults, ImmediateStop)
{
    live_through([&] {
        postgres_.stop_immediately();
        expect_away();
        postgres_.start();
    });
}

TEST_F(PostgresFaults, RestartsInARow)
{
    live_through([&] {
        for (int time = 0; time < 4; ++time) {
            postgres_.restart();
            std::this_thread::sleep_for(300ms);
        }
    });
}

TEST_F(PostgresFaults, StandsStill)
{
    live_through([&] {
        postgres_.suspend();
        expect_away();
        postgres_.resume();
    });
}

TEST_F(PostgresFaults, SessionsAreEndedAgainAndAgain)
{
    live_through([&] {
        for (int time = 0; time < 30; ++time) {
            end_sessions();
            std::this_thread::sleep_for(100ms);
        }
    });
}

TEST_F(PostgresFaults, ConnectionLimit)
{
    live_through([&] {
        postgres_.exec("ALTER ROLE sluice CONNECTION LIMIT 0");
        end_sessions();
        expect_away();
        postgres_.exec("ALTER ROLE sluice CONNECTION LIMIT -1");
    });
}

TEST_F(PostgresFaults, FewerConnectionsThanThePoolMayHave)
{
    live_through([&] {
        postgres_.exec("ALTER ROLE sluice CONNECTION LIMIT 2");
        end_sessions();
        std::this_thread::sleep_for(3s);
        postgres_.exec("ALTER ROLE sluice CONNECTION LIMIT -1");
    });
}

TEST_F(PostgresFaults, WrongPassword)
{
    live_through([&] {
        postgres_.exec("ALTER ROLE sluice PASSWORD 'another'");
        end_sessions();
        expect_away();
        postgres_.exec("ALTER ROLE sluice PASSWORD 'of-tests-only'");
    });
}

TEST_F(PostgresFaults, ReadOnly)
{
    auto const set = [&](char const* value) {
        postgres_.exec(std::string("ALTER SYSTEM SET default_transaction_read_only = ") + value);
        postgres_.exec("SELECT pg_reload_conf()");
    };
    live_through([&] {
        set("on");
        expect_noticed();
        set("off");
    });
}

// Those that are there stay read-only when new ones no longer are.
TEST_F(PostgresFaults, SessionsThatStayReadOnly)
{
    live_through([&] {
        postgres_.exec("ALTER ROLE sluice SET default_transaction_read_only = on");
        end_sessions();
        expect_noticed();
        postgres_.exec("ALTER ROLE sluice RESET default_transaction_read_only");
    });
}

TEST_F(PostgresFaults, SomebodyLocksTheTables)
{
    live_through([&] {
        KeptProcess const holder(
            {"psql", "-Xqc", "BEGIN; LOCK TABLE sluice_g1.relationship IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)",
             postgres_.url_of_superuser()},
            directory_.path() / "holder");
        expect_noticed();
        postgres_.exec("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' "
                       "AND pid <> pg_backend_pid()");
    });
}

TEST_F(PostgresFaults, BlackHole)
{
    live_through([&] {
        proxy_.black_hole();
        expect_away();
        proxy_.pass();
    });
}

TEST_F(PostgresFaults, NobodyListens)
{
    live_through([&] {
        proxy_.refuse();
        proxy_.reset_all();
        expect_away();
        proxy_.pass();
    });
}

TEST_F(PostgresFaults, ConnectionsAreTakenAndNobodySpeaks)
{
    live_through([&] {
        proxy_.hang();
        proxy_.reset_all();
        expect_away();
        proxy_.pass();
    });
}

TEST_F(PostgresFaults, FarAway)
{
    live_through([&] {
        proxy_.delay(100ms);
        std::this_thread::sleep_for(3s);
        proxy_.pass();
    });
}

TEST_F(PostgresFaults, ConnectionsAreResetAgainAndAgain)
{
    live_through([&] {
        for (int time = 0; time < 30; ++time) {
            proxy_.reset_all();
            std::this_thread::sleep_for(100ms);
        }
    });
}

TEST_F(PostgresFaults, AnswersAreCutInTheMiddle)
{
    std::uint64_t bytes = 1;
    live_through([&] {
        one_by_one(8, &FaultCounts::cut, [&] { proxy_.cut_after(bytes += 97); });
    });
}

// The store has done it, and nobody knows.
TEST_F(PostgresFaults, AnswersToWritesAreLost)
{
    live_through([&] {
        one_by_one(8, &FaultCounts::swallowed, [&] { proxy_.swallow_after(write_message); });
        EXPECT_TRUE(eventually([&] { return metric(*http_, "sluice_graph_unknown_commits_total") >= 8; }));
    });
}

TEST_F(PostgresFaults, AnswersToCommitsAreLost)
{
    live_through([&] {
        one_by_one(8, &FaultCounts::swallowed, [&] { proxy_.swallow_after(commit_message); });
        EXPECT_TRUE(eventually([&] { return metric(*http_, "sluice_graph_unknown_commits_total") >= 8; }));
    });
}

// The store has not done it, and nobody knows.
TEST_F(PostgresFaults, WritesAreLost)
{
    live_through([&] {
        one_by_one(8, &FaultCounts::reset_before, [&] { proxy_.reset_before(write_message); });
    });
}

TEST_F(PostgresFaults, CommitsAreLost)
{
    live_through([&] {
        one_by_one(8, &FaultCounts::reset_before, [&] { proxy_.reset_before(commit_message); });
    });
}

// The store has done it, and the process that could have looked is killed too.
TEST_F(PostgresFaults, TheServerIsKilledWhenTheAnswerToAWriteWasLost)
{
    live_through([&] {
        for (std::uint64_t times = 1; times <= 5; ++times) {
            proxy_.swallow_after(write_message);
            EXPECT_TRUE(eventually([&] { return proxy_.counts().swallowed == times; }, until_noticed));
            load_.stop();
            server_->kill();
            proxy_.pass();
            serve();
            load_.start(*server_);
        }
    });
}

TEST_F(PostgresFaults, TheServerIsStartedWhilePostgresIsAway)
{
    live_through([&] {
        load_.stop();
        postgres_.kill_9();
        server_->kill();
        serve();
        load_.start(*server_);
        expect_away();
        postgres_.start();
    });
}

// A check that cannot fail proves nothing.
TEST_F(PostgresFaults, HarnessFindsARowThatIsMissingAndAnEventThatWasOvertaken)
{
    serve();
    load_.start(*server_);
    ASSERT_TRUE(eventually([&] { return load_.accepted() > 500; }));
    load_.stop();
    auto const live = settled_state(*http_);
    EXPECT_EQ(live.at("stale"), 0);
    EXPECT_EQ(stored_digest(), live.at("digest"));

    postgres_.exec("DELETE FROM sluice_g1.relationship WHERE uri = (SELECT min(uri) FROM sluice_g1.relationship)");
    EXPECT_NE(stored_digest(), live.at("digest"));
    EXPECT_EQ(http_->post("/internal/events", relationship(1'001, 9'000, 0, 1, 1).dump()).status, 202);
    EXPECT_EQ(settled_state(*http_).at("stale"), 1);
}

class OnASmallDisk : public PostgresFaults {
public:
    static constexpr std::uint64_t bytes = 128u << 20;

    explicit OnASmallDisk(std::filesystem::path const& disk)
        : PostgresFaults({.settings = {"min_wal_size=32MB", "max_wal_size=32MB"}, .data = disk / "data"}), filler_(disk)
    {
    }
    void TestBody() override
    {
        live_through([&] {
            filler_.fill(0);
            expect_noticed();
            filler_.remove();
            if (!postgres_.is_running()) postgres_.start();  // it gives up when it cannot recover either
        });
    }

private:
    test::Filler const filler_;
};

TEST(PostgresDisk, IsFilledByOthers)
{
    ServerDirectory const directory;
    auto const            disk = directory.path() / "disk";
    std::filesystem::create_directory(disk);
    EXPECT_TRUE(test::on_a_small_disk(disk, OnASmallDisk::bytes, [&] {
        try {
            test::give_away(disk);
            OnASmallDisk(disk).TestBody();
        } catch (std::exception const& error) {
            ADD_FAILURE() << error.what();
        }
    })) << "neither root's mount nor a user namespace is allowed here";
}

}  // namespace
}  // namespace sluice::e2e
