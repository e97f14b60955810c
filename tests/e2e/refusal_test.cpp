// Every way the server says no, by name, over real HTTP; and that "no" means nothing was stored.
#include "events.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <netinet/in.h>
#include <set>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace sluice::e2e {
namespace {

void expect_problem(Response const& response, int status, std::string_view error)
{
    SCOPED_TRACE(response.body);
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(response.header("content-type"), "application/problem+json");
    auto const body = response.json();
    EXPECT_EQ(body.at("status"), status);
    EXPECT_EQ(body.at("error"), error);
    for (auto const* const text : {"title", "detail", "message"}) EXPECT_NE(body.at(text).get<std::string>(), "");
}

// A 422 that says where: the first of its errors.
void expect_invalid(Response const& response, std::string_view pointer, std::string_view code)
{
    expect_problem(response, 422, code);
    auto const errors = response.json().at("errors");
    ASSERT_FALSE(errors.empty());
    EXPECT_EQ(errors[0].at("pointer"), pointer);
    EXPECT_EQ(errors[0].at("code"), code);
    EXPECT_NE(errors[0].at("detail"), "");
}

class Refusal : public testing::Test {
protected:
    void TearDown() override
    {
        auto http = server_.http();
        EXPECT_EQ(state(http).at("accepted"), stored_) << "something refused was stored";
    }

