// Dead letters and parked events that are taken up again, alone and by jobs.
#include "engine/whereabouts.hpp"

#include "graph/resident_store.hpp"
#include "log/memory_log.hpp"
#include "sim/manual_clock.hpp"
#include "unit/engine/support.hpp"

#include <gtest/gtest.h>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;

// What the processor refuses today; a later version of the program may not.
bool is_healed = false;

constexpr std::string_view types_[] = {"verify", "dispute", "strengthen", "weaken"};
constexpr PayloadField     fields[] = {
    {.names = "uri", .type = PayloadField::Type::at_uri},
    {.names = "cid", .type = PayloadField::Type::text, .min = 1, .max = 255},
    {.names = "display_name", .type = PayloadField::Type::text, .min = 1, .max = 100},
    {.names = "entity_type", .type = PayloadField::Type::choice, .choices = types_},
    {.names = "bio", .type = PayloadField::Type::text, .min = 0, .max = 100},
    {.names = "avatar_url", .type = PayloadField::Type::text, .min = 0, .max = 100},
    {.names = "created_at", .type = PayloadField::Type::integer, .min = 0, .max = 1'000'000},
};
constexpr EventType events[] = {{.name = "test.put"}, {.name = "test.parks"}};
// What a later program knows.
constexpr EventType later_events[] = {{.name = "test.put"}, {.name = "test.parks"}, {.name = "test.late"}};

Result<Effects> process(Event const& event, RecordView const&)
{
    auto const name = event.fields.text(2).value_or("");
    if (name.starts_with("bad") && !is_healed)
        return Error{Errc::invalid, "not_today", "number " + std::to_string(number(event.sequence))};
    Effects effects{.action = Effects::Action::put, .kind = Kind::entity, .key = *event.fields.text(0), .fields = {},
                    .field_count = std::size(fields)};
    effects.fields[2] = name;
    return effects;
}

constexpr Processor processor{.name = "test", .version = 1, .events = events, .fields = fields, .process = process};
constexpr Processor const* processors[] = {&processor};
constexpr Processor later{.name = "test", .version = 1, .events = later_events, .fields = fields, .process = process};
constexpr Processor const* later_processors[] = {&later};

class TakingUp : public testing::Test {
protected:
    TakingUp()
    {
        is_healed = false;
        start();
    }

    EngineOptions options() const
    {
        EngineOptions options;
        options.parked = parked_;
        options.dead_letters.events = dead_letters_max_;
        return options;
    }

    void start()
    {
        engine_.reset();
        log_ = std::make_unique<log::MemoryLog>(disk_);
        store_ = std::make_unique<graph::ResidentStore>();
        engine_ = std::make_unique<Engine>(
            Engine::Deps{*log_, *store_, *program_, clock_}, options(), [](std::vector<BlockRef> const&) {});
        ASSERT_TRUE(engine_->recover());
    }

    void send(std::string const& type, std::string const& record, std::string const& name, std::string const& rev = "")
    {
        submit("did:plc:a", type, record, name, rev);
        settle();
    }

