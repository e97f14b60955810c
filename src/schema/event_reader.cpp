#include "schema/event_reader.hpp"

#include "base/hash.hpp"
#include "base/hex.hpp"
#include "schema/syntax.hpp"

#include <algorithm>
#include <array>

namespace sluice::schema {
namespace {

using Role = EventReader::Target::Role;
using Kind = JsonScalar::Kind;

constexpr std::size_t type_size_max = 128;
constexpr std::size_t unknown_name_shown = 128;

// In the order of EventReader::Member.
constexpr PayloadField envelope[] = {
    {.names = "event_type"}, {.names = "payload"}, {.names = "did"},       {.names = "priority"},
    {.names = "event_id"},   {.names = "rev"},     {.names = "timestamp"},
};

// Events only this program itself may write.
constexpr std::string_view reserved_types[] = {"trust.computed", "dead_letter.", "job.", "admin."};

bool is_event_type(std::string_view text) noexcept
{
    return !text.empty() && text.size() <= type_size_max && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-';
    });
}

bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept
{
    return std::equal(text.begin(), text.end(), lower.begin(), lower.end(), [](char a, char b) {
        return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
    });
}

}  // namespace

EventReader::EventReader(SchemaSet const& schemas) : schemas_(schemas), envelope_names_("", envelope)
{
    for (auto const* const processor : schemas.processors())
        names_.try_emplace(processor, "/payload", processor->fields);
}

void EventReader::clear()
{
    entry_ = nullptr;
    draft_.type = draft_.did = draft_.id = draft_.payload = {};
    draft_.rev = Revision::none;
    draft_.kind = {};
    draft_.origin = {};
    draft_.schema_version = 0;
    draft_.slot_count = 0;
    tier_.reset();
    members_ = kept_ = failed_ = 0;
    payload_token_ = 0;
    is_payload_read_ = false;
    errors_.clear();
}

void EventReader::reset(std::string_view json)
{
    clear();
    json_ = json;
}

void EventReader::reset(log::LoggedRecord const& record, std::string_view json)
{
    clear();
    json_ = json;
    use_type(record.type());
    draft_.did = record.did();
    draft_.id = record.stored_id();
    draft_.rev = Revision{record.header().rev};
    draft_.kind = record.kind();
    draft_.origin = record.origin();
    tier_ = record.tier();
    members_ = bit(event_type) | bit(did) | bit(event_id);
}

void EventReader::make_successor(log::RecordKind kind, log::Origin origin)
{
    draft_.id = {};
    draft_.kind = kind;
    draft_.origin = origin;
}

std::optional<std::size_t> EventReader::unread_payload() const noexcept
{
    if (!entry_ || is_payload_read_ || draft_.payload.empty()) return std::nullopt;
    return payload_token_;
}

bool EventReader::finish()
{
    check_missing();
    check_owner();
    if (!errors_.empty()) return false;
    draft_.tier = tier_.value_or(entry_ ? entry_->type->tier : Tier::normal);
    if (!(members_ & bit(event_id)) && (members_ & bit(rev))) derive_id();
    return true;
}

EventReader::Target EventReader::open_object(Target target, std::size_t offset)
{
    bool const is_member = target.role == Role::member;
    if (target.role == Role::payload || (is_member && target.name->field == payload)) {
        members_ |= bit(payload);
        payload_offset_ = offset;
        is_payload_read_ = entry_ != nullptr;
        return {Role::payload_object, 0, nullptr};
    }
    if (target.role == Role::event) return {Role::envelope, 0, nullptr};
    if (target.role == Role::field && target.name->inside) return {Role::object, 0, target.name};
    fail_wrong_type(target);
    return {};
}

EventReader::Target EventReader::open_array(Target target, std::size_t)
{
    bool const is_field = target.role == Role::field && target.name->field != FieldName::no_field;
    if (is_field && entry_->processor->fields[target.name->field].type == PayloadField::Type::did_pair) {
        pair_size_ = 0;
        return {Role::pair, 0, target.name};
    }
    fail_wrong_type(target);
    return {};
}

