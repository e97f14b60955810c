// How many retries there may be. Pure.
#pragma once

#include <sluice/clock.hpp>

#include <algorithm>
#include <cstdint>

namespace sluice::engine {

struct RetryBudgetOptions {
    std::uint32_t percent{10};     // of the events that settle at their first try
    std::uint32_t per_second{10};  // beside that, so that a lane that fails alone gets its turns
    std::uint32_t saved_max{100};  // retries; also what there is at the start
};

// One thread. In any stretch of time there are at most so many retries: `percent` of the events that settled at their
// first try in it, `per_second` of its seconds, and `saved_max`. A retry is reserved first and used when it happens.
class RetryBudget {
public:
    explicit RetryBudget(RetryBudgetOptions options)
        : options_(options), saved_(std::int64_t{options.saved_max} * whole)
    {
    }

    void settled(std::uint64_t events) noexcept { save(static_cast<std::int64_t>(events) * options_.percent * parts); }

    // False if there is none left.
    bool reserve(Clock::Mono now) noexcept
    {
        earn(now);
        if (saved_ < whole) return false;
        saved_ -= whole;
        ++reserved_;
        return true;
    }
    void used() noexcept { --reserved_; }
    void not_used() noexcept  // after all: it stays reserved
    {
        ++reserved_;
        saved_ = std::min(saved_, (std::int64_t{options_.saved_max} - reserved_) * whole);
    }

    // When there is one, if nothing settles until then.
    Clock::Mono next() const noexcept
    {
        if (saved_ >= whole) return earned_;
        if (options_.per_second == 0) return Clock::Mono::max();
        auto const missing = whole - saved_;
        return earned_ + std::chrono::nanoseconds((missing + options_.per_second - 1) / options_.per_second);
    }

private:
    // A retry in parts, so that a nanosecond of `per_second` is a whole number of them.
    static constexpr std::int64_t whole = 1'000'000'000;
    static constexpr std::int64_t parts = whole / 100;

    // What is reserved counts as saved: it may all be used at once.
    void save(std::int64_t amount) noexcept
    {
        auto const room = (std::int64_t{options_.saved_max} - reserved_) * whole - saved_;
        saved_ += std::clamp<std::int64_t>(amount, 0, std::max<std::int64_t>(room, 0));
    }
    void earn(Clock::Mono now) noexcept
    {
        if (now <= earned_) return;
        // Longer than it takes to fill is as good; shorter keeps the product small.
        auto const passed = std::min<std::int64_t>((now - earned_).count(), 3'600 * whole);
        earned_ = now;
        save(passed * options_.per_second);
    }

    RetryBudgetOptions options_;
    std::int64_t       saved_;
    std::int64_t       reserved_{0};  // retries
    Clock::Mono        earned_{};     // until when `per_second` was counted
};

}  // namespace sluice::engine
