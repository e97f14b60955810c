// What operators have paused (port).
#pragma once

#include <sluice/event.hpp>

namespace sluice::engine {

// Any thread. Who lifts a pause calls Scheduler::resume() afterwards.
class Gate {
public:
    virtual ~Gate() = default;

    // Whether anything is paused: asked first, so that nobody pays for what is not used.
    virtual bool any() const noexcept = 0;

    // Whether the event must not be worked on now. `listed_in`: the tier its lane is served for.
    virtual bool pauses(Tier listed_in, Event const& event) const = 0;
};

}  // namespace sluice::engine