    void submit(
        std::string const& did, std::string const& type, std::string const& record, std::string const& name,
        std::string const& rev)
    {
        auto text = R"({"event_type":")" + type + R"(","did":")" + did + R"(","payload":{"uri":"at://)" + did +
                    "/net.rhiz.x/" + record + R"(","cid":"c","display_name":")" + name + R"("})" +
                    (rev.empty() ? "" : R"(,"rev":")" + rev + '"') + '}';
        auto const size = text.size();
        text.append(schema::Decoder::padding, '\0');
        BlockRef        block(new Block);
        schema::Decoded decoded;
        schema::Decoder decoder(*program_);
        auto const      error = decoder.decode(std::string_view(text).substr(0, size), block->data, decoded);
        ASSERT_FALSE(error) << error->detail << (error->errors.empty() ? "" : error->errors[0].pointer);
        block->items.push_back({.offset = decoded.offset, .tier = decoded.tier});
        Admission::Demand demand;
        demand.events[index(decoded.tier)] = 1;
        block->requests.push_back({.first = 0, .count = 1});
        ASSERT_FALSE(engine_->admission().admit(demand, block->requests[0].ticket));
        engine_->submit(std::move(block));
    }

    // Everything that can be done now is.
    void settle()
    {
        for (int i = 0; i < 100; ++i) {
            engine_->append_step();
            for (int n = 0; n < 10; ++n) ASSERT_TRUE(engine_->work_step(0));
            if (engine_->idle()) return;
        }
    }

    // Alone, as an operator does.
    Block::Order take_up(std::uint64_t sequence, Successors::Wish const& wish)
    {
        Successors   successors({*log_, *program_});
        BlockRef     block(new Block);
        Block::Order order;
        EXPECT_TRUE(successors.add(*block, Sequence{sequence}, wish, clock_.wall()));
        Admission::Demand demand;
        demand.events[index(Tier::normal)] = static_cast<std::uint32_t>(block->items.size());
        EXPECT_FALSE(engine_->admission().admit(demand, block->requests[0].ticket));
        block->answered = [&](Block const& answered) { order = answered.orders.front(); };
        engine_->submit(std::move(block));
        settle();
        return order;
    }

    void run_job(Job const& job)
    {
        auto const payload = to_payload(job);
        ASSERT_TRUE(engine_->controls().check(control::job_started, payload));
        engine_->submit(make_control(control::job_started, payload, [](Block const&) {}));
        settle();
        for (int i = 0; i < 200 && engine_->controls().state().job; ++i) {
            engine_->jobs_step();
            settle();
            clock_.advance(10ms);
        }
        engine_->jobs_step();
    }

    Whereabouts where(std::uint64_t sequence) const
    {
        auto const found = locate({*engine_, *log_, *store_, schemas_}, Sequence{sequence});
        EXPECT_TRUE(found && *found);
        return found && *found ? **found : Whereabouts{};
    }

    std::string name_of(std::string const& record) const
    {
        auto const found = store_->find(Kind::entity, "at://did:plc:a/net.rhiz.x/" + record).value();
        return found ? std::string((*found)->fields.text(2).value_or("")) : "";
    }

    void expect_numbers(std::uint64_t accepted, std::uint64_t applied, std::uint64_t dead, std::uint64_t parked)
    {
        auto const expect = [&](EngineState const& state, char const* when) {
            EXPECT_EQ(state.accepted, accepted) << when;
            EXPECT_EQ(state.applied, applied) << when;
            EXPECT_EQ(state.dead_lettered, dead) << when;
            EXPECT_EQ(state.parked, parked) << when;
            EXPECT_EQ(state.watermark, state.last_sequence) << when;
        };
        expect(engine_->state(), "live");
        auto const digest = store_->digest();
        auto const open = engine_->dead_letters().stats().count, waiting = engine_->parking().events();
        auto const controls = to_text(engine_->controls().state());
        start();
        expect(engine_->state(), "after a restart");
        EXPECT_EQ(store_->digest(), digest);
        EXPECT_EQ(engine_->dead_letters().stats().count, open);
        EXPECT_EQ(engine_->parking().events(), waiting);
        EXPECT_EQ(to_text(engine_->controls().state()), controls);
    }

    sim::ManualClock                      clock_;
    log::MemoryLog::Disk                  disk_;
    schema::SchemaSet                     schemas_{processors}, later_{later_processors};
    schema::SchemaSet const*              program_{&schemas_};
    ParkedTypes                           parked_{"test.parks"};
    std::size_t                           dead_letters_max_{3};
    std::unique_ptr<log::MemoryLog>       log_;
    std::unique_ptr<graph::ResidentStore> store_;
    std::unique_ptr<Engine>               engine_;
};

