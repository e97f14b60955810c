// Folds the log into a graph: how a server starts, how a log is replayed.
#pragma once

#include "engine/checkpoint.hpp"
#include "engine/controls.hpp"
#include "engine/dead_letters.hpp"
#include "engine/decide.hpp"
#include "engine/parking.hpp"
#include "engine/scheduler.hpp"
#include "engine/suspects.hpp"
#include "graph/graph_store.hpp"
#include "log/event_log.hpp"

#include <functional>

namespace sluice::engine {

struct Folded {
    std::uint64_t              events{0};  // accepted ones of the log; of these were
    std::uint64_t              applied{0};  // stale ones included
    std::uint64_t              stale{0};
    std::uint64_t              dead_lettered{0};
    std::uint64_t              parked{0};
    std::uint64_t              read{0};  // records that are not in the checkpoint; of queue_rest(), what is pending
    Sequence                   last{};
    std::vector<log::Decision> undecided;  // verdicts the log does not have yet: make them durable before going on
};

// What a fold writes to, and what it needs.
struct FoldDeps {
    log::EventLog const&     log;
    schema::SchemaSet const& schemas;
    graph::GraphStore&       graph;
    Clock const&             clock;
    ParkedTypes const&       parked;
    // Filled with what the decisions and the control records of the log come to. Empty before.
    DeadLetters&             dead_letters;
    Parking&                 parking;
    Controls&                controls;
    Suspects const*          suspects{nullptr};  // what is in hand is noted among them

    // Of a store behind a server. It did not answer: whether to ask again; called on any thread, may sleep. Null: no.
    std::function<bool(Error const&)> unanswered{};
    // Everything up to there is applied, and what is not has its verdict in the log. Called often, by the thread that
    // reads the log, which may sleep in it.
    std::function<void(Sequence)> passed{};
    std::size_t                   batch{128};  // events of one call to a store that takes many repositories at once
    Sequence                      through{Sequence{~std::uint64_t{0}}};  // no event after it is looked at
};

// Applies every event of the log, each repository's in order, except those a decision took out and those that are in
// the checkpoint the graph was restored from. With `threads` above one, as many share the repositories while this one
// reads and checks the log. An error of the graph ends it: fold again into a graph that answers; what was applied stays
// applied.
Result<Folded> fold(FoldDeps const& deps, std::size_t threads = 1, Checkpoint checkpoint = {});

// The other way to start, for a store that keeps its state itself: what may not be in it yet becomes backlog entries of
// lanes, to be applied by the workers. Nothing waits for the store. The scheduler and the watermark are new.
Result<Folded> queue_rest(FoldDeps const& deps, Checkpoint checkpoint, Scheduler& scheduler, Watermark& watermark);

// As fold(), for somebody who wants the graph only.
Result<Folded> fold(
    log::EventLog const& log, schema::SchemaSet const& schemas, graph::GraphStore& graph, Clock const& clock,
    std::size_t threads = 1, Checkpoint checkpoint = {});

}  // namespace sluice::engine
