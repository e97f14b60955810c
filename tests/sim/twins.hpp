// Wrong twins: each is one part of the program with one mistake in it. The simulator must find every one of them.
#pragma once

#include "engine/derived_dedupe.hpp"
#include "engine/engine.hpp"
#include "log/memory_log.hpp"

#include <memory>
#include <optional>
#include <string_view>

namespace sluice::sim {

enum class Twin {
    none,
    plain_store,           // graph: not wrong, but another store: the same without its mistakes
    four_queues,           // scheduler: a queue per tier instead of a lane per repository
    failed_to_the_back,    // scheduler: an event that failed lines up again behind its lane
    released_early,        // scheduler: a lane goes on before its verdict is durable
    strict_priority,       // scheduler: no turns for lanes that are overdue
    dropped_when_full,     // scheduler: takes so many events and drops the others, which are accepted
    cursor_as_maximum,     // watermark: the highest settled sequence
    cursor_before_effect,  // watermark: what is logged counts as settled
    unsettled_forgotten,   // watermark: a position without the events that are not settled
    changes_forgotten,     // graph: a delta without what was written since the checkpoint before
    no_dedupe,             // dedupe index: finds nothing
    dedupe_forgotten,      // dedupe index: empty after a restart
    run_skipped,           // dedupe index: the oldest run is not looked at
    generation_lost,       // dedupe index: ids that are being written are not looked at
    answer_before_append,  // log: answers before the bytes are durable
    error_ignored,         // log: answers although the disk failed
    verdict_not_durable,   // log: forgets decisions
    tombstone_forgotten,   // graph: a removed record leaves nothing
    rev_ignored,           // graph: an old revision replaces a newer one
    sequence_ignored,      // graph: an event applied again is applied again
    effect_then_cursor,    // graph: the sequence of an effect becomes durable after it
    outage_counted,        // graph: an outage is reported like a failure of the event
    retry_ignores_budget,  // scheduler: retries as soon as they are due
    breaker_never_opens,   // engine: asks a graph that is away again and again
    backlog_out_of_order,  // scheduler: two neighbours from the log the wrong way round
    spill_keeps_tickets,   // scheduler: what is spilled gives no place back
    suspects_forgotten,    // suspects: what was in hand is gone with the process
    suspect_not_alone,     // suspects: who was in hand at one fault, in company or not, is guilty
    order_without_successor,      // log: a verdict becomes durable, its successor with what comes next
    taken_up_twice,               // log: nobody sees that an event was taken up
    decision_counted_wrong,       // log: a fold takes what was released for redriven
    version_forgotten,            // graph: what comes late overwrites what is newer
    released_overtaken,           // parking: events do not follow one of their record that is parked
    released_before_its_elders,   // parking: copies of parked events pass as they come
    pause_forgotten_at_restart,   // gate: knows only pauses of this process
    no_limit_of_dead_letters,     // engine: keeps as many as there are
};
inline constexpr Twin twins[] = {
    Twin::four_queues,         Twin::failed_to_the_back,   Twin::released_early,      Twin::cursor_as_maximum,
    Twin::dedupe_forgotten,    Twin::answer_before_append, Twin::verdict_not_durable, Twin::tombstone_forgotten,
    Twin::rev_ignored,         Twin::sequence_ignored,     Twin::outage_counted,      Twin::unsettled_forgotten,
    Twin::changes_forgotten,   Twin::run_skipped,          Twin::generation_lost,      Twin::dropped_when_full,
    Twin::cursor_before_effect, Twin::no_dedupe,           Twin::error_ignored,        Twin::effect_then_cursor,
    Twin::retry_ignores_budget, Twin::breaker_never_opens, Twin::backlog_out_of_order, Twin::spill_keeps_tickets,
    Twin::suspects_forgotten,  Twin::suspect_not_alone,
    Twin::order_without_successor, Twin::taken_up_twice, Twin::decision_counted_wrong, Twin::version_forgotten,
    Twin::released_overtaken, Twin::released_before_its_elders, Twin::pause_forgotten_at_restart,
    Twin::no_limit_of_dead_letters,
};
std::string_view name(Twin twin);

// What is wrong of these; empty members are the shipped ones.
engine::EngineParts   wrong_parts(Twin twin, engine::EngineOptions const& options);
engine::EngineOptions wrong_options(Twin twin, engine::EngineOptions options);

// What the workers ask instead of the controls, if that is what is wrong; else null.
class WrongGate : public engine::Gate {
public:
    virtual void watch(engine::Controls const& controls) = 0;  // of the engine that it is the gate of
};
std::unique_ptr<WrongGate> wrong_gate(Twin twin);

// The shipped index over these files, or a wrong one.
std::unique_ptr<engine::DedupeIndex> make_index(
    Twin twin, files::Directory& directory, engine::DedupeOptions const& options);

// The shipped store, or a wrong one.
std::unique_ptr<graph::GraphStore> make_graph(Twin twin);

// What a crash takes from a store that survives it: nothing, unless that is what is wrong.
void crash(Twin twin, graph::GraphStore& graph);

// What a start finds of what was in hand, if that is what is wrong.
void misjudge(Twin twin, std::span<std::byte> in_hand);

// What stands between the engine and its graph, if that is what is wrong; else null.
std::unique_ptr<graph::GraphStore> wrong_view(Twin twin, graph::GraphStore& graph);

// The disk as the log of a running process sees it, and what a crash leaves of it.
class Storage {
public:
    explicit Storage(Twin twin) : twin_(twin) {}

    std::unique_ptr<log::EventLog> open();
    // What stands between the engine and a disk that fails, if that is what is wrong; else null.
    std::unique_ptr<log::EventLog> wrong_view(log::EventLog& failing, log::EventLog& opened);
    void                           crash();

    log::MemoryLog::Disk const& seen() const noexcept { return seen_; }

private:
    class EarlyLog;
    class ErrorIgnored;
    class ForgetfulLog;
    class SuccessorsLate;
    class VerdictsWrong;

    Twin const                          twin_;
    log::MemoryLog::Disk                seen_;     // by the process
    std::optional<log::MemoryLog::Disk> durable_;  // if it is not what is seen: the log lies
};

}  // namespace sluice::sim
