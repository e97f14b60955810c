// Time is a dependency: only src/app creates the real clock, tests and the simulator bring their own.
#pragma once

#include <chrono>

namespace sluice {

using WallTime = std::chrono::sys_time<std::chrono::microseconds>;

class Clock {
public:
    using Mono = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

    virtual ~Clock() = default;
    virtual Mono     now() const noexcept = 0;   // for timers and durations
    virtual WallTime wall() const noexcept = 0;  // for received_at and for people
};

}  // namespace sluice
