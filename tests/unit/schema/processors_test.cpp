#include "fixture.hpp"

namespace sluice::schema::test {
namespace {

// A repository with at most one record.
class OneRecord : public RecordView {
public:
    OneRecord() = default;
    explicit OneRecord(Record const& record) : record_(record) {}

    std::optional<Record> find(Kind kind, std::string_view key) const override
    {
        if (record_ && record_->kind == kind && record_->key == key) return record_;
        return std::nullopt;
    }

private:
    std::optional<Record> record_;
};

class Processors : public DecoderTest {
protected:
    static constexpr WallTime new_year_2026{std::chrono::sys_days(std::chrono::year(2026) / 1 / 1)};

    Effects process(Json const& json, RecordView const& view = OneRecord(), WallTime received_at = new_year_2026)
    {
        auto event = accept_event(json);
        event.received_at = received_at;
        auto const effects = schemas_.find(event.type)->processor->process(event, view);
        EXPECT_TRUE(effects);
        return *effects;
    }
};

Value       integer(std::int64_t value) { return value; }
Value       text(std::string_view value) { return value; }
Value       time(WallTime value) { return integer(value.time_since_epoch().count()); }
Value const absent;

TEST_F(Processors, AreListedByTheirNames)
{
    std::vector<std::string_view> names;
    for (auto const* const processor : all_processors()) names.push_back(processor->name);
    EXPECT_EQ(
        names, (std::vector<std::string_view>{"account", "attestation", "entity_profile", "relationship", "trust"}));
}

TEST_F(Processors, ListFieldsThatCanBeRead)
{
    for (auto const* const processor : all_processors()) {
        ASSERT_LE(processor->fields.size(), Fields::max) << processor->name;
        for (std::size_t i = 0; i < processor->fields.size(); ++i) {
            auto const type = processor->fields[i].type;
            bool const follows_pair = i > 0 && processor->fields[i - 1].type == PayloadField::Type::did_pair;
            EXPECT_EQ(type == PayloadField::Type::did_second, follows_pair) << processor->name << i;
            EXPECT_EQ(type == PayloadField::Type::choice, !processor->fields[i].choices.empty())
                << processor->name << i;
        }
        for (auto const& event : processor->events)
            EXPECT_EQ(event.required >> processor->fields.size(), 0u) << event.name;
    }
}

TEST_F(Processors, ACreatedRelationshipIsPut)
{
    auto const effects = process(envelope("relationship.created", relationship()));

    namespace field = relationship_field;
    EXPECT_EQ(effects.action, Effects::Action::put);
    EXPECT_EQ(effects.kind, Kind::relationship);
    EXPECT_EQ(effects.key, uri);
    EXPECT_EQ(effects.field_count, field::count);
    EXPECT_EQ(effects.fields[field::uri], text(uri));
    EXPECT_EQ(effects.fields[field::participant_a], text(owner));
    EXPECT_EQ(effects.fields[field::participant_b], text(other));
    EXPECT_EQ(effects.fields[field::type], integer(3));
    EXPECT_EQ(effects.fields[field::strength], integer(80));
    EXPECT_EQ(effects.fields[field::context], text("met in Lisbon"));
    EXPECT_EQ(effects.fields[field::created_at], integer(1'759'840'496'789'000));
    EXPECT_EQ(effects.fields[field::last_interaction], absent);
    EXPECT_EQ(effects.fields[field::visibility], absent);
}

TEST_F(Processors, AnUpdateKeepsTheCreationTimeItDoesNotRepeat)
{
    auto const        created = accept(envelope("relationship.created", relationship()));
    std::string const bytes(created.bytes());
    OneRecord const   stored(Record{
          .kind = Kind::relationship,
          .did = owner,
          .key = uri,
          .fields = log::LoggedRecord(bytes.data()).event(Sequence{1}, {}).fields});
    auto const silent = envelope("relationship.updated", relationship().without("created_at").without("context"));
    auto const repeating =
        envelope("relationship.updated", relationship().with("created_at", R"("1970-01-01T00:00:00Z")"));

    EXPECT_EQ(process(silent, stored).fields[relationship_field::created_at], integer(1'759'840'496'789'000));
    EXPECT_EQ(process(silent, stored).fields[relationship_field::context], absent);
    EXPECT_EQ(process(silent).fields[relationship_field::created_at], time(new_year_2026));
    EXPECT_EQ(process(repeating, stored).fields[relationship_field::created_at], integer(0));
}

TEST_F(Processors, ARecordFromTheFutureWasCreatedWhenItWasReceived)
{
    auto const json = envelope("relationship.created", relationship().with("created_at", R"("2026-01-01T00:05:00Z")"));
    auto const created = [&](WallTime received_at) {
        return process(json, OneRecord(), received_at).fields[relationship_field::created_at];
    };
    using std::chrono::microseconds, std::chrono::minutes;

    EXPECT_EQ(created(new_year_2026), time(new_year_2026 + minutes(5)));
    auto const earlier = new_year_2026 - microseconds(1);
    EXPECT_EQ(created(earlier), time(earlier));
}

TEST_F(Processors, TheLastInteractionIsNeverAfterReceipt)
{
    auto const last_interaction = [&](char const* stated) {
        auto const json = envelope("relationship.created", relationship().with("last_interaction", stated));
        return process(json).fields[relationship_field::last_interaction];
    };

    EXPECT_EQ(last_interaction(R"("2025-12-31T23:59:59Z")"), time(new_year_2026 - std::chrono::seconds(1)));
    EXPECT_EQ(last_interaction(R"("2026-01-01T00:00:01Z")"), time(new_year_2026));
}

TEST_F(Processors, ADeletedRecordNeedsItsUriAlone)
{
    std::pair<char const*, Kind> const cases[] = {
        {"relationship.deleted", Kind::relationship},
        {"attestation.deleted", Kind::attestation},
        {"entity.profile.deleted", Kind::entity},
    };
    for (auto const& [type, kind] : cases) {
        auto const effects = process(envelope(type, Json{{"uri", in_quotes(uri)}}));

        EXPECT_EQ(effects.action, Effects::Action::remove) << type;
        EXPECT_EQ(effects.kind, kind) << type;
        EXPECT_EQ(effects.key, uri) << type;
        EXPECT_EQ(refusals(envelope(type, "{}")), Refusals{"missing /payload/uri"}) << type;
    }
}

TEST_F(Processors, ADeletedRelationshipStillHasItsOwnerTakePart)
{
    auto const payload = Json{{"uri", in_quotes(uri)}, {"participants", R"(["did:plc:a","did:plc:b"])"}};

    EXPECT_EQ(refusals(envelope("relationship.deleted", payload)), Refusals{"owner_not_participant /payload"});
}

TEST_F(Processors, TheOwnerMayBeEitherParticipant)
{
    auto const swapped = relationship().with("participants", R"(["did:plc:other","did:plc:owner"])");

    auto const effects = process(envelope("relationship.created", swapped));

    EXPECT_EQ(effects.fields[relationship_field::participant_a], text(other));
    EXPECT_EQ(effects.fields[relationship_field::participant_b], text(owner));
}

TEST_F(Processors, ACreatedAttestationIsPut)
{
    auto const effects = process(envelope("attestation.created", attestation()));

    namespace field = attestation_field;
    EXPECT_EQ(effects.action, Effects::Action::put);
    EXPECT_EQ(effects.kind, Kind::attestation);
    EXPECT_EQ(effects.field_count, field::count);
    EXPECT_EQ(effects.fields[field::attester], text(owner));
    EXPECT_EQ(effects.fields[field::target], text("at://did:plc:other/net.rhiz.relationship.record/3jzfcijpj2z2c"));
    EXPECT_EQ(effects.fields[field::type], integer(2));
    EXPECT_EQ(effects.fields[field::confidence], integer(90));
    EXPECT_EQ(effects.fields[field::evidence], absent);
    EXPECT_EQ(effects.fields[field::suggested_strength], integer(70));
}

TEST_F(Processors, AnAttesterSpeaksForThemselves)
{
    for (auto const* const type : {"attestation.created", "attestation.updated", "attestation.deleted"})
        EXPECT_EQ(
            refusals(envelope(type, attestation().with("attester_did", in_quotes(other)))),
            Refusals{"did_mismatch /payload"});
}

TEST_F(Processors, AttestationsRequireWhatTheyState)
{
    auto const created = envelope("attestation.created", Json{{"uri", R"("at://did:plc:owner/a.b.c/1")"}});

    EXPECT_EQ(
        refusals(created),
        (Refusals{
            "missing /payload/cid", "missing /payload/attester_did", "missing /payload/target_uri",
            "missing /payload/attestation_type", "missing /payload/confidence", "missing /payload/created_at"}));
    EXPECT_EQ(code(envelope("attestation.updated", attestation().without("created_at").without("evidence"))), "");
    EXPECT_EQ(
        refusals(envelope("attestation.created", attestation().with("suggested_strength", "101"))),
        Refusals{"out_of_range /payload/suggested_strength"});
}

TEST_F(Processors, AProfileIsPut)
{
    auto const effects =
        process(envelope("entity.profile.updated", profile().with("avatarUrl", R"("https://a/b.png")")));

    namespace field = entity_field;
    EXPECT_EQ(effects.action, Effects::Action::put);
    EXPECT_EQ(effects.kind, Kind::entity);
    EXPECT_EQ(effects.key, "at://did:plc:owner/net.rhiz.entity.profile/self");
    EXPECT_EQ(effects.field_count, field::count);
    EXPECT_EQ(effects.fields[field::display_name], text("Ada"));
    EXPECT_EQ(effects.fields[field::entity_type], integer(0));
    EXPECT_EQ(effects.fields[field::bio], text("counts"));
    EXPECT_EQ(effects.fields[field::avatar_url], text("https://a/b.png"));
}

TEST_F(Processors, ProfilesRequireWhatTheyState)
{
    EXPECT_EQ(
        refusals(envelope("entity.profile.created", "{}")),
        (Refusals{
            "missing /payload/uri", "missing /payload/cid", "missing /payload/display_name",
            "missing /payload/entity_type", "missing /payload/created_at"}));
    EXPECT_EQ(code(envelope("entity.profile.updated", profile().without("created_at").without("bio"))), "");
}

TEST_F(Processors, ADeletedAccountTakesItsRepositoryAlong)
{
    EXPECT_EQ(process(envelope("account.deleted", "{}")).action, Effects::Action::remove_repository);
    EXPECT_EQ(
        process(envelope("account.deleted", Json{{"did", in_quotes(owner)}})).action,
        Effects::Action::remove_repository);
    EXPECT_EQ(
        refusals(envelope("account.deleted", Json{{"did", in_quotes(other)}})), Refusals{"did_mismatch /payload"});
}

TEST_F(Processors, AnInvalidatedTrustLeavesNoTrace)
{
    EXPECT_EQ(process(envelope("trust.invalidated", "{}")).action, Effects::Action::none);
    EXPECT_EQ(process(envelope("trust.invalidated", Json{{"did", in_quotes(owner)}})).action, Effects::Action::none);
}

}  // namespace
}  // namespace sluice::schema::test
