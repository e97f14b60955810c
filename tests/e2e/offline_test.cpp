// The verbs that read a data directory, with and without a server on it.
#include "events.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t event_count = 1'200, batch = 100;

class Offline : public testing::Test {
protected:
    void start(std::string const& name = "data")
    {
        server_.reset();
        server_ = std::make_unique<Server>(ServerOptions{
            .data = directory_.path() / name,
            .flags = {"--checkpoint-events", "300", "--dedupe-memory-ids", "1000"}});
    }

    // The mix, and a payload that was sent over several lines.
    void fill()
    {
        start();
        auto http = server_->http();
        for (std::uint64_t n = 0; n < event_count; n += batch)
            ASSERT_EQ(http.ndjson("/internal/events/batch", mixed_lines(n, n + batch)).status, 202);
        auto event = mixed(0);
        event["event_id"] = "with-line-ends";
        event["payload"]["context"] = "two\nlines, \"quoted\"";
        event["rev"] = tid(1'000'000);
        auto const text = event.dump(2);
        ASSERT_NE(text.find("{\n"), text.npos);
        ASSERT_EQ(http.post("/internal/events", text).status, 202);
        state_ = settled_state(http);
        auto const is_written = [&] { return !files("checkpoints").empty() && files("ids").size() >= 2; };
        ASSERT_TRUE(eventually(is_written));
    }
    void fill_and_stop()
    {
        ASSERT_NO_FATAL_FAILURE(fill());
        ASSERT_EQ(server_->stop(), 0);
    }

    fs::path data() const { return directory_.path() / "data"; }

    std::vector<fs::path> files(char const* part) const
    {
        std::vector<fs::path> found;
        if (!fs::exists(data() / part)) return found;
        for (auto const& entry : fs::directory_iterator(data() / part))
            if (entry.path().extension() != ".new") found.push_back(entry.path());
        std::sort(found.begin(), found.end());
        return found;
    }

    Finished sluice(std::vector<std::string> const& arguments) const
    {
        std::vector<std::string> all{binary().string()};
        all.insert(all.end(), arguments.begin(), arguments.end());
        all.insert(all.end(), {"--data", data().string()});
        return run(all);
    }

    Json verify(int expected_code) const
    {
        auto const done = sluice({"verify", "--json"});
        EXPECT_EQ(done.code, expected_code) << done.output << done.error;
        return Json::parse(done.output);
    }

    std::vector<Json> exported(std::vector<std::string> arguments = {}) const
    {
        arguments.insert(arguments.begin(), {"log", "export"});
        auto const done = sluice(arguments);
        EXPECT_EQ(done.code, 0) << done.error;
        std::istringstream in(done.output);
        std::vector<Json>  lines;
        for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
        return lines;
    }

    static void flip(fs::path const& path)
    {
        auto bytes = read_file(path);
        bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
        write_file(path, bytes);
    }

    TemporaryDirectory      directory_;
    std::unique_ptr<Server> server_;
    Json                    state_;  // before the stop
};

TEST_F(Offline, VerifyFindsAGoodDirectoryGood)
{
    ASSERT_NO_FATAL_FAILURE(fill_and_stop());
    auto const verified = verify(0);
    EXPECT_EQ(verified.at("log").at("ok"), true);
    EXPECT_EQ(verified.at("log").at("events"), state_.at("accepted"));
    for (auto const* const number : {"digest", "applied", "dead_lettered", "parked"})
        EXPECT_EQ(verified.at("fold").at(number), state_.at(number)) << number;
    EXPECT_GT(state_.at("parked"), 0);
    EXPECT_EQ(verified.at("checkpoint").at("ok"), true);
    EXPECT_EQ(verified.at("checkpoint").at("digest"), state_.at("digest"));
    EXPECT_GT(verified.at("checkpoint").at("sequence"), 0);
    EXPECT_EQ(verified.at("ids").at("ok"), true);
    EXPECT_EQ(verified.at("ids").at("runs"), files("ids").size());
    EXPECT_GE(verified.at("ids").at("ids"), 500);

    auto const text = sluice({"verify"});
    EXPECT_EQ(text.code, 0) << text.error;
    EXPECT_NE(text.output.find(state_.at("digest").get<std::string>()), std::string::npos) << text.output;
    EXPECT_EQ(text.output.find("NOT OK"), std::string::npos) << text.output;
}

