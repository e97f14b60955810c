#include "schema/decoder.hpp"

#include "schema/event_reader.hpp"
#include "schema/json.hpp"

#include <algorithm>
#include <cstring>

namespace sluice::schema {
namespace {

constexpr JsonLimits limits{
    .bytes = Decoder::event_bytes_max,
    .depth = Decoder::depth_max,
    .members = Decoder::members_max,
    .nodes = Decoder::nodes_max,
    .string_bytes = Decoder::string_bytes_max,
    .number_chars = Decoder::number_chars_max,
};

DecodeError not_json(JsonError const& error)
{
    return {
        .is_json = false,
        .code = error.code,
        .detail = std::string(error.detail) + ", at byte " + std::to_string(error.offset),
        .errors = {},
    };
}

DecodeError invalid(std::vector<FieldError> errors)
{
    DecodeError result{.is_json = true, .code = errors[0].code, .detail = {}, .errors = std::move(errors)};
    result.detail = result.errors[0].pointer + ": " + result.errors[0].detail;
    return result;
}

}  // namespace

struct Decoder::Impl {
    explicit Impl(SchemaSet const& schemas) : json(limits), event(schemas) {}

    using Role = EventReader::Target::Role;

    std::optional<DecodeError> read(std::string_view text, Role role);
    std::optional<DecodeError> write(std::string& out, std::uint32_t& offset);

    JsonReader  json;
    EventReader event;
};

// Visits a JSON text that is an event, or the payload of one.
std::optional<DecodeError> Decoder::Impl::read(std::string_view text, Role role)
{
    auto const target = [](Role r) { return EventReader::Target{r, 0, nullptr}; };
    if (!json.open(text)) return not_json(json.error());
    auto const end = json.walk(0, target(role), event);
    if (end != 0 && !json.is_end(end)) json.fail_at(end, "bad_json", "something follows the JSON text");
    if (end == 0 || !json.is_end(end)) return not_json(json.error());
    if (auto const payload = event.unread_payload()) json.walk(*payload, target(Role::payload), event);
    if (!event.finish()) return invalid(std::move(event.errors()));
    return std::nullopt;
}

// Appends the record, unless its processor objects to it.
std::optional<DecodeError> Decoder::Impl::write(std::string& out, std::uint32_t& offset)
{
    offset = log::write_record(event.draft(), out);
    auto const* const processor = event.processor();
    if (!processor || !processor->check) return std::nullopt;
    auto const checked = processor->check(log::LoggedRecord(out.data() + offset).event(Sequence::none, WallTime{}));
    if (checked) return std::nullopt;
    out.resize(offset);
    return invalid({{"/payload", checked.error().reason, checked.error().detail}});
}

Decoder::Decoder(SchemaSet const& schemas) : impl_(std::make_unique<Impl>(schemas)) {}
Decoder::~Decoder() = default;

std::optional<DecodeError> Decoder::decode(std::string_view json, std::string& out, Decoded& decoded, Tier cap)
{
    impl_->event.reset(json);
    if (auto error = impl_->read(json, Impl::Role::event)) return error;
    if (auto error = impl_->write(out, decoded.offset)) return error;
    decoded.tier = std::min(impl_->event.draft().tier, cap);
    if (decoded.tier != impl_->event.draft().tier) {
        auto header = log::LoggedRecord(out.data() + decoded.offset).header();
        header.tier = static_cast<std::uint8_t>(decoded.tier);
        std::memcpy(out.data() + decoded.offset, &header, sizeof header);
    }
    return std::nullopt;
}

std::optional<DecodeError> Decoder::succeed(
    log::LoggedRecord const& record, log::RecordKind kind, log::Origin origin, std::string_view payload,
    std::string& out, Decoded& decoded)
{
    impl_->event.reset(record, payload);
    impl_->event.make_successor(kind, origin);
    if (auto error = impl_->read(payload, Impl::Role::payload)) return error;
    if (auto error = impl_->write(out, decoded.offset)) return error;
    decoded.tier = record.tier();
    return std::nullopt;
}

std::optional<DecodeError> Decoder::redecode(log::LoggedRecord const& record, std::string& out)
{
    impl_->event.reset(record, record.payload());
    if (auto error = impl_->read(record.payload(), Impl::Role::payload)) return error;
    std::uint32_t offset = 0;
    if (auto error = impl_->write(out, offset)) return error;
    log::RecordHeader header = log::LoggedRecord(out.data() + offset).header();
    header.tenant = record.header().tenant;
    header.chain = record.header().chain;
    std::memcpy(out.data() + offset, &header, sizeof header);
    return std::nullopt;
}

}  // namespace sluice::schema
