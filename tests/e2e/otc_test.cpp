// The real data end to end: ratings -> events -> HTTP -> log -> graph -> answers worked out by hand.
#include "events.hpp"

#include "servers/postgres_server.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <set>

namespace sluice::e2e {
namespace {

constexpr char const* at = "2026-01-01T00:00:00Z";  // also when the newest rating happened
constexpr std::size_t batch_events = 1000;

std::vector<std::string> converter(std::vector<std::string> const& arguments)
{
    std::vector<std::string> all{"python3", source_directory() / "examples/bitcoin-otc/convert.py"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
}

// All events, a line each.
std::string const& events()
{
    static std::string const text = [] {
        auto done = run(converter({"--newest", at}));
        if (done.code != 0) throw std::runtime_error("convert.py: " + done.error);
        return std::move(done.output);
    }();
    return text;
}

// Calls take(line) for each line, without its end.
template <class Take>
void for_each_line(std::string_view text, Take const& take)
{
    while (!text.empty()) {
        auto const end = text.find('\n');
        take(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
}

// The value of a text member, wherever it stands. Enough for the converter's own output.
std::string_view member(std::string_view line, std::string_view name)
{
    auto const mark = '"' + std::string(name) + "\":\"";
    auto const begin = line.find(mark);
    if (begin == line.npos) return {};
    line.remove_prefix(begin + mark.size());
    return line.substr(0, line.find('"'));
}

// Sends everything in order over one connection; returns how many events were accepted and how many were known.
struct Sent {
    std::uint64_t accepted{0}, duplicates{0};
};

Sent send_all(Http& http, std::string_view text)
{
    Sent        sent;
    std::string batch;
    std::size_t lines = 0;
    auto const  flush = [&] {
        if (lines == 0) return;
        Response response;
        // A full queue is no failure: it says when to come again.
        EXPECT_TRUE(eventually([&] {
            response = http.ndjson("/internal/events/batch", batch);
            return response.status != 503;
        }));
        ASSERT_EQ(response.status, 202) << response.body;
        auto const reply = response.json();
        sent.accepted += reply.at("accepted").get<std::uint64_t>();
        sent.duplicates += reply.at("duplicates").size();
        batch.clear();
        lines = 0;
    };
    for_each_line(text, [&](std::string_view line) {
        batch.append(line) += '\n';
        if (++lines == batch_events) flush();
    });
    flush();
    return sent;
}

std::string with_random_priorities(std::string_view text, std::uint64_t seed)
{
    std::mt19937_64 random(seed);
    std::string     out;
    for_each_line(text, [&](std::string_view line) {
        out.append(R"({"priority":)").append(std::to_string(random() % 4)) += ',';
        out.append(line.substr(1)) += '\n';
    });
    return out;
}

// ---- the converter

TEST(OtcConverter, WritesTheSameBytesEverywhere)
{
    TemporaryDirectory const directory;
    write_file(directory.path() / "events.ndjson", events());

    auto const sum = run({"sha256sum", directory.path() / "events.ndjson"});

    // Changing these bytes gives old demo data new content under old ids: 409 instead of duplicates.
    EXPECT_EQ(sum.output.substr(0, 64), "5545316618d36f70370f5e901c86bfbd4ed3eb9e7770c8d6f76e56b483795524");
}

TEST(OtcConverter, RevisionsRiseStrictlyInEachRepository)
{
    std::map<std::string_view, std::string_view> newest;
    std::uint64_t                                relationships = 0, attestations = 0, failures = 0;
    std::set<std::string_view>                   ids;
    for_each_line(events(), [&](std::string_view line) {
        auto const rev = member(line, "rev");
        auto&      before = newest[member(line, "did")];
        if (rev.size() != 13 || !(before < rev)) ++failures;
        before = rev;
        ids.insert(member(line, "event_id"));
        ++(member(line, "event_type") == "relationship.created" ? relationships : attestations);
    });
    EXPECT_EQ(failures, 0);
    EXPECT_EQ(newest.size(), 4814);  // people who rated somebody
    EXPECT_EQ(relationships, 35'592);
    EXPECT_EQ(attestations, 79'951);
    EXPECT_EQ(ids.size(), relationships + attestations);
}

TEST(OtcConverter, MapsTheRatingsOntoThe190DaysBeforeNewest)
{
    auto const first = std::string_view(events()).substr(0, events().find('\n'));
    auto const last = std::string_view(events()).substr(events().rfind('\n', events().size() - 2) + 1);
    EXPECT_EQ(member(first, "created_at"), "2025-06-25T00:00:00.000000Z");
    EXPECT_EQ(member(last, "created_at"), "2026-01-01T00:00:00.000000Z");
}

// Small enough to do by hand: 1, 2 and 3 rate 9 with +4, -10 and +1.
TEST(OtcConverter, ARaterAttestsWhatOthersSaidBefore)
{
    TemporaryDirectory const directory;
    write_file(directory.path() / "small.csv", "a,b,c,d\n1,9,4,100\n2,9,-10,150.5\n2,8,3,160\n3,9,1,200\n");

    auto const done = run(converter({directory.path() / "small.csv"}));

    ASSERT_EQ(done.code, 0) << done.error;
    std::vector<Json> out;
    for_each_line(done.output, [&](std::string_view line) { out.push_back(Json::parse(line)); });
    ASSERT_EQ(out.size(), 7);
    auto const payload = [&](std::size_t i) { return out[i].at("payload"); };
    EXPECT_EQ(payload(0).at("strength"), 70);  // 50 + 5 * 4
    EXPECT_EQ(payload(1).at("strength"), 0);   // 50 + 5 * -10
    // 2 distrusts whom 1 trusts.
    EXPECT_EQ(payload(2).at("target_uri"), payload(0).at("uri"));
    EXPECT_EQ(payload(2).at("attestation_type"), "dispute");
    EXPECT_EQ(payload(2).at("confidence"), 100);
    EXPECT_EQ(payload(2).at("attester_did"), out[1].at("did"));
    EXPECT_EQ(out[2].at("did"), out[1].at("did"));
    EXPECT_EQ(payload(3).at("strength"), 65);  // nobody else had rated 8
    // 3 trusts: against the latest, 2, and with 1.
    EXPECT_EQ(payload(5).at("target_uri"), payload(1).at("uri"));
    EXPECT_EQ(payload(5).at("attestation_type"), "dispute");
    EXPECT_EQ(payload(6).at("target_uri"), payload(0).at("uri"));
    EXPECT_EQ(payload(6).at("attestation_type"), "verify");
    EXPECT_EQ(payload(6).at("confidence"), 10);
    // 150.5 s is 50.5 % of the way: 190 days * 0.505 = 95.95 days after 2025-06-25.
    EXPECT_EQ(payload(1).at("created_at"), "2025-09-28T22:48:00.000000Z");
}

// ---- the graph

TEST(OtcInPostgres, HasTheDigestThatItHasInMemory)
{
    TemporaryDirectory const directory;
    test::PostgresServer     postgres;
    Server                   server(
        {.data = directory.path() / "data", .environment = {{"DATABASE_URL", postgres.url()}}});
    auto http = server.http();
    EXPECT_EQ(send_all(http, events()).accepted, 115'543u);
    auto const state = settled_state(http, std::chrono::seconds(300));
    expect_numbers_add_up(state);
    EXPECT_EQ(state["records"]["relationships"], 35'592);
    EXPECT_EQ(state["records"]["attestations"], 79'951);
    ASSERT_EQ(server.stop(), 0);
    EXPECT_EQ(replay(directory.path() / "data")["digest"], state["digest"]);
}

class OtcGraph : public testing::Test {
protected:
    static void SetUpTestSuite()
    {
        directory_ = std::make_unique<TemporaryDirectory>();
        data_ = directory_->path() / "data";
        server_ = std::make_unique<Server>(ServerOptions{.data = data_, .flags = {"--workers", "2"}});
        auto http = server_->http();
        sent_ = send_all(http, events());
        settled_ = settled_state(http);
    }
    static void TearDownTestSuite()
    {
        server_.reset();
        directory_.reset();
    }

    static Json conviction(std::string_view uri)
    {
        auto       http = server_->http();
        auto const response = http.get("/v1/conviction?uri=" + percent_encoded(uri) + "&at=" + percent_encoded(at));
        EXPECT_EQ(response.status, 200) << response.body;
        return response.json().at("conviction");
    }

    struct Neighbor {
        std::string_view did;
        int              strength;
        double           effective;
    };
    static void expect_neighbors(std::string_view of, int min_strength, std::vector<Neighbor> const& expected)
    {
        auto       http = server_->http();
        auto const response = http.get(
            "/v1/graph/neighbors?did=" + percent_encoded(of) + "&minStrength=" + std::to_string(min_strength) +
            "&limit=10&at=" + percent_encoded(at));
        ASSERT_EQ(response.status, 200) << response.body;
        auto const body = response.json();
        EXPECT_EQ(body.at("did"), of);
        auto const& found = body.at("neighbors");
        ASSERT_EQ(found.size(), expected.size()) << response.body;
        for (std::size_t i = 0; i < expected.size(); ++i) {
            EXPECT_EQ(found[i].at("did"), expected[i].did);
            EXPECT_EQ(found[i].at("strength"), expected[i].strength);
            EXPECT_EQ(found[i].at("type"), "personal");
            EXPECT_NEAR(found[i].at("effective_strength").get<double>(), expected[i].effective, 0.001);
        }
    }

    static std::unique_ptr<TemporaryDirectory> directory_;
    static std::filesystem::path               data_;
    static std::unique_ptr<Server>             server_;
    static Sent                                sent_;
    static Json                                settled_;
};

std::unique_ptr<TemporaryDirectory> OtcGraph::directory_;
std::filesystem::path               OtcGraph::data_;
std::unique_ptr<Server>             OtcGraph::server_;
Sent                                OtcGraph::sent_;
Json                                OtcGraph::settled_;

TEST_F(OtcGraph, EveryEventIsAcceptedAppliedAndCounted)
{
    EXPECT_EQ(sent_.accepted, 115'543);
    EXPECT_EQ(sent_.duplicates, 0);
    expect_numbers_add_up(settled_);
    EXPECT_EQ(settled_.at("applied"), 115'543);
    EXPECT_EQ(settled_.at("stale"), 0);
    EXPECT_EQ(settled_.at("dead_lettered"), 0);
    EXPECT_EQ(settled_.at("watermark"), settled_.at("last_sequence"));
    EXPECT_EQ(settled_.at("records").at("relationships"), 35'592);
    EXPECT_EQ(settled_.at("records").at("attestations"), 79'951);
}

// w = base * 1.25 * 0.5^(days / 180) * confidence / 100: nobody has a trust score yet, so reputation is 0.5 and its
// factor 0.5 + 1.5 * 0.5 = 1.25. score = round(50 + 50 * sum(w) / (sum(|w|) + 1.5)).

// One dispute, confidence 100, of 2025-12-16T00:15:15.733: 15.9894 days, decay 0.9403.
//   w = -1.5 * 1.25 * 0.9403 * 1 = -1.7630
//   50 + 50 * -1.7630 / (1.7630 + 1.5) = 50 - 27.015 = 22.985
TEST_F(OtcGraph, ConvictionOfOneDispute)
{
    EXPECT_EQ(
        conviction("at://did:plc:om32jjknzousptya2rfgr6kp/net.rhiz.relationship.record/3m5i3bhr6nbco"),
        (Json{{"score", 23}, {"attestationCount", 1}, {"verifyCount", 0}, {"disputeCount", 1},
              {"strengthenCount", 0}, {"weakenCount", 0}}));
}

// verify, confidence 10, of 2025-09-10T14:32:27.967: 112.3941 days, decay 0.6487: w = 1.25 * 0.6487 * 0.1 = 0.0811
// dispute, confidence 100, of 2025-12-27T11:04:14.897: 4.5387 days, decay 0.9827: w = -1.875 * 0.9827 = -1.8425
//   50 + 50 * (0.0811 - 1.8425) / (0.0811 + 1.8425 + 1.5) = 50 - 50 * 1.7614 / 3.4236 = 50 - 25.725 = 24.275
TEST_F(OtcGraph, ConvictionOfAVerifyAgainstADispute)
{
    EXPECT_EQ(
        conviction("at://did:plc:bighldavcnkzh6ml3zstyc6u/net.rhiz.relationship.record/3lyih5sd6neug"),
        (Json{{"score", 24}, {"attestationCount", 2}, {"verifyCount", 1}, {"disputeCount", 1},
              {"strengthenCount", 0}, {"weakenCount", 0}}));
}

// Three verifies, confidence 100, of 2025-11-11 between 06:06:04 and 06:06:11: 50.7457 days, decay 0.8225.
//   w = 1.25 * 0.8225 = 1.0281 each, 3.0843 together
//   50 + 50 * 3.0843 / (3.0843 + 1.5) = 50 + 33.640 = 83.640
TEST_F(OtcGraph, ConvictionOfThreeVerifies)
{
    EXPECT_EQ(
        conviction("at://did:plc:bsvrmln4zyeewhzjjpml3rky/net.rhiz.relationship.record/3m5c7efq7tkis"),
        (Json{{"score", 84}, {"attestationCount", 3}, {"verifyCount", 3}, {"disputeCount", 0},
              {"strengthenCount", 0}, {"weakenCount", 0}}));
}

// effective = max(0.1 * stated, stated * e^(-0.0005 * days)) for type personal; nobody here suggested a strength.

// Rated 100 on 2025-08-18, 135.3029 days ago: 100 * e^-0.067651 = 93.4586
// Rated  60 on 2025-08-20, 133.6067 days ago:  60 * e^-0.066803 = 56.1228
// Rated  55 on 2025-08-12, 141.2652 days ago:  55 * e^-0.070633 = 51.2492
TEST_F(OtcGraph, NeighborsAreSortedByEffectiveStrength)
{
    expect_neighbors(
        "did:plc:bitpv6taio5te7krou7eolj5", 0,
        {{"did:plc:uvypq24dhcyoixxrxsxbdxr6", 100, 93.4586},
         {"did:plc:apck2rrh32tzpgeze5kj64qp", 60, 56.1228},
         {"did:plc:zh7uo6seq45xwwqtxtvgvzdk", 55, 51.2492}});
}

// Both directions count: the second is this DID's own rating. 123.3370 days: e^-0.0616685 = 0.940194, and
// 95 * 0.940194 = 89.3185; 80 * 0.940194 = 75.2156; 45 * e^-0.061630 = 42.3104. Strength 0 stays 0.
TEST_F(OtcGraph, NeighborsIncludeThoseThisDidRatedAndThoseWhoRatedIt)
{
    expect_neighbors(
        "did:plc:hk67shc37jpqcigqauf346mi", 0,
        {{"did:plc:bywscmtv7pu3miglsx4wscbk", 95, 89.3185},
         {"did:plc:i3etiya6c3wdda4saevcf4iq", 80, 75.2156},
         {"did:plc:gbbzq7k6kw6ar2iyckv6zzm3", 45, 42.3104},
         {"did:plc:ujmmet46gy6d3go2w5and2po", 0, 0.0}});
}

// 174.7394 days: 70 * e^-0.087370 = 64.1437 passes; 55 * e^-0.087370 = 50.3987 is below 52 although 55 was stated.
TEST_F(OtcGraph, MinStrengthIsComparedWithTheEffectiveStrength)
{
    expect_neighbors("did:plc:ix6szqxtkznq4wwyxctszkc2", 52, {{"did:plc:2r7rq76bkjpoosetxhoyb6eg", 70, 64.1437}});
}

TEST_F(OtcGraph, MostConvictionsSaySomething)
{
    std::set<std::string_view> attested;
    for_each_line(events(), [&](std::string_view line) {
        if (auto const target = member(line, "target_uri"); !target.empty()) attested.insert(target);
    });
    auto          http = server_->http();
    std::uint64_t undecided = 0, empty = 0;
    for (auto const uri : attested) {
        auto const body = http.get("/v1/conviction?uri=" + percent_encoded(uri) + "&at=" + percent_encoded(at)).body;
        if (body.find(R"("score":50,)") != body.npos) ++undecided;
        if (body.find(R"("attestationCount":0)") != body.npos) ++empty;
    }

    EXPECT_EQ(empty, 0);
    EXPECT_EQ(attested.size(), 29'734);
    EXPECT_LT(undecided * 2, attested.size());
    std::cout << "convictions of 50: " << undecided << " of " << attested.size() << '\n';
}

TEST_F(OtcGraph, RestartAndReplayHaveTheDigestOfTheLiveGraph)
{
    ASSERT_EQ(server_->stop(), 0);
    EXPECT_EQ(replay(data_).at("digest"), settled_.at("digest"));

    server_ = std::make_unique<Server>(ServerOptions{.data = data_});
    auto http = server_->http();
    EXPECT_EQ(settled_state(http), settled_);
}

TEST_F(OtcGraph, SendingItAgainChangesNothing)
{
    auto       http = server_->http();
    auto const again = send_all(http, events());

    EXPECT_EQ(again.accepted, 0);
    EXPECT_EQ(again.duplicates, 115'543);
    EXPECT_EQ(settled_state(http), settled_);
}

class OtcWorkers : public testing::TestWithParam<int> {};

TEST_P(OtcWorkers, AndRandomTiersDoNotChangeTheDigest)
{
    // What one worker makes of the default tiers.
    static std::string const expected = [] {
        TemporaryDirectory const directory;
        Server                   server({.data = directory.path() / "data", .flags = {"--workers", "1"}});
        auto                     http = server.http();
        send_all(http, events());
        return settled_state(http).at("digest").get<std::string>();
    }();
    auto const seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));

    TemporaryDirectory const directory;
    Server server({.data = directory.path() / "data", .flags = {"--workers", std::to_string(GetParam())}});
    auto   http = server.http();
    send_all(http, with_random_priorities(events(), seed));

    EXPECT_EQ(settled_state(http).at("digest"), expected);
    ASSERT_EQ(server.stop(), 0);
    EXPECT_EQ(replay(directory.path() / "data").at("digest"), expected);
}

INSTANTIATE_TEST_SUITE_P(Otc, OtcWorkers, testing::Values(1, 2, 8), testing::PrintToStringParamName());

}  // namespace
}  // namespace sluice::e2e