TEST_F(Offline, VerifyOfWhatDoesNotExistIsAMistakeAndCreatesNothing)
{
    auto const done = sluice({"verify"});
    EXPECT_EQ(done.code, 2);
    EXPECT_NE((done.output + done.error).find("does not exist"), std::string::npos) << done.output;
    EXPECT_FALSE(fs::exists(data()));
}

TEST_F(Offline, VerifyBesideARunningServerSeesNoDamage)
{
    ASSERT_NO_FATAL_FAILURE(fill());
    std::atomic<bool> enough{false};
    std::thread       writer([&] {
        auto http = server_->http();
        for (auto n = event_count; !enough && n < 200 * event_count; n += batch)
            http.ndjson("/internal/events/batch", mixed_lines(n, n + batch));
    });
    for (int i = 0; i < 8; ++i) {
        auto const verified = verify(0);
        EXPECT_EQ(verified.at("fold").at("digest"), verified.at("checkpoint").at("digest"));
        EXPECT_GT(verified.at("log").at("events"), event_count);
    }
    enough = true;
    writer.join();
    EXPECT_EQ(server_->stop(), 0);
    verify(0);
}

TEST_F(Offline, VerifyTellsADamagedLogFromWhatIsMadeOfIt)
{
    ASSERT_NO_FATAL_FAILURE(fill_and_stop());
    auto const checkpoint = files("checkpoints").back(), run = files("ids").front(), head = data() / "HEAD";
    auto const good_checkpoint = read_file(checkpoint), good_run = read_file(run), good_head = read_file(head);

    flip(checkpoint);
    auto damaged = verify(1);
    EXPECT_EQ(damaged.at("log").at("ok"), true);
    EXPECT_EQ(damaged.at("fold").at("digest"), state_.at("digest"));
    EXPECT_EQ(damaged.at("checkpoint").at("ok"), false);
    EXPECT_EQ(damaged.at("checkpoint").at("refused").at(0).at("error"), "damaged_checkpoint");
    EXPECT_EQ(damaged.at("ids").at("ok"), true);
    write_file(checkpoint, good_checkpoint);

    flip(run);
    damaged = verify(1);
    EXPECT_EQ(damaged.at("log").at("ok"), true);
    EXPECT_EQ(damaged.at("checkpoint").at("ok"), true);
    EXPECT_EQ(damaged.at("ids").at("ok"), false);
    EXPECT_EQ(damaged.at("ids").at("refused").at(0).at("error"), "damaged_ids");
    write_file(run, good_run);

    fs::resize_file(head, 0);
    damaged = verify(10);
    EXPECT_EQ(damaged.at("log").at("ok"), false);
    EXPECT_EQ(damaged.at("log").at("error"), "head_damaged");
    EXPECT_TRUE(damaged.at("checkpoint").empty());
    write_file(head, good_head);
    verify(0);

    for (auto const& file : files("log"))
        if (file.extension() == ".log") flip(file);
    EXPECT_EQ(verify(10).at("log").at("error"), "damaged_log");
    auto const text = sluice({"verify"});
    EXPECT_EQ(text.code, 10);
    EXPECT_NE(text.output.find("NOT OK"), std::string::npos) << text.output;
    for (auto const* const verb : {"info", "export"}) {
        auto const done = sluice({"log", verb});
        EXPECT_EQ(done.code, 10);
        EXPECT_NE(done.error.find("(damaged_log)"), std::string::npos) << done.error;
    }
}

TEST_F(Offline, VerifyRefusesIdsAndCheckpointsOfAnotherLog)
{
    ASSERT_NO_FATAL_FAILURE(fill_and_stop());
    start("other");
    auto http = server_->http();
    for (std::uint64_t n = 0; n < event_count + batch; n += batch)
        ASSERT_EQ(http.ndjson("/internal/events/batch", mixed_lines(n + 1, n + 1 + batch)).status, 202);
    ASSERT_EQ(server_->stop(), 0);
    for (auto const* const name : {"FORMAT", "HEAD", "log"}) {
        fs::remove_all(data() / name);
        fs::rename(directory_.path() / "other" / name, data() / name);
    }
    auto const verified = verify(1);
    EXPECT_EQ(verified.at("log").at("events"), event_count + batch);
    EXPECT_EQ(verified.at("checkpoint").at("refused").at(0).at("error"), "unfit_checkpoint");
    EXPECT_EQ(verified.at("ids").at("refused").at(0).at("error"), "foreign_ids");
}

