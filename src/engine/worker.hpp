// Takes micro-batches from the lanes and carries them into the graph.
#pragma once

#include "engine/admission.hpp"
#include "engine/appender.hpp"
#include "engine/breaker.hpp"
#include "engine/counters.hpp"
#include "engine/dead_letters.hpp"
#include "engine/decide.hpp"
#include "engine/gate.hpp"
#include "engine/parking.hpp"
#include "engine/recent_stale.hpp"
#include "engine/retry.hpp"
#include "engine/scheduler.hpp"
#include "engine/suspects.hpp"
#include "engine/watermark.hpp"
#include "graph/graph_store.hpp"

#include <functional>
#include <memory>
#include <optional>

namespace sluice::engine {

// One thread. Never sleeps and never throws: every event it takes ends settled, or its lane waits.
class Worker {
public:
    struct Deps {  // outlive the worker
        Scheduler&               scheduler;
        log::EventLog const&     log;  // for events of the backlog
        graph::GraphStore&       graph;
        Breaker&                 breaker;  // of the graph
        Watermark&               watermark;
        Admission&               admission;
        Appender&                appender;  // for decisions
        Counters&                counters;
        Clock const&             clock;
        schema::SchemaSet const& schemas;
        Parking&                 parking;
        DeadLetters&             dead_letters;
        ParkedTypes const&       parked;
        Gate const&              gate;
        RecentStale&             recent_stale;
        Suspects::Hand           hand{};
        Sequence                 doubt{};  // events up to this one may be in the graph since before the start
    };

    Worker(Deps deps, RetryOptions options, std::uint64_t seed);

    // One micro-batch, or a slice of other work; false if there was none, or none that the breaker lets through. An
    // error is `corrupt`: stop the process.
    Result<bool> step();

private:
    enum class Reading : std::uint8_t { done, failed, later };  // later: it would take more memory than is good

    struct Failure {
        Error         error;
        bool          from_store{false};
        std::uint32_t attempts{0};
        std::uint32_t in_doubt{0};  // events of the run after the settled ones that may be in the graph
    };

    struct RunResult {
        std::uint32_t          settled{0};
        std::optional<Failure> failure;
        bool                   is_paused{false};  // what follows the settled ones
    };

    // Of a run.
    struct Try {
        std::uint32_t count{0};      // events to be settled
        std::uint32_t conflicts{0};  // in a row
    };

    static constexpr std::size_t              batch_limit_max = 1'024;  // the scheduler gives fewer
    static constexpr std::chrono::nanoseconds batch_time = std::chrono::milliseconds(1);

    static constexpr std::size_t blocks_bytes_max = 32u << 20;

    Result<>  read();
    Result<Reading> read_from_log(Sequence sequence);
    void      work();
    Try       try_of(Run const& run, RunResult& result) const;
    bool      ask(std::size_t first, std::size_t last);
    void      take(std::size_t r, graph::ApplyResult const& answer);
    std::size_t before_parked(std::span<Event const> events) const;
    bool      may_ask() const { return permit_ == Breaker::Permit::probe || deps_.breaker.is_closed(); }
    void      tell_breaker(std::span<graph::ApplyResult const> answers);
    void      adapt(std::chrono::nanoseconds took);
    std::uint32_t count_unpaused(Run const& run) const;
    void      settle(std::span<graph::Outcome const> outcomes, std::uint32_t first);
    void      measure();
    void      conclude(Run const& run, RunResult const& result);
    void      give_up(Run const& run, std::uint32_t settled, Failure const& failure);

    Deps const            deps_;
    RetryOptions const    options_;
    Random                random_;
    Suspects::Hand        hand_;
    Decider               decider_;
    graph::Decide         decide_;
    Batch                 batch_;
    Breaker::Permit       permit_{};
    std::vector<std::shared_ptr<log::StoredBlock const>> blocks_;  // what events of the backlog were read from
    std::vector<Reading>  readings_;  // by event
    std::vector<Event>    events_;   // of the batch, in its order
    std::vector<Sequence> settled_;  // of the batch
    std::uint64_t         stale_{0};  // of those
    std::vector<std::uint32_t> settled_of_;  // how many of those, by producer
    std::vector<RunResult> results_;  // one per run
    std::vector<Try>       tries_;    // likewise
    std::vector<std::size_t>             asked_;         // runs of a call to the graph
    std::vector<std::span<Event const>>  asked_events_;  // theirs
    std::size_t batch_limit_{batch_limit_max};
};

}  // namespace sluice::engine
