// Buckets whose width is a constant share of the values in them, for distributions over many orders of magnitude.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice {

// 2^precision buckets of width 1, then 2^precision for each doubling: a bucket is at most 1/2^precision of its values
// wide.
template <unsigned precision>
struct LogLinear {
    static constexpr std::size_t index(std::uint64_t value) noexcept
    {
        if (value >> precision == 0) return value;
        auto const shift = static_cast<unsigned>(std::bit_width(value)) - 1 - precision;
        return (std::size_t{shift} << precision) + (value >> shift);
    }
    // The smallest value of the bucket.
    static constexpr std::uint64_t lower(std::size_t index) noexcept
    {
        auto const doubling = index >> precision;
        if (doubling == 0) return index;
        auto const within = index & ((std::size_t{1} << precision) - 1);
        return std::uint64_t{within + (std::size_t{1} << precision)} << (doubling - 1);
    }
};

}  // namespace sluice
