// An event as processors see it: a view of one record of the log.
#pragma once

#include <sluice/clock.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace sluice {

// Position in the log. Dense from 1; none stands before the first event.
enum class Sequence : std::uint64_t { none = 0 };
constexpr std::uint64_t number(Sequence s) { return static_cast<std::uint64_t>(s); }
constexpr Sequence      next(Sequence s) { return Sequence{number(s) + 1}; }

// Higher is served first. The numbers are those of the wire.
enum class Tier : std::uint8_t { low, normal, high, critical };
inline constexpr std::size_t tier_count = 4;
constexpr std::size_t index(Tier t) { return static_cast<std::size_t>(t); }
inline constexpr std::string_view tier_names[tier_count] = {"low", "normal", "high", "critical"};

// A repository revision (TID) as its 64-bit value plus one, so that none is below every revision.
enum class Revision : std::uint64_t { none = 0 };

struct Hash128 {
    std::uint64_t low{}, high{};
    friend auto operator<=>(Hash128 const&, Hash128 const&) = default;
};

// Typed fields in the order of a processor's field table. A view: the bytes belong to a record.
// A slot is eight bytes: an integer, or offset << 32 | size of a text counted from `base`.
class Fields {
public:
    static constexpr std::uint64_t absent = std::uint64_t{1} << 63;
    static constexpr std::size_t   max = 16;

    Fields() = default;
    Fields(char const* base, char const* slots, std::size_t count) : base_(base), slots_(slots), count_(count) {}

    std::size_t size() const noexcept { return count_; }

    std::uint64_t slot(std::size_t field) const noexcept
    {
        if (field >= count_) return absent;
        std::uint64_t value;
        std::memcpy(&value, slots_ + field * sizeof value, sizeof value);
        return value;
    }
    std::optional<std::int64_t> integer(std::size_t field) const noexcept
    {
        auto const value = slot(field);
        if (value == absent) return std::nullopt;
        return static_cast<std::int64_t>(value);
    }
    std::optional<std::string_view> text(std::size_t field) const noexcept
    {
        auto const value = slot(field);
        if (value == absent) return std::nullopt;
        return std::string_view(base_ + (value >> 32), static_cast<std::uint32_t>(value));
    }

private:
    char const* base_{nullptr};
    char const* slots_{nullptr};
    std::size_t count_{0};
};

struct Event {
    Sequence         sequence{};
    Sequence         version{};    // of an event that comes late: whose place in the order it keeps; else none
    WallTime         received_at{};  // from the log; of one that comes late, that of the event whose place it keeps
    Tier             tier{};
    Revision         rev{};
    std::string_view type;
    std::string_view did;  // the order key: the repository the record lives in
    std::string_view payload;  // JSON, byte for byte as it was sent
    Hash128          payload_hash{};
    Fields           fields;   // as the type's processor lists them
};

}  // namespace sluice
