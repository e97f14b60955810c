#include "fixture.hpp"

#include "base/hash.hpp"

#include <set>

namespace sluice::schema::test {
namespace {

using Envelope = DecoderTest;
using Payload = DecoderTest;
using Ids = DecoderTest;

TEST_F(Envelope, BecomesARecord)
{
    auto const record = accept(envelope("relationship.created", relationship())
                                   .with("event_id", R"("e-1")")
                                   .with("rev", R"("3jzfcijpj2z2a")")
                                   .with("priority", "3")
                                   .with("timestamp", R"("2026-01-01T00:00:00Z")"));

    EXPECT_EQ(record.type(), "relationship.created");
    EXPECT_EQ(record.did(), owner);
    EXPECT_EQ(record.stored_id(), "e-1");
    EXPECT_EQ(record.payload(), relationship().text());
    EXPECT_EQ(record.tier(), Tier::critical);
    EXPECT_EQ(decoded_.tier, Tier::critical);
    EXPECT_NE(record.header().rev, 0u);
    EXPECT_EQ(record.header().schema_version, 1);
    EXPECT_TRUE(record.payload_intact());
}

TEST_F(Envelope, KeepsThePayloadByteForByte)
{
    std::string const payload = "{ \"\\u0075ri\":\t\"at:\\/\\/did:plc:owner\\/a.b.c\\/1\" , \"n\" : -0, "
                                "\"m\":1.50E+2,\r\n \"\xC3\xA9\":\"\\u00e9\" }";

    EXPECT_EQ(accept(envelope("relationship.deleted", payload)).payload(), payload);
    EXPECT_EQ(accept(envelope("free", payload)).payload(), payload);
}

TEST_F(Envelope, IsTheSameInAnyOrderOfMembers)
{
    auto const        usual = accept(envelope("relationship.created", relationship()).with("event_id", R"("e-1")"));
    std::string const usual_bytes(usual.bytes());

    auto const other_order = accept(Json{
        {"payload", relationship().text()},
        {"event_id", R"("e-1")"},
        {"did", in_quotes(owner)},
        {"event_type", R"("relationship.created")"}});

    EXPECT_EQ(other_order.bytes(), usual_bytes);
}

TEST_F(Envelope, ReadsEscapedNamesAndValues)
{
    auto const record =
        accept(R"({"event\u005ftype":"relationship\u002edeleted","payload":{"\u0075ri":"at:\/\/did:plc:owner"},
        "did":"did:plc\u003aowner","priority":"\u0068igh","event_id":"a\/b"})");

