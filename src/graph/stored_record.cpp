#include "graph/stored_record.hpp"

#include "base/assert.hpp"

#include <new>

namespace sluice::graph {
namespace {

// A text that repeats the key, or the DID the key begins with, is stored as a part of it.
std::optional<std::size_t> offset_in_key(Record const& identity, std::string_view text) noexcept
{
    if (text == identity.key) return 0;
    if (text == identity.did) return static_cast<std::size_t>(authority(identity.key).data() - identity.key.data());
    return std::nullopt;
}

constexpr std::uint64_t text_slot(std::size_t offset, std::size_t size) noexcept
{
    return std::uint64_t{offset} << 32 | size;
}

// Lays the fields out as slots; texts to be copied behind the key are collected in `copies`.
class SlotWriter {
public:
    SlotWriter(Record const& identity, std::span<Value const> fields) : size_(identity.key.size())
    {
        auto const layout = record_layout(identity.kind);
        for (std::size_t i = 0; i < fields.size(); ++i) {
            if (auto const* integer = std::get_if<std::int64_t>(&fields[i])) {
                SLUICE_ASSERT(!layout.is_text(i));
                slots_[i] = static_cast<std::uint64_t>(*integer);
            } else if (auto const* text = std::get_if<std::string_view>(&fields[i])) {
                SLUICE_ASSERT(layout.is_text(i));
                slots_[i] = text_slot_of(identity, *text);
            } else {
                slots_[i] = Fields::absent;
            }
        }
    }

    std::size_t text_size() const noexcept { return size_; }

    void write(char* slots, char* texts, std::size_t count, std::string_view key) const noexcept
    {
        std::memcpy(slots, slots_.data(), count * sizeof slots_[0]);
        std::memcpy(texts, key.data(), key.size());
        auto* out = texts + key.size();
        for (std::size_t i = 0; i < copy_count_; ++i) {
            std::memcpy(out, copies_[i].data(), copies_[i].size());
            out += copies_[i].size();
        }
    }

private:
    std::uint64_t text_slot_of(Record const& identity, std::string_view text) noexcept
    {
        if (text.empty()) return text_slot(0, 0);
        if (auto const offset = offset_in_key(identity, text)) return text_slot(*offset, text.size());
        copies_[copy_count_++] = text;
        auto const slot = text_slot(size_, text.size());
        size_ += text.size();
        return slot;
    }

