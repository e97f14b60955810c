// How many events a key may bring in any window of time: a log of when they came, so that no window holds more.
#pragma once

#include <sluice/clock.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>

namespace sluice::http {

struct Quota {
    std::uint64_t        events{0};
    std::chrono::seconds window{1};
};

// In every interval [t, t + window), whatever t, at most `events` are counted. One thread; `now` never goes back.
//
// Memory is bounded: entries are exact while there are fewer than `entries_exact`; beyond, what comes within
// window / entries_exact of an entry's first events joins it and leaves when its last do. So the limit always holds,
// and a place comes back at most window / entries_exact too late. There are at most about twice as many entries.
class RateLimit {
public:
    static constexpr std::size_t entries_exact = 1'024;

    explicit RateLimit(Quota quota) : quota_(quota) {}

    bool never_fits(std::uint64_t events) const noexcept { return events > quota_.events; }
    bool fits(Clock::Mono now, std::uint64_t events)
    {
        forget(now);
        return used_ + events <= quota_.events;
    }

    // Events that fit and were let through.
    void count(Clock::Mono now, std::uint64_t events)
    {
        forget(now);
        used_ += events;
        if (!entries_.empty() && joins(entries_.back(), now)) {
            entries_.back().last = now;
            entries_.back().events += events;
        } else {
            entries_.push_back({now, now, events});
        }
    }

    std::uint64_t remaining(Clock::Mono now)
    {
        forget(now);
        return quota_.events - used_;
    }

    // Until so many fit; nothing if they fit now. Not for what never fits.
    std::chrono::nanoseconds until(Clock::Mono now, std::uint64_t events)
    {
        forget(now);
        auto used = used_;
        for (auto const& entry : entries_) {
            if (used + events <= quota_.events) break;
            used -= entry.events;
            if (used + events <= quota_.events) return entry.last + quota_.window - now;
        }
        return {};
    }
    // Until the oldest events leave the window; nothing if there are none.
    std::chrono::nanoseconds until_more(Clock::Mono now)
    {
        forget(now);
        return entries_.empty() ? std::chrono::nanoseconds{} : entries_.front().last + quota_.window - now;
    }

    Quota const& quota() const noexcept { return quota_; }
    std::size_t  entries() const noexcept { return entries_.size(); }

private:
    struct Entry {
        Clock::Mono   first, last;
        std::uint64_t events;
    };

    bool joins(Entry const& entry, Clock::Mono now) const noexcept
    {
        if (entry.last == now) return true;
        auto const step = std::chrono::nanoseconds(quota_.window) / entries_exact;
        return entries_.size() >= entries_exact && now - entry.first < step;
    }

    void forget(Clock::Mono now)
    {
        while (!entries_.empty() && now - entries_.front().last >= quota_.window) {
            used_ -= entries_.front().events;
            entries_.pop_front();
        }
    }

    Quota             quota_;
    std::deque<Entry> entries_;  // by time
    std::uint64_t     used_{0};  // events of all entries
};

}  // namespace sluice::http
