// Whether a run may have an id: the split block Bloom filter that Parquet uses, 12 bits for each id. One cache line a
// question; of ids that are not there it lets about one in 200 through.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

namespace sluice::engine {

class IdFilter {
public:
    static constexpr std::size_t block_bytes = 32;
    static constexpr std::size_t bits_per_id = 12;

    static std::uint64_t bytes_for(std::uint64_t ids) noexcept
    {
        return (ids * bits_per_id / 8 / block_bytes + 1) * block_bytes;
    }

    IdFilter() = default;
    // `bytes` is zeros, or what another filter's bytes() were; a multiple of block_bytes and not empty.
    explicit IdFilter(std::string bytes) : bytes_(std::move(bytes)), blocks_(bytes_.size() / block_bytes) {}

    std::string const& bytes() const noexcept { return bytes_; }

    void add(std::uint64_t hash) noexcept
    {
        auto* const at = bytes_.data() + offset(hash);
        Words       words;
        std::memcpy(words.data(), at, block_bytes);
        for (std::size_t i = 0; i < words.size(); ++i) words[i] |= bit(hash, i);
        std::memcpy(at, words.data(), block_bytes);
    }

    bool may_have(std::uint64_t hash) const noexcept
    {
        Words words;
        std::memcpy(words.data(), bytes_.data() + offset(hash), block_bytes);
        std::uint32_t missing = 0;
        for (std::size_t i = 0; i < words.size(); ++i) missing |= ~words[i] & bit(hash, i);
        return missing == 0;
    }

    void prefetch(std::uint64_t hash) const noexcept { __builtin_prefetch(bytes_.data() + offset(hash)); }

private:
    using Words = std::array<std::uint32_t, block_bytes / sizeof(std::uint32_t)>;

    std::size_t offset(std::uint64_t hash) const noexcept { return (hash >> 32) * blocks_ >> 32 << 5; }

    static std::uint32_t bit(std::uint64_t hash, std::size_t word) noexcept
    {
        static constexpr Words salt{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
                                    0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31};
        return std::uint32_t{1} << (static_cast<std::uint32_t>(hash) * salt[word] >> 27);
    }

    std::string   bytes_;
    std::uint64_t blocks_{0};
};

}  // namespace sluice::engine
