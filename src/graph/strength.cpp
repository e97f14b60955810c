#include "graph/strength.hpp"

#include <algorithm>
#include <cmath>

namespace sluice::graph {
namespace {

constexpr double decay_per_day[] = {0.001, 0.0005, 0.0001, 0.002, 0.0015, 0.0012};
static_assert(std::size(decay_per_day) == std::size(relationship_types));
constexpr double floor_share = 0.1;
constexpr double shrinkage = 1.5;

double decayed(Relationship const& relationship, WallTime at) noexcept
{
    auto const stated = static_cast<double>(relationship.strength);
    auto const days = days_between(relationship.last_interaction.value_or(at), at);
    return std::max(floor_share * stated, stated * std::exp(-decay_per_day[relationship.type] * days));
}

bool suggests(Attestation const& attestation) noexcept
{
    using Type = Attestation::Type;
    return attestation.suggested_strength &&
           (attestation.type == Type::strengthen || attestation.type == Type::weaken);
}

}  // namespace

std::optional<Relationship> relationship(Record const& record) noexcept
{
    namespace field = relationship_field;
    auto const& fields = record.fields;
    auto const  a = fields.text(field::participant_a);
    auto const  b = fields.text(field::participant_b);
    auto const  type = fields.integer(field::type);
    auto const  strength = fields.integer(field::strength);
    if (!a || !b || !type || !strength) return std::nullopt;
    if (*type < 0 || *type >= std::ssize(relationship_types)) return std::nullopt;
    auto last_interaction = fields.integer(field::last_interaction);
    if (!last_interaction) last_interaction = fields.integer(field::created_at);
    Relationship result{
        .uri = record.key,
        .participants = {*a, *b},
        .type = static_cast<std::size_t>(*type),
        .strength = *strength,
        .is_private = fields.integer(field::visibility) == visibility_private,
        .last_interaction = std::nullopt};
    if (last_interaction) result.last_interaction = WallTime(std::chrono::microseconds(*last_interaction));
    return result;
}

double effective_strength(
    Relationship const& relationship, std::span<Attestation const> counted, WallTime at, TrustScores const& trust)
{
    double evidence = 0, suggested = 0;
    for (auto const& attestation : counted) {
        if (!suggests(attestation)) continue;
        auto const weight =
            std::abs(attestation_weight(attestation, days_between(attestation.created_at, at), trust));
        evidence += weight;
        suggested += weight * static_cast<double>(*attestation.suggested_strength);
    }
    auto const own = decayed(relationship, at);
    if (evidence == 0) return own;
    return own + (suggested / evidence - own) * (evidence / (evidence + shrinkage));
}

}  // namespace sluice::graph
