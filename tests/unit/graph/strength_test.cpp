#include "graph/strength.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::graph::test {
namespace {

using std::chrono::days;

constexpr WallTime noon{std::chrono::seconds(1'767'268'800)};

Relationship last_seen(std::size_t type, std::int64_t strength, int days_ago)
{
    return {
        .uri = "at://did:plc:a/r/1",
        .participants = {"did:plc:a", "did:plc:b"},
        .type = type,
        .strength = strength,
        .last_interaction = noon - days(days_ago)};
}

Attestation suggestion(Attestation::Type type, std::optional<std::int64_t> strength, std::int64_t confidence = 100)
{
    return {
        .uri = "at://did:plc:c/t/1",
        .attester = "did:plc:c",
        .type = type,
        .confidence = confidence,
        .suggested_strength = strength,
        .created_at = noon};
}

TEST(EffectiveStrength, DecaysAtTheRateOfItsType)
{
    double const rates[] = {0.001, 0.0005, 0.0001, 0.002, 0.0015, 0.0012};
    for (std::size_t type = 0; type < std::size(rates); ++type)
        EXPECT_DOUBLE_EQ(effective_strength(last_seen(type, 80, 100), {}, noon), 80 * std::exp(-rates[type] * 100));
}

TEST(EffectiveStrength, KeepsATenth) { EXPECT_DOUBLE_EQ(effective_strength(last_seen(3, 80, 100'000), {}, noon), 8); }

TEST(EffectiveStrength, DoesNotGrowBeforeTheInteraction)
{
    EXPECT_DOUBLE_EQ(effective_strength(last_seen(3, 80, -50), {}, noon), 80);
}

TEST(EffectiveStrength, StaysAsStatedWhenNoTimeIsKnown)
{
    auto relationship = last_seen(3, 80, 500);
    relationship.last_interaction.reset();
    EXPECT_DOUBLE_EQ(effective_strength(relationship, {}, noon), 80);
}

TEST(EffectiveStrength, MovesTowardsWhatIsSuggested)
{
    using enum Attestation::Type;
    // Each weighs 0.625: half towards is 1.5 of evidence.
    std::vector const one{suggestion(weaken, 20)};
    EXPECT_DOUBLE_EQ(effective_strength(last_seen(0, 80, 0), one, noon), 80 - 60 * 0.625 / 2.125);

    std::vector const two{suggestion(weaken, 20), suggestion(strengthen, 100, 50)};
    auto const        mean = (0.625 * 20 + 0.3125 * 100) / 0.9375;
    EXPECT_DOUBLE_EQ(effective_strength(last_seen(0, 80, 0), two, noon), 80 + (mean - 80) * 0.9375 / 2.4375);
}

TEST(EffectiveStrength, IgnoresAttestationsThatSuggestNothing)
{
    using enum Attestation::Type;
    std::vector const none{
        suggestion(verify, 20), suggestion(dispute, 20), suggestion(weaken, {}), suggestion(weaken, 20, 0)};
    EXPECT_DOUBLE_EQ(effective_strength(last_seen(0, 80, 0), none, noon), 80);
}

TEST(EffectiveStrength, OldSuggestionsWeighLess)
{
    using enum Attestation::Type;
    std::vector old{suggestion(weaken, 20)};
    old[0].created_at = noon - days(180);
    EXPECT_DOUBLE_EQ(effective_strength(last_seen(0, 80, 0), old, noon), 80 - 60 * 0.3125 / 1.8125);
}

}  // namespace
}  // namespace sluice::graph::test
