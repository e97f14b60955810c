// The servers that other tests start keep what these tests rely on.
#include "servers/postgres_server.hpp"
#include "servers/redis_server.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// The folders in /proc of processes that work in this directory. Servers work in the one of their data.
std::vector<fs::path> processes_in(fs::path const& directory)
{
    std::vector<fs::path> found;
    for (auto const& process : fs::directory_iterator("/proc")) {
        std::error_code gone;
        auto const      working = fs::read_symlink(process.path() / "cwd", gone).string();
        if (!gone && working.starts_with(directory.string())) found.push_back(process.path());
    }
    return found;
}

bool nobody_is_left_in(fs::path const& directory)
{
    auto const deadline = std::chrono::steady_clock::now() + 20s;
    while (!processes_in(directory).empty()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(5ms);
    }
    return true;
}

char state_of(fs::path const& process)
{
    auto const stat = read_end(process / "stat");
    return stat[stat.rfind(')') + 2];
}

void fill(PostgresServer const& server, int rows)
{
    server.exec("CREATE TABLE kept (n int)");
    server.exec("INSERT INTO kept SELECT generate_series(1, " + std::to_string(rows) + ")");
}

TEST(Postgres, ServesAnOrdinaryRoleAtItsUrls)
{
    PostgresServer const server({.settings = {"work_mem=1234kB"}});
    EXPECT_EQ(server.exec("SHOW work_mem; SELECT 1, 2"), "1234kB\n1|2\n");
    for (auto const& url : {server.url(), server.url_of_socket()}) {
        auto const who = run_kept(
            {"psql", "-XAtc", "SELECT current_user, current_database(), current_setting('is_superuser')", url});
        EXPECT_EQ(who, "sluice|sluice|off\n");
    }
    EXPECT_THROW(server.exec("SELECT nothing"), std::exception);
}

TEST(Postgres, AsksForThePassword)
{
    PostgresServer const server;
    auto                 url = server.url();
    url.insert(url.find('@'), "x");
    EXPECT_THROW(run_kept({"psql", "-XAtc", "SELECT 1", url}), std::exception);
}

TEST(Postgres, RefusesMoreConnectionsThanItMayHaveButTheSuperusers)
{
    PostgresServer const server({.max_connections = 5, .settings = {"superuser_reserved_connections=3"}});
    ServerDirectory const directory;
    auto const sleep = [&](char const* log) {
        return KeptProcess({"psql", "-XAtc", "SELECT pg_sleep(60)", server.url()}, directory.path() / log);
    };
    auto const first = sleep("first"), second = sleep("second");
    auto const deadline = std::chrono::steady_clock::now() + 20s;
    while (server.exec("SELECT count(*) FROM pg_stat_activity WHERE usename = 'sluice'") != "2\n")
        ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    EXPECT_THROW(run_kept({"psql", "-XAtc", "SELECT 1", server.url()}), std::exception);
}

TEST(Postgres, KeepsItsDataAndItsPortWhateverEndsIt)
{
    PostgresServer server;
    auto const     url = server.url();
    fill(server, 1000);
    server.kill_9();
    EXPECT_TRUE(nobody_is_left_in(server.data()));
    EXPECT_THROW(server.exec("SELECT 1"), std::exception);
    server.start();
    EXPECT_EQ(server.exec("SELECT count(*) FROM kept"), "1000\n");
    server.stop_immediately();
    EXPECT_TRUE(nobody_is_left_in(server.data()));
    server.start();
    server.restart();
    EXPECT_EQ(server.exec("SELECT count(*) FROM kept"), "1000\n");
    EXPECT_EQ(server.url(), url);
}

TEST(Postgres, StandsStillWithAllItsProcesses)
{
    PostgresServer        server;
    ServerDirectory const directory;
    KeptProcess           client({"psql", "-XAtc", "SELECT pg_sleep(1)", server.url()}, directory.path() / "log");
    server.suspend();
    auto const processes = processes_in(server.data());
    EXPECT_GT(processes.size(), 4u);
    for (auto const& process : processes) EXPECT_EQ(state_of(process), 'T');
    EXPECT_FALSE(client.wait(2s));
    server.resume();
    EXPECT_EQ(client.wait(20s), 0);
}

