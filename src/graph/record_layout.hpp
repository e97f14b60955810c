// Which fields of each kind of record are texts: what copying and hashing a record need and a slot alone does not say.
#pragma once

#include <sluice/processor.hpp>
#include <sluice/records.hpp>

namespace sluice::graph {

struct RecordLayout {
    std::size_t   count{0};  // of fields; 0: no record of this kind has any
    std::uint32_t texts{0};  // bit(field) of each text; the others are integers

    bool is_text(std::size_t field) const noexcept { return (texts & bit(field)) != 0; }
};

constexpr RecordLayout record_layout(Kind kind) noexcept
{
    switch (kind) {
    case Kind::relationship: {
        using namespace relationship_field;
        return {count, bit(uri) | bit(cid) | bit(participant_a) | bit(participant_b) | bit(context)};
    }
    case Kind::attestation: {
        using namespace attestation_field;
        return {count, bit(uri) | bit(cid) | bit(attester) | bit(target) | bit(evidence)};
    }
    case Kind::entity: {
        using namespace entity_field;
        return {count, bit(uri) | bit(cid) | bit(display_name) | bit(bio) | bit(avatar_url)};
    }
    case Kind::repository: break;
    }
    return {};
}

// The DID an AT-URI begins with; empty if it is none.
constexpr std::string_view authority(std::string_view uri) noexcept
{
    constexpr std::string_view scheme = "at://";
    if (!uri.starts_with(scheme)) return {};
    uri.remove_prefix(scheme.size());
    return uri.substr(0, uri.find('/'));
}

}  // namespace sluice::graph
