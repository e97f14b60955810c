// Whatever happens to one file of a data directory: a refusal that says why, or everything that was accepted.
#include "events.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <random>
#include <set>
#include <tuple>

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t        event_count = 3'000, batch = 100;
constexpr std::chrono::seconds bounded{30};  // for any process to start or to refuse
constexpr int                  heals_max = 4;  // ids that are found damaged are made again by the next start

std::set<std::string> const log_reasons{
    "damaged_block", "damaged_decision", "damaged_log", "format_damaged", "format_missing", "gap", "head_damaged",
    "head_mismatch", "head_missing", "log_behind_head", "newer_format"};

struct Damage {
    fs::path      file;  // below the data directory
    enum { flip, cut, remove, append } kind;
    std::uint64_t at{0};  // the byte, or the size that is left

    std::string text() const
    {
        char const* const names[] = {"bit flipped at ", "cut to ", "removed", "with garbage at its end"};
        return file.string() + ' ' + names[kind] + (kind == flip || kind == cut ? std::to_string(at) : "");
    }
};

std::vector<std::string> serve(fs::path const& data)
{
    return {binary().string(), "serve", "--listen", "127.0.0.1:0", "--data", data.string(), "--key-file",
            key_file(data).string(), "--checkpoint-events", "400", "--dedupe-memory-ids", "1000"};
}

// What was true when a directory was left.
struct Truth {
    std::string   digest;
    std::uint64_t accepted{0};
};

class DamagedFiles : public testing::Test {
protected:
    static constexpr std::size_t cases_max = 75;   // of each directory
    static constexpr std::size_t serve_every = 4;  // cases: a server takes longer to try than verify

    // Kills make RocksDB flush, so there are files of every kind; the end is in the write-ahead log only.
    Truth build(fs::path const& data, bool killed)
    {
        Truth truth;
        for (std::uint64_t n = 0; n < event_count;) {
            Server server({.data = data, .flags = {"--checkpoint-events", "400", "--dedupe-memory-ids", "1000"}});
            auto   http = server.http();
            for (auto const end = n + event_count / 3; n < end; n += batch) {
                std::string refusal;
                EXPECT_TRUE(eventually([&] {
                    auto const answer = http.ndjson("/internal/events/batch", mixed_lines(n, n + batch));
                    return answer.status == 202 || (refusal = answer.body, false);  // tiny generations may have to wait
                })) << refusal;
            }
            auto const state = settled_state(http);
            truth = {state.at("digest"), state.at("accepted")};
            if (n < event_count || killed)
                server.kill();
            else
                EXPECT_EQ(server.stop(), 0);
        }
        EXPECT_EQ(truth.accepted, event_count);
        return truth;
    }

    std::vector<Damage> choose(fs::path const& data)
    {
        std::vector<Damage> all;
        for (auto const& entry : fs::recursive_directory_iterator(data)) {
            if (!entry.is_regular_file()) continue;
            auto const file = fs::relative(entry.path(), data);
            auto const size = entry.file_size();
            all.push_back({file, Damage::remove});
            all.push_back({file, Damage::append});
            if (size == 0) continue;
            for (auto const at : {std::uint64_t{0}, size / 2, size - 1, random_() % size})
                all.push_back({file, Damage::flip, at});
            for (auto const left : {std::uint64_t{0}, size / 2, size - 1}) all.push_back({file, Damage::cut, left});
        }
        std::sort(all.begin(), all.end(), [](auto const& a, auto const& b) {
            return std::tie(a.file, a.kind, a.at) < std::tie(b.file, b.kind, b.at);
        });
        std::shuffle(all.begin(), all.end(), random_);
        // One case of every file at least: the first of each go to the front.
        std::set<fs::path> seen;
        std::stable_partition(all.begin(), all.end(), [&](auto const& d) { return seen.insert(d.file).second; });
        if (all.size() > cases_max) all.resize(cases_max);
        return all;
    }

    void inflict(fs::path const& data, Damage const& damage)
    {
        auto const path = data / damage.file;
        if (damage.kind == Damage::remove) {
            fs::remove(path);
            return;
        }
        auto bytes = read_file(path);
        if (damage.kind == Damage::flip) bytes[damage.at] = static_cast<char>(bytes[damage.at] ^ (1 << random_() % 8));
        if (damage.kind == Damage::cut) bytes.resize(damage.at);
        for (int i = 0; damage.kind == Damage::append && i < 100; ++i) bytes += static_cast<char>(random_());
        write_file(path, bytes);
    }