TEST_F(Offline, LogInfoHasTheNumbersOfTheState)
{
    ASSERT_NO_FATAL_FAILURE(fill_and_stop());
    auto const done = sluice({"log", "info", "--json"});
    ASSERT_EQ(done.code, 0) << done.error;
    auto const info = Json::parse(done.output);
    EXPECT_EQ(info.at("last_sequence"), state_.at("last_sequence"));
    EXPECT_EQ(info.at("events"), state_.at("accepted"));
    EXPECT_EQ(info.at("decisions"), state_.at("parked"));
    EXPECT_GE(info.at("blocks"), 2);
    EXPECT_LE(info.at("first_received_at").get<std::string>(), info.at("last_received_at").get<std::string>());
    EXPECT_EQ(info.at("last_received_at"), exported().back().at("received_at"));

    auto const text = sluice({"log", "info"});
    EXPECT_EQ(text.code, 0);
    EXPECT_NE(text.output.find(info.at("chain").get<std::string>()), std::string::npos) << text.output;
}

TEST_F(Offline, LogExportPrintsWhatWasSent)
{
    ASSERT_NO_FATAL_FAILURE(fill_and_stop());
    auto const all = exported();
    ASSERT_EQ(all.size(), event_count + 1);
    for (std::uint64_t n = 0; n < event_count; ++n) {
        auto const sent = mixed(n), &found = all[n].at("event");
        ASSERT_EQ(all[n].at("sequence"), n + 1);
        ASSERT_EQ(all[n].at("event_id"), sent.at("event_id"));
        for (auto const& [name, value] : sent.items()) ASSERT_EQ(found.at(name), value) << n << ' ' << name;
    }
    EXPECT_EQ(all.back().at("event").at("payload").at("context"), "two\nlines, \"quoted\"");

    auto const range = exported({"--from", "150", "--to", "250"});
    EXPECT_EQ(range, std::vector<Json>(all.begin() + 149, all.begin() + 250));
    EXPECT_TRUE(exported({"--from", "250", "--to", "150"}).empty());
    EXPECT_TRUE(exported({"--from", "5000"}).empty());
    auto const only = [&](char const* option, char const* member, std::string const& value) {
        std::vector<Json> expected;
        for (auto const& line : all)
            if (line.at("event").at(member) == value) expected.push_back(line);
        EXPECT_GT(expected.size(), 1u);
        EXPECT_LT(expected.size(), all.size());
        EXPECT_EQ(exported({option, value}), expected);
    };
    only("--type", "event_type", "attestation.created");
    only("--did", "did", did(3));
}

TEST_F(Offline, ABareExportMakesTheSameRecordsInAnEmptyServer)
{
    ASSERT_NO_FATAL_FAILURE(fill_and_stop());
    auto const conviction = [&](std::uint64_t n) {
        auto const record = mixed(n).at("payload").at("uri").get<std::string>();
        auto const answer = server_->http().get(
            "/v1/conviction?uri=" + percent_encoded(record) + "&at=2026-01-01T00%3A00%3A00Z");
        EXPECT_EQ(answer.status, 200) << answer.body;
        return answer.json().at("conviction");
    };
    std::vector<Json> convictions;
    start();
    for (std::uint64_t n = 0; n < 100; n += 4) convictions.push_back(conviction(n));
    ASSERT_EQ(server_->stop(), 0);

    start("copy");
    auto const key = key_file(directory_.path() / "copy").string();
    auto const done = run(
        {"/bin/sh", "-c", R"("$0" log export --bare --data "$1" | "$0" ingest - --json --url "$2" --key-file "$3")",
         binary().string(), data().string(), server_->url(), key});
    ASSERT_EQ(done.code, 0) << done.error;
    EXPECT_EQ(Json::parse(done.output).at("accepted"), event_count + 1);
    auto       http = server_->http();
    auto const copied = settled_state(http);
    for (auto const* const number : {"records", "accepted", "applied", "parked", "stale"})
        EXPECT_EQ(copied.at(number), state_.at(number)) << number;
    for (std::uint64_t n = 0; n < 100; n += 4) EXPECT_EQ(conviction(n), convictions[n / 4]) << n;
    // Sent again they are the same events.
    EXPECT_EQ(
        http.ndjson("/internal/events/batch", mixed_lines(0, batch)).json().at("duplicates").size(), batch);
}

}  // namespace
}  // namespace sluice::e2e
