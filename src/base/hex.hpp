// Digests as people and JSON see them.
#pragma once

#include <sluice/event.hpp>

#include <string>

namespace sluice {

// 32 lower-case hex digits, the most significant first.
inline std::string hex(Hash128 hash)
{
    static constexpr char digits[] = "0123456789abcdef";
    std::string           text;
    for (auto const part : {hash.high, hash.low})
        for (int shift = 60; shift >= 0; shift -= 4) text += digits[(part >> shift) & 15];
    return text;
}

}  // namespace sluice
