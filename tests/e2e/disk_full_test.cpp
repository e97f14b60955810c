// A real server on a disk of 64 MiB that others fill: nothing acknowledged is lost, reads go on, and it resumes by
// itself. E2E_DISK_CYCLES says how often.
#include "contract/small_disk.hpp"
#include "events.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <iostream>

namespace sluice::e2e {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::uint64_t mib = 1u << 20;
constexpr std::uint64_t disk_bytes = 64 * mib, low_water = 12 * mib, reserve = 8 * mib, reserve_file = 4 * mib;

class SmallDisk {
public:
    explicit SmallDisk(std::filesystem::path disk) : disk_(std::move(disk)), filler_(disk_) {}

    void run(int cycles)
    {
        ASSERT_NO_FATAL_FAILURE(start());
        for (int cycle = 0; cycle < cycles && !testing::Test::HasFailure(); ++cycle) {
            SCOPED_TRACE("cycle " + std::to_string(cycle));
            ASSERT_NO_FATAL_FAILURE(live_through(cycle));
        }
        finish(cycles);
    }

private:
    struct Outcome {
        int  status{};
        Json body;
    };

    void start()
    {
        server_ = std::make_unique<Server>(ServerOptions{
            .data = disk_ / "data",
            .flags = {"--log-reserve-bytes", std::to_string(reserve),
                      "--log-low-water-bytes", std::to_string(low_water),
                      "--log-reserve-file-bytes", std::to_string(reserve_file), "--checkpoint-interval", "1"}});
        http_ = std::make_unique<Http>(server_->http());
    }

    Json event(int priority, std::string type = "relationship.created")
    {
        auto const n = next_++;
        auto       json = relationship(n % 50, 1000 + n % 7, n, static_cast<int>(n % 101), n + 1, type);
        json["event_id"] = "disk-" + std::to_string(n);
        json["priority"] = priority;
        return json;
    }

    Outcome send(Json const& event)
    {
        auto const response = http_->post("/internal/events", event.dump());
        Outcome    outcome{response.status, response.json()};
        if (outcome.status == 202) {
            acknowledged_.emplace_back(event, outcome.body.at("sequence").get<std::uint64_t>());
        } else {
            EXPECT_EQ(outcome.status, 503) << response.body;
            EXPECT_EQ(outcome.body.at("error"), "disk_full") << response.body;
            EXPECT_EQ(response.header("retry-after"), "5");
        }
        return outcome;
    }

    void reads_go_on()
    {
        EXPECT_EQ(http_->get("/health").status, 200);
        EXPECT_EQ(http_->get("/health/ready").status, 503);
        EXPECT_EQ(http_->get("/v1/graph/neighbors?did=" + did(1)).status, 200);
        EXPECT_GE(state(*http_).at("accepted").get<std::uint64_t>(), acknowledged_.size());
    }

    void live_through(int cycle)
    {
        ASSERT_TRUE(send(event(0)).status == 202);

        filler_.fill(low_water - 2 * mib);
        EXPECT_EQ(send(event(3)).status, 202) << "what is important goes on";
        EXPECT_EQ(send(event(2)).status, 202);
        for (int const priority : {0, 1}) {
            auto const refused = send(event(priority));
            EXPECT_EQ(refused.status, 503);
            EXPECT_EQ(refused.body.value("tier", ""), priority == 0 ? "low" : "normal");
        }

        filler_.fill(reserve + 256 * 1024);
        bool is_refused = false;
        for (int i = 0; i < 4'000 && !is_refused; ++i)
            is_refused = send(event(3, i % 20 == 0 ? "nobody.knows" : "relationship.created")).status != 202;
        EXPECT_TRUE(is_refused) << "events leave the reserve alone";
        bool const is_greedy = cycle % 5 == 4, is_killed = cycle % 2 == 1;
        filler_.fill(0);
        reads_go_on();
        EXPECT_EQ(send(event(3)).status, 503);
        EXPECT_TRUE(eventually([&] { return metric(*http_, "sluice_disk_reserve") == 0; }))
            << "given up within a second or so";
        EXPECT_EQ(metric(*http_, "sluice_disk_full"), 1);
        if (is_greedy) filler_.fill(0);
        if (is_killed) {
            server_->kill();
            ++kills_;
            server_.reset();
            if (is_greedy) {
                try {
                    start();
                } catch (std::exception const&) {
                    ++refused_starts_;
                }
            } else {
                start();
            }
        }
        if (server_) {
            filler_.fill(0);  // a start frees what the log before no longer needs
            EXPECT_EQ(send(event(3)).status, 503);
            reads_go_on();
        }

        filler_.remove();
        auto const since = std::chrono::steady_clock::now();
        if (!server_) start();
        auto const again = event(0);
        EXPECT_TRUE(eventually([&] { return send(again).status == 202; }));
        worst_ = std::max(worst_, Seconds(std::chrono::steady_clock::now() - since).count());
        EXPECT_TRUE(eventually([&] { return metric(*http_, "sluice_disk_reserve") == 1; }));
    }

    // Sends again all that was acknowledged: each is a duplicate, where it was said to be.
    void finish(int cycles)
    {
        std::uint64_t lost = 0;
        for (auto const& [sent, sequence] : acknowledged_) {
            auto const answer = http_->post("/internal/events", sent.dump());
            lost += answer.status != 202 || answer.json().at("duplicate") != true ||
                    answer.json().at("sequence") != sequence;
        }
        auto const live = settled_state(*http_);
        expect_numbers_add_up(live);
        EXPECT_EQ(lost, 0u);
        EXPECT_EQ(live.at("accepted"), acknowledged_.size()) << "refused means not stored";
        EXPECT_EQ(server_->stop(), 0);
        EXPECT_EQ(replay(disk_ / "data").at("digest"), live.at("digest"));
        std::cout << "PROMISE P15 " << (testing::Test::HasFailure() ? "fail" : "pass") << " cycles=" << cycles
                  << " kills=" << kills_
                  << " acked=" << acknowledged_.size() << " lost=" << lost << " parked=" << live.at("parked")
                  << " starts_refused=" << refused_starts_ << " resume_seconds_max=" << worst_
                  << " free_at_the_end=" << test::free_bytes(disk_) / mib << "MiB\n";
    }

    std::filesystem::path const disk_;
    test::Filler const          filler_;
    std::unique_ptr<Server>     server_;
    std::unique_ptr<Http>       http_;
    std::uint64_t               next_{0};
    std::vector<std::pair<Json, std::uint64_t>> acknowledged_;
    int                         kills_{0}, refused_starts_{0};
    double                      worst_{0};
};

TEST(DiskFull, LosesNothingThatWasAcknowledgedAndResumesByItself)
{
    TemporaryDirectory const directory;
    auto const               disk = directory.path() / "disk";
    std::filesystem::create_directory(disk);
    auto const* const cycles = std::getenv("E2E_DISK_CYCLES");
    EXPECT_TRUE(test::on_a_small_disk(disk, disk_bytes, [&] {
        try {
            SmallDisk(disk).run(cycles != nullptr ? std::atoi(cycles) : 10);
        } catch (std::exception const& error) {
            ADD_FAILURE() << error.what();
        }
    })) << "neither root's mount nor a user namespace is allowed here";
}

}  // namespace
}  // namespace sluice::e2e
