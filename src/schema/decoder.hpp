// Bytes -> event: the strict reading of an envelope and its payload. Pure; what it accepts is ready for the log.
#pragma once

#include "log/record.hpp"

#include <sluice/processor.hpp>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace sluice::schema {

// Which processor handles an event type. Immutable after construction: any thread.
class SchemaSet {
public:
    struct Entry {
        Processor const*           processor{nullptr};
        EventType const*           type{nullptr};
        std::optional<std::size_t> uri{};  // the field that is the record's key, if it has one
    };

    // Two processors with one event type are a bug: asserts.
    explicit SchemaSet(std::span<Processor const* const> processors);

    Entry const* find(std::string_view event_type) const noexcept;  // null: unknown type
    std::span<Processor const* const> processors() const noexcept { return processors_; }

private:
    std::span<Processor const* const>           processors_;
    std::unordered_map<std::string_view, Entry> by_type_;
};

struct FieldError {
    std::string pointer;  // JSON pointer into the envelope
    std::string code;
    std::string detail;
};

// Why bytes are not an event.
struct DecodeError {
    bool                    is_json{true};  // false: not acceptable as JSON (400); true: acceptable but invalid (422)
    std::string             code;           // of the first error
    std::string             detail;
    std::vector<FieldError> errors;         // empty unless is_json
};

struct Decoded {
    std::uint32_t offset{0};  // of the record in `out`
    Tier          tier{};
};

// One per thread: it owns the parser's buffers.
class Decoder {
public:
    // Readable bytes that must follow the JSON text.
    static constexpr std::size_t padding = 64;

    static constexpr std::size_t event_bytes_max = 256 * 1024;
    static constexpr std::size_t depth_max = 32;
    static constexpr std::size_t members_max = 1'000;    // per object
    static constexpr std::size_t nodes_max = 10'000;     // per event
    static constexpr std::size_t string_bytes_max = 64 * 1024;
    static constexpr std::size_t number_chars_max = 64;

    explicit Decoder(SchemaSet const& schemas);
    ~Decoder();

    // Appends one record to `out`, or leaves it as it was and says why not. `json` is one event without surrounding
    // blank space requirements, followed by `padding` readable bytes. A tier above `cap` is lowered to it.
    std::optional<DecodeError> decode(
        std::string_view json, std::string& out, Decoded& decoded, Tier cap = Tier::critical);

    // Slots of an event whose record was written with another version of its processor's fields. Appends a record
    // with the same bytes and new slots to `out`; nullopt result means it no longer decodes: error says why.
    std::optional<DecodeError> redecode(log::LoggedRecord const& record, std::string& out);

    // Appends the record that takes the place of `record`: its envelope without the id, of another kind and origin,
    // with `payload`, which is followed by `padding` readable bytes.
    std::optional<DecodeError> succeed(
        log::LoggedRecord const& record, log::RecordKind kind, log::Origin origin, std::string_view payload,
        std::string& out, Decoded& decoded);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::schema
