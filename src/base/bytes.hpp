// Numbers as bytes, little-endian.
#pragma once

#include <bit>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace sluice {

static_assert(std::endian::native == std::endian::little);

template <class T>
void append_number(std::string& out, std::type_identity_t<T> number)
{
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    out.append(reinterpret_cast<char const*>(&number), sizeof number);
}

// From the front of `bytes`; none, and nothing is taken, if they are too few.
template <class T>
std::optional<T> take_number(std::string_view& bytes)
{
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    T number;
    if (bytes.size() < sizeof number) return std::nullopt;
    std::memcpy(&number, bytes.data(), sizeof number);
    bytes.remove_prefix(sizeof number);
    return number;
}

}  // namespace sluice