void EventReader::close(Target whole, std::size_t offset)
{
    if (whole.role == Role::pair) close_pair(*whole.name);
    if (whole.role == Role::payload_object)
        draft_.payload = json_.substr(payload_offset_, offset + 1 - payload_offset_);
}

EventReader::Target EventReader::member(Target whole, JsonName const& name, std::size_t token)
{
    FieldNames const* names = nullptr;
    if (whole.role == Role::payload_object)
        names = entry_ ? entry_names_ : nullptr;
    else
        names = whole.role == Role::envelope ? &envelope_names_ : whole.name->inside.get();

    auto const* const known = names ? names->find(name) : nullptr;
    if (whole.role != Role::envelope) return known ? Target{Role::field, 0, known} : Target{};
    if (!known) {
        fail_unknown_member(name.text());
        return {};
    }
    if (known->field == payload) payload_token_ = token;
    return {Role::member, 0, known};
}

EventReader::Target EventReader::element(Target whole, std::size_t index) const noexcept
{
    return {Role::element, static_cast<std::uint32_t>(index), whole.name};
}

void EventReader::scalar(Target target, JsonScalar const& value)
{
    if (target.role == Role::field)
        read_field(*target.name, value);
    else if (target.role == Role::element)
        read_pair_element(target, value);
    else if (target.role == Role::member)
        read_member(*target.name, value);
    else
        fail_wrong_type(target);
}

void EventReader::fail(std::string pointer, char const* code, char const* detail)
{
    if (errors_.size() < errors_max) errors_.push_back({std::move(pointer), code, detail});
}

void EventReader::fail(FieldName const& name, char const* code, char const* detail)
{
    if (name.field != FieldName::no_field) failed_ |= bit(name.field);
    fail(name.pointer, code, detail);
}

void EventReader::fail_wrong_type(Target target)
{
    constexpr char const* code = "wrong_type";
    switch (target.role) {
    case Role::event:
    case Role::payload: return fail("", code, "must be an object");
    case Role::member:
        members_ |= bit(target.name->field);
        return fail(
            target.name->pointer, code, target.name->field == payload ? "must be an object" : "must be a string");
    case Role::element:
        failed_ |= bit(target.name->field);
        return fail(target.name->pointer + '/' + std::to_string(target.index), code, "must be a string");
    default: break;
    }
    if (target.name->field == FieldName::no_field) return fail(*target.name, code, "must be an object");
    switch (entry_->processor->fields[target.name->field].type) {
    case PayloadField::Type::did_pair: return fail(*target.name, code, "must be an array of two DIDs");
    case PayloadField::Type::integer: return fail(*target.name, code, "must be an integer");
    default: return fail(*target.name, code, "must be a string");
    }
}

void EventReader::fail_unknown_member(std::string_view name)
{
    std::size_t shown = std::min(name.size(), unknown_name_shown);
    while (shown < name.size() && shown > 0 && (static_cast<unsigned char>(name[shown]) & 0xC0) == 0x80) --shown;
    std::string pointer = "/";
    for (char const c : name.substr(0, shown)) {
        if (c == '~' || c == '/')
            pointer += c == '~' ? "~0" : "~1";
        else
            pointer += c;
    }
    fail(std::move(pointer), "unknown_member", "the envelope has no such member");
}

void EventReader::read_member(FieldName const& name, JsonScalar const& value)
{
    if (value.kind == Kind::null) return;
    members_ |= bit(name.field);
    if (name.field == priority) return read_priority(name, value);
    if (value.kind != Kind::string || name.field == payload) return fail_wrong_type({Role::member, 0, &name});

    switch (name.field) {
    case event_type: return read_event_type(name, value.text);
    case did:
        if (!is_did(value.text)) return fail(name, "did_syntax", "must be a DID");
        draft_.did = value.text;
        break;
    case event_id:
        if (!is_event_id(value.text)) return fail(name, "event_id_syntax", "must be 1 to 256 of A-Za-z0-9._:-/@%#+=~");
        draft_.id = value.text;
        break;
    case rev:
        if (auto const revision = parse_tid(value.text))
            draft_.rev = *revision;
        else
            fail(name, "rev_syntax", "must be a TID");
        break;
    default:
        if (!parse_datetime(value.text)) fail(name, "datetime_syntax", "must be an AT Protocol datetime");
    }
}