    TemporaryDirectory directory_;
    Server             server_{{.data = directory_.path() / "data"}};
    Http               http_ = server_.http();
    std::uint64_t      stored_{0};
};

Json const good = relationship(1, 2, 3, 50);

// `good` with one member of the envelope, or of the payload, replaced.
std::string with(std::string const& name, Json value)
{
    auto event = good;
    event[name] = std::move(value);
    return event.dump();
}

std::string with_payload(std::string const& name, Json value)
{
    auto event = good;
    event["payload"][name] = std::move(value);
    return event.dump();
}

std::string without(std::string const& name)
{
    auto event = good;
    event.erase(name);
    return event.dump();
}

// ---- keys and hosts

TEST_F(Refusal, NoKey)
{
    auto const response = http_.send("GET", "/v1/state", {}, {{"X-Internal-Key", ""}});
    expect_problem(response, 401, "no_key");
    EXPECT_NE(response.header("www-authenticate"), "");
}

TEST_F(Refusal, WrongKey)
{
    for (auto const& wrong : {std::string("wrong"), Server::key() + "x", Server::key().substr(1)}) {
        expect_problem(http_.send("GET", "/v1/state", {}, {{"X-Internal-Key", wrong}}), 403, "bad_key");
        expect_problem(
            http_.send("GET", "/v1/state", {}, {{"X-Internal-Key", ""}, {"Authorization", "Bearer " + wrong}}), 403,
            "bad_key");
    }
}

TEST_F(Refusal, NoKeyIsNeededForHealthAndABearerTokenIsAKey)
{
    for (auto const* const path : {"/health", "/health/ready", "/health/detailed", "/metrics"})
        EXPECT_EQ(http_.send("GET", path, {}, {{"X-Internal-Key", ""}}).status, 200) << path;
    EXPECT_EQ(
        http_.send("GET", "/v1/state", {}, {{"X-Internal-Key", ""}, {"Authorization", "Bearer " + Server::key()}})
            .status,
        200);
}

TEST_F(Refusal, EveryOtherRouteNeedsTheKey)
{
    for (auto const* const path :
         {"/internal/events/metrics", "/internal/events/dead-letter", "/v1/state", "/v1/relationships?uri=x",
          "/v1/graph/neighbors?did=x", "/v1/conviction?uri=x", "/v1/attestations?uri=x"})
        expect_problem(http_.send("GET", path, {}, {{"X-Internal-Key", ""}}), 401, "no_key");
    for (auto const* const path :
         {"/internal/events", "/v1/events", "/internal/events/batch", "/v1/events/batch"})
        expect_problem(
            http_.send("POST", path, good.dump(), {{"X-Internal-Key", ""}, {"Content-Type", "application/json"}}), 401,
            "no_key");
}

TEST_F(Refusal, UnknownHost)
{
    for (auto const* const host : {"evil.example", "127.evil.example", "127.0.0.1.evil.example", "[::1].evil.example"})
        expect_problem(http_.send("GET", "/health", {}, {{"Host", host}}), 421, "unknown_host");
    for (auto const* const host : {"localhost", "LOCALHOST:7480", "127.0.0.1", "[::1]:7480"})
        EXPECT_EQ(http_.send("GET", "/health", {}, {{"Host", host}}).status, 200) << host;
}

// ---- 400: not acceptable as JSON

TEST_F(Refusal, NotJson)
{
    auto const text = good.dump();
    for (auto const& body :
         {std::string("{"), std::string("nonsense"), text + text, text + "x", std::string("{\"a\":01}"),
          std::string("\xEF\xBB\xBF") + text, std::string("{'did':1}"), std::string("")})
        expect_problem(http_.post("/internal/events", body), 400, "bad_json");
}

TEST_F(Refusal, NotUtf8)
{
    expect_problem(http_.post("/internal/events", "{\"did\":\"\xFF\"}"), 400, "bad_utf8");
    expect_problem(http_.post("/internal/events", R"({"did":"\ud800"})"), 400, "bad_utf8");
}

TEST_F(Refusal, DuplicateMember)
{
    expect_problem(http_.post("/internal/events", R"({"did":"a","did":"a"})"), 400, "duplicate_member");
    auto const text = good.dump();
    auto const twice = "{\"payload\":{\"uri\":1,\"\\u0075ri\":2}" + std::string(",") + without("payload").substr(1);
    expect_problem(http_.post("/internal/events", twice), 400, "duplicate_member");
}

TEST_F(Refusal, NumberOutOfRange)
{
    for (auto const* const number : {"1e400", "18446744073709551616", "-9223372036854775809"})
        expect_problem(
            http_.post("/internal/events", "{\"payload\":{\"x\":" + std::string(number) + "}}"), 400, "bad_number");
}

TEST_F(Refusal, TooDeep)
{
    auto const nested = [](std::size_t depth) {  // the envelope and the payload are two levels
        return with_payload("deep", Json::parse(std::string(depth - 2, '[') + std::string(depth - 2, ']')));
    };
    expect_problem(http_.post("/internal/events", nested(33)), 400, "too_deep");
    EXPECT_EQ(http_.post("/internal/events", nested(32)).status, 202);
    stored_ = 1;
}

// ---- 422: acceptable but invalid

TEST_F(Refusal, InvalidEnvelopes)
{
    struct Case {
        std::string body;
        char const* pointer;
        char const* code;
    };
    for (auto const& [body, pointer, code] : std::vector<Case>{
             {with("colour", "red"), "/colour", "unknown_member"},
             {"[]", "", "wrong_type"},
             {without("event_type"), "/event_type", "missing"},
             {without("payload"), "/payload", "missing"},
             {without("did"), "/did", "missing"},
             {with("did", ""), "/did", "did_syntax"},
             {with("did", 7), "/did", "wrong_type"},
             {with("payload", "text"), "/payload", "wrong_type"},
             {with("event_id", "has space"), "/event_id", "event_id_syntax"},
             {with("event_id", ""), "/event_id", "event_id_syntax"},
             {with("event_id", std::string(257, 'a')), "/event_id", "event_id_syntax"},
             {with("rev", "3m6w4jsghk22"), "/rev", "rev_syntax"},
             {with("timestamp", "yesterday"), "/timestamp", "datetime_syntax"},
             {with("priority", 4), "/priority", "out_of_range"},
             {with("priority", "urgent"), "/priority", "not_a_choice"},
             {with("priority", 1.5), "/priority", "wrong_type"},
             {with("event_type", "trust.computed"), "/event_type", "reserved_type"},
             {with("event_type", "dead_letter.redriven"), "/event_type", "reserved_type"},
             {with("event_type", "job.started"), "/event_type", "reserved_type"},
             {with("event_type", "admin.paused"), "/event_type", "reserved_type"},
             {with("did", did(2)), "/payload/uri", "did_mismatch"},
         }) {
        SCOPED_TRACE(body);
        expect_invalid(http_.post("/internal/events", body), pointer, code);
    }
}

TEST_F(Refusal, InvalidPayloads)
{
    struct Case {
        std::string body;
        char const* pointer;
        char const* code;
    };
    auto const attested = [](char const* name, Json value) {
        auto event = attestation(1, 2, relationship_uri(did(5), 6), "verify", 90);
        event["payload"][name] = std::move(value);
        return event.dump();
    };
    auto no_cid = good;
    no_cid["payload"].erase("cid");
    for (auto const& [body, pointer, code] : std::vector<Case>{
             {no_cid.dump(), "/payload/cid", "missing"},
             {with_payload("uri", "https://example.org/"), "/payload/uri", "at_uri_syntax"},
             {with_payload("strength", 101), "/payload/strength", "out_of_range"},
             {with_payload("strength", -1), "/payload/strength", "out_of_range"},
             {with_payload("strength", 0.5), "/payload/strength", "wrong_type"},
             {with_payload("type", "enemies"), "/payload/type", "not_a_choice"},
             {with_payload("created_at", "2025-02-30T00:00:00Z"), "/payload/created_at", "datetime_syntax"},
             {with_payload("context", std::string(2001, 'x')), "/payload/context", "too_long"},
             {with_payload("participants", {did(1), did(1)}), "/payload/participants", "participants_not_distinct"},
             {with_payload("participants", {did(1)}), "/payload/participants", "participants_count"},
             {with_payload("participants", {did(1), did(2), did(3)}), "/payload/participants", "participants_count"},
             {with_payload("participants", {did(1), "bob"}), "/payload/participants/1", "did_syntax"},
             {with_payload("createdAt", "2024-01-01T00:00:00Z"), "/payload/created_at", "conflicting_spellings"},
             {attested("confidence", 101), "/payload/confidence", "out_of_range"},
             {attested("attestation_type", "like"), "/payload/attestation_type", "not_a_choice"},
             {attested("targetUri", relationship_uri(did(5), 7)), "/payload/target_uri", "conflicting_spellings"},
         }) {
        SCOPED_TRACE(body);
        auto const response = http_.post("/internal/events", body);
        expect_problem(response, 422, code);
        auto const problem = response.json();
        bool       named = false;
        for (auto const& error : problem.at("errors"))
            named = named || (error.at("pointer") == pointer && error.at("code") == code);
        EXPECT_TRUE(named) << response.body;
    }
}

TEST_F(Refusal, OwnerIsNotAParticipant)
{
    expect_problem(
        http_.post("/internal/events", with_payload("participants", {did(8), did(9)})), 422, "owner_not_participant");
}

TEST_F(Refusal, AttesterIsNotTheEventsDid)
{
    auto event = attestation(1, 2, relationship_uri(did(5), 6), "verify", 90);
    event["payload"]["attester_did"] = did(4);
    expect_problem(http_.post("/internal/events", event.dump()), 422, "did_mismatch");
}

TEST_F(Refusal, EveryErrorOfAnEventIsListed)
{
    auto event = good;
    event["payload"]["strength"] = 101;
    event["payload"]["cid"] = nullptr;
    event["colour"] = "red";
    auto const problem = http_.post("/internal/events", event.dump()).json();
    std::set<std::pair<std::string, std::string>> found;
    for (auto const& error : problem.at("errors")) found.emplace(error.at("pointer"), error.at("code"));
    EXPECT_EQ(
        found,
        (std::set<std::pair<std::string, std::string>>{
            {"/colour", "unknown_member"}, {"/payload/cid", "missing"}, {"/payload/strength", "out_of_range"}}));
}

// ---- 404, 405, HEAD, OPTIONS

TEST_F(Refusal, UnknownRoute)
{
    for (auto const* const path : {"/", "/nothing", "/v1/events/", "/internal/events/batch/x", "/healthy"})
        expect_problem(http_.get(path), 404, "not_found");
}

TEST_F(Refusal, MethodNotAllowedNamesTheOnesThatAre)
{
    auto const on_post = http_.get("/internal/events");
    expect_problem(on_post, 405, "method_not_allowed");
    EXPECT_EQ(on_post.header("allow"), "POST, OPTIONS");

    auto const on_get = http_.post("/v1/state", "{}");
    expect_problem(on_get, 405, "method_not_allowed");
    EXPECT_EQ(on_get.header("allow"), "GET, HEAD, OPTIONS");
}

TEST_F(Refusal, HeadIsGetWithoutItsBody)
{
    auto const head = http_.send("HEAD", "/health");
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.body, "");
    EXPECT_EQ(head.header("content-length"), std::to_string(http_.get("/health").body.size()));
    EXPECT_EQ(http_.send("HEAD", "/internal/events").status, 405);
}

