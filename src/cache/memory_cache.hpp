// The cache of one process: bounded by keys and bytes, the least recently used goes first.
#pragma once

#include "cache/cache.hpp"

#include <list>
#include <mutex>
#include <unordered_map>

namespace sluice::cache {

struct MemoryCacheOptions {
    std::size_t keys_max{10'000};
    std::size_t bytes_max{64u << 20};  // keys, values and what keeping them costs
};

// Never fails.
class MemoryCache final : public Cache {
public:
    MemoryCache(MemoryCacheOptions options, Clock const& clock) : options_(options), clock_(clock) {}

    Result<std::optional<std::string>> get(std::string_view key) override;
    Result<> put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime) override;
    Result<std::uint64_t> clear(Pattern const& keys) override;
    CacheStats            stats() const override;

private:
    struct Entry {
        std::string key, value;
        Clock::Mono expires;

        std::size_t bytes() const noexcept;
    };
    using Entries = std::list<Entry>;  // the most recently used first

    void erase(Entries::iterator entry);

    MemoryCacheOptions const options_;
    Clock const&             clock_;

    mutable std::mutex                                      mutex_;  // guards all below
    Entries                                                 entries_;
    std::unordered_map<std::string_view, Entries::iterator> by_key_;  // views of the entries' keys
    std::size_t                                             bytes_{0};
    std::uint64_t                                           evicted_{0};
};

}  // namespace sluice::cache
