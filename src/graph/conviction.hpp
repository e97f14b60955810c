// How far the network believes a relationship: a pure function of its attestations and a time.
#pragma once

#include <sluice/records.hpp>

#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace sluice::graph {

// What an attestation's record says. A view of the record.
struct Attestation {
    enum class Type : std::uint8_t { verify, dispute, strengthen, weaken };

    std::string_view            uri;
    std::string_view            attester;
    Type                        type{};
    std::int64_t                confidence{0};  // 0-100
    std::optional<std::int64_t> suggested_strength;  // 0-100
    WallTime                    created_at{};  // not more than five minutes after receipt: processors see to that
    // The version: of one attester's attestations the latest counts. By rev, none below all others, then by sequence.
    Revision rev{};
    Sequence sequence{};
};

// Nothing if the record misses a field that counting needs: attester, type, confidence, creation time.
std::optional<Attestation> attestation(Record const& record) noexcept;

enum class ConvictionFormula : std::uint8_t {
    shrinkage,   // 50 + 50 * sum / (sum of magnitudes + 1.5), rounded; the more evidence, the farther from 50
    normalised,  // 50 + 50 * sum / sum of magnitudes, truncated; age in whole days
    additive,    // 50 + 25 * sum, truncated and clamped; age in whole days
};

struct Conviction {
    int         score{0};  // 0-100; 0 when nothing counts
    std::size_t attestation_count{0};
    std::size_t verify_count{0};
    std::size_t dispute_count{0};
    std::size_t strengthen_count{0};
    std::size_t weaken_count{0};

    friend bool operator==(Conviction const&, Conviction const&) = default;
};

// A DID's recorded trust score, 0-100. May be empty: nobody has one.
using TrustScores = std::function<std::optional<std::int64_t>(std::string_view did)>;

// Those of one target that count at `at`: not by a participant, not created later, of each attester the latest.
// Sorted by uri, so that sums of floating point are the same everywhere.
std::vector<Attestation> counted_attestations(
    std::span<Attestation const> attestations, std::span<std::string_view const> participants, WallTime at);

// How much an attestation weighs, negative if it speaks against. `age_days` is at least 0.
double attestation_weight(Attestation const& attestation, double age_days, TrustScores const& trust);

double days_between(WallTime from, WallTime to) noexcept;  // 0 if `to` is earlier

// Of attestations that count.
Conviction conviction(
    std::span<Attestation const> counted, WallTime at, TrustScores const& trust = {},
    ConvictionFormula formula = ConvictionFormula::shrinkage);

}  // namespace sluice::graph