TEST_F(Refusal, OptionsListsTheMethods)
{
    auto const response = http_.send("OPTIONS", "/v1/events");
    EXPECT_EQ(response.status, 204);
    EXPECT_EQ(response.header("allow"), "POST, OPTIONS");
    EXPECT_EQ(response.header("access-control-allow-origin"), "") << "no CORS";
}

// ---- 409

TEST_F(Refusal, SameIdWithOtherContent)
{
    EXPECT_EQ(http_.post("/internal/events", with("event_id", "one")).status, 202);
    stored_ = 1;
    auto other = good;
    other["event_id"] = "one";
    other["payload"]["strength"] = 51;

    expect_problem(http_.post("/internal/events", other.dump()), 409, "id_conflict");
    expect_problem(http_.ndjson("/internal/events/batch", good.dump() + '\n' + other.dump()), 409, "id_conflict");
}

TEST_F(Refusal, SameIdWithOtherContentInsideABatch)
{
    auto other = good;
    other["event_id"] = "one";
    other["payload"]["strength"] = 51;
    expect_problem(
        http_.ndjson("/internal/events/batch", with("event_id", "one") + '\n' + other.dump()), 409, "id_conflict");
}

// ---- sizes, types, transport

TEST_F(Refusal, TooLarge)
{
    expect_problem(http_.post("/internal/events", std::string(256 * 1024 + 1, ' ')), 413, "too_large");
    // One line over an event's limit inside a batch that is within its own.
    expect_problem(
        http_.ndjson("/internal/events/batch", with_payload("note", std::string(300 * 1024, 'x'))), 413, "too_large");
    auto declared = Http(server_.address(), Server::key());
    expect_problem(
        declared.raw(
            "POST /internal/events/batch HTTP/1.1\r\nHost: localhost\r\nX-Internal-Key: " + Server::key() +
            "\r\nContent-Type: application/x-ndjson\r\nContent-Length: 16777217\r\n\r\n"),
        413, "too_large");
}

