// When a failed event is tried again, and when it is given up. Pure.
#pragma once

#include "base/random.hpp"

#include <sluice/result.hpp>

#include <chrono>
#include <optional>

namespace sluice::engine {

struct RetryOptions {
    std::uint32_t             conflicts_max{3};                     // at once; then it counts as transient
    std::uint32_t             attempts_max{3};                      // of transient failures; then a dead letter
    std::chrono::milliseconds first_cap{std::chrono::seconds(2)};   // doubles with each attempt, full jitter
    std::chrono::milliseconds unavailable{std::chrono::seconds(1)}; // between looks at a dependency that is away
    std::chrono::milliseconds no_room{std::chrono::seconds(1)};     // between looks for room among the dead letters
};

struct Retry {
    std::chrono::nanoseconds after{};
    std::uint32_t            attempts{};  // to remember for the event
};

// nullopt: give the event up. `attempts` counts the failures before this one.
inline std::optional<Retry> retry_after(Errc error, std::uint32_t attempts, RetryOptions const& options, Random& random)
{
    using std::chrono::nanoseconds;
    auto const jitter = [&](nanoseconds cap) {
        return nanoseconds(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(cap.count()) + 1)));
    };
    if (error == Errc::unavailable) {
        nanoseconds const half = nanoseconds(options.unavailable) / 2;
        return Retry{half + jitter(half), attempts};
    }
    if (attempts >= options.attempts_max) return std::nullopt;
    return Retry{jitter(nanoseconds(options.first_cap) * (1 << attempts)), attempts + 1};
}

}  // namespace sluice::engine
