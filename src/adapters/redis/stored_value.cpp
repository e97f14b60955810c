#include "adapters/redis/stored_value.hpp"

#include "base/bytes.hpp"
#include "base/hash.hpp"

namespace sluice::adapters {
namespace {

constexpr std::string_view magic{"SLC\x01", 4};  // and version

std::uint64_t checksum(std::string_view key, std::string_view value) { return hash64(value, hash64(key)); }

}  // namespace

std::string StoredValue::pack(std::string_view key, std::string_view value)
{
    std::string stored(magic);
    stored.reserve(overhead + value.size());
    append_number<std::uint64_t>(stored, checksum(key, value));
    stored += value;
    return stored;
}

std::optional<std::string_view> StoredValue::unpack(std::string_view key, std::string_view stored)
{
    if (!stored.starts_with(magic)) return std::nullopt;
    stored.remove_prefix(magic.size());
    auto const sum = take_number<std::uint64_t>(stored);
    if (!sum || *sum != checksum(key, stored)) return std::nullopt;
    return stored;
}

}  // namespace sluice::adapters
