#include "graph/queries.hpp"

#include "graph/resident_store.hpp"
#include "graph/strength.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace sluice::graph::test {
namespace {

std::string const alice = "did:plc:alice", bob = "did:plc:bob", carol = "did:plc:carol", dave = "did:plc:dave";

constexpr std::int64_t noon_micros = 1'767'268'800'000'000;
constexpr std::int64_t day_micros = 86'400'000'000;
constexpr WallTime     noon{std::chrono::microseconds(noon_micros)};

struct QueriesTest : testing::Test {
    // Appends to the log of a tiny world.
    void said(Step step)
    {
        step.sequence = ++last_;
        run(store, {step});
    }
    void relates(std::string const& did, std::string const& name, RelationshipText text)
    {
        said(relate(0, 0, did, name, text));
    }
    void attests(std::string const& did, std::string const& name, std::string const& target, AttestationText text = {})
    {
        if (text.created_at == 0) text.created_at = noon_micros;
        said(attest(0, 0, did, name, target, text));
    }

    ResidentStore store;
    std::uint64_t last_{0};
};

TEST_F(QueriesTest, ConvictionCountsTheLatestOfOthers)
{
    auto const target = uri(alice, "r");
    relates(alice, "r", {.other = bob});
    attests(alice, "self", target);
    attests(bob, "self", target);
    attests(carol, "old", target, {.type = 1, .confidence = 90});
    attests(carol, "new", target, {.type = 0, .confidence = 90});

    auto const result = conviction(store, target, noon).value();

    EXPECT_EQ(result.score, 71);
    EXPECT_EQ(result.attestation_count, 1u);
    EXPECT_EQ(result.verify_count, 1u);
    EXPECT_EQ(conviction(store, target, noon, ConvictionFormula::additive).value().score, 78);
}

TEST_F(QueriesTest, ARemovedAttestationLetsTheOneBeforeCountAgain)
{
    auto const target = uri(alice, "r");
    attests(carol, "old", target, {.type = 1});
    attests(carol, "new", target, {.type = 0});
    auto removal = remove(0, 0, carol, "new");
    removal.kind = Kind::attestation;
    said(removal);
    EXPECT_EQ(conviction(store, target, noon).value().dispute_count, 1u);
}

TEST_F(QueriesTest, BeforeTheRelationshipIsKnownItsOwnerDoesNotCount)
{
    auto const target = uri(alice, "r");
    attests(alice, "self", target);
    attests(bob, "t", target);
    EXPECT_EQ(conviction(store, target, noon).value().attestation_count, 1u);

    relates(alice, "r", {.other = bob});
    EXPECT_EQ(conviction(store, target, noon).value(), Conviction{});
}

TEST_F(QueriesTest, PrivateRelationshipsDoNotExist)
{
    relates(alice, "r", {.other = bob, .visibility = visibility_private});
    attests(carol, "t", uri(alice, "r"));
    EXPECT_EQ(conviction(store, uri(alice, "r"), noon).value(), Conviction{});
    EXPECT_TRUE(neighbors(store, alice, 0, 10, noon).value().empty());
    EXPECT_TRUE(neighbors(store, bob, 0, 10, noon).value().empty());
}

TEST_F(QueriesTest, NeighborsAreTheStrongestFirst)
{
    relates(alice, "weak", {.other = bob, .strength = 20, .created_at = noon_micros});
    relates(alice, "faded", {.other = carol, .strength = 90, .created_at = noon_micros - 1'000 * day_micros});
    relates(dave, "strong", {.other = alice, .strength = 80, .type = 2, .created_at = noon_micros});
    relates(alice, "tie", {.other = bob, .strength = 20, .created_at = noon_micros});

    auto const found = neighbors(store, alice, 0, 10, noon).value();

    ASSERT_EQ(found.size(), 4u);
    EXPECT_EQ(found[0], (Neighbor{dave, uri(dave, "strong"), 2, 80, 80}));
    EXPECT_EQ(found[1].did, carol);
    EXPECT_EQ(found[1].strength, 90);
    EXPECT_LT(found[1].effective_strength, 80);
    EXPECT_EQ(found[2].uri, uri(alice, "tie"));
    EXPECT_EQ(found[3].uri, uri(alice, "weak"));
}

TEST_F(QueriesTest, NeighborsAreFilteredAndThenLimited)
{
    relates(alice, "a", {.other = bob, .strength = 50, .created_at = noon_micros});
    relates(alice, "b", {.other = carol, .strength = 70, .created_at = noon_micros});
    EXPECT_EQ(neighbors(store, alice, 50, 10, noon).value().size(), 2u);
    EXPECT_EQ(neighbors(store, alice, 50.5, 10, noon).value().size(), 1u);
    ASSERT_EQ(neighbors(store, alice, 0, 1, noon).value().size(), 1u);
    EXPECT_EQ(neighbors(store, alice, 0, 1, noon).value()[0].did, carol);
    EXPECT_TRUE(neighbors(store, alice, 0, 0, noon).value().empty());
}

TEST_F(QueriesTest, TheLastInteractionGoesBeforeTheCreation)
{
    relates(
        alice, "r",
        {.other = bob, .strength = 60, .created_at = noon_micros - 900 * day_micros, .last_interaction = noon_micros});
    EXPECT_DOUBLE_EQ(neighbors(store, alice, 0, 1, noon).value()[0].effective_strength, 60);
}

TEST_F(QueriesTest, NeighborsEqualASearchThroughEverything)
{
    std::size_t compared = 0;
    for (unsigned seed = 0; seed < 20; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937      random(seed);
        auto const        below = [&](std::int64_t n) { return static_cast<std::int64_t>(random() % unsigned(n)); };
        auto const        person = [](std::int64_t i) { return "did:plc:p" + std::to_string(i); };
        ResidentStore     world;
        std::vector<Step> relationships, attestations;
        std::uint64_t     sequence = 0;
        for (int i = 0; i < 60; ++i) {
            auto const       owner = below(8);
            RelationshipText text{
                .other = person((owner + 1 + below(7)) % 8),
                .strength = below(101),
                .type = below(6),
                .created_at = noon_micros - below(2'000) * day_micros};
            if (below(4) == 0) text.visibility = visibility_private;
            relationships.push_back(relate(++sequence, 0, person(owner), std::to_string(i), text));
            run(world, {relationships.back()});
        }
        for (int i = 0; i < 120; ++i) {
            AttestationText text{
                .type = below(4),
                .confidence = below(101),
                .created_at = noon_micros - below(400) * day_micros + 30 * day_micros};
            if (below(2) == 0) text.suggested_strength = below(101);
            auto const& target = relationships[static_cast<std::size_t>(below(60))].key;
            attestations.push_back(attest(++sequence, 0, person(below(8)), "t" + std::to_string(i), target, text));
            run(world, {attestations.back()});
        }
        std::ranges::sort(attestations, {}, &Step::key);

        auto const            did = person(0);
        auto const            min_strength = static_cast<double>(below(60));
        std::vector<Neighbor> expected;
        for (auto const& step : relationships) {
            auto const& fields = step.fields;
            auto const  a = std::get<std::string>(fields[relationship_field::participant_a]);
            auto const  b = std::get<std::string>(fields[relationship_field::participant_b]);
            if ((a != did && b != did) || fields[relationship_field::visibility] == StepValue(visibility_private))
                continue;
            std::vector<Attestation> said;
            for (auto const& other : attestations) {
                FieldsOf const values(other.fields);
                if (other.fields[attestation_field::target] != StepValue(step.key)) continue;
                said.push_back(*attestation(Record{
                    .kind = Kind::attestation,
                    .did = other.did,
                    .key = other.key,
                    .rev = {},
                    .sequence = Sequence{other.sequence},
                    .payload_hash = {},
                    .fields = values.view()}));
                said.back().attester = other.did;  // its own copy is gone with `values`
            }
            FieldsOf const         values(fields);
            auto const             known = relationship(Record{
                            .kind = Kind::relationship,
                            .did = a,
                            .key = step.key,
                            .rev = {},
                            .sequence = {},
                            .payload_hash = {},
                            .fields = values.view()});
            std::string_view const participants[] = {a, b};
            auto const strength = effective_strength(*known, counted_attestations(said, participants, noon), noon);
            if (strength >= min_strength)
                expected.push_back({a == did ? b : a, step.key, known->type, known->strength, strength});
        }
        std::ranges::sort(expected, [](Neighbor const& x, Neighbor const& y) {
            return std::pair(-x.effective_strength, x.uri) < std::pair(-y.effective_strength, y.uri);
        });
        if (expected.size() > 7) expected.resize(7);

        EXPECT_EQ(neighbors(world, did, min_strength, 7, noon).value(), expected);
        compared += expected.size();
    }
    EXPECT_GT(compared, 20u);
}

}  // namespace
}  // namespace sluice::graph::test
