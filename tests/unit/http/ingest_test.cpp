#include "http/ingest.hpp"

#include "graph/resident_store.hpp"
#include "http/api.hpp"
#include "log/memory_log.hpp"
#include "sim/manual_clock.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace sluice::http {
namespace {

class Answers final : public Responder {
public:
    std::vector<Response>      responses;
    std::vector<std::uint64_t> requests;  // whose they are
    void respond(std::uint64_t request, Response response) override
    {
        responses.push_back(std::move(response));
        requests.push_back(request);
    }
    void abandon(std::uint64_t) noexcept override {}
};

class ScriptedIds final : public engine::MemoryDedupe {
public:
    bool has_room() const override { return is_roomy; }
    Result<bool> find(Hash128 id, Confirm const& confirm) override
    {
        if (is_unreadable) return Error{Errc::unavailable, "io", "no descriptors are left"};
        return MemoryDedupe::find(id, confirm);
    }
    bool is_roomy{true};
    bool is_unreadable{false};
};

// An engine whose appender runs when a test says so.
struct World {
    explicit World(IngestLimits bounds = {}, engine::Admission::Limits places = {}, std::vector<Producer> keys = {{}})
        : limits(bounds), options{.admission = std::move(places)}, producers(std::move(keys))
    {
        (void)engine.recover();
    }

    // Every producer has the share of the first.
    engine::EngineOptions shared_by(std::size_t count)
    {
        options.admission.shares.resize(count, options.admission.shares.front());
        return options;
    }

    static Request request(std::string body, engine::Producer producer = 0)
    {
        Request request;
        request.producer = producer;
        request.body = std::move(body);
        request.body.reserve(request.body.size() + Request::body_padding);
        return request;
    }
    void poll()
    {
        io.restart();
        io.poll();
    }

    // Requests have numbers, from 1 on; each returns its own.
    std::uint64_t post(std::string body, engine::Producer producer = 0)
    {
        auto sent = request(std::move(body), producer);
        ingest.single(sent, Reply(answers, ++posted));
        poll();
        return posted;
    }
    std::uint64_t post_batch(std::string body, std::string_view mode = "", engine::Producer producer = 0)
    {
        auto sent = request(std::move(body), producer);
        sent.query = mode;
        ingest.batch(sent, Ingest::Form::ndjson, Reply(answers, ++posted));
        poll();
        return posted;
    }
    // What came back for it, after a commit; status 0: nothing yet.
    Response answer_to(std::uint64_t request)
    {
        commit();
        for (std::size_t i = 0; i < answers->requests.size(); ++i)
            if (answers->requests[i] == request) return answers->responses[i];
        return {.status = 0};
    }
    // Settles events of one lane, one by one.
    void settle(int events)
    {
        for (int i = 0; i < events; ++i) {
            commit();
            ASSERT_TRUE(engine.work_step(0));
            ASSERT_TRUE(engine.append_step()) << "the verdict on its head";
        }
        poll();
    }

    void batch(std::string body)
    {
        auto sent = request(std::move(body));
        sent.query = "mode=partial";
        ingest.batch(sent, Ingest::Form::ndjson, Reply(answers, 0));
        io.restart();
        io.run();
    }
    Response single(std::string body)
    {
        auto sent = request(std::move(body));
        ingest.single(sent, Reply(answers, 0));
        io.restart();
        io.run();
        commit();
        return take_answer();
    }
    int ready()
    {
        cache::Answers reads(*graph, nullptr);
        Background     background(io, {});
        Tail           tail(io, log, clock);
        auto const     submit = [this](engine::BlockRef block) { engine.submit(std::move(block)); };
        Api            api({engine, log, *graph, reads, clock, rates, ingest, background, background, tail, schemas,
                            submit, [] {}, [] { return std::string(); }, {}}, {});
        Request        request;
        request.method = Method::get;
        request.path = "/health/ready";
        request.host = "localhost";
        api.on_request(request, Reply(answers, 0));
        return take_answer().status;
    }
    Response take_answer()
    {
        auto answer = std::move(answers->responses.at(0));
        answers->responses.clear();
        answers->requests.clear();
        return answer;
    }
    void commit()
    {
        while (engine.append_step()) {}
    }