void EventReader::read_event_type(FieldName const& name, std::string_view text)
{
    use_type(text);
    if (entry_) return;
    bool const is_reserved = std::any_of(
        std::begin(reserved_types), std::end(reserved_types), [&](auto prefix) { return text.starts_with(prefix); });
    if (is_reserved) return fail(name, "reserved_type", "events of this type come from Sluice itself");
    if (!is_event_type(text)) fail(name, "event_type_syntax", "must be 1 to 128 of A-Za-z0-9._-");
}

void EventReader::read_priority(FieldName const& name, JsonScalar const& value)
{
    if (value.kind == Kind::integer) {
        if (value.integer < 0 || value.integer >= static_cast<std::int64_t>(tier_count))
            return fail(name, "out_of_range", "must be 0 to 3");
        tier_ = static_cast<Tier>(value.integer);
    } else if (value.kind == Kind::string) {
        auto const* const found = std::find_if(std::begin(tier_names), std::end(tier_names), [&](auto tier) {
            return equals_ignoring_case(value.text, tier);
        });
        if (found == std::end(tier_names)) return fail(name, "not_a_choice", "must be low, normal, high or critical");
        tier_ = static_cast<Tier>(found - std::begin(tier_names));
    } else {
        fail(name, "wrong_type", "must be an integer or a name");
    }
}

void EventReader::use_type(std::string_view type)
{
    draft_.type = type;
    if (!last_entry_ || last_entry_->type->name != type) {
        last_entry_ = schemas_.find(type);
        entry_names_ = last_entry_ ? &names_.at(last_entry_->processor) : nullptr;
    }
    entry_ = last_entry_;
    if (!entry_) return;
    draft_.schema_version = entry_->processor->version;
    draft_.slot_count = entry_->processor->fields.size();
    std::fill_n(draft_.integers, draft_.slot_count, Fields::absent);
    std::fill_n(draft_.texts, draft_.slot_count, std::string_view());
}

void EventReader::read_field(FieldName const& name, JsonScalar const& value)
{
    if (value.kind == Kind::null) return;
    Target const target{Role::field, 0, &name};
    if (name.field == FieldName::no_field) return fail_wrong_type(target);
    auto const& field = entry_->processor->fields[name.field];
    if (field.type == PayloadField::Type::integer) {
        if (value.kind != Kind::integer) return fail_wrong_type(target);
        if (value.integer < field.min || value.integer > field.max)
            return fail(name, "out_of_range", "is too small or too large");
        return keep(name, static_cast<std::uint64_t>(value.integer));
    }
    if (value.kind != Kind::string || field.type == PayloadField::Type::did_pair) return fail_wrong_type(target);
    read_text(name, field, value.text);
}

void EventReader::read_text(FieldName const& name, PayloadField const& field, std::string_view text)
{
    switch (field.type) {
    case PayloadField::Type::did:
        return is_owner_or_did(text) ? keep(name, 0, text) : fail(name, "did_syntax", "must be a DID");
    case PayloadField::Type::at_uri:
        return is_at_uri(text) ? keep(name, 0, text) : fail(name, "at_uri_syntax", "must be an AT-URI");
    case PayloadField::Type::datetime: {
        auto const time = parse_datetime(text);
        if (!time) return fail(name, "datetime_syntax", "must be an AT Protocol datetime");
        return keep(name, static_cast<std::uint64_t>(time->time_since_epoch().count()));
    }
    case PayloadField::Type::choice: {
        auto const found = std::find(field.choices.begin(), field.choices.end(), text);
        if (found == field.choices.end()) return fail(name, "not_a_choice", "is not one of the known words");
        return keep(name, static_cast<std::uint64_t>(found - field.choices.begin()));
    }
    default:
        if (static_cast<std::int64_t>(text.size()) < field.min) return fail(name, "too_short", "has too few bytes");
        if (static_cast<std::int64_t>(text.size()) > field.max) return fail(name, "too_long", "has too many bytes");
        return keep(name, 0, text);
    }
}

