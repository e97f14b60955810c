#include "log/record.hpp"

#include "base/assert.hpp"
#include "base/hash.hpp"

#include <limits>

namespace sluice::log {
namespace {

constexpr std::size_t alignment = 8;
constexpr std::size_t chain_size = sizeof(RecordHeader::chain);

constexpr std::size_t aligned(std::size_t size) { return (size + alignment - 1) / alignment * alignment; }

bool lies_inside(std::string_view part, std::string_view whole) noexcept
{
    // Below `whole` the difference wraps around and is too large as well.
    auto const begin = reinterpret_cast<std::uintptr_t>(part.data()) - reinterpret_cast<std::uintptr_t>(whole.data());
    return begin <= whole.size() && part.size() <= whole.size() - begin;
}

char* copy(char* to, std::string_view text) noexcept
{
    if (!text.empty()) std::memcpy(to, text.data(), text.size());
    return to + text.size();
}

}  // namespace

std::uint32_t write_record(RecordDraft const& draft, std::string& out)
{
    SLUICE_ASSERT(out.size() % alignment == 0);
    SLUICE_ASSERT(draft.slot_count <= Fields::max);
    SLUICE_ASSERT(draft.type.size() <= std::numeric_limits<std::uint8_t>::max());
    SLUICE_ASSERT(draft.did.size() <= std::numeric_limits<std::uint16_t>::max());
    SLUICE_ASSERT(draft.id.size() <= std::numeric_limits<std::uint16_t>::max());

    auto const        to_copy = [&](std::string_view text) { return text.data() && !lies_inside(text, draft.payload); };
    std::size_t const slots_size = draft.slot_count * sizeof(std::uint64_t);
    std::size_t       texts_size = 0;
    for (std::size_t i = 0; i < draft.slot_count; ++i)
        if (to_copy(draft.texts[i])) texts_size += draft.texts[i].size();

    std::size_t const payload_offset =
        sizeof(RecordHeader) + slots_size + origin_size(draft.kind) + draft.type.size() + draft.did.size() +
        draft.id.size() + texts_size;
    std::size_t const size = aligned(payload_offset + draft.payload.size());
    std::size_t const offset = out.size();
    SLUICE_ASSERT(offset + size <= std::numeric_limits<std::int32_t>::max());

    RecordHeader header{};
    header.size = static_cast<std::uint32_t>(size);
    header.payload_offset = static_cast<std::uint32_t>(payload_offset);
    header.payload_size = static_cast<std::uint32_t>(draft.payload.size());
    header.rev = static_cast<std::uint64_t>(draft.rev);
    header.payload_hash = hash128(draft.payload);
    header.schema_version = draft.schema_version;
    header.did_size = static_cast<std::uint16_t>(draft.did.size());
    header.id_size = static_cast<std::uint16_t>(draft.id.size());
    header.type_size = static_cast<std::uint8_t>(draft.type.size());
    header.slot_count = static_cast<std::uint8_t>(draft.slot_count);
    header.tier = static_cast<std::uint8_t>(draft.tier);
    header.kind = draft.kind;

    out.resize(offset + size);
    char* const base = out.data() + offset;
    std::memcpy(base, &header, sizeof header);
    char* slot_at = base + sizeof header;
    char* at = slot_at + slots_size;
    if (auto const origin = origin_size(draft.kind); origin != 0) {
        std::memcpy(at, &draft.origin, origin);
        at += origin;
    }
    at = copy(at, draft.type);
    at = copy(at, draft.did);
    at = copy(at, draft.id);
    for (std::size_t i = 0; i < draft.slot_count; ++i) {
        auto const    text = draft.texts[i];
        std::uint64_t slot = draft.integers[i];
        if (to_copy(text)) {
            slot = static_cast<std::uint64_t>(at - base) << 32 | text.size();
            at = copy(at, text);
        } else if (text.data()) {
            auto const in_payload = static_cast<std::size_t>(text.data() - draft.payload.data());
            slot = static_cast<std::uint64_t>(payload_offset + in_payload) << 32 | text.size();
        }
        std::memcpy(slot_at, &slot, sizeof slot);
        slot_at += sizeof slot;
    }
    copy(at, draft.payload);
    return static_cast<std::uint32_t>(offset);
}

// Whether a slot is a text is known only to a field table, so slots are not looked at here: they are trusted because
// the chain hash covers them.
bool LoggedRecord::check(std::string_view bytes) noexcept
{
    if (bytes.size() < sizeof(RecordHeader)) return false;
    RecordHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.size > bytes.size()) return false;
    if (header.slot_count > Fields::max || header.tier >= tier_count || header.kind > RecordKind::control) return false;

