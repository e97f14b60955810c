// A profile: how the owner of a repository presents themselves.
#include "put.hpp"

namespace sluice::processors {
namespace {

namespace field = entity_field;
using Type = PayloadField::Type;

constexpr PayloadField fields[] = {
    {.names = "uri", .type = Type::at_uri},
    {.names = "cid", .type = Type::text, .min = 1, .max = 255},
    {.names = "display_name|displayName|name", .type = Type::text, .min = 1, .max = 1'020},
    {.names = "entity_type|entityType", .type = Type::choice, .choices = entity_types},
    {.names = "bio", .type = Type::text, .min = 0, .max = 4'000},
    {.names = "avatar_url|avatarUrl", .type = Type::text, .min = 0, .max = 2'000},
    {.names = "created_at|createdAt", .type = Type::datetime},
};
static_assert(std::size(fields) == field::count);

constexpr std::string_view deleted = "entity.profile.deleted";
constexpr auto stated = bit(field::uri) | bit(field::cid) | bit(field::display_name) | bit(field::entity_type);

constexpr EventType events[] = {
    {.name = "entity.profile.created", .tier = Tier::low, .required = stated | bit(field::created_at)},
    {.name = "entity.profile.updated", .tier = Tier::low, .required = stated},
    {.name = deleted, .tier = Tier::high, .required = bit(field::uri)},
};

Result<Effects> process(Event const& event, RecordView const& view)
{
    if (event.type == deleted) return remove(Kind::entity, event, field::uri);
    return put(Kind::entity, event, field::uri, fields, field::created_at, view);
}

}  // namespace

extern constinit Processor const entity_profile{
    .name = "entity_profile",
    .version = 1,
    .events = events,
    .fields = fields,
    .process = process,
};

}  // namespace sluice::processors