TEST_F(Refusal, TooManyEvents)
{
    std::string lines, array = "[";
    for (int i = 0; i < 10'001; ++i) {
        lines += good.dump() + '\n';
        array += (i == 0 ? "" : ",") + good.dump();
    }
    expect_problem(http_.ndjson("/internal/events/batch", lines), 413, "too_many_events");
    expect_problem(http_.post("/internal/events/batch", array + ']'), 413, "too_many_events");
}

TEST_F(Refusal, UnsupportedMediaType)
{
    auto const response = http_.send("POST", "/internal/events", good.dump(), {{"Content-Type", "text/plain"}});
    expect_problem(response, 415, "unsupported_media_type");
    EXPECT_NE(response.header("accept-post"), "");
    expect_problem(http_.send("POST", "/internal/events", good.dump()), 415, "unsupported_media_type");
    expect_problem(http_.ndjson("/internal/events", good.dump()), 415, "unsupported_media_type");
}

TEST_F(Refusal, WhatIsNotHttp)
{
    auto const post =
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Internal-Key: " +
        Server::key() + "\r\n";
    struct Case {
        std::string bytes;
        int         status;
        char const* error;
    };
    for (auto const& [bytes, status, error] : std::vector<Case>{
             {"nonsense\r\n\r\n", 400, "bad_http"},
             {"GET /health HTTP/1.1\r\n\r\n", 400, "bad_http"},
             {"GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "bad_http"},
             {"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, "bad_http"},
             {"GET /health HTTP/1.1\nHost: localhost\n\n", 400, "bad_http"},
             {"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", 505, "http_version"},
             {"BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, "method"},
             {post + "\r\n", 411, "length"},
             {post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_http"},
             {post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "transfer_coding"},
             {post + "Expect: wonders\r\nContent-Length: 2\r\n\r\n", 417, "expectation"},
             {"GET /" + std::string(3000, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "uri"},
             {"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(9000, 'a') + "\r\n\r\n", 431, "headers"},
         }) {
        SCOPED_TRACE(bytes.substr(0, 80));
        Http       connection(server_.address(), Server::key());
        auto const response = connection.raw(bytes);
        expect_problem(response, status, error);
        EXPECT_EQ(response.header("connection"), "close");
    }
}

TEST_F(Refusal, TooSlow)
{
    auto const response = http_.raw("GET /health HTTP/1.1\r\nHost: localh");  // and nothing more
    EXPECT_EQ(response.status, 408);
    EXPECT_EQ(response.header("connection"), "close");
}

TEST_F(Refusal, BadQuery)
{
    for (auto const* const target :
         {"/v1/conviction", "/v1/conviction?uri=nonsense", "/v1/conviction?uri=%zz", "/v1/attestations?uri=",
          "/v1/graph/neighbors?did=nobody", "/v1/relationships?id=1",
          "/v1/graph/neighbors?did=did%3Aplc%3Aa&limit=none", "/v1/graph/neighbors?did=did%3Aplc%3Aa&minStrength=101",
          "/v1/graph/neighbors?did=did%3Aplc%3Aa&at=now", "/internal/events/dead-letter?limit=0"})
        expect_problem(http_.get(target), 400, "bad_query");
    expect_problem(http_.ndjson("/internal/events/batch?mode=some", good.dump()), 400, "bad_query");
}

// ---- batches

TEST_F(Refusal, EmptyBatch)
{
    expect_problem(http_.post("/internal/events/batch", "[]"), 422, "empty_batch");
    expect_problem(http_.ndjson("/internal/events/batch", ""), 422, "empty_batch");
    expect_problem(http_.ndjson("/internal/events/batch", "\n \r\n\n"), 422, "empty_batch");
}

TEST_F(Refusal, OneBadEventRefusesItsWholeBatch)
{
    auto const bad = with_payload("strength", 101);
    expect_invalid(
        http_.ndjson("/internal/events/batch", good.dump() + '\n' + good.dump() + '\n' + bad),
        "/2/payload/strength", "out_of_range");
    expect_invalid(
        http_.post("/internal/events/batch", '[' + good.dump() + ',' + bad + ']'), "/1/payload/strength",
        "out_of_range");
    expect_problem(http_.post("/internal/events/batch", '[' + good.dump() + ",]"), 400, "bad_json");
    expect_problem(http_.ndjson("/internal/events/batch", good.dump() + "\n{"), 400, "bad_json");
}

TEST_F(Refusal, ABatchThatCouldNeverFit)
{
    TemporaryDirectory const directory;
    Server                   small({.data = directory.path() / "data", .flags = {"--queue-capacity", "100"}});
    auto                     http = small.http();
    std::string              lines;
    for (std::uint64_t n = 0; n < 81; ++n) lines += relationship(n, n + 1, n, 50).dump() + '\n';

    expect_problem(http.ndjson("/internal/events/batch", lines), 413, "batch_exceeds_capacity");  // NORMAL: 80 of 100
    EXPECT_EQ(state(http).at("accepted"), 0);
}

// An answer may bring the next request in while the batch it answers is being put away.
TEST_F(Refusal, OfABatchLeavesTheOneBehindItInPeace)
{
    TemporaryDirectory const directory;
    Server                   small({.data = directory.path() / "data", .flags = {"--queue-capacity", "100"}});
    auto                     http = small.http();
    std::string              lines;
    for (std::uint64_t n = 0; n < 130; ++n) lines += relationship(n, n + 1, n, 50).dump() + '\n';
    auto const request = "POST /internal/events/batch HTTP/1.1\r\nHost: localhost\r\nX-Internal-Key: " + Server::key() +
                         "\r\nContent-Type: application/x-ndjson\r\nContent-Length: " +
                         std::to_string(lines.size()) + "\r\n\r\n" + lines;
    for (int i = 0; i < 20; ++i) expect_problem(http.raw(request + request + request), 413, "batch_exceeds_capacity");
    EXPECT_EQ(http.get("/health").status, 200);
}

// ---- 503

TEST(Unavailable, AFullQueueSaysWhenToComeAgainAndStoresNothing)
{
    TemporaryDirectory const directory;
    Server                   server({.data = directory.path() / "data",
                                     .flags = {"--queue-capacity", "100", "--queue-wait-ms", "0"}});
    std::atomic<bool>        seen{false};
    std::atomic<std::uint64_t> accepted{0};
    std::mutex               mutex;
    std::optional<Response>  refusal;
    std::string              refused_event;

    // Each batch needs nearly all places of its tier, so two that meet cannot both have them.
    auto const flood = [&](std::uint64_t client) {
        auto http = server.http();
        auto const deadline = std::chrono::steady_clock::now() + patience;
        for (std::uint64_t round = 0; !seen && std::chrono::steady_clock::now() < deadline; ++round) {
            std::string lines;
            for (std::uint64_t n = 0; n < 79; ++n) {
                auto event = relationship(1000 * client + n, 1, round * 100 + n, 50);
                event["event_id"] = std::to_string(client) + "-" + std::to_string(round) + "-" + std::to_string(n);
                lines += event.dump() + '\n';
            }
            auto const response = http.ndjson("/internal/events/batch", lines);
            if (response.status == 202) {
                accepted += 79;
                continue;
            }
            std::lock_guard const lock(mutex);
            refusal = response;
            refused_event = lines.substr(0, lines.find('\n'));
            seen = true;
        }
    };
    std::vector<std::thread> threads;
    for (std::uint64_t client = 1; client <= 8; ++client) threads.emplace_back(flood, client);
    for (auto& thread : threads) thread.join();

    ASSERT_TRUE(refusal) << "the queue was never full";
    expect_problem(*refusal, 503, "queue_full");
    EXPECT_EQ(refusal->json().at("tier"), "normal");
    EXPECT_GE(std::stoi(refusal->header("retry-after")), 1);
    auto http = server.http();
    auto const settled = settled_state(http);
    EXPECT_EQ(settled.at("accepted"), accepted.load());
    EXPECT_EQ(http.post("/internal/events", refused_event).json().at("duplicate"), false);
}

TEST(Unavailable, AFullDiskTakesNothingButAnswersReads)
{
    TemporaryDirectory const directory;
    Server server({.data = directory.path() / "data", .flags = {"--log-reserve-bytes", "1125899906842624"}});
    auto   http = server.http();

    auto const response = http.post("/internal/events", good.dump());

    expect_problem(response, 503, "disk_full");
    EXPECT_GE(std::stoi(response.header("retry-after")), 1);
    expect_problem(http.ndjson("/internal/events/batch", good.dump()), 503, "disk_full");
    EXPECT_EQ(state(http).at("accepted"), 0);
    EXPECT_EQ(http.get("/health").status, 200);
}

// A request whose body is still on its way when SIGTERM comes is answered, and told to go elsewhere.
TEST(Unavailable, ADrainingServerTakesNothingNew)
{
    TemporaryDirectory const directory;
    Server                   server({.data = directory.path() / "data"});
    auto const               body = good.dump();
    auto const               head = "POST /internal/events HTTP/1.1\r\nHost: localhost\r\nX-Internal-Key: " +
                      Server::key() + "\r\nContent-Type: application/json\r\nContent-Length: " +
                      std::to_string(body.size()) + "\r\nExpect: 100-continue\r\n\r\n";
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(server.address().port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto const slow = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(connect(slow, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    ASSERT_EQ(send(slow, head.data(), head.size(), 0), static_cast<ssize_t>(head.size()));
    char       buffer[4096]{};
    auto const go_on = recv(slow, buffer, sizeof buffer, 0);
    ASSERT_GT(go_on, 0);
    ASSERT_TRUE(std::string_view(buffer).starts_with("HTTP/1.1 100 "));

    ASSERT_EQ(::kill(server.pid(), SIGTERM), 0);
    ASSERT_TRUE(eventually([&] {
        auto const probe = socket(AF_INET, SOCK_STREAM, 0);
        auto const refused = connect(probe, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0;
        close(probe);
        return refused;
    }));
    send(slow, body.data(), body.size(), MSG_NOSIGNAL);

    std::string answer;
    for (ssize_t count; (count = recv(slow, buffer, sizeof buffer, 0)) > 0;)
        answer.append(buffer, static_cast<std::size_t>(count));
    close(slow);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 ")) << answer;
    EXPECT_NE(answer.find("\"error\":\"draining\""), answer.npos) << answer;
    EXPECT_NE(answer.find("Retry-After: "), answer.npos) << answer;
    EXPECT_EQ(server.wait(), 0);
    EXPECT_EQ(replay(directory.path() / "data").at("events"), 0);
}

// ---- starting

TEST(Start, IsRefusedWithoutAKeyOrWithASample)
{
    TemporaryDirectory const directory;
    auto const               serve = [&](Environment const& environment) {
        return run({binary(), "serve", "--listen", "127.0.0.1:0", "--data", directory.path() / "data"}, environment);
    };
    EXPECT_EQ(serve({}).code, 2);
    EXPECT_EQ(serve({{"INTERNAL_API_KEY", "your-secure-key-here"}}).code, 2);
    EXPECT_EQ(serve({{"INTERNAL_API_KEY", Server::key()}, {"SLUICE_TYPO", "1"}}).code, 2);
}

TEST(Start, IsRefusedOnADirectoryInUse)
{
    TemporaryDirectory const directory;
    Server                   server({.data = directory.path() / "data"});
    auto const               second = run(
        {binary(), "serve", "--listen", "127.0.0.1:0", "--data", directory.path() / "data"},
        {{"INTERNAL_API_KEY", Server::key()}});
    EXPECT_EQ(second.code, 13) << second.error;
    EXPECT_EQ(server.stop(), 0);
}

}  // namespace
}  // namespace sluice::e2e