    std::size_t const texts_offset = sizeof header + header.slot_count * sizeof(std::uint64_t) +
                                     origin_size(header.kind) + header.type_size + header.did_size + header.id_size;
    if (texts_offset > header.payload_offset) return false;
    std::size_t const end = std::size_t{header.payload_offset} + header.payload_size;
    if (aligned(end) != header.size) return false;
    // The one part that no hash covers.
    return bytes.substr(end, header.size - end).find_first_not_of('\0') == std::string_view::npos;
}

Origin LoggedRecord::origin() const noexcept
{
    Origin origin;
    if (origin_size(header_.kind) != 0) std::memcpy(&origin, bytes_ + origin_offset(), sizeof origin);
    return origin;
}

Event LoggedRecord::event(Sequence sequence, WallTime received_at) const noexcept
{
    auto const from = origin();
    return {
        .sequence = sequence,
        .version = from.version,
        .received_at = from.version == Sequence::none ? received_at : from.received_at,
        .tier = tier(),
        .rev = Revision{header_.rev},
        .type = type(),
        .did = did(),
        .payload = payload(),
        .payload_hash = header_.payload_hash,
        .fields = Fields(bytes_, bytes_ + sizeof(RecordHeader), header_.slot_count),
    };
}

std::string LoggedRecord::id(Sequence sequence) const
{
    if (header_.id_size > 0) return std::string(stored_id());
    // A UUID of version 8 (RFC 9562): the upper 16 bits of the sequence in the second group, the lower 48 in the last.
    std::string uuid = "00000000-0000-8000-8000-000000000000";
    auto        rest = number(sequence);
    for (std::size_t const last : {uuid.size() - 1, std::size_t{12}})
        for (std::size_t i = last; uuid[i] != '-'; --i, rest >>= 4) uuid[i] = "0123456789abcdef"[rest & 15];
    return uuid;
}

Hash128 LoggedRecord::content_hash() const noexcept
{
    struct {
        Hash128       payload;
        Hash128       type_and_did;
        std::uint64_t rev;
        std::uint64_t type_size;
    } const content{
        header_.payload_hash,
        hash128({type().data(), std::size_t{header_.type_size} + header_.did_size}),
        header_.rev,
        header_.type_size,
    };
    return hash128({reinterpret_cast<char const*>(&content), sizeof content});
}

std::uint64_t LoggedRecord::chain_after(std::uint64_t previous) const noexcept
{
    return hash64({bytes_ + chain_size, header_.payload_offset - chain_size}, previous);
}

bool LoggedRecord::payload_intact() const noexcept { return hash128(payload()) == header_.payload_hash; }

void set_chain(char* record, std::uint64_t chain) noexcept
{
    std::memcpy(record + offsetof(RecordHeader, chain), &chain, sizeof chain);
}

std::uint64_t lane_key(std::uint32_t tenant, std::string_view did) noexcept { return hash64(did, tenant); }

Hash128 id_key(std::uint32_t tenant, std::string_view id) noexcept
{
    auto const h = XXH3_128bits_withSeed(id.data(), id.size(), tenant);
    return {h.low64, h.high64};
}

}  // namespace sluice::log
