#include "engine/decide.hpp"

#include "unit/engine/support.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace sluice::engine {
namespace {

constexpr PayloadField fields[] = {
    {.names = "count", .type = PayloadField::Type::integer, .min = 0, .max = 100},
    {.names = "name", .type = PayloadField::Type::text, .min = 1, .max = 20},
};
constexpr EventType types[] = {
    {.name = "test.fine"}, {.name = "test.invalid"}, {.name = "test.throws"}, {.name = "test.throws_an_int"}};

// Its effect carries the fields it was given, so that a test sees what was decoded.
Result<Effects> process(Event const& event, RecordView const&)
{
    if (event.type == "test.invalid") return Error{Errc::invalid, "not_today", ""};
    if (event.type == "test.throws") throw std::runtime_error("a bug");
    if (event.type == "test.throws_an_int") throw 42;
    Effects effects;
    effects.field_count = event.fields.size();
    if (auto const count = event.fields.integer(0)) effects.fields[0] = *count;
    if (auto const name = event.fields.text(1)) effects.fields[1] = *name;
    return effects;
}

constexpr Processor processor{
    .name = "test", .version = 2, .events = types, .fields = fields, .process = process};
constexpr Processor const* processors[] = {&processor};

class NoRecords final : public RecordView {
public:
    std::optional<Record> find(Kind, std::string_view) const override { return std::nullopt; }
};

class Deciding : public testing::Test {
protected:
    // An event as a processor of another version left it in the log: without slots of ours.
    Result<Effects> decide(std::string_view type, std::string_view payload, std::uint16_t version = 1)
    {
        log::RecordDraft draft;
        draft.type = type;
        draft.did = "did:web:a.example";
        draft.payload = payload;
        draft.schema_version = version;
        if (version == 2) draft.slot_count = std::size(fields);
        for (auto& slot : draft.integers) slot = Fields::absent;
        bytes_.clear();
        auto const offset = log::write_record(draft, bytes_);
        bytes_.shrink_to_fit();
        auto const event = decider_.read(log::LoggedRecord(bytes_.data() + offset), Sequence{3}, WallTime{});
        EXPECT_EQ(event.sequence, Sequence{3});
        EXPECT_EQ(event.payload, payload);
        return decider_(event, NoRecords());
    }

    schema::SchemaSet schemas_{processors};
    Decider           decider_{schemas_};
    std::string       bytes_;
};

TEST_F(Deciding, RunsTheProcessorOfTheType)
{
    EXPECT_TRUE(decide("test.fine", "{}", 2));
    auto const refused = decide("test.invalid", "{}", 2);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, "not_today");
}

TEST_F(Deciding, ReadsAnEventOfAnOlderVersionAnewFromItsPayload)
{
    auto const effects = decide("test.fine", R"({"name":"an event","count":7})", 1);
    ASSERT_TRUE(effects);
    ASSERT_EQ(effects->field_count, 2u);
    EXPECT_EQ(std::get<std::int64_t>(effects->fields[0]), 7);
    EXPECT_EQ(std::get<std::string_view>(effects->fields[1]), "an event");
}

TEST_F(Deciding, TrustsTheSlotsOfItsOwnVersion)
{
    auto const effects = decide("test.fine", R"({"count":7})", 2);
    ASSERT_TRUE(effects);
    EXPECT_TRUE(std::holds_alternative<std::monostate>(effects->fields[0]));
}

TEST_F(Deciding, RefusesAnOlderEventThatNoLongerDecodes)
{
    auto const effects = decide("test.fine", R"({"count":"seven"})", 1);
    ASSERT_FALSE(effects);
    EXPECT_EQ(effects.error().code, Errc::invalid);
    EXPECT_EQ(effects.error().reason, "undecodable");
}

TEST_F(Deciding, TakesAnExceptionForAnInvalidEvent)
{
    auto const thrown = decide("test.throws", "{}", 2);
    ASSERT_FALSE(thrown);
    EXPECT_EQ(thrown.error().code, Errc::invalid);
    EXPECT_EQ(thrown.error().reason, "processor_exception");
    EXPECT_EQ(thrown.error().detail, "a bug");
    EXPECT_EQ(decide("test.throws_an_int", "{}", 2).error().reason, "processor_exception");
}

TEST_F(Deciding, ParksUnknownTypesAndDeadLettersTheRest)
{
    auto const unknown = decide("test.unheard_of", "{}", 0);
    ASSERT_FALSE(unknown);
    Event const event{
        .sequence = Sequence{3}, .type = "test.unheard_of", .did = "did:plc:a", .payload = "{}", .fields = {}};
    EXPECT_EQ(verdict_on(event, unknown.error(), 1, {}, schemas_, {}).verdict, log::Verdict::parked);

    WallTime const at(std::chrono::days(1));
    auto const     decision = verdict_on(event, {Errc::invalid, "not_today", "why"}, 4, at, schemas_, {});
    EXPECT_EQ(decision.sequence, Sequence{3});
    EXPECT_EQ(decision.verdict, log::Verdict::dead_letter);
    EXPECT_EQ(decision.attempts, 4u);
    EXPECT_EQ(decision.at, at);
    EXPECT_EQ(decision.reason, "not_today");
    EXPECT_EQ(decision.detail, "why");
}

}  // namespace
}  // namespace sluice::engine