TEST_F(TakingUp, ARedrivenEventIsANewOneAndItsVerdictStays)
{
    send("test.put", "r", "bad");
    expect_numbers(1, 0, 1, 0);
    EXPECT_TRUE(engine_->dead_letters().is_open(Sequence{1}));

    is_healed = true;
    auto const order = take_up(1, {.verdict = log::Verdict::redriven, .by = "somebody"});
    EXPECT_EQ(order.before, log::Verdict::dead_letter);
    EXPECT_EQ(order.decision.successor, Sequence{2});
    EXPECT_FALSE(engine_->dead_letters().is_open(Sequence{1}));
    EXPECT_EQ(name_of("r"), "bad");
    expect_numbers(2, 1, 1, 0);
    EXPECT_EQ(name_of("r"), "bad");
}

TEST_F(TakingUp, NothingIsTakenUpTwice)
{
    send("test.put", "r", "bad");
    is_healed = true;
    EXPECT_TRUE(take_up(1, {.verdict = log::Verdict::redriven}).before);
    EXPECT_FALSE(take_up(1, {.verdict = log::Verdict::redriven}).before);
    EXPECT_FALSE(take_up(1, {.verdict = log::Verdict::dropped}).before);
    EXPECT_EQ(engine_->admission().use().events, 0u);
    expect_numbers(2, 1, 1, 0);
}

TEST_F(TakingUp, AnOldEventDoesNotOverwriteWhatWasWrittenSince)
{
    send("test.put", "r", "bad");
    send("test.put", "r", "newer");
    is_healed = true;
    take_up(1, {.verdict = log::Verdict::redriven});
    EXPECT_EQ(name_of("r"), "newer");
    EXPECT_EQ(engine_->state().stale, 1u);
    expect_numbers(3, 2, 1, 0);
}

TEST_F(TakingUp, AnEventAsNewOverwrites)
{
    send("test.put", "r", "bad");
    send("test.put", "r", "newer");
    is_healed = true;
    take_up(1, {.verdict = log::Verdict::redriven, .as_new = true});
    EXPECT_EQ(name_of("r"), "bad");
    expect_numbers(3, 2, 1, 0);
}

TEST_F(TakingUp, TheRevDecidesWhereThereIsOne)
{
    send("test.put", "r", "bad", "3jzfcijpj2z2b");
    send("test.put", "r", "older", "3jzfcijpj2z2a");
    is_healed = true;
    take_up(1, {.verdict = log::Verdict::redriven});
    EXPECT_EQ(name_of("r"), "bad");
    expect_numbers(3, 2, 1, 0);
}

