// The form of a value in a store that others can write to as well.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::adapters {

// Magic and version, XXH3-64 over key and value, the value. It tells accidents: bytes of another program, of another
// version, of another key, damaged ones. It is no proof against somebody who makes values on purpose.
struct StoredValue {
    static constexpr std::size_t overhead = 12;

    static std::string                     pack(std::string_view key, std::string_view value);
    static std::optional<std::string_view> unpack(std::string_view key, std::string_view stored);
};

}  // namespace sluice::adapters
