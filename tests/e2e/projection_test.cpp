// A graph in Postgres equals the one in memory, is made again beside the live one, compared, and switched to and from.
#include "events.hpp"

#include "servers/postgres_server.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t event_count = 2'000, batch = 200;

class Projections : public testing::Test {
protected:
    void serve(bool in_postgres)
    {
        server_.reset();
        ServerOptions options{.data = data()};
        if (in_postgres) options.environment = environment();
        server_ = std::make_unique<Server>(std::move(options));
    }
    void send(std::uint64_t from, std::uint64_t to)
    {
        auto http = server_->http();
        for (auto n = from; n < to; n += batch)
            ASSERT_EQ(http.ndjson("/internal/events/batch", mixed_lines(n, n + batch)).status, 202);
    }
    Json settled()
    {
        auto http = server_->http();
        return settled_state(http);
    }

    Environment environment() const { return {{"DATABASE_URL", postgres_.url()}}; }
    fs::path    data() const { return directory_.path() / "data"; }
    std::vector<std::string> beside_server() const
    {
        return {"--url", server_->url(), "--key-file", key_file(data()).string()};
    }

    struct Answer {
        int  code{};
        Json json;
    };
    Answer projection(std::string const& verb, std::vector<std::string> const& more = {})
    {
        std::vector<std::string> arguments{binary().string(), "projection", verb, "--data", data().string(), "--json"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        auto const finished = run(arguments, environment());
        auto const json = Json::parse(finished.output, nullptr, false);
        EXPECT_FALSE(json.is_discarded()) << finished.output << finished.error;
        return {finished.code, json};
    }

    TemporaryDirectory      directory_;
    test::PostgresServer    postgres_;
    std::unique_ptr<Server> server_;
};

TEST_F(Projections, InPostgresEqualThoseInMemory)
{
    serve(true);
    ASSERT_NO_FATAL_FAILURE(send(0, event_count));
    auto const state = settled();
    expect_numbers_add_up(state);
    EXPECT_EQ(state["dead_lettered"], 0);
    ASSERT_EQ(server_->stop(), 0);
    EXPECT_EQ(replay(data())["digest"], state["digest"]);

    auto const verified = projection("verify");
    EXPECT_EQ(verified.code, 0);
    EXPECT_EQ(verified.json["differences"], 0) << verified.json;
    EXPECT_GT(verified.json["records"], 0);

    serve(true);
    auto const again = settled();
    EXPECT_EQ(again["digest"], state["digest"]);
    EXPECT_EQ(again["applied"], state["applied"]);
}

TEST_F(Projections, MoveFromMemoryToPostgresAndBackWithoutADifference)
{
    serve(false);
    ASSERT_NO_FATAL_FAILURE(send(0, event_count));
    (void)settled();
    auto const rebuilt = projection("rebuild", beside_server());
    EXPECT_EQ(rebuilt.code, 0);
    EXPECT_EQ(rebuilt.json["compared"]["differences"], 0) << rebuilt.json;
    EXPECT_EQ(rebuilt.json["through"], event_count);
    EXPECT_EQ(rebuilt.json["digest"], settled()["digest"]);

    // What comes meanwhile is taken by the next start.
    ASSERT_NO_FATAL_FAILURE(send(event_count, event_count + batch));
    auto const in_memory = settled();
    ASSERT_EQ(server_->stop(), 0);
    auto const number = std::to_string(rebuilt.json["generation"].get<int>());
    EXPECT_EQ(projection("activate", {number}).code, 0);
    serve(true);
    auto const in_postgres = settled();
    EXPECT_EQ(in_postgres["digest"], in_memory["digest"]);
    EXPECT_EQ(in_postgres["applied"], in_memory["applied"]);
    ASSERT_NO_FATAL_FAILURE(send(event_count + batch, event_count + 2 * batch));
    auto const last = settled();
    ASSERT_EQ(server_->stop(), 0);

    serve(false);
    EXPECT_EQ(settled()["digest"], last["digest"]);
}

TEST_F(Projections, AreRebuiltBesideTheLiveOneWhileEventsCome)
{
    serve(true);
    ASSERT_NO_FATAL_FAILURE(send(0, event_count));
    std::vector<std::string> arguments{binary().string(), "projection", "rebuild", "--data", data().string(), "--json",
                                       "--follow", "--activate"};
    for (auto const& argument : beside_server()) arguments.push_back(argument);
    Process following(arguments, environment());
    for (auto from = event_count; from < 2 * event_count; from += batch)
        ASSERT_NO_FATAL_FAILURE(send(from, from + batch));
    auto const live = settled();
    auto const has_followed = [&] {
        auto const list = projection("list").json["generations"];
        return list.size() == 2 && list[1]["through"] == live["last_sequence"];
    };
    ASSERT_TRUE(eventually(has_followed));
    following.signal(SIGINT);
    ASSERT_EQ(following.wait(), 0);
    auto const rebuilt = Json::parse(following.output());
    EXPECT_EQ(rebuilt["compared"]["differences"], 0);
    EXPECT_EQ(rebuilt["digest"], live["digest"]);
    EXPECT_EQ(rebuilt["activated"], true);

    ASSERT_EQ(server_->stop(), 0);
    serve(true);
    EXPECT_EQ(settled()["digest"], live["digest"]);
    auto const list = projection("list").json["generations"];
    EXPECT_EQ(list[0]["state"], "retired") << "kept for the way back";
    EXPECT_EQ(list[1]["state"], "current");
    EXPECT_EQ(projection("drop", {"1"}).code, 0);
}

TEST_F(Projections, GoOnWhereARebuildWasKilled)
{
    serve(false);
    ASSERT_NO_FATAL_FAILURE(send(0, event_count));
    (void)settled();
    ASSERT_EQ(server_->stop(), 0);
    {
        Process killed(
            {binary().string(), "projection", "rebuild", "--data", data().string(), "--json", "--rate", "500"},
            environment());
        auto const is_under_way = [&] {
            auto const list = projection("list").json["generations"];
            return !list.empty() && list[0]["through"] > 100;
        };
        ASSERT_TRUE(eventually(is_under_way));
        killed.signal(SIGKILL);
        (void)killed.wait();
    }
    auto const rebuilt = projection("rebuild");
    EXPECT_EQ(rebuilt.code, 0);
    EXPECT_EQ(rebuilt.json["generation"], 1);
    EXPECT_LT(rebuilt.json["events"], event_count) << "it began anew";
    EXPECT_EQ(rebuilt.json["compared"]["differences"], 0);
    EXPECT_EQ(rebuilt.json["digest"], replay(data())["digest"]);
}

TEST_F(Projections, ThatWereTamperedWithAreFound)
{
    serve(true);
    ASSERT_NO_FATAL_FAILURE(send(0, event_count));
    (void)settled();
    ASSERT_EQ(server_->stop(), 0);
    auto const found = postgres_.exec("select uri from sluice_g1.relationship where not removed order by uri limit 1");
    auto const uri = found.substr(0, found.find('\n'));
    postgres_.exec("update sluice_g1.relationship set strength = 101 where uri = '" + uri + "'");
    auto const verified = projection("verify");
    EXPECT_EQ(verified.code, 1);
    EXPECT_EQ(verified.json["differences"], 1);
    EXPECT_EQ(verified.json["first"]["key"], uri);
}

TEST_F(Projections, OfAnotherLogAreRefused)
{
    serve(true);
    ASSERT_NO_FATAL_FAILURE(send(0, batch));
    (void)settled();
    ASSERT_EQ(server_->stop(), 0);
    auto const finished = run(
        {binary().string(), "serve", "--listen", "127.0.0.1:0", "--data", (directory_.path() / "other").string(),
         "--key-file", key_file(data()).string()},
        environment());
    EXPECT_EQ(finished.code, 2) << finished.error;
    EXPECT_NE(finished.error.find("ahead of the log"), std::string::npos) << finished.error;
}

}  // namespace
}  // namespace sluice::e2e