    IngestLimits                       limits;
    engine::EngineOptions              options;
    std::vector<Producer>              producers;
    std::uint64_t                      posted{0};
    sim::ManualClock                   clock;
    log::MemoryLog::Disk               disk;
    log::MemoryLog                     log{disk};
    schema::SchemaSet                  schemas{all_processors()};
    std::unique_ptr<graph::GraphStore> graph{graph::make_resident_store()};
    ScriptedIds*                       ids{new ScriptedIds};  // the engine's
    boost::asio::io_context            io;
    std::shared_ptr<Answers>           answers{std::make_shared<Answers>()};
    engine::Engine                     engine{
        {log, *graph, schemas, clock}, shared_by(producers.size()),
        [this](std::vector<engine::BlockRef> blocks) { ingest.answered(blocks); }, {},
        {.scheduler = nullptr, .watermark = nullptr, .dedupe = std::unique_ptr<engine::DedupeIndex>(ids)}};
    Rates  rates{engine, clock};
    Ingest ingest{
        io, engine, clock, rates, schemas, [this](engine::BlockRef block) { engine.submit(std::move(block)); },
        producers, limits};
};

std::string const valid =
    R"({"event_id":"ID","event_type":"free","did":"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa","payload":{}})"
    "\n";

std::string event(std::string const& id, std::string const& note = "")
{
    auto text = valid;
    text.replace(text.find("ID"), 2, id);
    if (!note.empty()) text.replace(text.find("{}"), 2, R"({"note":")" + note + R"("})");
    return text;
}

std::string error_of(Response const& response)
{
    return std::string(boost::json::parse(response.body).at("error").as_string());
}

std::string with_priority(std::string const& id, int priority)
{
    auto text = event(id);
    return text.replace(text.rfind("}}"), 2, R"(},"priority":)" + std::to_string(priority) + "}");
}

std::string repeated(int count, std::string const& text)
{
    std::string out;
    for (int i = 0; i < count; ++i) out += text;
    return out;
}

TEST(Ingest, PartialBatchesThatWaitForACommitHoldABoundedNumberOfBytes)
{
    World      world({.waiting_bytes_max = 4u << 20});
    auto const body = repeated(9'999, "{}\n") + event("a");
    int        sent = 0;
    while (world.answers->responses.empty() && sent < 100) {
        world.batch(body);
        ++sent;
    }
    EXPECT_LT(sent, 10) << "each of them waits with more than half a megabyte of items";
    ASSERT_EQ(world.answers->responses.size(), 1u);
    EXPECT_EQ(world.answers->responses[0].status, 503);
    EXPECT_NE(world.answers->responses[0].body.find("overload"), std::string::npos);

    world.commit();
    EXPECT_EQ(world.answers->responses.size(), static_cast<std::size_t>(sent));
    world.answers->responses.clear();
    world.batch(body);
    EXPECT_TRUE(world.answers->responses.empty()) << "what was answered counts no more";
    world.commit();
    EXPECT_EQ(world.answers->responses.at(0).status, 207);
}

TEST(Ingest, APartialBatchIsAnsweredItemByItemInOrder)
{
    World world;
    world.batch("{}\n" + event("a") + "{}\n{}\n" + event("b") + event("a") + event("b", "other") + "{}\n");
    world.commit();
    ASSERT_EQ(world.answers->responses.size(), 1u);
    auto const  answer = boost::json::parse(world.answers->responses[0].body).as_object();
    auto const& items = answer.at("items").as_array();
    ASSERT_EQ(items.size(), 8u);
    int const expected[] = {422, 202, 422, 422, 202, 202, 409, 422};
    for (std::size_t i = 0; i < items.size(); ++i) {
        EXPECT_EQ(items[i].at("i").to_number<std::size_t>(), i);
        EXPECT_EQ(items[i].at("status").to_number<int>(), expected[i]) << i;
    }
    EXPECT_EQ(answer.at("accepted").to_number<int>(), 2);
    EXPECT_TRUE(items[5].at("duplicate").as_bool());
}

TEST(Ingest, APartialBatchOfWhichNothingIsTakenIsAnsweredInFull)
{
    World world;
    world.batch("{}\n{}\n");
    ASSERT_EQ(world.answers->responses.size(), 1u);
    auto const answer = boost::json::parse(world.answers->responses[0].body).as_object();
    EXPECT_EQ(answer.at("items").as_array().size(), 2u);
    EXPECT_TRUE(answer.at("first_sequence").is_null());
}

TEST(Ingest, IdsThatAreBehindAreNamedCountedAndNotReady)
{
    World world;
    EXPECT_EQ(world.ready(), 200);
    world.ids->is_roomy = false;
    auto const refused = world.single(event("a"));
    EXPECT_EQ(refused.status, 503);
    EXPECT_NE(refused.body.find(R"("error":"ids_behind")"), std::string::npos) << refused.body;
    EXPECT_NE(refused.headers.find("Retry-After: 1"), std::string::npos) << refused.headers;
    EXPECT_EQ(world.ingest.counts(0)[Cause::ids_behind], 1u);
    EXPECT_EQ(world.ready(), 503);

    world.ids->is_roomy = true;
    EXPECT_EQ(world.ready(), 200);
    EXPECT_EQ(world.single(event("a")).status, 202);
}

TEST(Ingest, ALookupThatFailsSaysThatNothingWasStored)
{
    World world;
    world.ids->is_unreadable = true;
    auto const refused = world.single(event("a"));
    EXPECT_EQ(refused.status, 503);
    EXPECT_NE(refused.body.find(R"("error":"read_failed")"), std::string::npos) << refused.body;
    EXPECT_NE(refused.body.find("nothing was stored"), std::string::npos);
    EXPECT_EQ(world.ingest.counts(0)[Cause::read_failed], 1u);
    EXPECT_EQ(number(world.log.last()), 0u);
}

// ---- the line for places

// Ten places: LOW has 7, NORMAL 8, HIGH 9, CRITICAL all; each reopens one lower.
engine::Admission::Limits const ten{.events = 10, .bytes = 1u << 20, .percent = {70, 80, 90, 100}, .reopen_points = 10};

class InLine : public testing::Test {
protected:
    // Events of one priority until the first that stands in line, or is refused.
    std::vector<std::uint64_t> fill(World& world, int events, int priority)
    {
        std::vector<std::uint64_t> numbers;
        for (int i = 0; i < events; ++i)
            numbers.push_back(world.post(with_priority("fill" + std::to_string(world.posted), priority)));
        return numbers;
    }
};

TEST_F(InLine, ARequestWaitsForAPlaceAndTakesIt)
{
    World world({}, ten);
    for (auto const number : fill(world, 8, 1)) EXPECT_EQ(world.answer_to(number).status, 202);
    auto const late = world.post(event("late"));
    EXPECT_EQ(world.answer_to(late).status, 0);
    EXPECT_EQ(world.ingest.line().requests, 1u);

    world.settle(1);
    EXPECT_EQ(world.answer_to(late).status, 202);
    EXPECT_EQ(boost::json::parse(world.answer_to(late).body).at("event_id").as_string(), "late");
    EXPECT_EQ(world.ingest.line().requests, 0u);
    EXPECT_EQ(world.ingest.line().bytes, 0u);
    EXPECT_EQ(world.engine.admission().use().events, 8u);
}

TEST_F(InLine, WhoFindsNoPlaceInTimeIsRefusedAsIfHeHadNotWaited)
{
    World world({}, ten);
    fill(world, 8, 1);
    auto const single = world.post(event("a"));
    world.clock.advance(std::chrono::milliseconds(60));
    auto const batch = world.post_batch(event("b") + event("c"));
    world.clock.advance(std::chrono::milliseconds(40));
    world.ingest.expire();

    auto const refused = world.answer_to(single);
    EXPECT_EQ(refused.status, 503);
    EXPECT_EQ(error_of(refused), "queue_full");
    EXPECT_NE(refused.headers.find("Retry-After: "), std::string::npos);
    EXPECT_EQ(world.answer_to(batch).status, 0) << "it came later";
    world.clock.advance(std::chrono::milliseconds(60));
    world.ingest.expire();
    EXPECT_EQ(world.answer_to(batch).status, 503);
    EXPECT_EQ(world.ingest.counts(0)[Cause::queue_full], 2u);
    EXPECT_EQ(number(world.log.last()), 8u);
    EXPECT_EQ(world.ingest.line().waits[index(Tier::normal)].total(), std::chrono::milliseconds(200));
}

TEST_F(InLine, WhoStandsBehindOneThatGivesUpGoesInIfThereIsRoom)
{
    World      world({}, ten);
    fill(world, 6, 1);
    auto const batch = world.post_batch(event("a") + event("b") + event("c") + event("d"));
    world.clock.advance(std::chrono::milliseconds(60));
    auto const small = world.post(event("small"));
    world.clock.advance(std::chrono::milliseconds(40));
    world.ingest.expire();
    world.poll();
    EXPECT_EQ(world.answer_to(batch).status, 503);
    EXPECT_EQ(world.answer_to(small).status, 202);
}

TEST_F(InLine, TheTimerRefusesByItself)
{
    World world({.line_wait = std::chrono::milliseconds(1)}, ten);
    fill(world, 8, 1);
    auto const late = world.post(event("late"));
    world.clock.advance(std::chrono::milliseconds(1));
    world.io.restart();
    world.io.run();  // returns when no timer is left
    EXPECT_EQ(world.answer_to(late).status, 503);
}

TEST_F(InLine, WithoutAWaitEverybodyIsRefusedAtOnce)
{
    World world({.line_wait = {}}, ten);
    fill(world, 8, 1);
    EXPECT_EQ(world.answer_to(world.post(event("a"))).status, 503);
    EXPECT_EQ(world.answer_to(world.post_batch(event("b"))).status, 503);
}

// A batch that needs many places would never get them if what needs few went in front.
TEST_F(InLine, NobodyOvertakesABatchOfTheSameTier)
{
    World      world({}, ten);
    fill(world, 6, 1);
    auto const batch = world.post_batch(event("a") + event("b") + event("c") + event("d"));
    auto const small = world.post(event("small"));  // there is a place for it
    auto const partial = world.post_batch(event("alone"), "mode=partial");
    EXPECT_EQ(world.answer_to(small).status, 0);
    EXPECT_EQ(boost::json::parse(world.answer_to(partial).body).at("items").at(0).at("status"), 503);

    world.settle(2);
    EXPECT_EQ(world.answer_to(batch).status, 202);
    EXPECT_EQ(world.answer_to(small).status, 0);
    world.settle(1);
    EXPECT_EQ(world.answer_to(small).status, 202);
}

TEST_F(InLine, AHigherTierGoesFirstAndALowerOneTakesNothingFromIt)
{
    World      world({}, ten);
    fill(world, 8, 1);
    auto const low = world.post(with_priority("low", 0));
    fill(world, 2, 3);
    auto const normal = world.post(with_priority("normal", 1));
    auto const critical = world.post_batch(with_priority("c1", 3) + with_priority("c2", 3) + with_priority("c3", 3) +
                                           with_priority("c4", 3) + with_priority("c5", 3) + with_priority("c6", 3));
    world.settle(5);  // room for LOW and NORMAL, were they alone
    EXPECT_EQ(world.answer_to(low).status, 0);
    EXPECT_EQ(world.answer_to(normal).status, 0);
    EXPECT_EQ(world.answer_to(world.post(with_priority("later", 0))).status, 0);
    world.settle(1);
    EXPECT_EQ(world.answer_to(critical).status, 202);
    EXPECT_EQ(world.answer_to(normal).status, 0);
    world.settle(3);
    EXPECT_EQ(world.answer_to(normal).status, 202);
    EXPECT_EQ(world.answer_to(low).status, 0);
    world.settle(2);
    EXPECT_EQ(world.answer_to(low).status, 202);
}

TEST_F(InLine, ACriticalEventDoesNotWaitBehindLowOnes)
{
    World world({}, ten);
    fill(world, 12, 0);
    EXPECT_EQ(world.ingest.line().requests, 5u);
    EXPECT_EQ(world.answer_to(world.post(with_priority("now", 3))).status, 202);
}

TEST_F(InLine, IsBoundedAndKeepsRoomForHigherTiers)
{
    World world({.line_max = 10}, ten);
    fill(world, 10, 3);
    auto const standing = fill(world, 7, 0);
    for (auto const number : standing) EXPECT_EQ(world.answer_to(number).status, 0);
    EXPECT_EQ(world.answer_to(world.post(with_priority("l", 0))).status, 503);
    for (auto const number : fill(world, 3, 3)) EXPECT_EQ(world.answer_to(number).status, 0);
    EXPECT_EQ(world.ingest.line().requests, 10u);

    // Nobody can pass now, whatever he brings: it is not even read.
    EXPECT_EQ(error_of(world.answer_to(world.post("no json"))), "queue_full");
    EXPECT_EQ(error_of(world.answer_to(world.post_batch("no json"))), "queue_full");
    world.settle(1);
    EXPECT_EQ(error_of(world.answer_to(world.post("no json"))), "bad_json");
}

TEST_F(InLine, OneProducerCannotTakeAllOfIt)
{
    auto places = ten;
    places.shares = {75};
    World world({.line_max = 10}, places, {{.name = "a"}, {.name = "b"}});
    for (std::size_t i = 0; i < 4; ++i) world.post(event("a" + std::to_string(i)));
    for (std::size_t i = 0; i < 4; ++i) world.post(event("b" + std::to_string(i)), 1);
    for (std::size_t i = 4; i < 10; ++i)  // 75 % of the 8 of NORMAL
        EXPECT_EQ(world.answer_to(world.post(event("a" + std::to_string(i)))).status, 0) << i;
    EXPECT_EQ(world.answer_to(world.post(event("a10"))).status, 503);
    EXPECT_EQ(world.answer_to(world.post(event("b4"), 1)).status, 0);
    world.settle(1);
    EXPECT_EQ(world.answer_to(world.post(event("a10"))).status, 0);
}

TEST_F(InLine, HoldsABoundedNumberOfBytes)
{
    World      world({.line_bytes_max = 100'000}, ten);
    fill(world, 8, 1);
    auto const note = std::string(30'000, 'x');
    auto const first = world.post(event("a", note)), second = world.post(event("b", note));
    EXPECT_EQ(world.answer_to(first).status, 0);
    EXPECT_EQ(world.answer_to(second).status, 0);
    EXPECT_EQ(world.answer_to(world.post(event("c", note))).status, 503);
    EXPECT_EQ(world.answer_to(world.post_batch(event("d", note))).status, 503);
    EXPECT_LE(world.ingest.line().bytes, 80'000u);
}

TEST_F(InLine, WhatNeverFitsDoesNotWait)
{
    World       world({}, ten);
    std::string nine;
    fill(world, 8, 1);
    for (int i = 0; i < 9; ++i) nine += event("n" + std::to_string(i));
    auto const refused = world.answer_to(world.post_batch(nine));
    EXPECT_EQ(refused.status, 413);
    EXPECT_EQ(error_of(refused), "batch_exceeds_capacity");
    world.post(event("a"));
    EXPECT_EQ(world.answer_to(world.post_batch(nine)).status, 413) << "behind others as well";
}

TEST_F(InLine, ADrainingServerRefusesWhoStands)
{
    World world({}, ten);
    fill(world, 8, 1);
    auto const single = world.post(event("a")), batch = world.post_batch(event("b"));
    world.ingest.drain();
    for (auto const number : {single, batch}) EXPECT_EQ(error_of(world.answer_to(number)), "draining");
    world.settle(8);
    EXPECT_EQ(number(world.log.last()), 8u);
}

// ---- a key's own limits

TEST(Limits, ARateCountsEventsAndTellsWhatIsLeft)
{
    World      world({}, {}, {{.name = "a", .quota = Quota{5, std::chrono::seconds(10)}}, {.name = "b"}});
    auto const first = world.answer_to(world.post_batch(event("1") + event("2") + event("3")));
    EXPECT_EQ(first.status, 202);
    EXPECT_NE(first.headers.find("RateLimit-Policy: \"ingest\";q=5;w=10\r\n"), std::string::npos) << first.headers;
    EXPECT_NE(first.headers.find("RateLimit: \"ingest\";r=2;t=10\r\n"), std::string::npos) << first.headers;

    world.clock.advance(std::chrono::seconds(4));
    auto const over = world.answer_to(world.post_batch(event("4") + event("5") + event("6")));
    EXPECT_EQ(over.status, 429);
    EXPECT_EQ(error_of(over), "rate_limited");
    EXPECT_NE(over.headers.find("Retry-After: 6\r\n"), std::string::npos) << over.headers;
    EXPECT_NE(over.headers.find("RateLimit: \"ingest\";r=2;t=6\r\n"), std::string::npos) << over.headers;

    EXPECT_EQ(world.answer_to(world.post(event("4"))).status, 202) << "what was refused does not count";
    EXPECT_EQ(world.answer_to(world.post(event("5"))).status, 202);
    EXPECT_EQ(world.answer_to(world.post(event("6"))).status, 429);
    EXPECT_EQ(error_of(world.answer_to(world.post("no json"))), "rate_limited") << "not even read";
    auto const other = world.answer_to(world.post(event("6"), 1));
    EXPECT_EQ(other.status, 202);
    EXPECT_EQ(other.headers.find("RateLimit"), std::string::npos);

    world.clock.advance(std::chrono::seconds(6));
    EXPECT_EQ(world.answer_to(world.post_batch(event("7") + event("8") + event("9"))).status, 202);
    EXPECT_EQ(world.ingest.counts(0).admitted, 8u);
    EXPECT_EQ(world.ingest.counts(0)[Cause::rate_limited], 3u);
    EXPECT_EQ(world.ingest.counts(1).admitted, 1u);
}

TEST(Limits, ABatchLargerThanTheRateIsToldToSplit)
{
    World      world({}, {}, {{.name = "a", .quota = Quota{2, std::chrono::seconds(1)}}});
    auto const refused = world.answer_to(world.post_batch(event("1") + event("2") + event("3")));
    EXPECT_EQ(refused.status, 413);
    EXPECT_EQ(error_of(refused), "batch_exceeds_rate_limit");
    EXPECT_EQ(refused.headers.find("Retry-After"), std::string::npos);
}

TEST(Limits, APartialBatchTakesWhatTheRateAllows)
{
    World      world({}, {}, {{.name = "a", .quota = Quota{2, std::chrono::seconds(1)}}});
    auto const answer = world.answer_to(world.post_batch(event("1") + event("2") + event("3"), "mode=partial"));
    auto const items = boost::json::parse(answer.body).at("items").as_array();
    EXPECT_EQ(items.at(1).at("status"), 202);
    EXPECT_EQ(items.at(2).at("status"), 429);
    EXPECT_EQ(items.at(2).at("error"), "rate_limited");
    EXPECT_NE(answer.headers.find("RateLimit: \"ingest\";r=0;t=1\r\n"), std::string::npos);
}

// Those who stood in line count when they are let in.
TEST(Limits, NobodyGetsAroundTheRateByStandingInLine)
{
    World world({}, ten, {{.name = "a", .quota = Quota{2, std::chrono::seconds(1)}}, {.name = "b"}});
    for (int i = 0; i < 8; ++i) world.post(event("fill" + std::to_string(i)), 1);
    std::uint64_t const three[] = {world.post(event("1")), world.post(event("2")), world.post(event("3"))};
    for (auto const number : three) EXPECT_EQ(world.answer_to(number).status, 0);
    world.settle(4);
    EXPECT_EQ(world.answer_to(three[0]).status, 202);
    EXPECT_EQ(world.answer_to(three[1]).status, 202);
    EXPECT_EQ(world.answer_to(three[2]).status, 429);
}

TEST(Limits, AProducerBeyondItsShareIsRefusedAndOthersAreNot)
{
    auto places = ten;
    places.shares = {50};
    World world({}, places, {{.name = "a"}, {.name = "b"}});
    for (int i = 0; i < 4; ++i) EXPECT_EQ(world.answer_to(world.post(event(std::to_string(i)))).status, 202);
    auto const refused = world.answer_to(world.post(event("4")));
    EXPECT_EQ(refused.status, 429);
    EXPECT_EQ(error_of(refused), "producer_share");
    EXPECT_NE(refused.headers.find("Retry-After: "), std::string::npos);
    EXPECT_EQ(world.ingest.line().requests, 0u);
    EXPECT_EQ(world.answer_to(world.post(event("4"), 1)).status, 202);
    world.settle(1);
    EXPECT_EQ(world.answer_to(world.post(event("5"))).status, 202);
    EXPECT_EQ(world.ingest.counts(0)[Cause::producer_share], 1u);
}

TEST(Limits, ATierAboveTheKeysCapIsLoweredToIt)
{
    World      world({}, {}, {{.name = "a", .tier_cap = Tier::normal}, {.name = "b"}});
    auto const tier = [&](std::uint64_t request) {
        return std::string(boost::json::parse(world.answer_to(request).body).at("tier").as_string());
    };
    EXPECT_EQ(tier(world.post(with_priority("1", 3))), "normal");
    EXPECT_EQ(tier(world.post(with_priority("2", 0))), "low");
    EXPECT_EQ(tier(world.post(with_priority("3", 3), 1)), "critical");
    auto const again = boost::json::parse(world.answer_to(world.post(with_priority("3", 3))).body);
    EXPECT_TRUE(again.at("duplicate").as_bool()) << "the tier is no part of what an event says";
    auto const stored = world.log.read(Sequence{1});
    ASSERT_TRUE(stored && *stored);
    EXPECT_EQ((*stored)->record(0).header().tier, static_cast<std::uint8_t>(Tier::normal));
}

}  // namespace
}  // namespace sluice::http
