// Takes micro-batches from the lanes and carries them into the graph.
#pragma once

#include "engine/admission.hpp"
#include "engine/appender.hpp"
#include "engine/counters.hpp"
#include "engine/dead_letters.hpp"
#include "engine/decide.hpp"
#include "engine/parking.hpp"
#include "engine/retry.hpp"
#include "engine/scheduler.hpp"
#include "engine/watermark.hpp"
#include "graph/graph_store.hpp"

#include <functional>
#include <optional>

namespace sluice::engine {

// One thread. Never sleeps and never throws: every event it takes ends settled, or its lane waits.
class Worker {
public:
    struct Deps {  // outlive the worker
        Scheduler&               scheduler;
        graph::GraphStore&       graph;
        Watermark&               watermark;
        Admission&               admission;
        Appender&                appender;  // for decisions
        Counters&                counters;
        Clock const&             clock;
        schema::SchemaSet const& schemas;
        Parking&                 parking;
        DeadLetters const&       dead_letters;
        ParkedTypes const&       parked;
    };

    Worker(Deps deps, RetryOptions options, std::uint64_t seed);

    // One micro-batch; false if no lane is ready. An error is `corrupt`: stop the process.
    Result<bool> step();

private:
    struct Failure {
        Error         error;
        bool          from_store{false};
        std::uint32_t attempts{0};
    };

    struct RunResult {
        std::uint32_t          settled{0};
        std::optional<Failure> failure;
    };

    RunResult apply(Run const& run);
    std::size_t before_parked(std::span<Event const> events) const;
    void      settle(std::span<graph::Outcome const> outcomes, std::uint32_t first);
    void      measure();
    void      conclude(Run const& run, RunResult const& result);
    void      give_up(Run const& run, std::uint32_t settled, Failure const& failure);

    Deps const            deps_;
    RetryOptions const    options_;
    Random                random_;
    Decider               decider_;
    graph::Decide         decide_;
    Batch                 batch_;
    std::vector<Event>    events_;   // of the batch, in its order
    std::vector<Sequence> settled_;  // of the batch
    std::uint64_t         stale_{0};  // of those
    std::vector<RunResult> results_;  // one per run
};

}  // namespace sluice::engine
