// An attestation: what one DID says about somebody's relationship. It may be sent before the relationship.
#include "put.hpp"

namespace sluice::processors {
namespace {

namespace field = attestation_field;
using Type = PayloadField::Type;

constexpr PayloadField fields[] = {
    {.names = "uri", .type = Type::at_uri},
    {.names = "cid", .type = Type::text, .min = 1, .max = 255},
    {.names = "attester_did|attesterDid|attester", .type = Type::did},
    {.names = "target_uri|targetUri|targetRelationship|subject", .type = Type::at_uri},
    {.names = "attestation_type|attestationType|type", .type = Type::choice, .choices = attestation_types},
    {.names = "confidence", .type = Type::integer, .min = 0, .max = 100},
    {.names = "evidence", .type = Type::text, .min = 0, .max = 4'000},
    {.names = "suggested_strength|suggestedStrength", .type = Type::integer, .min = 0, .max = 100},
    {.names = "created_at|createdAt", .type = Type::datetime},
};
static_assert(std::size(fields) == field::count);

constexpr std::string_view deleted = "attestation.deleted";
constexpr auto             stated = bit(field::uri) | bit(field::cid) | bit(field::attester) | bit(field::target) |
                        bit(field::type) | bit(field::confidence);

constexpr EventType events[] = {
    {.name = "attestation.created", .tier = Tier::high, .required = stated | bit(field::created_at)},
    {.name = "attestation.updated", .tier = Tier::high, .required = stated},
    {.name = deleted, .tier = Tier::high, .required = bit(field::uri)},
};

Result<> check(Event const& event)
{
    auto const attester = event.fields.text(field::attester);
    if (attester && attester != event.did)
        return Error{Errc::invalid, "did_mismatch", "the attester must be the event's did"};
    return {};
}

Result<Effects> process(Event const& event, RecordView const& view)
{
    if (event.type == deleted) return remove(Kind::attestation, event, field::uri);
    return put(Kind::attestation, event, field::uri, fields, field::created_at, view);
}

}  // namespace

extern constinit Processor const attestation{
    .name = "attestation",
    .version = 1,
    .events = events,
    .fields = fields,
    .check = check,
    .process = process,
};

}  // namespace sluice::processors
