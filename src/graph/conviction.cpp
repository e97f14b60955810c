#include "graph/conviction.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_map>

namespace sluice::graph {
namespace {

constexpr double half_life_days = 180;
constexpr double shrinkage = 1.5;
constexpr double unknown_reputation = 0.5;
constexpr double base_weights[] = {1.0, -1.5, 0.5, -0.5};
static_assert(std::size(base_weights) == std::size(attestation_types));

bool is_later(Attestation const& a, Attestation const& b) noexcept
{
    return a.rev != b.rev ? a.rev > b.rev : a.sequence > b.sequence;
}

int truncated(double score) noexcept { return static_cast<int>(std::clamp(score, 0.0, 100.0)); }

int score(double sum, double magnitude, ConvictionFormula formula) noexcept
{
    switch (formula) {
    case ConvictionFormula::shrinkage: return static_cast<int>(std::lround(50 + 50 * sum / (magnitude + shrinkage)));
    case ConvictionFormula::normalised: return magnitude == 0 ? 50 : truncated(50 + 50 * (sum / magnitude));
    case ConvictionFormula::additive: return truncated(50 + 25 * sum);
    }
    return 0;
}

}  // namespace

std::optional<Attestation> attestation(Record const& record) noexcept
{
    namespace field = attestation_field;
    auto const& fields = record.fields;
    auto const  attester = fields.text(field::attester);
    auto const  type = fields.integer(field::type);
    auto const  confidence = fields.integer(field::confidence);
    auto const  created_at = fields.integer(field::created_at);
    if (!attester || !type || !confidence || !created_at) return std::nullopt;
    if (*type < 0 || *type >= std::ssize(attestation_types)) return std::nullopt;
    return Attestation{
        .uri = record.key,
        .attester = *attester,
        .type = static_cast<Attestation::Type>(*type),
        .confidence = *confidence,
        .suggested_strength = fields.integer(field::suggested_strength),
        .created_at = WallTime(std::chrono::microseconds(*created_at)),
        .rev = record.rev,
        .sequence = record.sequence};
}

std::vector<Attestation> counted_attestations(
    std::span<Attestation const> attestations, std::span<std::string_view const> participants, WallTime at)
{
    std::vector<Attestation>                          counted;
    std::unordered_map<std::string_view, std::size_t> of_attester;
    counted.reserve(attestations.size());
    for (auto const& attestation : attestations) {
        if (attestation.created_at > at || std::ranges::count(participants, attestation.attester) > 0) continue;
        auto const [latest, is_first] = of_attester.try_emplace(attestation.attester, counted.size());
        if (is_first) counted.push_back(attestation);
        else if (is_later(attestation, counted[latest->second])) counted[latest->second] = attestation;
    }
    std::ranges::sort(counted, {}, &Attestation::uri);
    return counted;
}

double days_between(WallTime from, WallTime to) noexcept
{
    return std::max(0.0, std::chrono::duration<double, std::ratio<86'400>>(to - from).count());
}

double attestation_weight(Attestation const& attestation, double age_days, TrustScores const& trust)
{
    auto const recorded = trust ? trust(attestation.attester) : std::nullopt;
    auto const reputation = recorded ? static_cast<double>(*recorded) / 100 : unknown_reputation;
    return base_weights[static_cast<std::size_t>(attestation.type)] * (0.5 + 1.5 * reputation) *
           std::exp2(-age_days / half_life_days) * static_cast<double>(attestation.confidence) / 100;
}

Conviction conviction(
    std::span<Attestation const> counted, WallTime at, TrustScores const& trust, ConvictionFormula formula)
{
    Conviction result;
    double     sum = 0, magnitude = 0;
    for (auto const& attestation : counted) {
        auto const age = days_between(attestation.created_at, at);
        auto const weight =
            attestation_weight(attestation, formula == ConvictionFormula::shrinkage ? age : std::floor(age), trust);
        sum += weight;
        magnitude += std::abs(weight);
        switch (attestation.type) {
        case Attestation::Type::verify: ++result.verify_count; break;
        case Attestation::Type::dispute: ++result.dispute_count; break;
        case Attestation::Type::strengthen: ++result.strengthen_count; break;
        case Attestation::Type::weaken: ++result.weaken_count; break;
        }
    }
    result.attestation_count = counted.size();
    if (!counted.empty()) result.score = score(sum, magnitude, formula);
    return result;
}

}  // namespace sluice::graph
