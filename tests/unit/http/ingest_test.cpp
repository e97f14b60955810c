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
    std::vector<Response> responses;
    void respond(std::uint64_t, Response response) override { responses.push_back(std::move(response)); }
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
    explicit World(IngestLimits bounds = {}) : limits(bounds) { (void)engine.recover(); }

    void batch(std::string body)
    {
        Request request;
        request.query = "mode=partial";
        request.body = std::move(body);
        request.body.reserve(request.body.size() + Request::body_padding);
        ingest.batch(request, Ingest::Form::ndjson, Reply(answers, 0));
        io.restart();
        io.run();
    }
    Response single(std::string body)
    {
        Request request;
        request.body = std::move(body);
        request.body.reserve(request.body.size() + Request::body_padding);
        ingest.single(request, Reply(answers, 0));
        io.restart();
        io.run();
        commit();
        return take_answer();
    }
    int ready()
    {
        cache::Answers reads(*graph, nullptr);
        Background     background(io);
        Tail           tail(io, log, clock);
        auto const     no_metrics = [] { return std::string(); };
        Api            api({engine, log, *graph, reads, clock, rates, ingest, background, tail, no_metrics}, {});
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
        return answer;
    }
    void commit()
    {
        while (engine.append_step()) {}
    }

    IngestLimits                       limits;
    sim::ManualClock                   clock;
    log::MemoryLog::Disk               disk;
    log::MemoryLog                     log{disk};
    schema::SchemaSet                  schemas{all_processors()};
    std::unique_ptr<graph::GraphStore> graph{graph::make_resident_store()};
    ScriptedIds*                       ids{new ScriptedIds};  // the engine's
    boost::asio::io_context            io;
    std::shared_ptr<Answers>           answers{std::make_shared<Answers>()};
    engine::Engine                     engine{
        {log, *graph, schemas, clock}, {},
        [this](std::vector<engine::BlockRef> blocks) { ingest.answered(blocks); }, {},
        {.scheduler = nullptr, .watermark = nullptr, .dedupe = std::unique_ptr<engine::DedupeIndex>(ids)}};
    Rates  rates{engine, clock};
    Ingest ingest{
        io, engine, clock, rates, schemas, [this](engine::BlockRef block) { engine.submit(std::move(block)); },
        {Producer{}}, limits};
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

}  // namespace
}  // namespace sluice::http
