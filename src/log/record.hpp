// The layout of one logged event, and how it is written and read.
//
//   header | slots | origin | type | did | event id | texts | payload | zeros to a multiple of 8        little-endian
//
// An origin is there in records made from another event: redrives and releases.
// Slots and texts are what decoding found in the payload, so that nobody after the decoder parses JSON. A text that
// stands in the payload without escapes is not copied: its slot points there.
#pragma once

#include <sluice/event.hpp>

#include <string>
#include <string_view>

namespace sluice::log {

// What a record is. Producers send events; the others are made by the server.
enum class RecordKind : std::uint8_t {
    event,
    redrive,  // an event again, or an edited one: the successor of a dead letter; accepted like any other event
    release,  // an event that was parked and can run now: it was accepted already
    control,  // what an operator or a job did: no event, in no lane
};
inline constexpr std::string_view record_kind_names[] = {"event", "redrive", "release", "control"};
constexpr bool is_accepted(RecordKind kind) { return kind == RecordKind::event || kind == RecordKind::redrive; }

// Which event a record was made from.
struct Origin {
    Sequence cause{};    // the event it takes the place of
    Sequence version{};  // whose place in the order of its record it keeps; none: its own, like a new event
    WallTime received_at{};  // of that one

    friend bool operator==(Origin const&, Origin const&) = default;
};

struct RecordHeader {
    std::uint64_t chain;           // hash of the record before and of this one up to its payload; set by the appender
    std::uint32_t size;            // of the whole record
    std::uint32_t payload_offset;
    std::uint32_t payload_size;
    std::uint32_t tenant;          // 0: default
    std::uint64_t rev;
    Hash128       payload_hash;
    std::uint16_t schema_version;  // of the processor whose field table filled the slots; 0: none did
    std::uint16_t did_size;
    std::uint16_t id_size;         // 0: the id is a UUIDv8 made from the sequence
    std::uint8_t  type_size;
    std::uint8_t  slot_count;
    std::uint8_t  tier;
    RecordKind    kind;
    std::uint8_t  reserved[6];
};
static_assert(sizeof(RecordHeader) == 64);

// Bytes of the origin in a record of that kind.
constexpr std::size_t origin_size(RecordKind kind)
{
    return kind == RecordKind::redrive || kind == RecordKind::release ? sizeof(Origin) : 0;
}

// What the decoder hands to write_record. Views; texts inside `payload` are recognised by their address.
struct RecordDraft {
    std::string_view type, did, id, payload;
    Tier             tier{};
    Revision         rev{};
    RecordKind       kind{};
    Origin           origin{};  // of redrives and releases
    std::uint16_t    schema_version{0};
    std::size_t      slot_count{0};
    std::uint64_t    integers[Fields::max]{};  // used where texts[i].data() is null; Fields::absent when absent
    std::string_view texts[Fields::max]{};
};

// Appends the record to `out` and returns its offset there. `out` must be a multiple of 8 long.
std::uint32_t write_record(RecordDraft const& draft, std::string& out);

// A view of one record. The bytes must outlive it and must have passed check() if they come from storage.
class LoggedRecord {
public:
    explicit LoggedRecord(char const* bytes) : bytes_(bytes) { std::memcpy(&header_, bytes, sizeof header_); }

    // False unless `bytes` starts with a record that lies wholly inside and whose parts lie inside it.
    static bool check(std::string_view bytes) noexcept;

    RecordHeader const& header() const noexcept { return header_; }
    std::string_view    bytes() const noexcept { return {bytes_, header_.size}; }
    std::string_view    type() const noexcept { return {bytes_ + type_offset(), header_.type_size}; }
    std::string_view    did() const noexcept { return {type().data() + header_.type_size, header_.did_size}; }
    std::string_view    stored_id() const noexcept { return {did().data() + header_.did_size, header_.id_size}; }
    std::string_view    payload() const noexcept { return {bytes_ + header_.payload_offset, header_.payload_size}; }
    Tier                tier() const noexcept { return Tier{header_.tier}; }
    RecordKind          kind() const noexcept { return header_.kind; }
    Origin              origin() const noexcept;  // empty when the record is made from no other event

    Event event(Sequence sequence, WallTime received_at) const noexcept;

    // The event's id as producers know it.
    std::string id(Sequence sequence) const;

    // Hash of (type, did, rev, payload): two events with one id are the same event if it is equal.
    Hash128 content_hash() const noexcept;

    // The chain value this record must carry after a record that carries `previous`.
    std::uint64_t chain_after(std::uint64_t previous) const noexcept;

    // Whether the payload is what was hashed.
    bool payload_intact() const noexcept;

private:
    std::size_t origin_offset() const noexcept { return sizeof(RecordHeader) + 8u * header_.slot_count; }
    std::size_t type_offset() const noexcept { return origin_offset() + origin_size(header_.kind); }

    char const*  bytes_;
    RecordHeader header_;
};

void set_chain(char* record, std::uint64_t chain) noexcept;

// Lane of a repository, and the key deduplication uses for an id.
std::uint64_t lane_key(std::uint32_t tenant, std::string_view did) noexcept;
Hash128       id_key(std::uint32_t tenant, std::string_view id) noexcept;

}  // namespace sluice::log
