// What happened during the last second: sampled by a timer of the io thread, read there.
#pragma once

#include "engine/engine.hpp"

#include <algorithm>
#include <vector>

namespace sluice::http {

class Rates {
public:
    Rates(engine::Engine const& engine, Clock const& clock) : engine_(engine), clock_(clock), last_(clock.now())
    {
        producers_.resize(engine.admission().producers());
    }

    // What was settled until now happened before: a fold of the log is no throughput.
    void start()
    {
        auto const& counters = engine_.counters();
        settled_ = settled(counters);
        busy_ = engine::get(counters.work_ns);
        last_ = clock_.now();
        for (std::size_t i = 0; i < producers_.size(); ++i) producers_[i] = {released(i), 0};
    }

    // Once a second, by whoever owns the timer.
    void sample()
    {
        auto const now = clock_.now();
        auto const seconds = std::chrono::duration<double>(now - last_).count();
        if (seconds < 0.1) return;
        auto const& counters = engine_.counters();
        auto const  busy = engine::get(counters.work_ns);
        settled_per_second_ = static_cast<double>(settled(counters) - settled_) / seconds;
        utilization_ = std::min(
            1.0, static_cast<double>(busy - busy_) / 1e9 / seconds / static_cast<double>(engine_.workers()));
        settled_ = settled(counters);
        busy_ = busy;
        last_ = now;
        for (std::size_t i = 0; i < producers_.size(); ++i) {
            auto const count = released(i);
            producers_[i] = {count, static_cast<double>(count - producers_[i].released) / seconds};
        }
    }

    double settled_per_second() const noexcept { return settled_per_second_; }
    double utilization() const noexcept { return utilization_; }

    // Seconds until `excess` events have left, at the rate of the last second; 1 to 60.
    std::uint32_t seconds_to_drain(std::uint32_t excess) const noexcept { return drain(excess, settled_per_second_); }
    // As many of that producer's.
    std::uint32_t seconds_to_drain(std::uint32_t excess, engine::Producer producer) const noexcept
    {
        return drain(excess, producers_[producer].per_second);
    }

private:
    struct ByProducer {
        std::uint64_t released{0};
        double        per_second{0};
    };

    static std::uint32_t drain(std::uint32_t excess, double per_second) noexcept
    {
        if (per_second < 1) return excess == 0 ? 1 : 5;
        return static_cast<std::uint32_t>(std::clamp(excess / per_second + 1, 1.0, 60.0));
    }

    std::uint64_t released(std::size_t producer) const
    {
        return engine_.admission().held(static_cast<engine::Producer>(producer)).released;
    }

    static std::uint64_t settled(engine::Counters const& counters) noexcept
    {
        return engine::get(counters.applied) + engine::get(counters.dead_lettered) + engine::get(counters.parked);
    }

    engine::Engine const& engine_;
    Clock const&          clock_;
    Clock::Mono           last_;
    std::uint64_t         settled_{0}, busy_{0};
    double                settled_per_second_{0}, utilization_{0};
    std::vector<ByProducer> producers_{};
};

}  // namespace sluice::http
