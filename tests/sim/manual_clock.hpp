// Time that passes when a test says so.
#pragma once

#include <sluice/clock.hpp>

namespace sluice::sim {

class ManualClock final : public Clock {
public:
    Mono     now() const noexcept override { return now_; }
    WallTime wall() const noexcept override { return wall_; }

    void advance(std::chrono::nanoseconds by)
    {
        now_ += by;
        wall_ += std::chrono::duration_cast<std::chrono::microseconds>(by);
    }
    void shift_wall(std::chrono::microseconds by) { wall_ += by; }

private:
    Mono     now_{std::chrono::hours(1)};
    WallTime wall_{std::chrono::days(20'000)};
};

}  // namespace sluice::sim