void EventReader::read_pair_element(Target target, JsonScalar const& value)
{
    if (value.kind != Kind::string) return fail_wrong_type(target);
    ++pair_size_;
    if (target.index < std::size(pair_)) pair_[target.index] = value.text;
    if (is_owner_or_did(value.text)) return;
    failed_ |= bit(target.name->field);
    fail(target.name->pointer + '/' + std::to_string(target.index), "did_syntax", "must be a DID");
}

bool EventReader::is_owner_or_did(std::string_view text) const noexcept
{
    bool const is_owner = !text.empty() && text == draft_.did;
    return is_owner || is_did(text);
}

void EventReader::close_pair(FieldName const& name)
{
    if (failed_ & bit(name.field)) return;
    if (pair_size_ != std::size(pair_)) return fail(name, "participants_count", "must have exactly two elements");
    if (pair_[0] == pair_[1]) return fail(name, "participants_not_distinct", "must have two different elements");
    if ((kept_ & bit(name.field)) && draft_.texts[name.field + 1] != pair_[1])
        return fail(name, "conflicting_spellings", "differs from another spelling of the same field");
    draft_.texts[name.field + 1] = pair_[1];
    keep(name, 0, pair_[0]);
}

void EventReader::keep(FieldName const& name, std::uint64_t integer, std::string_view text)
{
    auto& kept_integer = draft_.integers[name.field];
    auto& kept_text = draft_.texts[name.field];
    if ((kept_ & bit(name.field)) && (kept_integer != integer || kept_text != text))
        return fail(name, "conflicting_spellings", "differs from another spelling of the same field");
    kept_ |= bit(name.field);
    kept_integer = integer;
    kept_text = text;
}

void EventReader::check_missing()
{
    if (std::any_of(errors_.begin(), errors_.end(), [](auto const& error) { return error.pointer.empty(); })) return;
    for (std::size_t const required : {event_type, payload, did})
        if (!(members_ & bit(required))) fail(pointer_to("", envelope[required].names), "missing", "is required");
    if (!entry_ || !draft_.payload.data()) return;
    auto const missing = entry_->type->required & ~(kept_ | failed_);
    if (missing == 0) return;
    for (std::size_t i = 0; i < entry_->processor->fields.size(); ++i)
        if (missing & bit(i))
            fail(pointer_to("/payload", canonical_name(entry_->processor->fields[i].names)), "missing", "is required");
}

// One record, one lane: a record lies in the repository of the DID whose lane its event takes.
void EventReader::check_owner()
{
    if (!entry_ || !entry_->uri || draft_.did.empty()) return;
    auto const uri = *entry_->uri;
    if ((kept_ & bit(uri)) && authority(draft_.texts[uri]) != draft_.did)
        fail(pointer_to("/payload", "uri"), "did_mismatch", "must begin with at:// and the event's did");
}

// The same operation of the same repository always gets the same id. Without a uri, its payload says which it is.
void EventReader::derive_id()
{
    bool const has_uri = entry_ && entry_->uri && (kept_ & bit(*entry_->uri));
    struct {
        Hash128       did, subject, type;
        std::uint64_t rev, has_uri;
    } const operation{
        hash128(draft_.did),
        hash128(has_uri ? draft_.texts[*entry_->uri] : draft_.payload),
        hash128(draft_.type),
        static_cast<std::uint64_t>(draft_.rev),
        has_uri,
    };
    auto const hash = hash128({reinterpret_cast<char const*>(&operation), sizeof operation});
    derived_id_ = "x-" + hex(hash);
    draft_.id = derived_id_;
}

}  // namespace sluice::schema