TEST(Postgres, WorksInADirectoryOfTheTest)
{
    ServerDirectory const directory;
    PostgresServer const  server({.fsync = true, .data = directory.path() / "disk"});
    EXPECT_EQ(server.exec("SHOW fsync"), "on\n");
    EXPECT_EQ(server.exec("SHOW data_directory"), (directory.path() / "disk").string() + "\n");
}

TEST(Postgres, TellsWhyItDoesNotStart)
{
    try {
        PostgresServer const server({.settings = {"shared_buffers=nonsense"}});
        FAIL();
    } catch (std::exception const& error) {
        EXPECT_NE(std::string(error.what()).find("shared_buffers"), std::string::npos) << error.what();
    }
}

TEST(Redis, AnswersAtItsUrl)
{
    RedisServer const server({.password = "of-tests-only", .settings = {"maxmemory 12mb"}});
    EXPECT_EQ(server.url(), "redis://:of-tests-only@127.0.0.1:" + std::to_string(server.port()) + "/0");
    EXPECT_EQ(server.exec({"PING"}), "PONG");
    EXPECT_EQ(server.exec({"CONFIG", "GET", "maxmemory"}), "maxmemory\n12582912");
    server.config_set("maxmemory", "13mb");
    EXPECT_EQ(server.exec({"CONFIG", "GET", "maxmemory"}), "maxmemory\n13631488");
    EXPECT_THROW(server.exec({"NONSENSE"}), std::exception);
    EXPECT_THROW(run_kept({"redis-cli", "-e", "-p", std::to_string(server.port()), "PING"}), std::exception);
}

TEST(Redis, KeepsItsPortAndIfAskedItsDataWhateverEndsIt)
{
    for (bool const is_durable : {false, true}) {
        RedisServer server({.is_durable = is_durable});
        auto const  url = server.url();
        server.exec({"SET", "key", "value"});
        server.kill_9();
        EXPECT_THROW(server.exec({"PING"}), std::exception);
        server.start();
        EXPECT_EQ(server.exec({"GET", "key"}), is_durable ? "value" : "");
        server.restart();
        EXPECT_EQ(server.exec({"GET", "key"}), is_durable ? "value" : "");
        EXPECT_EQ(server.url(), url);
    }
}

TEST(Redis, StandsStillAndGoesOn)
{
    RedisServer           server;
    ServerDirectory const directory;
    server.suspend();
    KeptProcess client({"redis-cli", "-p", std::to_string(server.port()), "PING"}, directory.path() / "log");
    EXPECT_FALSE(client.wait(500ms));
    server.resume();
    EXPECT_EQ(client.wait(20s), 0);
}

// The worst case: the test is killed while its servers stand still.
TEST(Servers, LeaveNothingBehindWhenATestIsKilled)
{
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    auto const child = ::fork();
    if (child == 0) {
        PostgresServer postgres;
        RedisServer    redis;
        auto const     said = postgres.data().string() + '\n' + redis.log().parent_path().string() + '\n';
        postgres.suspend();
        redis.suspend();
        if (::write(ends[1], said.data(), said.size()) < 0) ::_exit(1);
        ::pause();
    }
    ::close(ends[1]);
    std::string said;
    char        letter;
    while (std::count(said.begin(), said.end(), '\n') < 2 && ::read(ends[0], &letter, 1) == 1) said += letter;
    ::close(ends[0]);
    auto const     newline = said.find('\n');
    fs::path const postgres = said.substr(0, newline), redis = said.substr(newline + 1, said.size() - newline - 2);
    ASSERT_GT(processes_in(postgres).size(), 4u);
    ASSERT_EQ(processes_in(redis).size(), 1u);

    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);

    EXPECT_TRUE(nobody_is_left_in(postgres));
    EXPECT_TRUE(nobody_is_left_in(redis));
    fs::remove_all(postgres.parent_path());
    fs::remove_all(redis);
}

TEST(Servers, NobodyServesAsRoot)
{
    PostgresServer const server;
    RedisServer const    redis;
    for (auto const& directory : {server.data(), redis.log().parent_path()}) {
        auto const processes = processes_in(directory);
        EXPECT_FALSE(processes.empty());
        for (auto const& process : processes) {
            struct stat info {};
            ::stat(process.c_str(), &info);
            EXPECT_NE(info.st_uid, 0u);
        }
    }
}

}  // namespace
}  // namespace sluice::test
