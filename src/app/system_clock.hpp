// The real clock.
#pragma once

#include <sluice/clock.hpp>

namespace sluice::app {

class SystemClock final : public Clock {
public:
    Mono     now() const noexcept override { return std::chrono::steady_clock::now(); }
    WallTime wall() const noexcept override
    {
        return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    }
};

}  // namespace sluice::app
