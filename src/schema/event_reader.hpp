// What the members of an envelope and the fields of its payload mean. Driven by JsonReader::walk.
#pragma once

#include "schema/decoder.hpp"
#include "schema/field_names.hpp"
#include "schema/json.hpp"

#include <unordered_map>

namespace sluice::schema {

// Fills a record's draft from one event and collects what is wrong with it. One per thread, used again by reset().
class EventReader {
public:
    // What a value is for.
    struct Target {
        enum class Role : std::uint8_t {
            ignored,
            event,           // the whole event
            envelope,        // its members
            member,          // the value of the one `name` says
            payload,         // the payload, on its own
            payload_object,  // its members
            field,           // the value `name` stands for
            object,          // the members of that value
            pair,            // the elements of that value
            element,         // one of them
        };
        Role             role;
        std::uint32_t    index;  // of an element
        FieldName const* name;

        explicit operator bool() const noexcept { return role != Role::ignored; }
    };

    explicit EventReader(SchemaSet const& schemas);

    // Begins an event. Views given and visited must stay until its record is written.
    void reset(std::string_view json);
    // As if an envelope had been visited that says what this record does, except for its payload.
    void reset(log::LoggedRecord const& record, std::string_view json);
    // From here on the event is made from another one: it has no id.
    void make_successor(log::RecordKind kind, log::Origin origin);

    // The payload stood before its type, so that its fields were passed over: the token to visit as Role::payload.
    std::optional<std::size_t> unread_payload() const noexcept;

    // Checks what only the whole event shows. True: draft() is complete and has no error but those of its processor.
    bool finish();

    log::RecordDraft const&  draft() const noexcept { return draft_; }
    Processor const*         processor() const noexcept { return entry_ ? entry_->processor : nullptr; }
    std::vector<FieldError>& errors() noexcept { return errors_; }

    // Called by JsonReader::walk.
    Target open_object(Target target, std::size_t offset);
    Target open_array(Target target, std::size_t offset);
    void   close(Target whole, std::size_t offset);
    Target member(Target whole, JsonName const& name, std::size_t token);
    Target element(Target whole, std::size_t index) const noexcept;
    void   scalar(Target target, JsonScalar const& value);

private:
    enum Member : std::size_t { event_type, payload, did, priority, event_id, rev, timestamp };
    static constexpr std::size_t errors_max = 16;

    void clear();
    void fail(std::string pointer, char const* code, char const* detail);
    void fail(FieldName const& name, char const* code, char const* detail);
    void fail_wrong_type(Target target);
    void fail_unknown_member(std::string_view name);

    void read_member(FieldName const& name, JsonScalar const& value);
    void read_event_type(FieldName const& name, std::string_view text);
    void read_priority(FieldName const& name, JsonScalar const& value);
    void use_type(std::string_view type);

    void read_field(FieldName const& name, JsonScalar const& value);
    void read_text(FieldName const& name, PayloadField const& field, std::string_view text);
    void read_pair_element(Target target, JsonScalar const& value);
    void close_pair(FieldName const& name);
    bool is_owner_or_did(std::string_view text) const noexcept;
    void keep(FieldName const& name, std::uint64_t integer, std::string_view text = {});

    void check_missing();
    void check_owner();
    void derive_id();

    SchemaSet const&                            schemas_;
    FieldNames                                  envelope_names_;
    std::unordered_map<Processor const*, FieldNames> names_;

    std::string_view        json_;
    SchemaSet::Entry const* entry_{nullptr};
    SchemaSet::Entry const* last_entry_{nullptr};   // of the type looked up last: the next is often the same
    FieldNames const*       entry_names_{nullptr};  // of last_entry_
    log::RecordDraft        draft_;
    std::optional<Tier>     tier_;
    std::uint32_t           members_{0};  // bits of envelope members that are present
    std::uint32_t           kept_{0};     // bits of fields in draft_
    std::uint32_t           failed_{0};   // bits of fields that have errors
    std::size_t             payload_token_{0};
    std::size_t             payload_offset_{0};
    bool                    is_payload_read_{false};
    std::string_view        pair_[2];
    std::size_t             pair_size_{0};
    std::string             derived_id_;
    std::vector<FieldError> errors_;
};

}  // namespace sluice::schema
