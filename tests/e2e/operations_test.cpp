// What operators can do on a running server: dead letters, parked events, jobs, pauses, workers and limits.
#include "earlier_program.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sluice::e2e {
namespace {

constexpr char const* letters = "/internal/events/dead-letter";

std::vector<Json> refused_events(std::uint64_t count)
{
    std::vector<Json> events;
    for (std::uint64_t n = 0; n < count; ++n) events.push_back(refused_relationship(n + 1, 9'000, n, 50));
    return events;
}

class Operators : public testing::Test {
protected:
    std::filesystem::path data() const { return directory_.path() / "data"; }

    void start(std::vector<std::string> flags = {})
    {
        http_.reset();
        server_.reset();
        server_ = std::make_unique<Server>(ServerOptions{.data = data(), .flags = std::move(flags)});
        http_ = std::make_unique<Http>(server_->http());
    }
    void restart()
    {
        EXPECT_EQ(server_->stop(), 0);
        start();
    }

    Json get(std::string const& target)
    {
        auto const response = http_->get(target);
        EXPECT_EQ(response.status, 200) << target << ' ' << response.body;
        return response.json();
    }
    Json post(std::string const& target, Json const& body, int status)
    {
        auto const response = http_->post(target, body.dump());
        EXPECT_EQ(response.status, status) << target << ' ' << body.dump() << ' ' << response.body;
        return response.json();
    }
    void refuse(std::string const& target, std::string const& body, int status, std::string const& error)
    {
        auto const response = http_->post(target, body);
        EXPECT_EQ(response.status, status) << target << ' ' << body << ' ' << response.body;
        EXPECT_EQ(response.header("content-type"), "application/problem+json");
        EXPECT_EQ(response.json().at("error"), error) << target << ' ' << body << ' ' << response.body;
    }
    // A 422 of which one error is at that pointer.
    void refuse_at(std::string const& target, std::string const& body, std::string const& pointer)
    {
        auto const response = http_->post(target, body);
        EXPECT_EQ(response.status, 422) << target << ' ' << body << ' ' << response.body;
        std::set<std::string> pointers;
        auto const            errors = response.json().value("errors", Json::array());
        for (auto const& error : errors) pointers.insert(error.at("pointer"));
        EXPECT_TRUE(pointers.contains(pointer)) << target << ' ' << body << ' ' << response.body;
    }
    std::vector<std::uint64_t> listed(std::string const& query)
    {
        std::vector<std::uint64_t> sequences;
        auto const                 answer = get(letters + query);
        for (auto const& event : answer.at("events")) sequences.push_back(event.at("sequence"));
        return sequences;
    }
    Json strength_of(std::uint64_t owner, std::uint64_t n)
    {
        auto const found = http_->get("/v1/relationships?uri=" + percent_encoded(relationship_uri(did(owner), n)));
        return found.status == 200 ? found.json().at("relationship").at("strength") : Json();
    }
    Json job() { return get("/internal/jobs").at("jobs").at(0); }
    bool job_ends()
    {
        return eventually([&] { return job().at("state") == "finished"; }, std::chrono::seconds(20));
    }
    Finished sluice(std::vector<std::string> arguments, std::vector<std::string> const& more = {})
    {
        arguments.insert(arguments.begin(), binary());
        arguments.insert(arguments.end(), {"--url", server_->url(), "--key-file", key_file(data())});
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run(arguments);
    }

    using Sequences = std::vector<std::uint64_t>;

    TemporaryDirectory      directory_;
    std::unique_ptr<Server> server_;
    std::unique_ptr<Http>   http_;
};

// ---- dead letters

TEST_F(Operators, ListDeadLettersNewestFirstAndThoseThatMatch)
{
    auto events = refused_events(4);
    events.push_back(refused_relationship(9, 500, 1, 50, "bad_luck"));
    events[1]["event_type"] = "relationship.updated";
    events[2]["payload"]["strength"] = 7;
    run_earlier_program(data(), events);
    start();

    auto const all = get(letters);
    EXPECT_EQ(all.at("count"), 5);
    EXPECT_EQ(all.at("matching"), 5);
    EXPECT_FALSE(all.contains("next_cursor"));
    EXPECT_EQ(listed(""), (Sequences{5, 4, 3, 2, 1}));
    auto const& newest = all.at("events").at(0);
    EXPECT_EQ(newest.at("event_type"), "relationship.created");
    EXPECT_EQ(newest.at("did"), did(9));
    EXPECT_EQ(newest.at("reason"), "bad_luck");
    EXPECT_EQ(newest.at("retry_count"), 0);
    EXPECT_EQ(newest.at("stages").at(0).at("error"), "no room for number 5");
    EXPECT_FALSE(newest.contains("payload"));

    EXPECT_EQ(listed("?order=oldest&limit=2"), (Sequences{1, 2}));
    auto const page = get(std::string(letters) + "?limit=2");
    EXPECT_EQ(page.at("next_cursor"), 4);
    EXPECT_EQ(listed("?limit=2&cursor=4"), (Sequences{3, 2}));
    EXPECT_EQ(listed("?cursor=2"), (Sequences{1}));

    EXPECT_EQ(listed("?type=relationship.updated"), (Sequences{2}));
    EXPECT_EQ(listed("?did=" + did(9)), (Sequences{5}));
    EXPECT_EQ(listed("?reason=bad&type=relationship.created"), (Sequences{4, 3, 1}));
    EXPECT_EQ(listed("?to=2020-01-01T00:00:00Z"), Sequences{});
    EXPECT_EQ(listed("?from=2020-01-01T00:00:00Z").size(), 5u);
    EXPECT_EQ(get(std::string(letters) + "?reason=bad&limit=1").at("matching"), 4);
    auto const with_payload = get(std::string(letters) + "?payload=true&limit=1");
    EXPECT_EQ(with_payload.at("events").at(0).at("payload"), events[4]["payload"]);

    for (auto const* const bad :
         {"?cause=1", "?from=now", "?limit=0", "?order=up", "?payload=yes", "?form=xml", "?x=1"})
        EXPECT_EQ(http_->get(std::string(letters) + bad).status, 400) << bad;
}

TEST_F(Operators, GroupDeadLettersByTheirCause)
{
    auto events = refused_events(3);
    events.push_back(refused_relationship(9, 500, 1, 50, "bad_luck"));
    run_earlier_program(data(), events);
    start();

    auto const groups = get(std::string(letters) + "/groups");
    ASSERT_EQ(groups.size(), 2u);
    EXPECT_EQ(groups[0].at("count"), 3) << "numbers in the detail make no other cause";
    EXPECT_EQ(groups[0].at("reason"), "bad");
    EXPECT_EQ(groups[0].at("event_type"), "relationship.created");
    EXPECT_EQ(groups[0].at("example"), 3);
    EXPECT_GE(groups[0].at("oldest_age_seconds"), 0);
    auto const cause = groups[1].at("cause").get<std::string>();
    EXPECT_EQ(listed("?cause=" + cause), (Sequences{4}));
    EXPECT_EQ(get(std::string(letters) + "/groups?reason=bad").size(), 1u);
}

TEST_F(Operators, ShowOneDeadLetterAndWhatCameLater)
{
    run_earlier_program(
        data(), {refused_relationship(1, 2, 3, 10), relationship(1, 2, 3, 20), refused_relationship(4, 5, 6, 30)});
    start();

    auto const item = get(std::string(letters) + "/1");
    EXPECT_EQ(item.at("payload"), refused_relationship(1, 2, 3, 10).at("payload"));
    EXPECT_EQ(item.at("tier"), "normal");
    EXPECT_EQ(item.at("rev"), nullptr);
    EXPECT_EQ(item.at("decisions").at(0).at("verdict"), "dead_letter");
    EXPECT_EQ(item.at("stale_by"), 2) << "a redrive gives way to what was written since";
    EXPECT_EQ(item.at("record").at("sequence"), 2);
    EXPECT_EQ(get(std::string(letters) + "/3").at("stale_by"), nullptr);

    for (auto const* const none : {"/2", "/99", "/x", "/redrive"})
        EXPECT_EQ(http_->get(letters + std::string(none)).json().at("error"), "not_open") << none;
}

TEST_F(Operators, DeadLettersSurviveARestart)
{
    run_earlier_program(data(), refused_events(3));
    start();
    auto const before = get(letters);
    restart();
    EXPECT_EQ(get(letters), before);
    expect_numbers_add_up(settled_state(*http_));
}

TEST_F(Operators, RedriveOneDeadLetterOnce)
{
    run_earlier_program(data(), refused_events(2));
    start();
    EXPECT_EQ(
        post(std::string(letters) + "/redrive", {{"sequence", 1}}, 202),
        (Json{{"status", "redriven"}, {"sequence", 1}, {"successor", 3}}));
    auto const after = settled_state(*http_);
    EXPECT_EQ(after.at("applied"), 1);
    expect_numbers_add_up(after);
    EXPECT_EQ(strength_of(1, 0), 50);
    EXPECT_EQ(listed(""), (Sequences{2}));

    refuse(std::string(letters) + "/redrive", R"({"sequence":1})", 409, "not_open");
    refuse(std::string(letters) + "/drop", R"({"sequence":1})", 409, "not_open");
    refuse(std::string(letters) + "/redrive", R"({"sequence":3})", 404, "not_open");
    refuse(std::string(letters) + "/redrive", R"({"sequence":99})", 404, "not_open");
    restart();
    EXPECT_EQ(settled_state(*http_).at("digest"), after.at("digest"));
    EXPECT_EQ(listed(""), (Sequences{2}));
}

TEST_F(Operators, DropOneDeadLetter)
{
    run_earlier_program(data(), refused_events(2));
    start();
    EXPECT_EQ(
        post(std::string(letters) + "/drop", {{"sequence", 2}}, 202), (Json{{"status", "dropped"}, {"sequence", 2}}));
    EXPECT_EQ(listed(""), (Sequences{1}));
    auto const after = settled_state(*http_);
    EXPECT_EQ(after.at("dead_lettered"), 2);
    expect_numbers_add_up(after);
}

TEST_F(Operators, EditAndRedrive)
{
    run_earlier_program(data(), refused_events(1));
    start();
    auto const redrive = std::string(letters) + "/redrive";
    auto       payload = refused_events(1)[0].at("payload");
    payload["strength"] = 101;
    refuse_at(redrive, Json{{"sequence", 1}, {"payload", payload}}.dump(), "/payload/strength");
    refuse_at(redrive, R"({"sequence":1,"payload":[]})", "/payload");
    refuse_at(redrive, R"({"sequence":1,"payload":{},"payload":{}})", "/payload");
    EXPECT_EQ(listed(""), (Sequences{1})) << "nothing was changed";

    payload["strength"] = 77;
    post(redrive, {{"sequence", 1}, {"payload", payload}}, 202);
    settled_state(*http_);
    EXPECT_EQ(strength_of(1, 0), 77);
}

TEST_F(Operators, ARedriveGivesWayToWhatWasWrittenSinceUnlessItIsAsNew)
{
    run_earlier_program(
        data(), {refused_relationship(1, 2, 3, 10), relationship(1, 2, 3, 20), refused_relationship(1, 2, 3, 30)});
    start();
    auto const redrive = std::string(letters) + "/redrive";
    post(redrive, {{"sequence", 1}}, 202);
    EXPECT_EQ(settled_state(*http_).at("stale"), 1);
    EXPECT_EQ(strength_of(1, 3), 20);
    post(redrive, {{"sequence", 3}, {"as_new", true}}, 202);
    settled_state(*http_);
    EXPECT_EQ(strength_of(1, 3), 30);
}

TEST_F(Operators, BodiesAreReadStrictly)
{
    run_earlier_program(data(), refused_events(1));
    start();
    for (auto const* const verb : {"/redrive", "/drop"}) {
        auto const target = letters + std::string(verb);
        refuse(target, "{", 400, "bad_json");
        refuse(target, "", 400, "bad_json");
        refuse(target, std::string(40, '[') + std::string(40, ']'), 400, "bad_json");
        refuse_at(target, "[]", "");
        refuse_at(target, "{}", "");
        refuse_at(target, R"({"sequence":1,"filter":{}})", "");
        refuse_at(target, R"({"sequence":0})", "/sequence");
        refuse_at(target, R"({"sequence":"1"})", "/sequence");
        refuse_at(target, R"({"sequence":1.0})", "/sequence");
        refuse_at(target, R"({"sequence":1,"sequnce":1})", "/sequnce");
        refuse_at(target, R"({"filter":{"typ":"x"}})", "/filter/typ");
        refuse_at(target, R"({"filter":{"type":1}})", "/filter/type");
        refuse_at(target, R"({"filter":{"cause":"x"}})", "/filter/cause");
        refuse_at(target, R"({"filter":{"from":"now"}})", "/filter/from");
        refuse_at(target, R"({"filter":null})", "/filter");
        refuse_at(target, R"({"filter":{},"dry_run":1})", "/dry_run");
        refuse_at(target, R"({"filter":{},"rate":0})", "/rate");
        refuse_at(target, R"({"filter":{},"payload":{}})", "/payload");
    }
    refuse_at(std::string(letters) + "/drop", R"({"sequence":1,"as_new":true})", "/as_new");
    EXPECT_EQ(http_->post(std::string(letters) + "/drop", std::string(100'000, ' ')).status, 413);
    EXPECT_EQ(listed(""), (Sequences{1}));
}

// ---- jobs

TEST_F(Operators, ABulkRedriveIsADryRunFirstAndTakesUpWhatMatchesOnce)
{
    auto events = refused_events(5);
    events.push_back(refused_relationship(9, 500, 1, 50, "bad_luck"));
    run_earlier_program(data(), events);
    start();
    auto const redrive = std::string(letters) + "/redrive";
    Json const filter{{"reason", "bad"}};

    auto const dry = post(redrive, {{"filter", filter}}, 200);
    EXPECT_EQ(dry.at("dry_run"), true);
    EXPECT_EQ(dry.at("matching"), 5);
    EXPECT_EQ(dry.at("groups").at(0).at("count"), 5);
    EXPECT_EQ(get(letters).at("count"), 6);
    EXPECT_EQ(get("/internal/jobs").at("jobs"), Json::array());

    auto const started = post(redrive, {{"filter", filter}, {"dry_run", false}, {"note", "fixed"}}, 202);
    EXPECT_EQ(started.at("matching"), 5);
    ASSERT_TRUE(job_ends());
    EXPECT_EQ(job().at("job"), started.at("job"));
    EXPECT_EQ(job().at("kind"), "redrive");
    EXPECT_EQ(job().at("done"), 5);
    EXPECT_EQ(job().at("failed"), 0);
    EXPECT_EQ(job().at("by"), "default");
    EXPECT_EQ(job().at("filter").at("through"), 6) << "what fails again is not tried again by the same job";
    EXPECT_EQ(listed(""), (Sequences{6}));
    auto const after = settled_state(*http_);
    EXPECT_EQ(after.at("accepted"), 11);
    EXPECT_EQ(after.at("applied"), 5);
    expect_numbers_add_up(after, 2);

    post(std::string(letters) + "/drop", {{"filter", Json::object()}, {"dry_run", false}}, 202);
    ASSERT_TRUE(job_ends());
    EXPECT_EQ(job().at("kind"), "drop");
    EXPECT_EQ(get(letters).at("count"), 0);
}

TEST_F(Operators, AJobKeepsItsRateStopsSurvivesARestartAndResumes)
{
    constexpr std::uint64_t count = 80;
    run_earlier_program(data(), refused_events(count));
    start();
    auto const redrive = std::string(letters) + "/redrive";
    Json const everything{{"filter", Json::object()}, {"dry_run", false}, {"rate", 20}};
    auto const id = post(redrive, everything, 202).at("job").get<std::uint64_t>();
    refuse(redrive, R"({"filter":{},"dry_run":false})", 409, "job_running");
    refuse("/internal/jobs/resume", Json{{"job", id}}.dump(), 409, "unchanged");
    refuse("/internal/jobs/stop", Json{{"job", id + 1}}.dump(), 404, "no_job");
    refuse_at("/internal/jobs/stop", "{}", "/job");
    ASSERT_TRUE(eventually([&] { return get(letters).at("count") < count; }));
    EXPECT_EQ(post("/internal/jobs/stop", {{"job", id}}, 200).at("state"), "stopped");
    settled_state(*http_);
    auto const left = get(letters).at("count").get<std::uint64_t>();
    EXPECT_GT(left, count / 2) << "20 a second";
    EXPECT_EQ(job().at("state"), "stopped");

    restart();
    EXPECT_EQ(job().at("state"), "stopped");
    EXPECT_EQ(get(letters).at("count"), left);
    EXPECT_EQ(post("/internal/jobs/resume", {{"job", id}}, 200).at("state"), "running");
    ASSERT_TRUE(eventually([&] { return get(letters).at("count") < left; }));

    restart();  // in the middle of it
    EXPECT_EQ(job().at("job"), id);
    ASSERT_TRUE(eventually([&] { return get(letters).at("count") == 0; }, std::chrono::seconds(20)));
    ASSERT_TRUE(job_ends());
    auto const after = settled_state(*http_);
    EXPECT_EQ(after.at("accepted"), 2 * count) << "each once";
    EXPECT_EQ(after.at("applied"), count);
    EXPECT_EQ(after.at("records").at("relationships"), count);
    expect_numbers_add_up(after, 4);
}

// ---- parked events

TEST_F(Operators, EventsWithoutAProcessorStayParkedAndCanBeDropped)
{
    start();
    Json const unknown{{"event_type", "example.unknown"}, {"did", did(1)}, {"payload", Json::object()}};
    http_->post("/internal/events", unknown.dump());
    http_->post("/internal/events", unknown.dump());
    ASSERT_EQ(settled_state(*http_).at("parked"), 2);

    auto const parked = get("/internal/events/parked");
    EXPECT_EQ(parked.at("count"), 2);
    EXPECT_EQ(parked.at("types").at(0).at("event_type"), "example.unknown");
    EXPECT_EQ(parked.at("types").at(0).at("count"), 2);
    EXPECT_EQ(parked.at("types").at(0).at("has_processor"), false);
    refuse_at("/internal/events/parked/release", R"({"filter":{"type":"example.unknown"}})", "/filter/type");
    refuse("/internal/events/parked/release", R"({"filter":{"type":"example.unknown"}})", 422, "no_processor");
    refuse_at("/internal/events/parked/release", "{}", "/filter");
    refuse_at("/internal/events/parked/release", R"({"filter":{"reason":"x"}})", "/filter/reason");

    refuse(std::string(letters) + "/drop", R"({"sequence":1})", 404, "not_open");
    EXPECT_EQ(post("/internal/events/parked/drop", {{"sequence", 1}}, 202).at("status"), "dropped");
    refuse("/internal/events/parked/drop", R"({"sequence":1})", 409, "not_open");
    refuse("/internal/events/parked/drop", R"({"sequence":9})", 404, "not_open");
    refuse_at("/internal/events/parked/drop", "{}", "/sequence");
    auto const after = settled_state(*http_);
    EXPECT_EQ(after.at("parked"), 1);
    EXPECT_EQ(after.at("dead_lettered"), 1);
    expect_numbers_add_up(after);

    // What nobody can process is left, and said.
    post("/internal/events/parked/release", {{"filter", Json::object()}, {"dry_run", false}}, 202);
    ASSERT_TRUE(job_ends());
    EXPECT_EQ(job().at("failed"), 1);
    EXPECT_NE(job().at("failure").get<std::string>().find("no_processor"), std::string::npos);
}

TEST_F(Operators, ParkedEventsOfARecordAreReleasedInTheirOrder)
{
    auto later = relationship(1, 2, 3, 90);
    later["event_type"] = "relationship.updated";
    run_earlier_program(
        data(), {refused_relationship(1, 2, 3, 10), later, relationship(4, 5, 6, 60)}, {"relationship.created"});
    start();
    ASSERT_EQ(state(*http_).at("parked"), 2);
    auto const release = std::string("/internal/events/parked/release");
    EXPECT_EQ(post(release, {{"filter", Json::object()}}, 200).at("matching"), 2);
    EXPECT_EQ(post(release, {{"filter", {{"did", did(1)}}}}, 200).at("matching"), 2);
    EXPECT_EQ(post(release, {{"filter", {{"did", did(4)}}}}, 200).at("matching"), 0);
    EXPECT_EQ(post(release, {{"filter", {{"type", "relationship.created"}}}}, 200).at("matching"), 1);
    EXPECT_EQ(strength_of(1, 3), Json());

    post(release, {{"filter", {{"did", did(1)}}}, {"dry_run", false}}, 202);
    ASSERT_TRUE(job_ends());
    auto const after = settled_state(*http_);
    EXPECT_EQ(after.at("parked"), 0);
    EXPECT_EQ(after.at("accepted"), 3) << "a copy is not another event";
    EXPECT_EQ(after.at("applied"), 3);
    expect_numbers_add_up(after, 4);
    EXPECT_EQ(strength_of(1, 3), 90) << "the later one came last";
    restart();
    EXPECT_EQ(settled_state(*http_).at("digest"), after.at("digest"));
}

// ---- controls

TEST_F(Operators, ControlsAreAuditedAndAliveAfterARestart)
{
    start({"--workers", "2", "--queue-capacity", "1000"});
    auto const controls = std::string("/internal/controls");
    auto const first = post(controls, {{"action", "pause"}, {"tier", "low"}, {"note", "too much"}}, 200);
    EXPECT_EQ(first.at("sequence"), 1);
    EXPECT_EQ(first.at("controls").at("paused").at("tiers"), Json{"low"});
    post(controls, {{"action", "pause"}, {"event_type", "a.b"}}, 200);
    post(controls, {{"action", "pause"}, {"did", did(1)}}, 200);
    post(controls, {{"action", "set"}, {"workers", 5}}, 200);
    post(controls, {{"action", "set"}, {"limits", {{"capacity", 2000}}}}, 200);
    auto const now = get(controls);
    EXPECT_EQ(now.at("paused"), (Json{{"tiers", {"low"}}, {"event_types", {"a.b"}}, {"dids", {did(1)}}}));
    EXPECT_EQ(now.at("workers"), (Json{{"now", 5}, {"configured", 2}, {"is_overridden", true}}));
    EXPECT_EQ(now.at("limits").at("capacity"), 2000);
    EXPECT_EQ(now.at("limits").at("configured").at("capacity"), 1000);
    EXPECT_NE(http_->get("/metrics").body.find("sluice_admission_events_max 2000\n"), std::string::npos);

    refuse(controls, R"({"action":"pause","tier":"low"})", 409, "unchanged");
    refuse(controls, R"({"action":"resume","event_type":"x.y"})", 409, "unchanged");
    refuse_at(controls, R"({"action":"pause","tier":"urgent"})", "/tier");
    refuse_at(controls, R"({"action":"pause","did":"x"})", "/did");
    refuse_at(controls, R"({"action":"pause","tier":"low","did":"x"})", "/tier");
    refuse_at(controls, R"({"action":"stop"})", "/action");
    refuse_at(controls, R"({"action":"set","workers":257})", "/workers");
    refuse_at(controls, R"({"action":"set"})", "/workers");
    refuse_at(controls, R"({"action":"set","limits":{"capacity":1}})", "/limits/capacity");
    refuse_at(controls, R"({"action":"set","limits":{"tier_limits":[1,2,3]}})", "/limits/tier_limits");
    refuse_at(controls, R"({"action":"set","workers":1,"by":"me"})", "/by");
    EXPECT_EQ(get(controls).at("last_control"), 5) << "a refusal leaves no record";

    EXPECT_EQ(server_->stop(), 0);
    auto const log = run({binary(), "log", "export", "--data", data()});
    EXPECT_NE(log.output.find(R"("event_type":"admin.tier_paused")"), std::string::npos) << log.output;
    EXPECT_NE(log.output.find(R"("payload":{"tier":"low","by":"default","note":"too much"})"), std::string::npos);
    start({"--workers", "2", "--queue-capacity", "1000"});
    EXPECT_EQ(get(controls), now);
    EXPECT_EQ(state(*http_).at("accepted"), 0) << "controls are no events";

    EXPECT_EQ(
        post(controls, {{"action", "resume"}, {"tier", "low"}}, 200).at("controls").at("paused").at("tiers"),
        Json::array());
}

TEST_F(Operators, WorkersComeAndRest)
{
    start({"--workers", "1"});
    auto const threads = [&] {
        std::size_t workers = 0;
        auto const  tasks = "/proc/" + std::to_string(server_->pid()) + "/task";
        for (auto const& task : std::filesystem::directory_iterator(tasks))
            workers += read_file(task.path() / "comm") == "worker\n";
        return workers;
    };
    ASSERT_TRUE(eventually([&] { return threads() == 1; }));
    post("/internal/controls", {{"action", "set"}, {"workers", 4}}, 200);
    EXPECT_TRUE(eventually([&] { return threads() == 4; }));
    post("/internal/controls", {{"action", "set"}, {"workers", 2}}, 200);
    http_->ndjson("/internal/events/batch", mixed_lines(0, 500));
    expect_numbers_add_up(settled_state(*http_), 2);
    restart();
    EXPECT_TRUE(eventually([&] { return threads() == 2; })) << "what an operator has set counts";
}

// ---- what others see

TEST_F(Operators, FullDeadLettersAreNamedAndCounted)
{
    run_earlier_program(data(), refused_events(2));
    start({"--dead-letter-max-events", "2"});
    auto const health = get("/health/detailed");
    EXPECT_EQ(health.at("status"), "degraded");
    auto const  pipeline = health.at("dependencies").at("event_pipeline");
    EXPECT_EQ(pipeline.at("status"), "degraded");
    EXPECT_EQ(pipeline.at("reasons"), Json{"dead_letters_full"});
    EXPECT_EQ(pipeline.at("dead_letter_count"), 2);
    auto const metrics = http_->get("/metrics").body;
    for (auto const* const line :
         {"sluice_dead_letters 2\n", "sluice_dead_letters_limit 2\n", "sluice_dead_letters_full 1\n",
          "sluice_dead_letters_by_reason{reason=\"bad\"} 2\n", "sluice_jobs_active 0\n", "sluice_dead_letters_bytes ",
          "sluice_dead_letters_oldest_age_seconds ", "sluice_parked_oldest_age_seconds 0\n",
          "sluice_job_events_total{result=\"done\"} 0\n"})
        EXPECT_NE(metrics.find(line), std::string::npos) << line;

    post(std::string(letters) + "/drop", {{"sequence", 1}}, 202);
    EXPECT_EQ(get("/health/detailed").at("status"), "healthy");
}

TEST_F(Operators, EveryRouteNeedsTheKey)
{
    start();
    auto const answers = [&](char const* method, std::string const& target) {
        auto const body = method == std::string_view("GET") ? "" : "{}";
        auto const response =
            http_->send(method, target, body, {{"X-Internal-Key", ""}, {"Content-Type", "application/json"}});
        EXPECT_EQ(response.status, 401) << method << ' ' << target;
    };
    for (auto const* const target : {"/groups", "/1"}) answers("GET", letters + std::string(target));
    for (auto const* const target : {"/redrive", "/drop"}) answers("POST", letters + std::string(target));
    for (auto const* const target : {"/internal/events/parked", "/internal/jobs", "/internal/controls"})
        answers("GET", target);
    for (auto const* const target : {"/internal/events/parked/release", "/internal/events/parked/drop",
                                     "/internal/jobs/stop", "/internal/jobs/resume", "/internal/controls"})
        answers("POST", target);
}

// ---- the command line

TEST_F(Operators, TheCommandLineSaysWhatHttpSays)
{
    auto events = refused_events(4);
    events.push_back(relationship(8, 9, 1, 50));
    run_earlier_program(data(), events);
    start();
    auto const json = [&](std::vector<std::string> const& verb) {
        auto const done = sluice(verb, {"--json"});
        EXPECT_EQ(done.code, 0) << done.error;
        return Json::parse(done.output);
    };
    EXPECT_EQ(json({"dead-letter", "list"}), get(letters));
    EXPECT_EQ(json({"dead-letter", "show", "1"}), get(std::string(letters) + "/1"));
    EXPECT_EQ(json({"dead-letter", "groups"}).at(0).at("count"), 4);
    auto const table = sluice({"dead-letter", "list", "--limit", "1"}).output;
    EXPECT_NE(table.find("1 of 4 that match, 4 open"), std::string::npos) << table;
    EXPECT_NE(sluice({"dead-letter", "show", "1"}).output.find("stages"), std::string::npos);

    EXPECT_EQ(json({"dead-letter", "redrive", "1"}).at("status"), "redriven");
    auto payload = events[1].at("payload");
    payload["strength"] = 12;
    write_file(directory_.path() / "payload", payload.dump());
    EXPECT_EQ(sluice({"dead-letter", "redrive", "2", "--payload", directory_.path() / "payload"}).code, 0);
    settled_state(*http_);
    EXPECT_EQ(strength_of(2, 1), 12);

    auto const dry = sluice({"dead-letter", "redrive", "--reason", "bad"});
    EXPECT_EQ(dry.code, 0);
    EXPECT_NE(dry.output.find("2 events match; nothing was changed"), std::string::npos) << dry.output;
    EXPECT_EQ(get(letters).at("count"), 2);
    EXPECT_EQ(sluice({"dead-letter", "drop", "4"}).output, "event 4 dropped\n");
    EXPECT_EQ(sluice({"dead-letter", "redrive", "--all", "--yes"}).code, 0);
    ASSERT_TRUE(job_ends());
    EXPECT_EQ(json({"job", "list"}), get("/internal/jobs"));
    EXPECT_EQ(json({"parked", "list"}), get("/internal/events/parked"));
    EXPECT_EQ(sluice({"parked", "release", "--all"}).code, 0);

    EXPECT_EQ(sluice({"tier", "pause", "low", "--note", "a test"}).code, 0);
    EXPECT_EQ(sluice({"type", "pause", "a.b"}).code, 0);
    EXPECT_EQ(sluice({"lane", "pause", did(1)}).code, 0);
    EXPECT_EQ(sluice({"lane", "resume", did(1)}).code, 0);
    EXPECT_EQ(sluice({"worker", "set", "3"}).code, 0);
    EXPECT_EQ(sluice({"limit", "set", "--tier-limits", "10,20,30,40"}).code, 0);
    auto const now = json({"control", "show"});
    EXPECT_EQ(now, get("/internal/controls"));
    EXPECT_EQ(now.at("paused"), (Json{{"tiers", {"low"}}, {"event_types", {"a.b"}}, {"dids", Json::array()}}));
    EXPECT_EQ(now.at("limits").at("tier_limits"), (Json{10, 20, 30, 40}));

    EXPECT_EQ(sluice({"dead-letter", "show", "99"}).code, 3);
    EXPECT_EQ(sluice({"job", "stop", "1"}).code, 3);
    EXPECT_EQ(sluice({"tier", "pause", "low"}).code, 1);
    EXPECT_EQ(sluice({"dead-letter", "redrive"}).code, 2);
    EXPECT_EQ(sluice({"dead-letter", "redrive", "1", "--all"}).code, 2);
    EXPECT_EQ(sluice({"parked", "release"}).code, 2);
    write_secret(directory_.path() / "wrong", "0123456789abcdef0123456789abcdeX");
    EXPECT_EQ(
        run({binary(), "job", "list", "--url", server_->url(), "--key-file", directory_.path() / "wrong"}).code, 4);
    auto const url = server_->url();
    EXPECT_EQ(server_->stop(), 0);
    EXPECT_EQ(run({binary(), "job", "list", "--url", url, "--key-file", key_file(data())}).code, 5);
}

TEST_F(Operators, AnExportCanBeIngestedElsewhere)
{
    auto events = refused_events(1'100);
    events.insert(events.begin(), refused_relationship(3'000, 9'000, 7, 10));
    events.push_back(refused_relationship(3'000, 9'000, 7, 20));
    auto big = refused_relationship(2'000, 9'000, 1, 42);
    big["payload"]["weight"] = 1.0;
    events.push_back(big);
    run_earlier_program(data(), events);
    start();
    auto const exported = sluice({"dead-letter", "export"});
    ASSERT_EQ(exported.code, 0) << exported.error;
    EXPECT_NE(exported.output.find(R"("payload":)" + big.at("payload").dump()), std::string::npos) << "byte by byte";

    Server other({.data = directory_.path() / "other"});
    write_file(directory_.path() / "exported", exported.output);
    auto const ingested = run({binary(), "ingest", directory_.path() / "exported", "--url", other.url(), "--key-file",
                               key_file(directory_.path() / "other")});
    EXPECT_EQ(ingested.code, 0) << ingested.error;
    auto http = other.http();
    auto const after = settled_state(http);
    EXPECT_EQ(after.at("applied"), 1'103);
    EXPECT_EQ(after.at("records").at("relationships"), 1'102);
    auto const twice = http.get("/v1/relationships?uri=" + percent_encoded(relationship_uri(did(3'000), 7)));
    EXPECT_EQ(twice.json().at("relationship").at("strength"), 20) << "the oldest comes first";
}

TEST_F(Operators, AProducersKeyLooksAndDoesNotTouch)
{
    std::string const key(32, 'p'), trusted(32, 'q');
    write_secret(directory_.path() / "keys",
                 "[indexer]\nkey = \"" + key + "\"\n[admin]\nkey = \"" + trusted + "\"\noperator = true\n");
    start({"--keys-file", directory_.path() / "keys"});
    Http producer(server_->address(), key), admin(server_->address(), trusted);
    auto const pause = Json{{"action", "pause"}, {"tier", "low"}}.dump();
    auto const refused = producer.post("/internal/controls", pause);
    EXPECT_EQ(refused.status, 403);
    EXPECT_EQ(refused.json().at("error"), "not_operator");
    EXPECT_EQ(producer.get("/internal/controls").status, 200);
    EXPECT_EQ(producer.get(letters).status, 200);
    EXPECT_EQ(admin.post("/internal/controls", pause).status, 200);
    auto const last = get("/internal/controls").at("last_control").get<std::uint64_t>();
    EXPECT_EQ(get("/internal/events/by-sequence/" + std::to_string(last)).at("payload").at("by"), "admin");
}

// ---- where an event is

TEST_F(Operators, AskWhereAnEventIs)
{
    run_earlier_program(data(), refused_events(1));
    start();
    auto const letter = get("/internal/events/by-sequence/1");
    EXPECT_EQ(letter.at("state"), "dead_lettered");
    EXPECT_EQ(letter.at("decisions").at(0).at("verdict"), "dead_letter");

    auto const redriven = post(std::string(letters) + "/redrive", {{"sequence", 1}}, 202);
    auto const successor = redriven.at("successor").get<std::uint64_t>();
    auto const of = [](std::uint64_t n) { return "/internal/events/by-sequence/" + std::to_string(n); };
    EXPECT_TRUE(eventually([&] { return get(of(successor)).at("state") == "applied"; }, std::chrono::seconds(10)));
    EXPECT_EQ(get(of(successor)).at("cause"), 1);
    EXPECT_EQ(get(of(1)).at("decisions").at(1).at("successor"), successor);
    EXPECT_TRUE(get(of(successor)).at("record").at("is_as_this_event_says"));

    auto event = relationship(3, 4, 1, 60);
    event["event_id"] = "id:with/a%20sign=@";
    auto const stored = http_->post("/internal/events", event.dump()).json();
    auto const id = event.at("event_id").get<std::string>();
    auto const found = get("/internal/events/by-id?event_id=" + percent_encoded(id));
    EXPECT_EQ(found.at("sequence"), stored.at("sequence"));
    EXPECT_EQ(found.at("payload"), event.at("payload"));
    auto const made = get(of(successor)).at("event_id").get<std::string>();
    EXPECT_EQ(get("/internal/events/by-id?event_id=" + percent_encoded(made)).at("sequence"), successor);

    for (auto const& [target, status] : std::map<std::string, int>{
             {"/internal/events/by-sequence/999", 404}, {"/internal/events/by-sequence/0", 400},
             {"/internal/events/by-sequence/x", 400},   {"/internal/events/by-id?event_id=nobody", 404},
             {"/internal/events/by-id", 400},           {"/internal/lanes", 400},
             {"/internal/lanes?blocked=1&limit=0", 400}, {"/internal/lanes?blocked=1&cursor=x", 400}})
        EXPECT_EQ(http_->get(target).status, status) << target;
}

TEST_F(Operators, SeeWhatABlockedLaneWaitsFor)
{
    start();
    post("/internal/controls", {{"action", "pause"}, {"did", did(3)}}, 200);
    std::vector<std::uint64_t> sequences;
    for (std::uint64_t n = 1; n <= 3; ++n)
        sequences.push_back(
            http_->post("/internal/events", relationship(3, 4, n, 60).dump()).json().at("sequence"));
    auto const where = [&](std::size_t i) {
        return get("/internal/events/by-sequence/" + std::to_string(sequences[i]));
    };
    EXPECT_TRUE(eventually([&] { return where(2).at("state") == "blocked"; }, std::chrono::seconds(10)));
    EXPECT_EQ(where(2).at("behind"), sequences[0]);
    EXPECT_TRUE(where(0).at("paused"));

    auto const lanes = get("/internal/lanes?blocked=1").at("lanes");
    ASSERT_EQ(lanes.size(), 1u);
    EXPECT_EQ(lanes[0].at("did"), did(3));
    EXPECT_EQ(lanes[0].at("state"), "paused");
    EXPECT_EQ(lanes[0].at("head"), sequences[0]);
    EXPECT_EQ(lanes[0].at("depth").at("normal"), 3);

    auto const shown = sluice({"event", "show", std::to_string(sequences[2])}, {"--json"});
    EXPECT_EQ(shown.code, 0) << shown.error;
    EXPECT_EQ(Json::parse(shown.output).at("state"), "blocked");
    EXPECT_NE(sluice({"lane", "list"}).output.find(did(3)), std::string::npos);
    EXPECT_EQ(sluice({"event", "show", "nobody"}).code, 3);

    post("/internal/controls", {{"action", "resume"}, {"did", did(3)}}, 200);
    EXPECT_TRUE(eventually([&] { return where(2).at("state") == "applied"; }, std::chrono::seconds(10)));
    EXPECT_TRUE(get("/internal/lanes?blocked=1").at("lanes").empty());
}

}  // namespace
}  // namespace sluice::e2e
