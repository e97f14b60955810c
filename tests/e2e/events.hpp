// Events as producers write them.
#pragma once

#include "harness.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::e2e {

// did:plc: and 24 characters that say n.
std::string did(std::uint64_t n);
std::string tid(std::uint64_t n);  // rises with n

// Record n of the owner's repository.
std::string relationship_uri(std::string_view owner, std::uint64_t n);
std::string attestation_uri(std::string_view owner, std::uint64_t n);

// Envelopes with every member but event_id and priority. `rev` is a TID's number; 0: none.
Json relationship(
    std::uint64_t owner, std::uint64_t other, std::uint64_t n, int strength, std::uint64_t rev = 0,
    std::string_view event_type = "relationship.created");
Json attestation(
    std::uint64_t attester, std::uint64_t n, std::string_view target, std::string_view verdict, int confidence,
    std::uint64_t rev = 0);

// Event n of a mix: relationships, attestations of them, and a type nobody knows, which is parked. It has an id.
Json        mixed(std::uint64_t n);
std::string mixed_lines(std::uint64_t from, std::uint64_t to);  // NDJSON, without `to`

}  // namespace sluice::e2e
