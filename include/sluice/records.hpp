// The records of the graph: what processors write and queries read.
#pragma once

#include <sluice/event.hpp>

namespace sluice {

// Part of the digest and of every record's key: numbers are never reused.
enum class Kind : std::uint8_t { repository = 0, relationship = 1, attestation = 2, entity = 3 };
inline constexpr std::size_t kind_count = 8;  // room for processors to come

// A stored record. A view: valid while its owner keeps it.
struct Record {
    Kind             kind{};
    std::string_view did;  // repository
    std::string_view key;  // AT-URI
    Revision         rev{};       // the highest revision seen, kept by events without one
    Sequence         sequence{};  // of the event that wrote it last
    Sequence         version{};   // whose place in the order that event had; none: its own
    bool             removed{};   // a tombstone: no fields
    Hash128          payload_hash{};
    Fields           fields;
};

// Field numbers. Times are microseconds since 1970.
namespace relationship_field {
enum : std::size_t {
    uri, cid, participant_a, participant_b, type, strength, context, created_at, last_interaction, visibility, count
};
}
namespace attestation_field {
enum : std::size_t {
    uri, cid, attester, target, type, confidence, evidence, suggested_strength, created_at, count
};
}
namespace entity_field {
enum : std::size_t { uri, cid, display_name, entity_type, bio, avatar_url, created_at, count };
}

// Choices are stored as their position in these lists.
inline constexpr std::string_view relationship_types[] = {
    "professional", "personal", "family", "social", "civic", "educational"};
inline constexpr std::string_view visibilities[] = {"public", "network", "private"};
inline constexpr std::int64_t     visibility_private = 2;
inline constexpr std::string_view attestation_types[] = {"verify", "dispute", "strengthen", "weaken"};
inline constexpr std::string_view entity_types[] = {"person", "organization", "agent"};

}  // namespace sluice
