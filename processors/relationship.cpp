// A relationship: what the owner of a repository states about themselves and one other participant.
#include "put.hpp"

#include <algorithm>

namespace sluice::processors {
namespace {

namespace field = relationship_field;
using Type = PayloadField::Type;

constexpr PayloadField fields[] = {
    {.names = "uri", .type = Type::at_uri},
    {.names = "cid", .type = Type::text, .min = 1, .max = 255},
    {.names = "participants", .type = Type::did_pair},
    {.names = "", .type = Type::did_second},
    {.names = "type", .type = Type::choice, .choices = relationship_types},
    {.names = "strength", .type = Type::integer, .min = 0, .max = 100},
    {.names = "context", .type = Type::text, .min = 0, .max = 2'000},
    {.names = "created_at|createdAt", .type = Type::datetime},
    {.names = "temporal.lastInteraction|temporal.last_interaction|last_interaction|lastInteraction",
     .type = Type::datetime},
    {.names = "privacy.visibility|visibility", .type = Type::choice, .choices = visibilities},
};
static_assert(std::size(fields) == field::count);

constexpr std::string_view deleted = "relationship.deleted";
constexpr auto             stated =
    bit(field::uri) | bit(field::cid) | bit(field::participant_a) | bit(field::type) | bit(field::strength);

constexpr EventType events[] = {
    {.name = "relationship.created", .tier = Tier::normal, .required = stated | bit(field::created_at)},
    {.name = "relationship.updated", .tier = Tier::normal, .required = stated},
    {.name = deleted, .tier = Tier::high, .required = bit(field::uri)},
};

Result<> check(Event const& event)
{
    auto const a = event.fields.text(field::participant_a), b = event.fields.text(field::participant_b);
    if (a && a != event.did && b != event.did)
        return Error{Errc::invalid, "owner_not_participant", "the event's did must be one of the participants"};
    return {};
}

Result<Effects> process(Event const& event, RecordView const& view)
{
    if (event.type == deleted) return remove(Kind::relationship, event, field::uri);
    auto effects = put(Kind::relationship, event, field::uri, fields, field::created_at, view);
    // Nobody has interacted in the future.
    if (auto const last = event.fields.integer(field::last_interaction))
        effects.fields[field::last_interaction] = std::min(*last, microseconds(event.received_at));
    return effects;
}

}  // namespace

extern constinit Processor const relationship{
    .name = "relationship",
    .version = 1,
    .events = events,
    .fields = fields,
    .check = check,
    .process = process,
};

}  // namespace sluice::processors