    std::array<std::uint64_t, Fields::max>    slots_;
    std::array<std::string_view, Fields::max> copies_;
    std::size_t                               copy_count_{0};
    std::size_t                               size_;
};

bool is_late(Record const& identity) noexcept
{
    return identity.version != Sequence::none && identity.version != identity.sequence;
}

// How write() begins a record; its slots and texts follow.
struct Packed {
    std::uint32_t text_size;
    std::uint16_t key_size;
    std::uint8_t  kind;
    std::uint8_t  removed;
    std::uint32_t slot_count;
    std::uint32_t unused;
    std::uint64_t rev, sequence, version;
    Hash128       payload_hash;
};
static_assert(sizeof(Packed) == 56);

// Of a repository only its end is stored, and of what is removed no field.
bool can_be(Kind kind, bool removed, std::size_t slot_count) noexcept
{
    auto const layout = record_layout(kind);
    if (layout.count == 0 && (kind != Kind::repository || !removed)) return false;
    return slot_count <= (removed ? 0 : layout.count);
}

// Bytes of text the slots refer to, the key among them; nullopt if a slot does not fit `size_max`.
std::optional<std::size_t> text_size(Kind kind, Fields const& fields, std::size_t key_size, std::size_t size_max)
{
    auto const layout = record_layout(kind);
    auto       size = key_size;
    for (std::size_t i = 0; i < fields.size(); ++i) {
        auto const slot = fields.slot(i);
        if (!layout.is_text(i) || slot == Fields::absent) continue;
        auto const end = (slot >> 32) + static_cast<std::uint32_t>(slot);
        size = std::max<std::size_t>(size, end);
    }
    if (size > size_max) return std::nullopt;
    return size;
}

template <class Text>
StoredRecord::Mentions select_mentions(Kind kind, Text text) noexcept
{
    if (kind == Kind::attestation) return {text(attestation_field::target)};
    if (kind != Kind::relationship) return {};
    auto const a = text(relationship_field::participant_a);
    auto const b = text(relationship_field::participant_b);
    return {a, a == b ? std::string_view{} : b};
}

}  // namespace

StoredRecord::StoredRecord(Record const& identity, std::size_t field_count) noexcept
    : key_size_(static_cast<std::uint16_t>(identity.key.size())), kind_(identity.kind),
      slot_count_(static_cast<std::uint8_t>(field_count) & 0x3f), late_(is_late(identity)), removed_(identity.removed),
      rev_(identity.rev), sequence_(identity.sequence), payload_hash_(identity.payload_hash)
{
    if (late_) std::memcpy(static_cast<void*>(this + 1), &identity.version, sizeof identity.version);
}

Sequence StoredRecord::version() const noexcept
{
    Sequence version = sequence_;
    if (late_) std::memcpy(&version, this + 1, sizeof version);
    return version;
}

boost::intrusive_ptr<StoredRecord> StoredRecord::make(Record const& identity, std::span<Value const> fields)
{
    SLUICE_ASSERT(identity.key.size() <= key_size_max && fields.size() <= Fields::max);
    SLUICE_ASSERT(identity.key == identity.did || authority(identity.key) == identity.did);

    SlotWriter const writer(identity, fields);
    auto const       version_size = is_late(identity) ? sizeof(Sequence) : 0;
    auto* const      memory =
        ::operator new(sizeof(StoredRecord) + version_size + 8 * fields.size() + writer.text_size());
    auto* const      record = new (memory) StoredRecord(identity, fields.size());
    auto* const      slots = reinterpret_cast<char*>(record + 1) + version_size;
    writer.write(slots, slots + 8 * fields.size(), fields.size(), identity.key);
    return {record};
}

void StoredRecord::write(std::string& out) const
{
    auto const   size = *text_size(kind_, fields(), key_size_, SIZE_MAX);
    Packed const packed{
        .text_size = static_cast<std::uint32_t>(size),
        .key_size = key_size_,
        .kind = static_cast<std::uint8_t>(kind_),
        .removed = removed_,
        .slot_count = slot_count_,
        .unused = 0,
        .rev = static_cast<std::uint64_t>(rev_),
        .sequence = number(sequence_),
        .version = number(version()),
        .payload_hash = payload_hash_};
    out.append(reinterpret_cast<char const*>(&packed), sizeof packed);
    out.append(slots(), 8u * slot_count_ + size);  // the texts follow the slots
}

RecordRef StoredRecord::read(std::string_view& bytes, std::string_view did)
{
    Packed packed;
    if (bytes.size() < sizeof packed) return {};
    std::memcpy(&packed, bytes.data(), sizeof packed);
    auto const  kind = static_cast<Kind>(packed.kind);
    auto const  body = bytes.substr(sizeof packed);
    std::size_t slot_bytes = 8u * std::size_t{packed.slot_count};
    if (!can_be(kind, packed.removed != 0, packed.slot_count) || packed.key_size > packed.text_size ||
        body.size() < slot_bytes + packed.text_size)
        return {};
    auto const texts = body.substr(slot_bytes, packed.text_size);
    auto const key = texts.substr(0, packed.key_size);
    if ((kind == Kind::repository ? key : authority(key)) != did) return {};
    if (!text_size(kind, {texts.data(), body.data(), packed.slot_count}, packed.key_size, packed.text_size)) return {};

    Record const identity{
        .kind = kind,
        .did = did,
        .key = key,
        .rev = Revision{packed.rev},
        .sequence = Sequence{packed.sequence},
        .version = Sequence{packed.version},
        .removed = packed.removed != 0,
        .payload_hash = packed.payload_hash,
        .fields = {}};
    auto const  version_size = is_late(identity) ? sizeof(Sequence) : 0;
    auto* const memory = ::operator new(sizeof(StoredRecord) + version_size + slot_bytes + packed.text_size);
    auto* const record = new (memory) StoredRecord(identity, packed.slot_count);
    std::memcpy(reinterpret_cast<char*>(record + 1) + version_size, body.data(), slot_bytes + packed.text_size);
    bytes.remove_prefix(sizeof packed + slot_bytes + packed.text_size);
    return {record};
}

void StoredRecord::destroy(StoredRecord const* record) noexcept
{
    record->~StoredRecord();
    ::operator delete(const_cast<StoredRecord*>(record));
}

Record StoredRecord::view() const noexcept
{
    return {
        .kind = kind_,
        .did = kind_ == Kind::repository ? key() : authority(key()),
        .key = key(),
        .rev = rev_,
        .sequence = sequence_,
        .version = version(),
        .removed = removed_ != 0,
        .payload_hash = payload_hash_,
        .fields = fields()};
}

StoredRecord::Mentions StoredRecord::mentions(Kind kind, std::span<Value const> fields) noexcept
{
    return select_mentions(kind, [fields](std::size_t i) {
        auto const* text = i < fields.size() ? std::get_if<std::string_view>(&fields[i]) : nullptr;
        return text ? *text : std::string_view{};
    });
}

StoredRecord::Mentions StoredRecord::mentions() const noexcept
{
    return select_mentions(kind_, [this](std::size_t i) { return fields().text(i).value_or(std::string_view{}); });
}

std::optional<std::size_t> StoredRecord::mention(std::string_view name) const noexcept
{
    auto const names = mentions();
    for (std::size_t i = 0; i < names.size(); ++i)
        if (names[i] == name) return i;
    return std::nullopt;
}

}  // namespace sluice::graph