    // True: the log is whole. Else it was refused by name.
    static bool verify(fs::path const& data, Truth const& truth)
    {
        auto const done = run({binary().string(), "verify", "--json", "--data", data.string()}, {}, bounded);
        SCOPED_TRACE("verify: " + std::to_string(done.code) + ' ' + done.output + done.error);
        auto const report = Json::parse(done.output);
        if (done.code == 10 || done.code == 11) {
            auto const reason = report.at("log").at("error").get<std::string>();
            EXPECT_TRUE(log_reasons.contains(reason)) << reason;
            return false;
        }
        EXPECT_TRUE(done.code == 0 || done.code == 1);
        EXPECT_EQ(done.code == 0, report.at("checkpoint").at("ok") && report.at("ids").at("ok"));
        EXPECT_EQ(report.at("log").at("events"), truth.accepted);
        EXPECT_EQ(report.at("fold").at("digest"), truth.digest);
        return true;
    }

    // True: everything is there. Else it was refused by name, at the start or when the damage was met.
    static bool serves(fs::path const& data, Truth const& truth)
    {
        fs::path const errors(data.string() + ".log");
        for (int starts = 0; starts < heals_max; ++starts) {
            fs::remove(errors);
            Process     process(serve(data), {}, errors);
            std::string line;
            try {
                line = process.read_line(bounded);
            } catch (std::exception const&) {  // it ended, or it hangs: then wait() throws
            }
            bool const all_there = !line.empty() && has_everything(listening_on(line), truth);
            if (all_there) process.signal(SIGTERM);
            auto const code = process.wait(bounded);
            auto const said = read_file(errors);
            if (all_there && code == 0) return true;
            if (code == 1 && said.find("(damaged_ids)") != said.npos) continue;
            EXPECT_TRUE(code == 10 || code == 11) << "serve: " << code << ' ' << said;
            bool const is_named = std::ranges::any_of(
                log_reasons, [&](auto const& reason) { return said.find('(' + reason + ')') != said.npos; });
            EXPECT_TRUE(is_named) << "serve: " << code << ' ' << said;
            return false;
        }
        ADD_FAILURE() << "the ids never healed";
        return false;
    }

    // False: the server gave up on the way.
    static bool has_everything(Address const& address, Truth const& truth)
    {
        Http       http(address, Server::key());
        auto const state = http.try_send("GET", "/v1/state");
        if (!state || state->status != 200) return false;
        EXPECT_EQ(state->json().at("accepted"), truth.accepted);
        EXPECT_EQ(state->json().at("digest"), truth.digest);
        for (std::uint64_t n = 0; n < event_count; n += 1'000) {
            auto const answer = http.try_send(
                "POST", "/internal/events/batch", mixed_lines(n, n + 1'000),
                {{"Content-Type", "application/x-ndjson"}});
            if (!answer || answer->status != 202) return false;
            auto const duplicates = answer->json().at("duplicates");
            EXPECT_EQ(duplicates.size(), 1'000u) << "events were lost";
            for (auto const& duplicate : duplicates)
                EXPECT_EQ(duplicate.at("sequence"), n + 1 + duplicate.at("i").get<std::uint64_t>());
        }
        return true;
    }

    void expect_refusal_or_everything(bool killed)
    {
        auto const* const given = std::getenv("DAMAGE_SEED");
        auto const        seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
        std::cout << "DAMAGE_SEED=" << seed << std::endl;
        random_.seed(seed);
        auto const whole = directory_.path() / "whole", data = directory_.path() / "data";
        auto const truth = build(whole, killed);
        std::size_t refused = 0, accepted = 0, tried = 0;
        for (auto const& damage : choose(whole)) {
            SCOPED_TRACE(damage.text());
            fs::remove_all(data);
            fs::copy(whole, data, fs::copy_options::recursive);
            inflict(data, damage);
            try {
                bool const is_whole = verify(data, truth);
                ++(is_whole ? accepted : refused);
                if (tried++ % serve_every != 0) continue;
                EXPECT_EQ(serves(data, truth), is_whole) << "verify and serve do not agree";
            } catch (std::exception const& error) {
                ADD_FAILURE() << error.what();
            }
        }
        std::cout << refused << " refused, " << accepted << " good" << std::endl;
        EXPECT_GT(refused, cases_max / 10) << "nothing was damaged";
        EXPECT_GT(accepted, cases_max / 10);
    }

    TemporaryDirectory directory_;
    std::mt19937_64    random_;
};

TEST_F(DamagedFiles, AfterAStopAreRefusedByNameOrCostNothing) { expect_refusal_or_everything(false); }
TEST_F(DamagedFiles, AfterAKillAreRefusedByNameOrCostNothing) { expect_refusal_or_everything(true); }

}  // namespace
}  // namespace sluice::e2e
