// What the routes answer, as the documents and docs/events.md describe it.
#include "events.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sluice::e2e {
namespace {

constexpr char const* at = "2026-01-01T00:00:00Z";

std::set<std::string> names(Json const& object)
{
    std::set<std::string> found;
    for (auto const& [name, value] : object.items()) found.insert(name);
    return found;
}

using Names = std::set<std::string>;

class Routes : public testing::Test {
protected:
    Json post(Json const& event)
    {
        auto const response = http_.post("/internal/events", event.dump());
        EXPECT_EQ(response.status, 202) << response.body;
        return response.json();
    }
    Json get(std::string const& target)
    {
        auto const response = http_.get(target);
        EXPECT_EQ(response.status, 200) << target << ' ' << response.body;
        EXPECT_EQ(response.header("content-type"), "application/json");
        return response.json();
    }
    Response find(std::string const& uri) { return http_.get("/v1/relationships?uri=" + percent_encoded(uri)); }
    Json     settled() { return settled_state(http_); }

    TemporaryDirectory directory_;
    Server             server_{{.data = directory_.path() / "data"}};
    Http               http_ = server_.http();
};

// ---- ingest

TEST_F(Routes, AnEventIsAnsweredWithItsPlace)
{
    auto event = relationship(1, 2, 3, 80, 10);
    event["event_id"] = "first";
    event["priority"] = "High";

    auto const reply = post(event);

    EXPECT_EQ(
        reply, (Json{{"status", "enqueued"}, {"event_id", "first"}, {"sequence", 1}, {"tier", "high"},
                     {"duplicate", false}}));
}

TEST_F(Routes, TheSameEventAgainIsADuplicateOfTheFirst)
{
    auto event = relationship(1, 2, 3, 80, 10);
    event["event_id"] = "first";
    post(event);
    event["priority"] = 3;  // how urgent it is does not make it another event

    auto const reply = post(event);

    EXPECT_EQ(reply.at("sequence"), 1);
    EXPECT_EQ(reply.at("duplicate"), true);
    EXPECT_EQ(settled().at("accepted"), 1);
}

TEST_F(Routes, AnIdIsMadeFromTheRevision)
{
    auto const event = relationship(1, 2, 3, 80, 10);
    auto const first = post(event), second = post(event);
    EXPECT_NE(first.at("event_id"), "");
    EXPECT_EQ(second.at("event_id"), first.at("event_id"));
    EXPECT_EQ(second.at("duplicate"), true);
}

TEST_F(Routes, WithoutIdAndRevisionTheReplySaysThatNothingIsDeduplicated)
{
    auto const event = relationship(1, 2, 3, 80);
    auto const first = post(event), second = post(event);
    EXPECT_EQ(first.at("dedupe"), false);
    EXPECT_NE(first.at("event_id"), second.at("event_id"));
    EXPECT_EQ(settled().at("accepted"), 2);
}

TEST_F(Routes, TiersComeFromTheTypeUnlessTheEventNamesOne)
{
    EXPECT_EQ(post(relationship(1, 2, 3, 80)).at("tier"), "normal");
    EXPECT_EQ(post(attestation(4, 1, relationship_uri(did(1), 3), "verify", 90)).at("tier"), "high");
    auto const bare = [](char const* type) {
        return Json{{"event_type", type}, {"did", did(9)}, {"payload", Json::object()}};
    };
    EXPECT_EQ(post(bare("trust.invalidated")).at("tier"), "low");
    EXPECT_EQ(post(bare("account.deleted")).at("tier"), "high");
    auto urgent = relationship(1, 2, 4, 80);
    urgent["priority"] = 3;
    EXPECT_EQ(post(urgent).at("tier"), "critical");
}

TEST_F(Routes, V1IsTheSameEndpoint)
{
    auto event = relationship(1, 2, 3, 80, 10);
    auto const first = http_.post("/v1/events", event.dump()).json();
    EXPECT_EQ(post(event).at("sequence"), first.at("sequence"));
    EXPECT_EQ(http_.ndjson("/v1/events/batch", event.dump()).json().at("duplicates").size(), 1);
}

TEST_F(Routes, ABatchIsAnsweredWithItsSequences)
{
    std::string lines;
    for (std::uint64_t n = 0; n < 5; ++n) lines += relationship(n, n + 1, 3, 80, 10 + n).dump() + "\r\n\n";
    auto const reply = http_.ndjson("/internal/events/batch", lines);
    EXPECT_EQ(reply.status, 202);
    EXPECT_EQ(
        reply.json(), (Json{{"status", "enqueued"}, {"accepted", 5}, {"duplicates", Json::array()},
                            {"first_sequence", 1}, {"last_sequence", 5}}));

    auto const array = '[' + relationship(2, 3, 3, 80, 12).dump() + ',' + relationship(9, 1, 3, 80, 19).dump() + ']';
    auto const again = http_.post("/internal/events/batch", array).json();
    EXPECT_EQ(again.at("accepted"), 1);
    EXPECT_EQ(again.at("duplicates"), (Json{{{"i", 0}, {"sequence", 3}}}));
    EXPECT_EQ(again.at("first_sequence"), 6);
    EXPECT_EQ(settled().at("accepted"), 6);
}

TEST_F(Routes, TheSameIdTwiceInABatchCountsOnce)
{
    auto const line = relationship(1, 2, 3, 80, 10).dump() + '\n';
    auto const reply = http_.ndjson("/internal/events/batch", line + line).json();
    EXPECT_EQ(reply.at("accepted"), 1);
    EXPECT_EQ(reply.at("duplicates"), (Json{{{"i", 1}, {"sequence", 1}}}));
    EXPECT_EQ(settled().at("accepted"), 1);
}

TEST_F(Routes, APartialBatchTakesWhatItCan)
{
    auto bad = relationship(1, 2, 3, 101, 11);
    auto const reply = http_.ndjson(
        "/internal/events/batch?mode=partial",
        relationship(1, 2, 3, 80, 10).dump() + '\n' + bad.dump() + '\n' + "nonsense\n" +
            relationship(1, 2, 4, 80, 12).dump());

    EXPECT_EQ(reply.status, 207);
    auto const body = reply.json();
    EXPECT_EQ(body.at("accepted"), 2);
    auto const& items = body.at("items");
    ASSERT_EQ(items.size(), 4);
    std::vector<int> statuses;
    for (std::size_t i = 0; i < items.size(); ++i) {
        EXPECT_EQ(items[i].at("i"), i);
        statuses.push_back(items[i].at("status"));
    }
    EXPECT_EQ(statuses, (std::vector{202, 422, 400, 202}));
    EXPECT_EQ(items[1].at("error"), "out_of_range");
    EXPECT_EQ(settled().at("accepted"), 2);
}

TEST_F(Routes, ExpectContinueIsAnswered)
{
    auto const body = relationship(1, 2, 3, 80).dump();
    Headers const headers{{"Content-Type", "application/json"}, {"Expect", "100-continue"}};
    EXPECT_EQ(http_.send("POST", "/v1/events", body, headers).status, 202);
}

TEST_F(Routes, AChunkedBodyIsABody)
{
    auto const body = relationship(1, 2, 3, 80).dump();
    char       size[16];
    std::snprintf(size, sizeof size, "%zx", body.size());
    EXPECT_EQ(
        http_.raw(
                 "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nX-Internal-Key: " + Server::key() +
                 "\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + size + "\r\n" + body +
                 "\r\n0\r\nX-Internal-Key: other\r\n\r\n")
            .status,
        202);
}

// ---- what events do

TEST_F(Routes, ARelationshipIsReadBack)
{
    auto const event = relationship(1, 2, 3, 80, 10);
    post(event);
    settled();

    auto const body = get("/v1/relationships?uri=" + percent_encoded(relationship_uri(did(1), 3)));

    ASSERT_EQ(names(body), Names{"relationship"});
    auto const& found = body.at("relationship");
    for (auto const* const name : {"uri", "cid", "participants", "type", "strength", "context"})
        EXPECT_EQ(found.at(name), event.at("payload").at(name));
    EXPECT_EQ(found.at("created_at"), "2025-12-01T00:00:00.000000Z");
    EXPECT_EQ(found.at("did"), did(1));
    EXPECT_EQ(found.at("rev"), tid(10));
    EXPECT_EQ(found.at("sequence"), 1);
}

TEST_F(Routes, CamelCaseIsReadToo)
{
    auto event = attestation(4, 1, relationship_uri(did(1), 3), "verify", 90);
    auto payload = event.at("payload");
    for (auto const* const name :
         {"attester_did", "target_uri", "attestation_type", "created_at", "suggested_strength"})
        payload.erase(name);
    payload["attesterDid"] = did(4);
    payload["targetRelationship"] = relationship_uri(did(1), 3);
    payload["attestationType"] = "verify";
    payload["createdAt"] = "2025-12-01T00:00:00Z";
    event["payload"] = payload;
    post(event);
    settled();

    auto const found = get("/v1/attestations?uri=" + percent_encoded(relationship_uri(did(1), 3))).at("attestations");
    ASSERT_EQ(found.size(), 1);
    EXPECT_EQ(found[0].at("attester_did"), did(4));
    EXPECT_EQ(found[0].at("attestation_type"), "verify");
}

TEST_F(Routes, AnUpdateReplacesAndADeleteRemoves)
{
    auto const uri = relationship_uri(did(1), 3);
    post(relationship(1, 2, 3, 80, 10));
    post(relationship(1, 2, 3, 30, 11, "relationship.updated"));
    settled();
    EXPECT_EQ(find(uri).json().at("relationship").at("strength"), 30);

    post({{"event_type", "relationship.deleted"}, {"did", did(1)}, {"rev", tid(12)}, {"payload", {{"uri", uri}}}});
    settled();
    EXPECT_EQ(find(uri).status, 404);
    EXPECT_EQ(find(uri).json().at("error"), "not_found");
}

TEST_F(Routes, AnOlderRevisionIsStale)
{
    auto const uri = relationship_uri(did(1), 3);
    post(relationship(1, 2, 3, 80, 20));
    post(relationship(1, 2, 3, 30, 19, "relationship.updated"));

    auto const s = settled();

    EXPECT_EQ(find(uri).json().at("relationship").at("strength"), 80);
    EXPECT_EQ(s.at("stale"), 1);
    EXPECT_EQ(s.at("applied"), 2);  // stale included
    expect_numbers_add_up(s);
}

TEST_F(Routes, ALateCreateDoesNotRaiseWhatWasDeleted)
{
    auto const uri = relationship_uri(did(1), 3);
    post({{"event_type", "relationship.deleted"}, {"did", did(1)}, {"rev", tid(12)}, {"payload", {{"uri", uri}}}});
    post(relationship(1, 2, 3, 80, 10));

    auto const s = settled();

    EXPECT_EQ(find(uri).status, 404);
    EXPECT_EQ(s.at("stale"), 1);
    EXPECT_EQ(s.at("records").at("tombstones"), 1);

    post(relationship(1, 2, 3, 80, 13));
    settled();
    EXPECT_EQ(find(uri).status, 200) << "what is newer than the removal counts again";
}

TEST_F(Routes, ADeletedAccountTakesItsRecordsAlong)
{
    post(relationship(1, 2, 3, 80, 10));
    post(relationship(5, 1, 4, 70, 10));
    post({{"event_type", "account.deleted"}, {"did", did(1)}, {"rev", tid(15)}, {"payload", Json::object()}});
    post(relationship(1, 2, 9, 80, 14));  // from before the end of the account

    auto const s = settled();

    EXPECT_EQ(find(relationship_uri(did(1), 3)).status, 404);
    EXPECT_EQ(find(relationship_uri(did(1), 9)).status, 404);
    EXPECT_EQ(find(relationship_uri(did(5), 4)).status, 200);
    EXPECT_EQ(s.at("stale"), 1);
}

TEST_F(Routes, APrivateRelationshipIsNotShown)
{
    auto event = relationship(1, 2, 3, 80, 10);
    event["payload"]["privacy"] = {{"visibility", "private"}};
    post(event);
    settled();
    EXPECT_EQ(find(relationship_uri(did(1), 3)).status, 404);
    EXPECT_EQ(get("/v1/graph/neighbors?did=" + percent_encoded(did(2))).at("neighbors").size(), 0);
}

TEST_F(Routes, AnUnknownTypeIsParked)
{
    post({{"event_type", "intro.requested"}, {"did", did(1)}, {"payload", {{"any", "thing"}}}});
    post(relationship(1, 2, 3, 80, 10));

    auto const s = settled();

    EXPECT_EQ(s.at("parked"), 1);
    EXPECT_EQ(s.at("applied"), 1);
    expect_numbers_add_up(s);
}

TEST_F(Routes, TrustInvalidatedSettlesWithoutEffect)
{
    auto const before = settled().at("digest");
    post({{"event_type", "trust.invalidated"}, {"did", did(1)}, {"payload", Json::object()}});
    auto const s = settled();
    EXPECT_EQ(s.at("applied"), 1);
    EXPECT_EQ(s.at("digest"), before);
}

// ---- shapes

TEST_F(Routes, State)
{
    post(relationship(1, 2, 3, 80, 10));
    auto const s = settled();
    EXPECT_EQ(
        names(s), (Names{"last_sequence", "watermark", "pending", "digest", "accepted", "applied", "stale",
                         "dead_lettered", "parked", "records"}));
    EXPECT_EQ(names(s.at("pending")), (Names{"critical", "high", "normal", "low"}));
    EXPECT_EQ(s.at("digest").get<std::string>().size(), 32);
    EXPECT_EQ(names(s.at("records")), (Names{"relationships", "attestations", "entities", "tombstones"}));
}

TEST_F(Routes, ConvictionOfNothingAndOfOneAttestation)
{
    auto const uri = relationship_uri(did(1), 3);
    auto const target = "/v1/conviction?uri=" + percent_encoded(uri) + "&at=" + percent_encoded(at);
    EXPECT_EQ(
        get(target), (Json{{"uri", uri},
                           {"conviction", {{"score", 0}, {"attestationCount", 0}, {"verifyCount", 0},
                                           {"disputeCount", 0}, {"strengthenCount", 0}, {"weakenCount", 0}}}}));

    post(attestation(4, 1, uri, "strengthen", 90, 10));
    settled();

    // 31 days: w = 0.5 * 1.25 * 0.5^(31/180) * 0.9 = 0.5625 * 0.8875 = 0.4992; 50 + 50 * 0.4992 / 1.9992 = 62.485
    auto const conviction = get(target).at("conviction");
    EXPECT_EQ(conviction.at("score"), 62);
    EXPECT_EQ(conviction.at("strengthenCount"), 1);
}

TEST_F(Routes, ParticipantsDoNotAttestThemselves)
{
    auto const uri = relationship_uri(did(1), 3);
    post(relationship(1, 2, 3, 80, 10));
    post(attestation(2, 1, uri, "verify", 100, 11));
    settled();
    EXPECT_EQ(
        get("/v1/conviction?uri=" + percent_encoded(uri) + "&at=" + percent_encoded(at))
            .at("conviction")
            .at("attestationCount"),
        0);
}

TEST_F(Routes, NeighborsHaveTheDocumentedShape)
{
    post(relationship(1, 2, 3, 80, 10));
    auto const watermark = settled().at("watermark");

    auto const body = get("/v1/graph/neighbors?did=" + percent_encoded(did(2)) + "&at=" + percent_encoded(at));

    EXPECT_EQ(names(body), (Names{"did", "watermark", "neighbors"}));
    EXPECT_EQ(body.at("watermark"), watermark);
    ASSERT_EQ(body.at("neighbors").size(), 1);
    auto const& n = body.at("neighbors")[0];
    EXPECT_EQ(names(n), (Names{"did", "uri", "type", "strength", "effective_strength"}));
    EXPECT_EQ(n.at("did"), did(1));
    EXPECT_NEAR(n.at("effective_strength").get<double>(), 78.7696, 0.001);  // 80 * e^(-0.0005 * 31)
}

TEST_F(Routes, TheSevenMetrics)
{
    post(relationship(1, 2, 3, 80, 10));
    settled();
    auto const body = get("/internal/events/metrics");
    EXPECT_EQ(
        names(body), (Names{"events_processed", "events_failed", "events_in_queue", "avg_processing_time_ms",
                            "throughput_per_second", "worker_utilization", "backpressure_active"}));
    EXPECT_EQ(body.at("events_processed"), 1);
    EXPECT_EQ(body.at("events_failed"), 0);
    EXPECT_EQ(body.at("events_in_queue"), 0);
    EXPECT_GT(body.at("avg_processing_time_ms"), 0.0);
    EXPECT_EQ(body.at("backpressure_active"), false);
}

TEST_F(Routes, DeadLettersAreListed)
{
    auto const body = get("/internal/events/dead-letter");
    EXPECT_EQ(body, (Json{{"count", 0}, {"matching", 0}, {"events", Json::array()}}));
}

TEST_F(Routes, Health)
{
    EXPECT_EQ(get("/health").at("status"), "healthy");

    auto const ready = get("/health/ready");
    EXPECT_EQ(ready.at("status"), "ready");
    EXPECT_EQ(names(ready.at("checks")), (Names{"database", "cache", "event_pipeline"}));

    auto const detailed = get("/health/detailed");
    EXPECT_EQ(
        names(detailed), (Names{"status", "uptime_seconds", "version", "environment", "dependencies", "timestamp"}));
    auto const& dependencies = detailed.at("dependencies");
    EXPECT_EQ(names(dependencies), (Names{"database", "cache", "disk", "event_pipeline"}));
    EXPECT_EQ(names(dependencies.at("disk")), (Names{"status", "free_bytes", "has_reserve"}));
    EXPECT_TRUE(dependencies.at("database").contains("latency_ms"));
    for (auto const* const name : {"hit_rate", "total_keys", "hits", "misses", "memory_mb"})
        EXPECT_TRUE(dependencies.at("cache").at("stats").contains(name)) << name;
    EXPECT_EQ(names(dependencies.at("event_pipeline").at("metrics")), names(get("/internal/events/metrics")));
    EXPECT_EQ(dependencies.at("event_pipeline").at("dead_letter_count"), 0);
}

TEST_F(Routes, AnAnswerIsComputedOnceAndAgainWhenItsRecordsChange)
{
    auto const stats = [&] { return get("/health/detailed").at("dependencies").at("cache").at("stats"); };
    auto const target = "/v1/graph/neighbors?at=2026-06-01T00:00:00Z&did=" + did(1);
    post(relationship(1, 2, 3, 80, 10));
    settled();
    auto const first = get(target).at("neighbors");
    EXPECT_EQ(first.size(), 1u);
    EXPECT_EQ(get(target).at("neighbors"), first);
    EXPECT_EQ(stats().at("hits"), 1);
    EXPECT_EQ(http_.send("GET", target, {}, {{"Cache-Control", "no-cache"}}).json().at("neighbors"), first);
    EXPECT_EQ(stats().at("hits"), 1) << "no-cache asks for a computed one";

    post(relationship(5, 1, 3, 80, 11));  // somebody else's record, which names the DID
    settled();
    EXPECT_EQ(get(target).at("neighbors").size(), 2u);
    EXPECT_EQ(stats().at("hits"), 1);
}

TEST_F(Routes, PrometheusText)
{
    post(relationship(1, 2, 3, 80, 10));
    settled();
    auto const response = http_.get("/metrics");
    EXPECT_EQ(response.status, 200);
    EXPECT_TRUE(response.header("content-type").starts_with("text/plain"));
    EXPECT_NE(response.body.find("# TYPE sluice_"), response.body.npos);
}

// ---- the command line

TEST_F(Routes, StateAndIngestOfTheCommandLineSayWhatHttpSays)
{
    auto const events = directory_.path() / "events.ndjson";
    std::string lines;
    for (std::uint64_t n = 0; n < 30; ++n) lines += relationship(n, n + 1, 3, 80, 10 + n).dump() + '\n';
    write_file(events, lines);
    auto const remote = [&](std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), binary());
        arguments.insert(
            arguments.end(),
            {"--url", server_.url(), "--key-file", key_file(directory_.path() / "data"), "--json"});
        auto const done = run(arguments);
        EXPECT_EQ(done.code, 0) << done.error;
        return Json::parse(done.output);
    };

    auto const first = remote({"ingest", events, "--batch", "7"});
    auto const second = remote({"ingest", events});
    settled();

    EXPECT_EQ(first.at("accepted"), 30);
    EXPECT_EQ(first.at("duplicates"), 0);
    EXPECT_EQ(second.at("accepted"), 0);
    EXPECT_EQ(second.at("duplicates"), 30);
    EXPECT_EQ(remote({"state"}), get("/v1/state"));
}

TEST_F(Routes, TheCommandLineSaysWhyItFailed)
{
    write_secret(directory_.path() / "wrong.key", "a-key-nobody-knows");
    auto const wrong = run(
        {binary(), "state", "--url", server_.url(), "--key-file", directory_.path() / "wrong.key"});
    EXPECT_EQ(wrong.code, 4) << wrong.error;
    auto const nobody = run({binary(), "state", "--url", "http://127.0.0.1:1"});
    EXPECT_EQ(nobody.code, 5) << nobody.error;
    EXPECT_EQ(run({binary(), "stat"}).code, 2);
    EXPECT_EQ(run({binary(), "version"}).code, 0);
}

}  // namespace
}  // namespace sluice::e2e
