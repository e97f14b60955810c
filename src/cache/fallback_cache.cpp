#include "cache/fallback_cache.hpp"

#include <bit>

namespace sluice::cache {
namespace {

template <class T>
Result<> outcome_of(Result<T> const& answer)
{
    if (answer) return {};
    return answer.error();
}

}  // namespace

FallbackCache::FallbackCache(Cache& primary, Cache& fallback, Clock const& clock)
    : primary_(primary), fallback_(fallback), clock_(clock)
{
}

Result<std::optional<std::string>> FallbackCache::get(std::string_view key)
{
    if (in_use()) {
        auto found = primary_.get(key);
        note(outcome_of(found));
        if (found) return found;
    }
    return fallback_.get(key);
}

Result<> FallbackCache::put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime)
{
    if (in_use()) {
        auto const put = primary_.put(key, value, lifetime);
        note(put);
        if (put) return put;
    }
    return fallback_.put(key, value, lifetime);
}

Result<std::uint64_t> FallbackCache::clear(Pattern const& keys)
{
    auto removed = fallback_.clear(keys);
    if (!in_use()) return Error{Errc::unavailable, "cache_away", "only the cache in memory was cleared"};
    auto const removed_there = primary_.clear(keys);
    note(outcome_of(removed_there));
    if (!removed || !removed_there) return removed ? removed_there : removed;
    return *removed + *removed_there;
}

void FallbackCache::note(Result<> const& answer)
{
    constexpr std::uint32_t last_20 = (1u << 20) - 1;
    bool const              is_failure = !answer && answer.error().code != Errc::full;
    if (!is_failure && !is_troubled_.load(std::memory_order_relaxed)) return;
    std::lock_guard const lock(mutex_);
    if (!in_use()) return;  // asked before it was left
    recent_ = (recent_ << 1 | std::uint32_t{is_failure}) & last_20;
    in_row_ = is_failure ? in_row_ + 1 : 0;
    is_troubled_.store(recent_ != 0, std::memory_order_relaxed);
    if (!is_failure) return;
    auto const of_20 = static_cast<std::uint32_t>(std::popcount(recent_));
    if (answer.error().code == Errc::unavailable || in_row_ >= failures_in_row || of_20 >= failures_of_20)
        leave(answer.error());
}

void FallbackCache::leave(Error const& error)
{
    last_error_ = error;
    if (!fallback_since_) {
        fallback_since_ = clock_.wall();
        ++fallbacks_;
    }
    is_troubled_.store(true, std::memory_order_relaxed);
    in_use_.store(false, std::memory_order_release);
}

void FallbackCache::come_back()
{
    std::lock_guard const lock(mutex_);
    if (in_use()) return;
    recent_ = in_row_ = 0;
    fallback_since_.reset();
    is_troubled_.store(false, std::memory_order_relaxed);
    in_use_.store(true, std::memory_order_release);
}

Result<> FallbackCache::check()
{
    auto const checked = primary_.check();
    checked_ = clock_.now();
    if (checked) {
        come_back();
    } else if (checked.error().code != Errc::full) {  // else it is busy with us
        std::lock_guard const lock(mutex_);
        leave(checked.error());
    }
    return {};
}

void FallbackCache::tend()
{
    auto const pause = in_use() ? check_in_use : check_while_away;
    if (!checked_ || clock_.now() >= *checked_ + pause) (void)check();
}

CacheStats FallbackCache::stats() const
{
    auto const there = primary_.stats();
    auto       stats = in_use() ? there : fallback_.stats();
    stats.has_fallback = true;
    stats.clients = there.clients;
    stats.connections = there.connections;
    stats.calls = there.calls;
    stats.call_ns = there.call_ns;
    stats.errors = there.errors;
    stats.corrupt = there.corrupt;
    std::lock_guard const lock(mutex_);
    stats.fallback_since = fallback_since_;
    stats.last_error = last_error_;
    stats.fallbacks = fallbacks_;
    return stats;
}

}  // namespace sluice::cache
