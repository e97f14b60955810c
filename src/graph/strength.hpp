// How strong a relationship is: a pure function of its record, the attestations that count, and a time.
#pragma once

#include "graph/conviction.hpp"

#include <array>

namespace sluice::graph {

// What a relationship's record says. A view of the record.
struct Relationship {
    std::string_view                uri;
    std::array<std::string_view, 2> participants;
    std::size_t                     type{0};      // position in relationship_types
    std::int64_t                    strength{0};  // as stated, 0-100
    bool                            is_private{false};
    std::optional<WallTime>         last_interaction;  // else its creation; never after receipt: processors see to that

    // The participant that is not `did`.
    std::string_view other(std::string_view did) const noexcept { return participants[participants[0] == did ? 1 : 0]; }
};

// Nothing if the record misses a participant, its type or its strength.
std::optional<Relationship> relationship(Record const& record) noexcept;

// 0-100: the stated strength decayed since the last interaction, never below a tenth of it, then moved towards the
// strength that those attestations suggest which strengthen or weaken, the more of them the farther.
double effective_strength(
    Relationship const& relationship, std::span<Attestation const> counted, WallTime at, TrustScores const& trust = {});

}  // namespace sluice::graph
