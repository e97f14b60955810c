#include "bench/latencies.hpp"
#include "bench/workload.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

namespace sluice::bench {
namespace {

using namespace std::chrono_literals;

TEST(LatenciesTest, PercentilesAreExactToOnePerCent)
{
    Random                                random(7);
    Latencies                             latencies;
    std::vector<std::chrono::nanoseconds> all;
    for (int i = 0; i < 50'000; ++i) {
        auto const octave = random.below(30);
        all.emplace_back((std::uint64_t{1} << octave) + random.below(std::uint64_t{1} << octave));
        latencies.add(all.back());
    }
    std::sort(all.begin(), all.end());
    for (auto const p : {.001, .1, .5, .9, .99, .999}) {
        auto const exact = all[static_cast<std::size_t>(p * static_cast<double>(all.size())) - 1];
        EXPECT_NEAR(static_cast<double>(latencies.percentile(p).count()), static_cast<double>(exact.count()),
                    1 + 0.01 * static_cast<double>(exact.count()))
            << p;
    }
    EXPECT_EQ(latencies.max(), all.back());
    EXPECT_EQ(latencies.count(), all.size());
}

TEST(LatenciesTest, TakesAnyLatency)
{
    Latencies latencies;
    EXPECT_EQ(latencies.percentile(.5), 0ns);
    latencies.add(-1ns);
    EXPECT_EQ(latencies.percentile(.5), 0ns);
    latencies.add(24h);
    EXPECT_EQ(latencies.max(), 24h);
}

// What a test reads of an event.
struct Sent {
    std::string did, id, text;
    char        priority{};
};

std::string after(std::string const& text, std::string const& name)
{
    auto const from = text.find(name) + name.size();
    return text.substr(from, text.find('"', from) - from);
}

std::vector<Sent> send(WorkloadOptions const& options, std::size_t count, std::uint64_t base = 1)
{
    Workload          workload(options, base);
    std::vector<Sent> sent;
    for (std::size_t i = 0; i < count; ++i) {
        std::string text(Workload::body_bytes_max, '\0');
        text.resize(workload.put(text.data()));
        sent.push_back({after(text, R"("did":")"), after(text, R"("event_id":")"), text,
                        text[text.find("\"priority\":") + 11]});
    }
    return sent;
}

TEST(WorkloadTest, BodiesHaveTheMeanSizeThatWasAskedFor)
{
    for (std::size_t const size : {450, 500, 800, 1500}) {
        double sum = 0;
        auto const sent = send({.dids = 1000, .body_bytes = size}, 10'000);
        for (auto const& event : sent) sum += static_cast<double>(event.text.size());
        EXPECT_NEAR(sum / 10'000, static_cast<double>(size), 0.03 * static_cast<double>(size));
    }
}

TEST(WorkloadTest, TiersAndRepositoriesFollowTheirWeights)
{
    std::map<char, int>        tiers;
    std::map<std::string, int> repositories;
    for (auto const& event : send({.dids = 1000, .skew = 1}, 10'000)) {
        ++tiers[event.priority];
        ++repositories[event.did];
    }
    EXPECT_NEAR(tiers['0'], 3000, 250);
    EXPECT_NEAR(tiers['1'], 6000, 250);
    EXPECT_NEAR(tiers['2'], 900, 150);
    EXPECT_NEAR(tiers['3'], 100, 50);
    auto const busiest = std::max_element(
        repositories.begin(), repositories.end(), [](auto const& a, auto const& b) { return a.second < b.second; });
    EXPECT_NEAR(busiest->second, 10'000 / 7.485, 150);  // the harmonic number of 1000
}

TEST(WorkloadTest, AShareOfEventsIsSentAgainByteForByte)
{
    std::map<std::string, std::string> text_by_id;
    int                                again = 0;
    for (auto const& event : send({.dids = 1000, .duplicates = 0.2}, 10'000)) {
        auto const [known, fresh] = text_by_id.emplace(event.id, event.text);
        again += !fresh;
        EXPECT_EQ(known->second, event.text);
    }
    EXPECT_NEAR(again, 2000, 200);
}

TEST(WorkloadTest, AnotherBaseMeansOtherEvents)
{
    std::set<std::string> ids;
    for (std::uint64_t const base : {1, 20'000})
        for (auto const& event : send({.dids = 1000}, 15'000, base)) ids.insert(event.id);
    EXPECT_EQ(ids.size(), 30'000u);
}

TEST(WorkloadTest, RecordsAreWrittenAgainWhateverTheBase)
{
    std::set<std::string> uris, ids;
    for (std::uint64_t const base : {1, 20'000})
        for (auto const& event : send({.dids = 1000, .records = 700}, 5'000, base)) {
            uris.insert(after(event.text, R"("uri":")"));
            ids.insert(event.id);
        }
    EXPECT_EQ(uris.size(), 700u);
    EXPECT_EQ(ids.size(), 10'000u);
}

}  // namespace
}  // namespace sluice::bench
