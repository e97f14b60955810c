#include "cache/memory_cache.hpp"

namespace sluice::cache {

std::size_t MemoryCache::Entry::bytes() const noexcept
{
    constexpr std::size_t overhead = sizeof(Entry) + 96;  // list node, hash node, allocations
    return key.size() + value.size() + overhead;
}

Result<std::optional<std::string>> MemoryCache::get(std::string_view key)
{
    std::lock_guard const lock(mutex_);
    auto const            found = by_key_.find(key);
    if (found == by_key_.end()) return std::nullopt;
    auto const entry = found->second;
    if (clock_.now() >= entry->expires) {
        erase(entry);
        return std::nullopt;
    }
    entries_.splice(entries_.begin(), entries_, entry);
    return entry->value;
}

Result<> MemoryCache::put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime)
{
    Entry                 entry{std::string(key), std::string(value), clock_.now() + lifetime};
    std::lock_guard const lock(mutex_);
    if (auto const found = by_key_.find(key); found != by_key_.end()) erase(found->second);
    if (entry.bytes() > options_.bytes_max / 8) return {};  // one answer must not push out all others
    bytes_ += entry.bytes();
    entries_.push_front(std::move(entry));
    by_key_.emplace(entries_.front().key, entries_.begin());
    while (entries_.size() > options_.keys_max || bytes_ > options_.bytes_max) {
        erase(std::prev(entries_.end()));
        ++evicted_;
    }
    return {};
}

Result<std::uint64_t> MemoryCache::clear(Pattern const& keys)
{
    std::lock_guard const lock(mutex_);
    std::uint64_t         removed = 0;
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        auto const next = std::next(entry);
        if (keys.matches(entry->key)) {
            erase(entry);
            ++removed;
        }
        entry = next;
    }
    return removed;
}

void MemoryCache::erase(Entries::iterator entry)
{
    bytes_ -= entry->bytes();
    by_key_.erase(entry->key);
    entries_.erase(entry);
}

CacheStats MemoryCache::stats() const
{
    std::lock_guard const lock(mutex_);
    return {.backend = "memory", .keys = entries_.size(), .bytes = bytes_, .evicted = evicted_};
}

}  // namespace sluice::cache
