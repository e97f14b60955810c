// `sluice bench` against a real server: what it reports is what the server counted.
#include "harness.hpp"

#include <gtest/gtest.h>


namespace sluice::e2e {
namespace {

class Bench : public testing::Test {
protected:
    Finished bench(std::vector<std::string> const& options)
    {
        std::vector<std::string> arguments{binary(), "bench", "--url", server_.url(), "--key-file",
                                           key_file(directory_.path() / "data"), "--warmup", "0", "--dids", "1000"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        return run(arguments);
    }
    Json json(std::vector<std::string> options, int code = 0)
    {
        options.push_back("--json");
        auto const done = bench(options);
        EXPECT_EQ(done.code, code) << done.error;
        return Json::parse(done.output);
    }

    TemporaryDirectory directory_;
    Server             server_{{.data = directory_.path() / "data"}};
    Http http_ = server_.http();
};

std::uint64_t refused(Json const& report)
{
    std::uint64_t events = 0;
    for (auto const& [status, count] : report.at("refused").items()) events += count.get<std::uint64_t>();
    return events;
}

TEST_F(Bench, ReportsWhatTheServerCounted)
{
    auto const report = json({"--seconds", "1", "--connections", "8", "--server-pid", std::to_string(server_.pid())});

    auto const accepted = report.at("accepted").get<std::uint64_t>();
    EXPECT_GT(accepted, 0u);
    EXPECT_EQ(report.at("events"), accepted);
    EXPECT_EQ(report.at("duplicates"), 0);
    EXPECT_TRUE(report.at("refused").empty());
    EXPECT_EQ(report.at("projection_us").at("events"), accepted);
    auto const state = e2e::state(http_);  // at rest: the bench waited for it
    expect_numbers_add_up(state);
    EXPECT_EQ(state.at("accepted"), accepted);
    EXPECT_EQ(state.at("applied"), accepted);
    EXPECT_EQ(state.at("records").at("relationships"), accepted);

    auto const& latency = report.at("latency_us");
    double      before = 0;
    for (auto const* const p : {"p50", "p90", "p99", "p99.9", "max"}) {
        EXPECT_GE(latency.at(p), before) << p;
        before = latency.at(p);
    }
    EXPECT_GT(latency.at("p50"), 0);
    // One request under way on each connection: Little's law.
    EXPECT_LE(report.at("accepted_per_second").get<double>() * latency.at("p50").get<double>() / 1e6, 2 * 8);
    EXPECT_GE(report.at("accepted_per_second"), report.at("end_to_end_per_second"));
    EXPECT_GT(report.at("server").at("cores"), 0);
    EXPECT_GT(report.at("generator").at("cores"), 0);
    EXPECT_NEAR(report.at("body_bytes"), 500, 50);
    auto const disk = metric(http_, "sluice_log_disk_bytes") / static_cast<double>(accepted);
    EXPECT_NEAR(report.at("disk_bytes_per_event"), disk, 1 + disk / 10);
}

TEST_F(Bench, WaitsUntilEverythingIsInTheGraph)
{
    auto const report = json(
        {"--rate", "200000", "--seconds", "0.1", "--batch", "2000", "--connections", "16"});
    EXPECT_EQ(report.at("accepted"), 20'000);
    EXPECT_EQ(e2e::state(http_).at("applied"), report.at("accepted"));
    EXPECT_EQ(report.at("projection_us").at("events"), report.at("accepted"));
    EXPECT_LT(report.at("end_to_end_per_second"), report.at("accepted_per_second"));
}

TEST_F(Bench, TheTableSaysTheSameInWords)
{
    auto const done = bench({"--seconds", "0.2", "--batch", "10", "--connections", "2"});
    EXPECT_EQ(done.code, 0) << done.error;
    auto const accepted = e2e::state(http_).at("accepted").get<std::uint64_t>();
    EXPECT_NE(done.output.find(std::to_string(accepted) + " accepted, 0 duplicates\n"), std::string::npos)
        << done.output;
    for (auto const* const row : {"closed loop, 2 connections, batches of 10", "accepted  ", "end to end  ",
                                  "latency  ", "projection  ", "generator  ", "disk  "})
        EXPECT_NE(done.output.find(row), std::string::npos) << row << " is not in\n" << done.output;
}

TEST_F(Bench, AnOpenLoopKeepsItsRate)
{
    auto const report = json({"--seconds", "1", "--rate", "300"});
    EXPECT_EQ(report.at("events"), 300);
    EXPECT_EQ(report.at("unsent"), 0);
    EXPECT_GE(report.at("seconds"), 0.99);
    EXPECT_LE(report.at("accepted_per_second"), 303);
}

// One connection cannot carry the rate: the wait for it is part of the latency.
TEST_F(Bench, AnOpenLoopCountsLatencyFromWhenARequestWasDue)
{
    auto const report = json({"--seconds", "0.2", "--rate", "1000000", "--connections", "1"}, 7);
    EXPECT_GT(report.at("unsent"), 0);
    EXPECT_EQ(report.at("unsent").get<std::uint64_t>() + report.at("events").get<std::uint64_t>(), 200'000u);
    EXPECT_GT(report.at("latency_us").at("max"), 1'000'000);
}

TEST_F(Bench, CountsDuplicates)
{
    for (auto const* const batch : {"1", "20"}) {
        auto const before = e2e::state(http_).at("accepted").get<std::uint64_t>();
        auto const duplicates_before = metric(http_, "sluice_events_duplicate_total");

        auto const report = json({"--rate", "3000", "--seconds", "0.5", "--batch", batch, "--duplicates", "0.25",
                                  "--connections", "8"});

        auto const duplicates = report.at("duplicates").get<std::uint64_t>();
        EXPECT_NEAR(static_cast<double>(duplicates), 375, 100);
        EXPECT_EQ(report.at("accepted").get<std::uint64_t>() + duplicates, 1500u);
        EXPECT_EQ(e2e::state(http_).at("accepted").get<std::uint64_t>() - before, report.at("accepted"));
        EXPECT_EQ(metric(http_, "sluice_events_duplicate_total") - duplicates_before, static_cast<double>(duplicates));
    }
}

TEST_F(Bench, CountsRefusalsByStatusAndEndsWithTheirCode)
{
    ASSERT_EQ(server_.stop(), 0);
    server_ = Server({.data = directory_.path() / "data",
                      .flags = {"--queue-capacity", "1000", "--queue-wait-ms", "0"}});
    Http       http = server_.http();
    auto const some = json(
        {"--seconds", "0.2", "--batch", "690", "--connections", "8", "--tier-mix", "0,0,0,1"}, 7);
    EXPECT_GT(some.at("refused").at("503"), 0);
    EXPECT_EQ(some.at("refused").size(), 1u);
    EXPECT_EQ(some.at("accepted").get<std::uint64_t>() + refused(some), some.at("events"));
    EXPECT_EQ(e2e::state(http).at("accepted"), some.at("accepted"));

    auto const none = json({"--seconds", "0.2", "--batch", "1001", "--connections", "2"}, 1);
    EXPECT_EQ(none.at("accepted"), 0);
    EXPECT_EQ(none.at("refused").at("413"), none.at("events"));
}

TEST_F(Bench, SendsTheTiersItWasAskedFor)
{
    json({"--rate", "1000", "--seconds", "0.5", "--tier-mix", "0,1,3,0"});
    auto const applied = [&](std::string const& tier) {
        return metric(http_, "sluice_projection_seconds_count{tier=\"" + tier + "\"}");
    };
    EXPECT_EQ(applied("critical"), 0);
    EXPECT_EQ(applied("low"), 0);
    EXPECT_NEAR(applied("high"), 125, 60);
    EXPECT_EQ(applied("high") + applied("normal"), 500);
}

TEST_F(Bench, SaysWhyItCannotMeasure)
{
    EXPECT_EQ(run({binary(), "bench", "--url", "http://127.0.0.1:1"}).code, 5);
    EXPECT_EQ(run({binary(), "bench", "--url", server_.url()}).code, 4);
    EXPECT_EQ(bench({"--tier-mix", "0,0,0,0"}).code, 2);
    EXPECT_EQ(bench({"--batch", "0"}).code, 2);
    EXPECT_EQ(bench({"--server-pid", "999999999"}).code, 2);
}

}  // namespace
}  // namespace sluice::e2e
