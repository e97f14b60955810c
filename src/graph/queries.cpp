#include "graph/queries.hpp"

#include "graph/record_layout.hpp"
#include "graph/strength.hpp"

#include <algorithm>

namespace sluice::graph {
namespace {

std::vector<Attestation> read(std::span<OwnedRecord const> records)
{
    std::vector<Attestation> attestations;
    attestations.reserve(records.size());
    for (auto const& record : records)
        if (auto const read = attestation(*record)) attestations.push_back(*read);
    return attestations;
}

Result<double> effective_strength_in(GraphReader const& store, Relationship const& relationship, WallTime at)
{
    auto const records = store.attestations_of(relationship.uri);
    if (!records) return records.error();
    return effective_strength(
        relationship, counted_attestations(read(*records), relationship.participants, at), at);
}

}  // namespace

Result<Conviction> conviction(GraphReader const& store, std::string_view uri, WallTime at, ConvictionFormula formula)
{
    std::array<std::string_view, 2> participants{authority(uri)};
    auto const                      record = store.find(Kind::relationship, uri);
    if (!record) return record.error();
    if (auto const known = *record ? relationship(***record) : std::nullopt) {
        if (known->is_private) return Conviction{};
        participants = known->participants;
    }
    auto const records = store.attestations_of(uri);
    if (!records) return records.error();
    return conviction(counted_attestations(read(*records), participants, at), at, {}, formula);
}

Result<std::vector<Neighbor>> neighbors(
    GraphReader const& store, std::string_view did, double min_strength, std::size_t limit, WallTime at)
{
    std::vector<Neighbor> result;
    auto const            records = store.relationships_of(did);
    if (!records) return records.error();
    for (auto const& record : *records) {
        auto const known = relationship(*record);
        if (!known || known->is_private) continue;
        auto const strength = effective_strength_in(store, *known, at);
        if (!strength) return strength.error();
        if (*strength < min_strength) continue;
        result.push_back({
            .did = std::string(known->other(did)),
            .uri = std::string(known->uri),
            .type = known->type,
            .strength = known->strength,
            .effective_strength = *strength});
    }
    auto const stronger = [](Neighbor const& a, Neighbor const& b) {
        return a.effective_strength != b.effective_strength ? a.effective_strength > b.effective_strength
                                                            : a.uri < b.uri;
    };
    auto const kept = std::min(limit, result.size());
    std::ranges::partial_sort(result, result.begin() + static_cast<std::ptrdiff_t>(kept), stronger);
    result.resize(kept);
    return result;
}

}  // namespace sluice::graph
