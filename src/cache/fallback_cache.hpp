// A cache behind a server, and one in memory that answers while the server does not.
#pragma once

#include "cache/cache.hpp"

#include <atomic>
#include <mutex>

namespace sluice::cache {

// Any thread. A primary that fails is left at once if it is `unavailable` or fails a check, and else after so many
// failures: nobody asks it any more, until a check succeeds. While it is in use every call that it fails is answered by
// the fallback.
//
// Both may hold answers to the same question that were computed at different times. Nothing has to be cleared on the
// way, for an answer is given only while the stamps in it are those of now, whichever cache it comes from.
class FallbackCache final : public Cache {
public:
    static constexpr std::uint32_t failures_in_row = 5, failures_of_20 = 10;
    static constexpr std::chrono::seconds check_while_away{1}, check_in_use{5};

    // Both outlive it, as does the clock. The fallback answers until the first tend().
    FallbackCache(Cache& primary, Cache& fallback, Clock const& clock);

    Result<std::optional<std::string>> get(std::string_view key) override;
    Result<> put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime) override;
    // Of both. `unavailable`, after clearing the fallback, while the primary is away: it still holds what it held.
    Result<std::uint64_t> clear(Pattern const& keys) override;
    // Of the primary, which is left or used again by what it says. Never fails: the fallback answers.
    Result<>   check() override;
    CacheStats stats() const override;

    // check() when that is due. For one thread, about once a second, since the primary may make it wait.
    void tend();

private:
    bool in_use() const noexcept { return in_use_.load(std::memory_order_acquire); }

    // Of calls to the primary: what it answered.
    void note(Result<> const& answer);
    void leave(Error const& error);  // under the lock
    void come_back();

    Cache&       primary_;
    Cache&       fallback_;
    Clock const& clock_;

    std::atomic<bool> in_use_{false};      // the primary
    std::atomic<bool> is_troubled_{true};  // not in use, or a failure among the last 20 answers

    mutable std::mutex      mutex_;  // guards what is below
    std::uint32_t           recent_{0};  // the last 20 answers: 1 failed
    std::uint32_t           in_row_{0};
    std::optional<WallTime> fallback_since_;
    std::optional<Error>    last_error_;
    std::uint64_t           fallbacks_{0};

    std::optional<Clock::Mono> checked_;  // of the one thread that checks
};

}  // namespace sluice::cache
