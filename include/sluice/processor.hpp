// What a processor is: the fields of its events' payloads, and a pure function from an event to its effect.
// A processor is one file in processors/; its global is named after the file, which is all the registration there is.
#pragma once

#include <sluice/event.hpp>
#include <sluice/records.hpp>
#include <sluice/result.hpp>

#include <array>
#include <span>
#include <string_view>
#include <variant>

namespace sluice {

// One field of a payload. Decoding checks it; afterwards it is a slot of Event::fields.
struct PayloadField {
    enum class Type : std::uint8_t {
        text,      // a string of min..max bytes
        did,       // a DID
        did_pair,  // exactly two different DIDs; fills this slot and the next, which is listed as did_second
        did_second,
        at_uri,    // an AT-URI
        datetime,  // an AT Protocol datetime, stored as microseconds since 1970
        integer,   // min..max
        choice,    // one of `choices`, stored as its position
    };

    // Accepted spellings, separated by '|', the canonical one first. "a.b" is member b of object a.
    // Two spellings present with different values are refused.
    std::string_view                  names;
    Type                              type{};
    std::int64_t                      min{0};
    std::int64_t                      max{0};
    std::span<std::string_view const> choices{};
};

constexpr std::uint32_t bit(std::size_t field) { return std::uint32_t{1} << field; }

struct EventType {
    std::string_view name;
    Tier             tier{};       // when the sender names none
    std::uint32_t    required{0};  // bit(field) of each field that must be present; null counts as absent
};

// A value of one field; monostate: absent. Texts are views into the event or the old record.
using Value = std::variant<std::monostate, std::int64_t, std::string_view>;

// What one event does to its repository.
struct Effects {
    enum class Action : std::uint8_t {
        none,               // the event is settled without a trace
        put,                // the record becomes `fields`
        remove,             // the record becomes a tombstone
        remove_repository,  // every record of the repository goes, one tombstone stays
    };
    Action                         action{Action::none};
    Kind                           kind{};
    std::string_view               key;
    std::array<Value, Fields::max> fields{};
    std::size_t                    field_count{0};
};

// The records of the event's own repository, with everything before the event applied.
class RecordView {
public:
    virtual ~RecordView() = default;
    // Tombstones are not found.
    virtual std::optional<Record> find(Kind kind, std::string_view key) const = 0;
};

struct Processor {
    std::string_view              name;
    std::uint16_t                 version{1};  // raise it when decoding or effects change: state is then rebuilt
    std::span<EventType const>    events;
    std::span<PayloadField const> fields;

    // Rules between fields, run when an event is received; an error's reason goes to the sender. May be null.
    Result<> (*check)(Event const&){nullptr};

    // Pure: the same event and view give the same effects, today and in every replay. `invalid` dead-letters the event.
    Result<Effects> (*process)(Event const&, RecordView const&){nullptr};
};

// Every processor of processors/, in name order. The list is generated from the file names.
std::span<Processor const* const> all_processors();

}  // namespace sluice
