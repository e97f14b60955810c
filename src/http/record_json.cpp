#include "http/record_json.hpp"

#include "schema/syntax.hpp"

#include <boost/json.hpp>

#include <algorithm>

namespace sluice::http {

namespace json = boost::json;

namespace {

json::value text(Record const& record, std::size_t field)
{
    auto const value = record.fields.text(field);
    return value ? json::value(*value) : json::value(nullptr);
}

json::value integer(Record const& record, std::size_t field)
{
    auto const value = record.fields.integer(field);
    return value ? json::value(*value) : json::value(nullptr);
}

json::value time(Record const& record, std::size_t field)
{
    auto const value = record.fields.integer(field);
    if (!value) return nullptr;
    return json::value(schema::format_datetime(WallTime(std::chrono::microseconds(*value))));
}

template <std::size_t N>
json::value choice(Record const& record, std::size_t field, std::string_view const (&names)[N])
{
    auto const value = record.fields.integer(field);
    if (!value || *value < 0 || static_cast<std::size_t>(*value) >= N) return nullptr;
    return json::value(names[*value]);
}

void add_version(json::object& object, Record const& record)
{
    object["rev"] = record.rev == Revision::none ? json::value(nullptr) : json::value(schema::format_tid(record.rev));
    object["sequence"] = number(record.sequence);
}

}  // namespace

json::object relationship_json(Record const& record)
{
    namespace f = relationship_field;
    json::object object{
        {"uri", record.key}, {"cid", text(record, f::cid)}, {"did", record.did},
        {"participants", {text(record, f::participant_a), text(record, f::participant_b)}},
        {"type", choice(record, f::type, relationship_types)}, {"strength", integer(record, f::strength)},
        {"context", text(record, f::context)}, {"created_at", time(record, f::created_at)},
        {"last_interaction", time(record, f::last_interaction)},
        {"visibility", choice(record, f::visibility, visibilities)}};
    add_version(object, record);
    return object;
}

json::object attestation_json(Record const& record)
{
    namespace f = attestation_field;
    json::object object{
        {"uri", record.key}, {"cid", text(record, f::cid)}, {"attester_did", text(record, f::attester)},
        {"target_uri", text(record, f::target)}, {"attestation_type", choice(record, f::type, attestation_types)},
        {"confidence", integer(record, f::confidence)}, {"evidence", text(record, f::evidence)},
        {"suggested_strength", integer(record, f::suggested_strength)}, {"created_at", time(record, f::created_at)}};
    add_version(object, record);
    return object;
}

void append_envelope(std::string& out, log::LoggedRecord const& record)
{
    out += R"({"event_type":)" + json::serialize(json::string(record.type()));
    out += R"(,"did":)" + json::serialize(json::string(record.did()));
    out += R"(,"priority":)" + std::to_string(index(record.tier()));
    if (!record.stored_id().empty()) out += R"(,"event_id":)" + json::serialize(json::string(record.stored_id()));
    if (record.header().rev != 0) out += R"(,"rev":")" + schema::format_tid(Revision{record.header().rev}) + '"';
    out += R"(,"payload":)";
    auto const at = out.size();
    out += record.payload();
    // Bare line ends stand between tokens only, and a line is an event.
    std::replace_if(out.begin() + static_cast<std::ptrdiff_t>(at), out.end(),
                    [](char c) { return c == '\n' || c == '\r'; }, ' ');
    out += '}';
}

}  // namespace sluice::http
