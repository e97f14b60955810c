// Whatever happens to the files of the ids, an event that is known stays known.
#include "events.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t event_count = 3'000, batch = 100;

class Ids : public testing::Test {
protected:
    void SetUp() override
    {
        start();
        auto http = server_->http();
        ASSERT_EQ(send_all(http), 0u);
        ASSERT_TRUE(eventually([&] { return runs().size() >= 2; }));
        ASSERT_EQ(server_->stop(), 0);
    }

    void start()
    {
        server_.reset();
        server_ = std::make_unique<Server>(
            ServerOptions{.data = data(), .flags = {"--dedupe-memory-ids", "1000"}});
    }

    fs::path              data() const { return directory_.path() / "data"; }
    std::vector<fs::path> runs() const
    {
        std::vector<fs::path> files;
        if (!fs::exists(data() / "ids")) return files;
        for (auto const& entry : fs::directory_iterator(data() / "ids"))
            if (entry.path().extension() == ".ids") files.push_back(entry.path());
        std::sort(files.begin(), files.end());
        return files;
    }

    // How many were duplicates; nullopt once the server answers with anything but 202.
    std::optional<std::uint64_t> send_all(Http& http)
    {
        std::uint64_t duplicates = 0;
        std::string   body;
        for (std::uint64_t n = 0; n < event_count; ++n) {
            auto event = relationship(n % 17, 100, n, 50, n + 1);
            event["event_id"] = "ids-" + std::to_string(n);
            body += event.dump() + "\n";
            if (n % batch != batch - 1) continue;
            std::optional<Response> response;
            // While too many generations wait to be written, ids have no room: these are tiny.
            (void)eventually([&] {
                response =
                    http.try_send("POST", "/internal/events/batch", body, {{"Content-Type", "application/x-ndjson"}});
                return !response || response->body.find("ids_behind") == std::string::npos;
            });
            if (!response || response->status != 202) return std::nullopt;
            auto const reply = response->json();
            for (auto const& duplicate : reply.at("duplicates")) {
                EXPECT_EQ(duplicate.at("sequence"), n + 1 - batch + duplicate.at("i").get<std::uint64_t>() + 1);
                ++duplicates;
            }
            body.clear();
        }
        return duplicates;
    }

    void expect_all_known()
    {
        auto http = server_->http();
        EXPECT_EQ(send_all(http), event_count);
        EXPECT_EQ(state(http).at("accepted"), event_count);
    }

    static void flip(fs::path const& path, std::int64_t at, std::ios::seekdir from)
    {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(at, from);
        auto const place = file.tellg();
        auto const byte = static_cast<char>(file.get() ^ 1);
        file.seekp(place);
        file.put(byte);
    }

    TemporaryDirectory      directory_;
    std::unique_ptr<Server> server_;
};

TEST_F(Ids, AreMadeAgainWhenTheirFilesAreLostCutOrDamaged)
{
    fs::remove(runs().front());
    start();
    expect_all_known();
    ASSERT_EQ(server_->stop(), 0);

    fs::resize_file(runs().front(), fs::file_size(runs().front()) / 2);
    flip(runs().back(), -3, std::ios::end);
    start();
    expect_all_known();
    ASSERT_EQ(server_->stop(), 0);

    fs::remove_all(data() / "ids");
    start();
    expect_all_known();
    ASSERT_EQ(server_->stop(), 0);
}

TEST_F(Ids, EndTheProcessByNameWhenADamagedBlockIsReadAndHealAtTheNextStart)
{
    for (auto const& run : runs()) flip(run, 100, std::ios::beg);
    for (int starts = 0; starts < 40; ++starts) {
        start();
        auto http = server_->http();
        if (send_all(http)) {
            EXPECT_GT(starts, 0) << "damage went unnoticed";
            expect_all_known();
            ASSERT_EQ(server_->stop(), 0);
            return;
        }
        ASSERT_TRUE(eventually([&] { return !server_->http().try_send("GET", "/health"); }));
        ASSERT_EQ(server_->stop(), 1);
        EXPECT_NE(read_file(data().string() + ".log").find("damaged_ids"), std::string::npos);
    }
    FAIL() << "it never healed";
}

}  // namespace
}  // namespace sluice::e2e