    EXPECT_EQ(record.type(), "relationship.deleted");
    EXPECT_EQ(record.did(), owner);
    EXPECT_EQ(record.stored_id(), "a/b");
    EXPECT_EQ(record.event(Sequence{1}, {}).fields.text(relationship_field::uri), "at://did:plc:owner");
}

TEST_F(Envelope, TakesAPriorityAsANumberOrAName)
{
    std::pair<char const*, Tier> const cases[] = {
        {"0", Tier::low},
        {"1", Tier::normal},
        {"2", Tier::high},
        {"3", Tier::critical},
        {"-0", Tier::low},
        {R"("low")", Tier::low},
        {R"("Normal")", Tier::normal},
        {R"("HIGH")", Tier::high},
        {R"("critical")", Tier::critical},
    };
    for (auto const& [priority, tier] : cases)
        EXPECT_EQ(accept(envelope("free", "{}").with("priority", priority)).tier(), tier) << priority;
}

TEST_F(Envelope, HasTheTierOfItsTypeWithoutAPriority)
{
    EXPECT_EQ(accept(envelope("free", "{}")).tier(), Tier::normal);
    EXPECT_EQ(accept(envelope("relationship.created", relationship())).tier(), Tier::normal);
    EXPECT_EQ(accept(envelope("relationship.deleted", relationship())).tier(), Tier::high);
    EXPECT_EQ(accept(envelope("attestation.created", attestation())).tier(), Tier::high);
    EXPECT_EQ(accept(envelope("entity.profile.created", profile())).tier(), Tier::low);
    EXPECT_EQ(accept(envelope("entity.profile.deleted", profile())).tier(), Tier::high);
    EXPECT_EQ(accept(envelope("trust.invalidated", "{}")).tier(), Tier::low);
    EXPECT_EQ(accept(envelope("account.deleted", "{}")).tier(), Tier::high);
    EXPECT_EQ(accept(envelope("account.deleted", "{}").with("priority", "null")).tier(), Tier::high);
}

TEST_F(Envelope, RefusesEachWrongMemberByName)
{
    std::tuple<char const*, std::string, char const*> const cases[] = {
        {"event_type", "", "missing /event_type"},
        {"event_type", "null", "missing /event_type"},
        {"event_type", "7", "wrong_type /event_type"},
        {"event_type", "[]", "wrong_type /event_type"},
        {"event_type", R"("")", "event_type_syntax /event_type"},
        {"event_type", R"("a b")", "event_type_syntax /event_type"},
        {"event_type", R"("a\u0000")", "event_type_syntax /event_type"},
        {"event_type", in_quotes(std::string(129, 'a')), "event_type_syntax /event_type"},
        {"event_type", R"("trust.computed")", "reserved_type /event_type"},
        {"event_type", R"("dead_letter.redriven")", "reserved_type /event_type"},
        {"event_type", R"("job.done")", "reserved_type /event_type"},
        {"event_type", R"("admin.x")", "reserved_type /event_type"},
        {"payload", "", "missing /payload"},
        {"payload", "null", "missing /payload"},
        {"payload", "[]", "wrong_type /payload"},
        {"payload", R"("{}")", "wrong_type /payload"},
        {"payload", "1", "wrong_type /payload"},
        {"did", "", "missing /did"},
        {"did", R"("")", "did_syntax /did"},
        {"did", R"("did:plc:a\u0000")", "did_syntax /did"},
        {"did", R"("owner.example.com")", "did_syntax /did"},
        {"did", "{}", "wrong_type /did"},
        {"priority", "4", "out_of_range /priority"},
        {"priority", "-1", "out_of_range /priority"},
        {"priority", "18446744073709551615", "out_of_range /priority"},
        {"priority", "1.0", "wrong_type /priority"},
        {"priority", "true", "wrong_type /priority"},
        {"priority", R"("urgent")", "not_a_choice /priority"},
        {"priority", R"("2")", "not_a_choice /priority"},
        {"event_id", R"("")", "event_id_syntax /event_id"},
        {"event_id", R"("a b")", "event_id_syntax /event_id"},
        {"event_id", R"("a\u0000")", "event_id_syntax /event_id"},
        {"event_id", in_quotes(std::string(257, 'a')), "event_id_syntax /event_id"},
        {"event_id", "5", "wrong_type /event_id"},
        {"rev", R"("3JZFCIJPJ2Z2A")", "rev_syntax /rev"},
        {"rev", "1", "wrong_type /rev"},
        {"timestamp", R"("yesterday")", "datetime_syntax /timestamp"},
        {"timestamp", "1700000000", "wrong_type /timestamp"},
        {"sequence", "1", "unknown_member /sequence"},
        {"tenant", "1", "unknown_member /tenant"},
        {"received_at", "1", "unknown_member /received_at"},
        {"a/b~c", "1", "unknown_member /a~1b~0c"},
    };
    for (auto const& [member, value, refusal] : cases)
        EXPECT_EQ(refusals(envelope("free", "{}").with(member, value)), Refusals{refusal}) << member << value;
}

TEST_F(Envelope, AcceptsTheLongestTypeAndId)
{
    EXPECT_EQ(code(envelope(std::string(128, 'a'), "{}").with("event_id", in_quotes(std::string(256, 'b')))), "");
}

TEST_F(Envelope, RefusesJsonThatIsNoObject)
{
    for (auto const* const text : {"[]", "1", "null", R"("event")", "[{}]"})
        EXPECT_EQ(refusals(text), Refusals{"wrong_type "}) << text;
    EXPECT_EQ(refusals("{}"), (Refusals{"missing /event_type", "missing /payload", "missing /did"}));
}

TEST_F(Envelope, ShowsTheBeginningOfALongUnknownName)
{
    std::string name;
    for (int i = 0; i < 100; ++i) name += "\xE2\x82\xAC";

    auto const error = decode(envelope("free", "{}").with(name, "1"));

    ASSERT_TRUE(error);
    EXPECT_EQ(error->errors.at(0).pointer, "/" + name.substr(0, 126));
}

TEST_F(Envelope, BoundsTheErrorsItReports)
{
    auto event = envelope("free", "{}");
    for (int i = 0; i < 100; ++i) event = event.with("x" + std::to_string(i), "1");

    EXPECT_EQ(refusals(event).size(), 16u);
}

TEST_F(Envelope, IsReadTheSameAfterAnyOther)
{
    Json const others[] = {
        envelope("relationship.created", relationship())
            .with("priority", "3")
            .with("event_id", R"("e-1")")
            .with("rev", R"("3jzfcijpj2z2a")"),
        envelope("relationship.created", relationship()).with("rev", R"("3jzfcijpj2z2a")"),
        envelope("relationship.created", relationship().with("strength", "500").with("privacy", "1")),
        envelope("attestation.created", attestation()),
        envelope("free", "{}"),
        Json{{"payload", "{}"}},
        Json{{"payload", "[1,"}},
    };
    auto const        event = envelope("relationship.updated", relationship().without("context"));
    std::string const alone(accept(event).bytes());
    for (auto const& other : others) {
        decode(other);
        EXPECT_EQ(accept(event).bytes(), alone) << other.text();
    }
}

TEST_F(Envelope, OfAnUnknownTypeHasNoFields)
{
    auto const record = accept(envelope("made.up", relationship().with("strength", R"("any")")));

    EXPECT_EQ(record.header().schema_version, 0);
    EXPECT_EQ(record.header().slot_count, 0);
}

TEST_F(Payload, BecomesFields)
{
    auto const fields =
        accept_event(envelope(
                         "relationship.created",
                         relationship()
                             .with("temporal", R"({"lastInteraction":"2025-11-01T00:00:00Z","start":null})")
                             .with("privacy", R"({"visibility":"private","consent":"full"})")))
            .fields;

    namespace field = relationship_field;
    EXPECT_EQ(fields.size(), field::count);
    EXPECT_EQ(fields.text(field::uri), uri);
    EXPECT_EQ(fields.text(field::cid), "bafyreia");
    EXPECT_EQ(fields.text(field::participant_a), owner);
    EXPECT_EQ(fields.text(field::participant_b), other);
    EXPECT_EQ(fields.integer(field::type), 3);
    EXPECT_EQ(fields.integer(field::strength), 80);
    EXPECT_EQ(fields.text(field::context), "met in Lisbon");
    EXPECT_EQ(fields.integer(field::created_at), 1'759'840'496'789'000);
    EXPECT_EQ(fields.integer(field::last_interaction), 1'761'955'200'000'000);
    EXPECT_EQ(fields.integer(field::visibility), visibility_private);
}

TEST_F(Payload, TakesNullForAbsent)
{
    auto const fields = accept_event(envelope(
                                         "relationship.created", relationship()
                                                                     .with("context", "null")
                                                                     .with("temporal", "null")
                                                                     .with("privacy", R"({"visibility":null})")))
                            .fields;

    EXPECT_EQ(fields.integer(relationship_field::context), std::nullopt);
    EXPECT_EQ(fields.integer(relationship_field::last_interaction), std::nullopt);
    EXPECT_EQ(fields.integer(relationship_field::visibility), std::nullopt);
    EXPECT_EQ(
        refusals(envelope("relationship.created", relationship().with("strength", "null"))),
        Refusals{"missing /payload/strength"});
}

TEST_F(Payload, TakesOtherMembersAsTheyAre)
{
    EXPECT_EQ(
        code(envelope(
            "relationship.created",
            relationship().with("signatures", R"([{"did":7}])").with("verification", "{}").with("$type", "[1]"))),
        "");
}

TEST_F(Payload, TakesEscapesInFreeTextNulIncluded)
{
    auto const fields =
        accept_event(envelope("relationship.created", relationship().with("context", R"("a\u0000b\n\ud83d\ude00")")))
            .fields;

    EXPECT_EQ(fields.text(relationship_field::context), std::string_view("a\0b\n\xF0\x9F\x98\x80", 8));
}

TEST_F(Payload, RefusesEachWrongFieldByName)
{
    std::tuple<char const*, std::string, char const*> const cases[] = {
        {"uri", "", "missing /payload/uri"},
        {"uri", "7", "wrong_type /payload/uri"},
        {"uri", R"("https://example.com")", "at_uri_syntax /payload/uri"},
        {"uri", R"("at://did:plc:owner/a.b.c/x\u0000")", "at_uri_syntax /payload/uri"},
        {"uri", R"("at://did:plc:other/a.b.c/1")", "did_mismatch /payload/uri"},
        {"uri", R"("at://owner.example.com/a.b.c/1")", "did_mismatch /payload/uri"},
        {"uri", R"("at://did:plc:owner2/a.b.c/1")", "did_mismatch /payload/uri"},
        {"cid", "", "missing /payload/cid"},
        {"cid", R"("")", "too_short /payload/cid"},
        {"cid", in_quotes(std::string(256, 'c')), "too_long /payload/cid"},
        {"participants", "", "missing /payload/participants"},
        {"participants", R"("did:plc:owner")", "wrong_type /payload/participants"},
        {"participants", "{}", "wrong_type /payload/participants"},
        {"participants", "[]", "participants_count /payload/participants"},
        {"participants", R"(["did:plc:owner"])", "participants_count /payload/participants"},
        {"participants", R"(["did:plc:owner","did:plc:b","did:plc:c"])", "participants_count /payload/participants"},
        {"participants", R"(["did:plc:owner","did:plc:owner"])", "participants_not_distinct /payload/participants"},
        {"participants", R"(["did:plc:owner","x"])", "did_syntax /payload/participants/1"},
        {"participants", R"(["did:plc:owner\u0000","did:plc:b"])", "did_syntax /payload/participants/0"},
        {"participants", R"([null,"did:plc:owner"])", "wrong_type /payload/participants/0"},
        {"participants", R"(["did:plc:owner",{"did":"did:plc:b"}])", "wrong_type /payload/participants/1"},
        {"participants", R"(["did:plc:owner",["did:plc:b"]])", "wrong_type /payload/participants/1"},
        {"participants", R"(["did:plc:a","did:plc:b"])", "owner_not_participant /payload"},
        {"type", R"("Social")", "not_a_choice /payload/type"},
        {"type", "3", "wrong_type /payload/type"},
        {"strength", "", "missing /payload/strength"},
        {"strength", "-1", "out_of_range /payload/strength"},
        {"strength", "101", "out_of_range /payload/strength"},
        {"strength", "9223372036854775808", "out_of_range /payload/strength"},
        {"strength", "80.0", "wrong_type /payload/strength"},
        {"strength", R"("80")", "wrong_type /payload/strength"},
        {"strength", "[80]", "wrong_type /payload/strength"},
        {"context", in_quotes(std::string(2001, 'c')), "too_long /payload/context"},
        {"context", "false", "wrong_type /payload/context"},
        {"created_at", "", "missing /payload/created_at"},
        {"created_at", R"("2025-10-07")", "datetime_syntax /payload/created_at"},
        {"created_at", "1759840496", "wrong_type /payload/created_at"},
        {"temporal", R"("yesterday")", "wrong_type /payload/temporal"},
        {"temporal", R"([])", "wrong_type /payload/temporal"},
        {"temporal", R"({"lastInteraction":"x"})", "datetime_syntax /payload/temporal/lastInteraction"},
        {"privacy", R"("private")", "wrong_type /payload/privacy"},
        {"privacy", R"({"visibility":"secret"})", "not_a_choice /payload/privacy/visibility"},
        {"privacy", R"({"visibility":{}})", "wrong_type /payload/privacy/visibility"},
    };
    for (auto const& [member, value, refusal] : cases) {
        auto const payload = relationship().with(member, value);
        EXPECT_EQ(refusals(envelope("relationship.created", payload)), Refusals{refusal}) << member << value;
        auto const payload_first =
            Json{{"payload", payload.text()}, {"did", in_quotes(owner)}, {"event_type", R"("relationship.created")"}};
        EXPECT_EQ(refusals(payload_first), Refusals{refusal}) << member << value;
    }
}

TEST_F(Payload, ReportsAllErrorsOfAnEventInOneAnswer)
{
    auto const payload = relationship().with("uri", R"("x")").with("strength", "500").without("cid");

    EXPECT_EQ(
        refusals(envelope("relationship.created", payload).with("priority", "9").with("extra", "1")),
        (Refusals{
            "at_uri_syntax /payload/uri", "out_of_range /payload/strength", "out_of_range /priority",
            "unknown_member /extra", "missing /payload/cid"}));
}

TEST_F(Payload, AcceptsTheLongestTexts)
{
    EXPECT_EQ(
        code(envelope(
            "relationship.created", relationship()
                                        .with("cid", in_quotes(std::string(255, 'c')))
                                        .with("context", in_quotes(std::string(2000, 'x'))))),
        "");
}

struct Spelling {
    std::string              type;
    Json                     payload;
    std::string              canonical;  // the member the payload has
    std::vector<std::string> others;     // complete members that say the same
    std::string              different;  // a value that is valid and not the same
};

TEST_F(Payload, ReadsEverySpellingOfAField)
{
    Spelling const spellings[] = {
        {"relationship.created", relationship(), "created_at", {"createdAt"}, R"("2020-01-01T00:00:00Z")"},
        {"attestation.created", attestation(), "created_at", {"createdAt"}, R"("2020-01-01T00:00:00Z")"},
        {"attestation.created",
         attestation(),
         "target_uri",
         {"targetUri", "targetRelationship", "subject"},
         R"("at://did:plc:x/a.b.c/1")"},
        {"attestation.created", attestation(), "attester_did", {"attesterDid", "attester"}, R"("did:plc:x")"},
        {"attestation.created", attestation(), "attestation_type", {"attestationType", "type"}, R"("weaken")"},
        {"attestation.created", attestation(), "suggested_strength", {"suggestedStrength"}, "1"},
        {"entity.profile.created", profile(), "display_name", {"displayName", "name"}, R"("Bob")"},
        {"entity.profile.created", profile(), "entity_type", {"entityType"}, R"("agent")"},
        {"entity.profile.created", profile(), "created_at", {"createdAt"}, R"("2020-01-01T00:00:00Z")"},
    };
    for (auto const& [type, payload, canonical, others, different] : spellings) {
        auto const value = [&, name = '"' + canonical + "\":"] {
            auto const text = payload.text();
            auto const begin = text.find(name) + name.size();
            return text.substr(begin, text.find_first_of(",}", begin) - begin);
        }();
        std::string const usual(accept(envelope(type, payload)).bytes());
        auto const        usual_event = log::LoggedRecord(usual.data()).event(Sequence{1}, {});
        for (auto const& spelling : others) {
            auto const event = accept_event(envelope(type, payload.without(canonical).with(spelling, value)));
            for (std::size_t i = 0; i < event.fields.size(); ++i) {
                bool const is_text = usual_event.fields.slot(i) >> 32 != 0 && usual_event.fields.slot(i) >> 32 < 4096;
                if (is_text)
                    EXPECT_EQ(event.fields.text(i), usual_event.fields.text(i)) << spelling << i;
                else
                    EXPECT_EQ(event.fields.slot(i), usual_event.fields.slot(i)) << spelling << i;
            }
            EXPECT_EQ(code(envelope(type, payload.with(spelling, value))), "") << spelling;
            EXPECT_EQ(code(envelope(type, payload.with(spelling, "null"))), "") << spelling;
            EXPECT_EQ(
                refusals(envelope(type, payload.with(spelling, different))),
                Refusals{"conflicting_spellings /payload/" + spelling});
        }
    }
}

TEST_F(Payload, ReadsEverySpellingOfANestedField)
{
    auto const field_of = [&](std::string const& name, std::string const& value, std::size_t field) {
        return accept_event(envelope("relationship.created", relationship().with(name, value))).fields.integer(field);
    };
    std::string const time = R"("1970-01-01T00:00:01Z")";
    for (auto const& [name, value] : std::map<std::string, std::string>{
             {"temporal", "{\"lastInteraction\":" + time + "}"},
             {"temporal", "{\"last_interaction\":" + time + "}"},
             {"last_interaction", time},
             {"lastInteraction", time}})
        EXPECT_EQ(field_of(name, value, relationship_field::last_interaction), 1'000'000) << name << value;
    EXPECT_EQ(field_of("visibility", R"("network")", relationship_field::visibility), 1);
    EXPECT_EQ(field_of("privacy", R"({"visibility":"network"})", relationship_field::visibility), 1);
    EXPECT_EQ(
        refusals(envelope(
            "relationship.created",
            relationship().with("visibility", R"("public")").with("privacy", R"({"visibility":"private"})"))),
        Refusals{"conflicting_spellings /payload/privacy/visibility"});
}

TEST_F(Ids, AreKeptAsGiven)
{
    EXPECT_EQ(accept(envelope("free", "{}").with("event_id", R"("a:b/c")")).stored_id(), "a:b/c");
    EXPECT_EQ(
        accept(envelope("free", "{}").with("event_id", R"("mine")").with("rev", R"("3jzfcijpj2z2a")")).stored_id(),
        "mine");
}

TEST_F(Ids, AreLeftToTheSequenceWithoutARev)
{
    EXPECT_EQ(accept(envelope("relationship.created", relationship())).header().id_size, 0);
}

TEST_F(Ids, DeriveFromTheOperation)
{
    auto const id = [&](std::string const& type, Json const& payload, std::string const& rev) {
        return std::string(accept(envelope(type, payload).with("rev", in_quotes(rev))).stored_id());
    };
    auto const same = id("relationship.created", relationship(), "3jzfcijpj2z2a");
    EXPECT_EQ(same.size(), 34u);
    EXPECT_TRUE(same.starts_with("x-"));
    EXPECT_EQ(same.substr(2).find_first_not_of("0123456789abcdef"), std::string::npos);

    std::set<std::string> const ids{
        same,
        id("relationship.created", relationship(), "3jzfcijpj2z2b"),
        id("relationship.updated", relationship(), "3jzfcijpj2z2a"),
        id("relationship.created", relationship().with("uri", R"("at://did:plc:owner/a.b.c/2")"), "3jzfcijpj2z2a"),
        id("free", {}, "3jzfcijpj2z2a"),
        id("free", {{"x", "1"}}, "3jzfcijpj2z2a"),
    };
    EXPECT_EQ(ids.size(), 6u);
    // The same operation with other content is a conflict for the log to find, not another operation.
    EXPECT_EQ(id("relationship.created", relationship().with("strength", "1"), "3jzfcijpj2z2a"), same);
}

constexpr PayloadField pair_fields[] = {
    {.names = "pair|couple", .type = PayloadField::Type::did_pair},
    {.names = "", .type = PayloadField::Type::did_second},
};
constexpr EventType        pair_types[] = {{.name = "paired", .tier = Tier::low, .required = bit(0)}};
constexpr Processor        pair_processor{.name = "paired", .events = pair_types, .fields = pair_fields};
constexpr Processor const* pair_set[] = {&pair_processor};

TEST(PairSpellings, AreComparedElementByElement)
{
    SchemaSet  schemas(pair_set);
    Decoder    decoder(schemas);
    auto const code = [&](std::string const& couple) {
        auto       json = envelope("paired", R"({"pair":["did:plc:a","did:plc:b"],"couple":)" + couple + "}").text();
        auto const size = json.size();
        json.resize(size + Decoder::padding);
        std::string out;
        Decoded     decoded;
        auto const  error = decoder.decode({json.data(), size}, out, decoded);
        return error ? error->code : "";
    };
    EXPECT_EQ(code(R"(["did:plc:a","did:plc:b"])"), "");
    EXPECT_EQ(code("null"), "");
    EXPECT_EQ(code(R"(["did:plc:a","did:plc:c"])"), "conflicting_spellings");
    EXPECT_EQ(code(R"(["did:plc:c","did:plc:b"])"), "conflicting_spellings");
    EXPECT_EQ(code(R"(["did:plc:b","did:plc:a"])"), "conflicting_spellings");
}

// A processor whose second version reads one more field.
Result<> no_odd_numbers(Event const& event)
{
    if (event.fields.integer(1).value_or(0) % 2 == 1) return Error{Errc::invalid, "odd", "must be even"};
    return {};
}
constexpr PayloadField old_fields[] = {{.names = "uri", .type = PayloadField::Type::at_uri}};
constexpr PayloadField new_fields[] = {
    {.names = "uri", .type = PayloadField::Type::at_uri},
    {.names = "n", .type = PayloadField::Type::integer, .min = 0, .max = 99},
};
constexpr EventType versioned_types[] = {{.name = "versioned", .tier = Tier::low}};
constexpr Processor old_processor{.name = "versioned", .version = 1, .events = versioned_types, .fields = old_fields};
constexpr Processor new_processor{
    .name = "versioned", .version = 2, .events = versioned_types, .fields = new_fields, .check = no_odd_numbers};
constexpr Processor const* old_set[] = {&old_processor};
constexpr Processor const* new_set[] = {&new_processor};

class Versions : public testing::Test {
protected:
    std::string write_old(std::string const& n)
    {
        auto json = envelope("versioned", "{\"\\u0075ri\":\"at:\\/\\/did:plc:owner\",\"n\":" + n + "}")
                        .with("priority", "2")
                        .with("event_id", R"("e-1")")
                        .with("rev", R"("3jzfcijpj2z2a")")
                        .text();
        auto const size = json.size();
        json.resize(size + Decoder::padding);
        std::string out;
        Decoded     decoded;
        EXPECT_FALSE(old_decoder_.decode({json.data(), size}, out, decoded));
        log::set_chain(out.data(), 99);
        return out;
    }

    SchemaSet old_schemas_{old_set}, new_schemas_{new_set};
    Decoder   old_decoder_{old_schemas_}, new_decoder_{new_schemas_};
};

TEST_F(Versions, RedecodingChangesTheSlotsAlone)
{
    auto const              before_bytes = write_old("4");
    log::LoggedRecord const before(before_bytes.data());
    std::string             out;

    ASSERT_FALSE(new_decoder_.redecode(before, out));

    ASSERT_TRUE(log::LoggedRecord::check(out));
    log::LoggedRecord const after(out.data());
    EXPECT_EQ(after.header().schema_version, 2);
    EXPECT_EQ(after.event(Sequence{1}, {}).fields.text(0), "at://did:plc:owner");
    EXPECT_EQ(after.event(Sequence{1}, {}).fields.integer(1), 4);
    EXPECT_EQ(after.stored_id(), "e-1");
    EXPECT_EQ(after.tier(), Tier::high);
    EXPECT_EQ(after.header().chain, 99u);
    EXPECT_EQ(after.content_hash(), before.content_hash());
    EXPECT_EQ(after.payload(), before.payload());
}

TEST_F(Versions, RedecodingKeepsARecordWithoutAnIdWithoutOne)
{
    log::RecordDraft draft;
    draft.type = "versioned";
    draft.did = owner;
    draft.payload = R"({"uri":"at://did:plc:owner"})";
    draft.rev = Revision{5};
    std::string bytes, out;
    log::write_record(draft, bytes);

    ASSERT_FALSE(new_decoder_.redecode(log::LoggedRecord(bytes.data()), out));

    EXPECT_EQ(log::LoggedRecord(out.data()).header().id_size, 0);
}

TEST_F(Versions, RedecodingSaysWhatTheNewVersionRefuses)
{
    std::pair<char const*, char const*> const cases[] = {
        {"100", "out_of_range"}, {"5", "odd"}, {"\"4\"", "wrong_type"}};
    for (auto const& [n, refusal] : cases) {
        auto const  bytes = write_old(n);
        std::string out;

        auto const error = new_decoder_.redecode(log::LoggedRecord(bytes.data()), out);

        ASSERT_TRUE(error) << n;
        EXPECT_EQ(error->code, refusal);
        EXPECT_TRUE(out.empty());
    }
}

TEST_F(Versions, RedecodingAnUnknownTypeTakesItsSlotsAway)
{
    auto const  bytes = write_old("4");
    SchemaSet   none{std::span<Processor const* const>{}};
    Decoder     decoder(none);
    std::string out;

    ASSERT_FALSE(decoder.redecode(log::LoggedRecord(bytes.data()), out));

    EXPECT_EQ(log::LoggedRecord(out.data()).header().slot_count, 0);
    EXPECT_EQ(log::LoggedRecord(out.data()).header().schema_version, 0);
}

}  // namespace
}  // namespace sluice::schema::test
