// Tells the next start that this process died of a fault of its own.
#pragma once

#include <cstddef>
#include <span>

namespace sluice::app {

// While it lives, a fault (a bad access, abort() and the like, raised by this process itself) is noted in `kept`, as
// engine::Suspects does, before the process ends by it. A signal that somebody sends is no fault. One at a time.
class FaultNote {
public:
    explicit FaultNote(std::span<std::byte> kept);
    ~FaultNote();
    FaultNote(FaultNote const&) = delete;
    FaultNote& operator=(FaultNote const&) = delete;
};

}  // namespace sluice::app
