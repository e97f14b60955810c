// XXH3, the one hash of this program. Stable across machines and versions.
#pragma once

#include <sluice/event.hpp>

#include <string_view>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sluice {

inline std::uint64_t hash64(std::string_view bytes, std::uint64_t seed = 0) noexcept
{
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

inline Hash128 hash128(std::string_view bytes) noexcept
{
    auto const h = XXH3_128bits(bytes.data(), bytes.size());
    return {h.low64, h.high64};
}

// Arithmetic modulo 2^128, for digests that are sums.
inline Hash128& operator+=(Hash128& a, Hash128 b) noexcept
{
    a.low += b.low;
    a.high += b.high + (a.low < b.low ? 1 : 0);
    return a;
}
inline Hash128& operator-=(Hash128& a, Hash128 b) noexcept
{
    auto const borrow = a.low < b.low ? 1u : 0u;
    a.low -= b.low;
    a.high -= b.high + borrow;
    return a;
}

}  // namespace sluice
