// Whether a dependency is asked at all. Pure: time and chance come from the caller.
#pragma once

#include "base/random.hpp"

#include <sluice/clock.hpp>
#include <sluice/result.hpp>

#include <atomic>
#include <bit>
#include <mutex>
#include <optional>
#include <string>

namespace sluice::engine {

struct BreakerOptions {
    std::uint32_t             failures_in_row{5};
    std::uint32_t             failures_of_20{10};
    std::chrono::milliseconds first_probe{std::chrono::seconds(1)};  // doubles with each probe that fails
    std::chrono::milliseconds probe_max{std::chrono::seconds(30)};
};

// Any thread. Only `unavailable` is a failure: whatever else a dependency answers, it answers.
//   closed     everybody asks; opens after so many failures in a row, or so many of the last 20 answers
//   open       nobody asks; when the next probe is due, the first who wants to may
//   half_open  that probe is under way: its success closes, its failure opens again for twice as long
class Breaker {
public:
    enum class State : std::uint8_t { closed, open, half_open };
    enum class Permit : std::uint8_t { none, probe, all };

    struct Status {
        std::string                name;
        State                      state{};
        Clock::Mono                since{};      // when it left `closed`, or came back
        std::optional<Error>       last_error{};
        std::optional<Clock::Mono> next_probe{};  // while open
        std::uint64_t              failures{0}, probes{0}, opened{0};  // since the start
    };

    Breaker(std::string name, BreakerOptions options) : name_(std::move(name)), options_(options) {}

    bool is_closed() const noexcept { return closed_.load(std::memory_order_acquire); }

    // Who gets `probe` asks for one event and tells succeeded(), failed() or not_asked().
    Permit permit(Clock::Mono now)
    {
        if (is_closed()) return Permit::all;
        std::lock_guard lock(mutex_);
        if (state_ == State::closed) return Permit::all;
        if (state_ == State::half_open || now < next_probe_) return Permit::none;
        state_ = State::half_open;
        ++probes_;
        return Permit::probe;
    }

    void succeeded(Permit permit, Clock::Mono now)
    {
        if (!is_troubled_.load(std::memory_order_relaxed)) return;
        std::lock_guard lock(mutex_);
        if (permit == Permit::probe) {
            state_ = State::closed;
            since_ = now;
            recent_ = in_row_ = failed_probes_ = 0;
            is_troubled_.store(false, std::memory_order_relaxed);
            closed_.store(true, std::memory_order_release);
        } else if (state_ == State::closed) {
            in_row_ = 0;
            recent_ = (recent_ << 1) & last_20;
            is_troubled_.store(recent_ != 0, std::memory_order_relaxed);
        }
    }

    // An answer to somebody who asked before it opened changes nothing any more.
    void failed(Permit permit, Error const& error, Clock::Mono now, Random& random)
    {
        std::lock_guard lock(mutex_);
        ++failures_;
        last_error_ = error;
        if (permit == Permit::probe) {
            state_ = State::open;
            ++failed_probes_;
            next_probe_ = now + pause(random);
        } else if (state_ == State::closed) {
            ++in_row_;
            recent_ = ((recent_ << 1) | 1) & last_20;
            is_troubled_.store(true, std::memory_order_relaxed);
            auto const of_20 = static_cast<std::uint32_t>(std::popcount(recent_));
            if (in_row_ < options_.failures_in_row && of_20 < options_.failures_of_20) return;
            state_ = State::open;
            since_ = now;
            ++opened_;
            next_probe_ = now + pause(random);
            closed_.store(false, std::memory_order_release);
        }
    }

    // The probe found nothing to ask for: it is due again at once.
    void not_asked()
    {
        std::lock_guard lock(mutex_);
        state_ = State::open;
        --probes_;
    }

    std::optional<Clock::Mono> next_probe() const
    {
        if (is_closed()) return std::nullopt;
        std::lock_guard lock(mutex_);
        return state_ == State::open ? std::optional(next_probe_) : std::nullopt;
    }

    Status status() const
    {
        std::lock_guard lock(mutex_);
        return {.name = name_, .state = state_, .since = since_, .last_error = last_error_,
                .next_probe = state_ == State::open ? std::optional(next_probe_) : std::nullopt,
                .failures = failures_, .probes = probes_, .opened = opened_};
    }

private:
    static constexpr std::uint32_t last_20 = (1u << 20) - 1;

    // Between half of it and all of it, so that many do not ask at once.
    std::chrono::nanoseconds pause(Random& random) const
    {
        using std::chrono::nanoseconds;
        nanoseconds const most = options_.probe_max;
        nanoseconds       full = options_.first_probe;
        for (auto n = failed_probes_; n > 0 && full < most; --n) full *= 2;
        auto const half = std::max<std::int64_t>(std::min(full, most).count() / 2, 1);
        return nanoseconds(half + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(half) + 1)));
    }

    std::string const    name_;
    BreakerOptions const options_;

    std::atomic<bool>    closed_{true};
    std::atomic<bool>    is_troubled_{false};  // not closed, or a failure among the last 20

    mutable std::mutex   mutex_;  // guards what is below
    State                state_{State::closed};
    std::uint32_t        recent_{0};  // the last 20 answers: 1 failed
    std::uint32_t        in_row_{0};
    std::uint32_t        failed_probes_{0};  // since it opened
    Clock::Mono          since_{};
    Clock::Mono          next_probe_{};
    std::optional<Error> last_error_;
    std::uint64_t        failures_{0}, probes_{0}, opened_{0};
};

}  // namespace sluice::engine