TEST_F(TakingUp, AnEditedEventKeepsItsPlaceAndHasTheNewPayload)
{
    send("test.put", "r", "bad");
    take_up(1, {.verdict = log::Verdict::redriven,
                .payload = R"({"uri":"at://did:plc:a/net.rhiz.x/r","cid":"c","display_name":"edited"})"});
    EXPECT_EQ(name_of("r"), "edited");
    expect_numbers(2, 1, 1, 0);
}

TEST_F(TakingUp, AnEditThatDoesNotDecodeIsRefused)
{
    send("test.put", "r", "bad");
    Successors successors({*log_, schemas_});
    BlockRef   block(new Block);
    auto const added = successors.add(
        *block, Sequence{1},
        {.verdict = log::Verdict::redriven, .payload = R"({"uri":"at://did:plc:other/net.rhiz.x/r","cid":"c"})"},
        clock_.wall());
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().reason, "did_mismatch");
    EXPECT_TRUE(block->orders.empty());
}

TEST_F(TakingUp, ADroppedDeadLetterIsCountedStill)
{
    send("test.put", "r", "bad");
    EXPECT_TRUE(take_up(1, {.verdict = log::Verdict::dropped}).before);
    EXPECT_EQ(engine_->dead_letters().stats().count, 0u);
    expect_numbers(1, 0, 1, 0);
}

TEST_F(TakingUp, LaterEventsOfAParkedRecordFollowItAndAreReleasedInOrder)
{
    send("test.parks", "r", "bad 1");
    send("test.put", "r", "good 2");
    send("test.put", "other", "good 3");
    send("test.parks", "r", "bad 4");
    EXPECT_EQ(name_of("r"), "");
    EXPECT_EQ(name_of("other"), "good 3");
    expect_numbers(4, 1, 0, 3);

    is_healed = true;
    run_job({.kind = Job::Kind::release, .filter = {.through = log_->last()}, .rate = 1'000});
    EXPECT_EQ(name_of("r"), "bad 4");
    EXPECT_EQ(engine_->state().stale, 0u);
    EXPECT_TRUE(engine_->parking().is_empty());
    expect_numbers(4, 4, 0, 0);
    send("test.put", "r", "good 5");
    EXPECT_EQ(name_of("r"), "good 5");
    expect_numbers(5, 5, 0, 0);
}

TEST_F(TakingUp, WhatIsReleasedTooSoonIsParkedAgainInItsPlace)
{
    send("test.parks", "r", "bad 1");
    send("test.put", "r", "good 2");
    run_job({.kind = Job::Kind::release, .filter = {.through = log_->last()}, .rate = 1'000});
    EXPECT_EQ(name_of("r"), "");
    expect_numbers(2, 0, 0, 2);
    send("test.put", "r", "good 3");
    expect_numbers(3, 0, 0, 3);

    is_healed = true;
    run_job({.kind = Job::Kind::release, .filter = {.through = log_->last()}, .rate = 1'000});
    EXPECT_EQ(name_of("r"), "good 3");
    expect_numbers(3, 3, 0, 0);
}

TEST_F(TakingUp, ADroppedParkedEventLetsOthersPass)
{
    send("test.parks", "r", "bad 1");
    take_up(1, {.verdict = log::Verdict::dropped});
    expect_numbers(1, 0, 1, 0);
    send("test.put", "r", "good 2");
    EXPECT_EQ(name_of("r"), "good 2");
    expect_numbers(2, 1, 1, 0);
}

TEST_F(TakingUp, ALaneWhoseDeadLetterFindsNoRoomWaits)
{
    for (int i = 0; i < 3; ++i) send("test.put", "r" + std::to_string(i), "bad");
    EXPECT_TRUE(engine_->dead_letters().stats().is_full);
    send("test.put", "r3", "bad");
    EXPECT_FALSE(engine_->idle());
    EXPECT_EQ(engine_->state().dead_lettered, 3u);

    take_up(1, {.verdict = log::Verdict::dropped});
    clock_.advance(2s);
    settle();
    EXPECT_TRUE(engine_->idle());
    expect_numbers(4, 0, 4, 0);
}

TEST_F(TakingUp, AJobTakesUpWhatMatchesAndNothingElse)
{
    send("test.put", "r1", "bad");
    send("test.put", "r2", "bad");
    is_healed = true;
    auto const cause = engine_->dead_letters().list({}, Sequence::none, 1, false).at(0).fingerprint;
    EXPECT_EQ(engine_->dead_letters().count({.fingerprint = cause}), 2u);
    EXPECT_EQ(engine_->dead_letters().groups({}).size(), 1u);
    run_job({.kind = Job::Kind::redrive, .filter = {.did = "did:plc:b", .through = log_->last()}, .rate = 1'000});
    EXPECT_EQ(engine_->dead_letters().stats().count, 2u);
    run_job({.kind = Job::Kind::redrive, .filter = {.fingerprint = cause, .through = log_->last()}, .rate = 1'000});
    EXPECT_EQ(engine_->dead_letters().stats().count, 0u);
    auto const progress = engine_->jobs().progress();
    ASSERT_EQ(progress.size(), 2u);
    EXPECT_TRUE(progress[0].is_finished);
    EXPECT_EQ(progress[0].done, 2u);
    expect_numbers(4, 2, 2, 0);
}

TEST_F(TakingUp, AJobKeepsItsRate)
{
    for (int i = 0; i < 3; ++i) send("test.put", "r" + std::to_string(i), "bad");
    is_healed = true;
    engine_->submit(make_control(
        control::job_started, to_payload({.kind = Job::Kind::redrive, .filter = {.through = log_->last()}, .rate = 1}),
        [](Block const&) {}));
    settle();
    auto const began = clock_.now();
    for (int i = 0; i < 80 && engine_->dead_letters().stats().count != 0; ++i) {
        engine_->jobs_step();
        settle();
        auto const done = 3 - static_cast<double>(engine_->dead_letters().stats().count);
        EXPECT_LE(done, std::chrono::duration<double>(clock_.now() - began).count() + 1e-3);
        clock_.advance(50ms);
    }
    EXPECT_EQ(engine_->dead_letters().stats().count, 0u);
}

TEST_F(TakingUp, AJobGoesOnAfterARestartAndStopsWhenTold)
{
    for (int i = 0; i < 3; ++i) send("test.put", "r" + std::to_string(i), "bad");
    is_healed = true;
    engine_->submit(make_control(
        control::job_started, to_payload({.kind = Job::Kind::redrive, .filter = {.through = log_->last()}, .rate = 1}),
        [](Block const&) {}));
    settle();
    auto const tick = [&] {
        for (int i = 0; i < 3; ++i) {
            engine_->jobs_step();
            settle();
        }
        clock_.advance(1s);
    };
    for (int i = 0; i < 2; ++i) tick();
    EXPECT_EQ(engine_->dead_letters().stats().count, 2u);
    start();
    EXPECT_EQ(engine_->dead_letters().stats().count, 2u);
    for (int i = 0; i < 2; ++i) tick();
    EXPECT_EQ(engine_->dead_letters().stats().count, 1u);

    auto const id = std::to_string(number(engine_->controls().state().job->id));
    engine_->submit(make_control(control::job_stopped, R"({"job":)" + id + '}', [](Block const&) {}));
    settle();
    for (int i = 0; i < 3; ++i) tick();
    EXPECT_EQ(engine_->dead_letters().stats().count, 1u);
    EXPECT_TRUE(engine_->jobs().progress().at(0).job.is_stopped);
    engine_->submit(make_control(control::job_resumed, R"({"job":)" + id + '}', [](Block const&) {}));
    settle();
    for (int i = 0; i < 3; ++i) tick();
    EXPECT_EQ(engine_->dead_letters().stats().count, 0u);
    EXPECT_FALSE(engine_->controls().state().job);
}

TEST_F(TakingUp, AControlIsARecordOfTheLogAndNoEvent)
{
    auto const pause = [&](char const* payload) {
        engine_->submit(make_control(control::tier_paused, payload, [](Block const&) {}));
        settle();
    };
    pause(R"({"tier":"low"})");
    EXPECT_TRUE(engine_->controls().state().tiers[index(Tier::low)]);
    EXPECT_EQ(log_->last(), Sequence{1});
    EXPECT_EQ(engine_->state().watermark, Sequence{1});
    EXPECT_FALSE(engine_->controls().check(control::tier_paused, R"({"tier":"low"})"));
    EXPECT_FALSE(engine_->controls().check(control::tier_paused, R"({"tier":"lowest"})"));
}

TEST_F(TakingUp, WhatIsPausedWaitsUntilItIsResumedAndARestartFoldsItAllTheSame)
{
    engine_->submit(make_control(control::lane_paused, R"({"did":"did:plc:a"})", [](Block const&) {}));
    send("test.put", "r", "good");
    EXPECT_EQ(engine_->state().applied, 0u);
    EXPECT_EQ(engine_->admission().use().events, 0u);  // it waits in the backlog
    engine_->submit(make_control(control::lane_resumed, R"({"did":"did:plc:a"})", [](Block const&) {}));
    settle();
    EXPECT_EQ(engine_->state().applied, 1u);
    expect_numbers(1, 1, 0, 0);
}

TEST_F(TakingUp, AFoldParksNothingThatWasAppliedBeforeTheParkedOneCame)
{
    parked_ = {};
    start();
    send("test.parks", "r", "bad 1");
    send("test.put", "r", "good 2");
    parked_ = {"test.parks"};
    start();
    take_up(1, {.verdict = log::Verdict::redriven});  // it is parked now, in the place of 1
    EXPECT_EQ(engine_->parking().events(), 1u);
    expect_numbers(3, 1, 1, 1);
    EXPECT_EQ(name_of("r"), "good 2");
}

TEST_F(TakingUp, ATypeThatWasUnknownIsReleasedWithoutAnybodyWaitingForIt)
{
    send("test.late", "r", "late 1");
    send("test.put", "r", "good 2");
    program_ = &later_;
    start();
    take_up(1, {.verdict = log::Verdict::released});
    EXPECT_EQ(name_of("r"), "good 2");
    expect_numbers(2, 2, 0, 0);
    EXPECT_EQ(name_of("r"), "good 2");
}

TEST_F(TakingUp, ACopyThatAFoldGivesUpHoldsNobodyBack)
{
    send("test.parks", "r", "bad 1");
    parked_ = {};
    start();
    Successors successors({*log_, schemas_});
    BlockRef   block(new Block);
    ASSERT_TRUE(successors.add(*block, Sequence{1}, {.verdict = log::Verdict::released}, clock_.wall()));
    Admission::Demand demand;
    demand.events[index(Tier::normal)] = 1;
    ASSERT_FALSE(engine_->admission().admit(demand, block->requests[0].ticket));
    block->answered = [](Block const&) {};
    engine_->submit(std::move(block));
    engine_->append_step();
    start();
    EXPECT_EQ(engine_->state().dead_lettered, 1u);
    EXPECT_TRUE(engine_->parking().is_empty());
    send("test.put", "r", "good 3");
    EXPECT_EQ(name_of("r"), "good 3");
}

TEST_F(TakingUp, ADroppedEventWhoseTypeIsNotKnownAnyMoreHoldsNobodyBack)
{
    program_ = &later_;
    parked_ = {"test.late"};
    start();
    send("test.late", "r", "bad 1");
    program_ = &schemas_;
    start();
    take_up(1, {.verdict = log::Verdict::dropped});
    EXPECT_TRUE(engine_->parking().is_empty());
    send("test.put", "r", "good 2");
    EXPECT_EQ(name_of("r"), "good 2");
}

TEST_F(TakingUp, AJobLeavesNothingOutWhileThereAreNoPlaces)
{
    for (int i = 0; i < 5; ++i) send("test.parks", "r" + std::to_string(i), "bad");
    is_healed = true;
    engine_->submit(make_control(
        control::job_started,
        to_payload({.kind = Job::Kind::release, .filter = {.through = log_->last()}, .rate = 1'000}),
        [](Block const&) {}));
    settle();
    Admission::Ticket all;
    Admission::Demand most;
    most.events[index(Tier::critical)] = engine_->admission().limits().events;
    ASSERT_FALSE(engine_->admission().admit(most, all));
    for (int i = 0; i < 200 && engine_->controls().state().job; ++i) {
        engine_->jobs_step();
        settle();
        clock_.advance(10ms);
        if (i == 50) Admission::Ticket(std::move(all));
    }
    EXPECT_FALSE(engine_->controls().state().job);
    EXPECT_EQ(engine_->parking().events(), 0u);
}

TEST_F(TakingUp, AJobWhoseBatchNeverFitsTakesSmallerOnes)
{
    dead_letters_max_ = 1'000;
    start();
    for (int i = 0; i < 80; ++i) send("test.put", "r" + std::to_string(i), "bad");
    is_healed = true;
    engine_->submit(make_control(
        control::limits_set, R"({"capacity":50,"bytes":1048576,"tier_limits":[70,80,90,100]})", [](Block const&) {}));
    run_job({.kind = Job::Kind::redrive, .filter = {.through = log_->last()}, .rate = 1'000});
    EXPECT_FALSE(engine_->controls().state().job);
    EXPECT_EQ(engine_->dead_letters().stats().count, 0u);
}

TEST_F(TakingUp, NoMoreDeadLettersAreOpenThanThereMayBeHoweverManyFailAtOnce)
{
    for (int i = 0; i < 40; ++i) submit("did:plc:a" + std::to_string(i), "test.put", "r", "bad", "");
    settle();
    EXPECT_EQ(engine_->dead_letters().stats().count, 3u);
    EXPECT_FALSE(engine_->idle());
}

TEST_F(TakingUp, SaysWhereAnEventIs)
{
    send("test.put", "r", "good 1");
    EXPECT_EQ(where(1).state, EventState::applied);
    EXPECT_EQ(where(1).written->sequence, Sequence{1});
    send("test.put", "r", "good 2");
    EXPECT_EQ(where(1).state, EventState::applied);
    EXPECT_EQ(where(1).written->sequence, Sequence{2});

    send("test.put", "s", "bad 3");
    EXPECT_EQ(where(3).state, EventState::dead_lettered);
    EXPECT_EQ(where(3).decisions.at(0).reason, "not_today");
    send("test.put", "s", "newer 4");
    is_healed = true;
    auto const successor = take_up(3, {.verdict = log::Verdict::redriven}).decision.successor;
    EXPECT_EQ(where(3).state, EventState::dead_lettered);
    EXPECT_EQ(where(3).decisions.back().successor, successor);
    EXPECT_EQ(where(number(successor)).state, EventState::stale);
    EXPECT_EQ(where(number(successor)).origin.cause, Sequence{3});
    EXPECT_EQ(where(number(successor)).written->sequence, Sequence{4});

    is_healed = false;
    send("test.parks", "t", "bad 6");
    EXPECT_EQ(where(6).state, EventState::parked);
    send("test.put", "t", "good 7");
    EXPECT_EQ(where(7).state, EventState::parked);
    EXPECT_EQ(where(7).decisions.at(0).reason, "follows_parked");
    is_healed = true;
    run_job({.kind = Job::Kind::release, .filter = {.through = log_->last()}, .rate = 1'000});
    EXPECT_EQ(where(7).state, EventState::applied);
    ASSERT_EQ(where(7).copies.size(), 1u);
    EXPECT_EQ(where(8).state, EventState::internal);

    auto const none = locate({*engine_, *log_, *store_, schemas_}, next(log_->last()));
    ASSERT_TRUE(none);
    EXPECT_FALSE(*none);
}

TEST_F(TakingUp, SaysWhatAnEventWaitsFor)
{
    engine_->submit(make_control(control::lane_paused, R"({"did":"did:plc:a"})", [](Block const&) {}));
    send("test.put", "r", "good 2");
    send("test.put", "r", "good 3");
    EXPECT_EQ(where(2).state, EventState::blocked);
    EXPECT_TRUE(where(2).is_paused);
    EXPECT_EQ(where(3).state, EventState::blocked);
    EXPECT_EQ(where(3).behind, Sequence{2});
}

TEST_F(TakingUp, FindsAnEventByItsId)
{
    send("test.put", "r", "good 1", "3jzfcijpj2z2a");
    auto const id = where(1).event_id;
    Sequence   found{};
    engine_->find(id, [&](Result<Sequence> at) { found = at.value(); });
    EXPECT_TRUE(engine_->append_step());
    EXPECT_EQ(found, Sequence{1});
    engine_->find("x-unknown", [&](Result<Sequence> at) { found = at.value(); });
    EXPECT_TRUE(engine_->append_step());
    EXPECT_EQ(found, Sequence::none);

    send("test.put", "r", "good 2");
    EXPECT_EQ(sequence_in_id(where(2).event_id), Sequence{2});
    EXPECT_EQ(sequence_in_id("anything else"), Sequence::none);
    EXPECT_EQ(sequence_in_id("00000000-0000-7000-8000-000000000002"), Sequence::none);
}

TEST(Fingerprint, LeavesOutWhatVaries)
{
    auto const of = [](std::string detail) {
        log::Decision decision{.reason = "a_reason", .detail = std::move(detail)};
        decision.subject.type = "a.type";
        return fingerprint(decision);
    };
    EXPECT_EQ(of("strength 101 of at://did:plc:a/x/1 is too high"), of("strength 7 of at://did:plc:b/y/2 is too high"));
    EXPECT_EQ(of("no 'first' here"), of("no 'second' here"));
    EXPECT_NE(of("strength 101 is too high"), of("strength 101 is too low"));
}

}  // namespace
}  // namespace sluice::engine
