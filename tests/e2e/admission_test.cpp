// Who may take how many places: keys with limits of their own, the line, and what is left under overload.
#include "events.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace sluice::e2e {
namespace {

std::string const slow_key = "slow0123456789abcdef0123456789abcdef";
std::string const low_key = "low00123456789abcdef0123456789abcdef";

class Admission : public testing::Test {
protected:
    void start(std::vector<std::string> flags)
    {
        server_ = std::make_unique<Server>(
            ServerOptions{.data = directory_.path() / "data", .flags = std::move(flags)});
    }
    std::string keys(std::string const& text)
    {
        auto const file = directory_.path() / "keys";
        write_secret(file, text);
        return file;
    }
    Http http(std::string const& key = Server::key()) const { return {server_->address(), key}; }

    double metric(std::string_view name) const
    {
        auto client = http();
        return e2e::metric(client, name);
    }

    // What `sluice bench` reports.
    Json load(std::vector<std::string> const& options) const
    {
        std::vector<std::string> arguments{binary(), "bench", "--url", server_->url(), "--key-file",
                                           key_file(directory_.path() / "data"), "--warmup", "0.1", "--dids", "1000",
                                           "--json"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        auto const done = run(arguments);
        EXPECT_FALSE(done.output.empty()) << done.error;
        return Json::parse(done.output);
    }

    TemporaryDirectory      directory_;
    std::unique_ptr<Server> server_;
};

std::string numbered(std::uint64_t n, int priority = 1)
{
    auto event = relationship(n, n + 1, n, 50);
    event["priority"] = priority;
    return event.dump();
}

TEST_F(Admission, EveryKeyHasItsOwnNameRateAndHighestTier)
{
    start({"--keys-file", keys("[slow]\nkey = \"" + slow_key + "\"\nrate = 3\nwindow = 3600\n"
                               "[low]\nkey = \"" + low_key + "\"\ntier_cap = \"low\"\n")});
    auto slow = http(slow_key), low = http(low_key), main = http();
    for (std::uint64_t n = 1; n <= 2; ++n) EXPECT_EQ(slow.post("/internal/events", numbered(n)).status, 202);
    auto const last = slow.post("/internal/events", numbered(3));
    EXPECT_EQ(last.status, 202);
    EXPECT_EQ(last.header("ratelimit-policy"), "\"ingest\";q=3;w=3600");
    EXPECT_TRUE(last.header("ratelimit").starts_with("\"ingest\";r=0;t=3")) << last.header("ratelimit");

    auto const over = slow.post("/internal/events", numbered(4));
    EXPECT_EQ(over.status, 429);
    EXPECT_EQ(over.json().at("error"), "rate_limited");
    EXPECT_EQ(over.header("ratelimit-policy"), "\"ingest\";q=3;w=3600");
    EXPECT_NEAR(std::stod(over.header("retry-after")), 3600, 60);
    EXPECT_EQ(over.header("retry-after"), std::to_string(over.json().at("retry_after").get<int>()));
    EXPECT_EQ(slow.get("/v1/state").status, 200) << "it limits what is posted";

    auto const lowered = low.post("/internal/events", numbered(5, 3));
    EXPECT_EQ(lowered.json().at("tier"), "low");
    EXPECT_EQ(main.post("/internal/events", numbered(6, 3)).json().at("tier"), "critical");
    EXPECT_EQ(http("another0123456789abcdef0123456789abcdef").get("/v1/state").status, 403);

    auto reader = http();
    EXPECT_EQ(settled_state(reader).at("accepted"), 5);
    EXPECT_EQ(metric("sluice_producer_admitted_total{producer=\"slow\"}"), 3);
    EXPECT_EQ(metric("sluice_producer_admitted_total{producer=\"low\"}"), 1);
    EXPECT_EQ(metric("sluice_producer_admitted_total{producer=\"default\"}"), 1);
    EXPECT_EQ(metric("sluice_producer_refused_total{producer=\"slow\",cause=\"rate_limited\"}"), 1);
    EXPECT_EQ(metric("sluice_requests_refused_total{cause=\"rate_limited\"}"), 1);
    EXPECT_EQ(metric("sluice_producer_events{producer=\"slow\"}"), 0);
}

// Each batch needs nearly all places of its tier, so two that meet cannot both have them: one waits.
TEST_F(Admission, BatchesThatMeetWaitForEachOther)
{
    start({"--queue-capacity", "100", "--queue-wait-ms", "10000"});
    std::atomic<int>         accepted{0};
    std::vector<std::thread> threads;
    for (std::uint64_t client = 1; client <= 4; ++client)
        threads.emplace_back([&, client] {
            auto connection = http();
            for (std::uint64_t round = 0; round < 10; ++round) {
                std::string lines;
                for (std::uint64_t n = 0; n < 79; ++n) lines += numbered(1'000'000 * client + round * 100 + n) + '\n';
                accepted += connection.ndjson("/internal/events/batch", lines).status == 202;
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(accepted, 40);
    EXPECT_GT(metric("sluice_line_seconds_count{tier=\"normal\"}"), 0) << "they never met";
    EXPECT_EQ(metric("sluice_line_requests"), 0);
}

// Nobody who floods may make the server do less. In turns, and the best of each counts: others use the machine too.
TEST_F(Admission, OverloadDoesNotCollapseGoodput)
{
    start({"--queue-capacity", "100"});
    auto const measure = [&](std::vector<std::string> const& shape, std::vector<std::string> const& calm,
                             std::vector<std::string> const& flood) {
        double at_rest = 0, flooded = 0;
        for (int round = 0; round < 3; ++round)
            for (auto const* const offered : {&calm, &flood}) {
                auto options = shape;
                options.insert(options.end(), offered->begin(), offered->end());
                auto const report = load(options);
                auto& best = offered == &calm ? at_rest : flooded;
                best = std::max(best, report.at("accepted_per_second").get<double>());
            }
        EXPECT_GT(at_rest, 0);
        EXPECT_GE(flooded / at_rest, 0.7) << (shape.front() == "--batch" ? "batches: " : "singles: ") << at_rest
                                          << " events/s at rest, " << flooded << " flooded";
    };
    std::vector<std::string> const short_time{"--seconds", "0.7", "--rest", "0.002"};
    auto const with = [&](std::vector<std::string> more) {
        more.insert(more.end(), short_time.begin(), short_time.end());
        return more;
    };
    measure(with({}), {"--connections", "64"}, {"--connections", "320"});
    EXPECT_GT(metric("sluice_line_seconds_count{tier=\"normal\"}"), 0);
    measure(with({"--batch", "30"}), {"--connections", "4"}, {"--connections", "20"});
}

TEST_F(Admission, CriticalEventsAreTakenInAFloodOfLowOnes)
{
    start({"--queue-capacity", "100"});
    std::atomic<bool> is_over{false};
    int               sent = 0, taken = 0;
    std::thread       client([&] {
        auto connection = http();
        for (std::uint64_t n = 1; !is_over; ++n, ++sent)
            taken += connection.post("/internal/events", numbered(n, 3)).status == 202;
    });
    load({"--tier-mix", "0,0,0,1", "--connections", "300", "--seconds", "1.5"});
    is_over = true;
    client.join();
    EXPECT_GT(sent, 10);
    EXPECT_EQ(taken, sent);
}

}  // namespace
}  // namespace sluice::e2e
