// What must be true, kept apart from the program under test: the simulator tells it everything that happens, and it
// throws a Violation when a promise is broken.
#pragma once

#include "engine/engine.hpp"
#include "log/memory_log.hpp"
#include "sim/events.hpp"

#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace sluice::sim {

struct Violation : std::runtime_error {
    using runtime_error::runtime_error;
};

void require(bool kept, std::string_view promise, std::string const& detail = {});

class Ledger {
public:
    explicit Ledger(std::vector<SimEvent> const& events);

    // A process starts over the log that is left. What it had applied is gone unless its graph survives.
    void restart(log::MemoryLog::Disk const& disk, bool graph_survives);
    // It begins, or begins again, to fold the log.
    void recovery_begins(bool maybe_restored);  // from a checkpoint; what that held, the graph shows in the end
    void recovery_ends(engine::EngineState const& state, graph::GraphStore const& graph);

    // Looks at what was appended since the last time.
    void read_log(log::MemoryLog::Disk const& disk);

    // What producers were told.
    void acknowledged(std::size_t event, Sequence sequence);
    void refused(std::size_t event) { refused_.insert(event); }
    void left_open(std::size_t event) { open_.insert(event); }  // told nothing, or that nobody knows
    bool is_open(std::size_t event) const { return open_.contains(event); }

    // What the graph was asked and what became of it.
    void applying(std::span<Event const> events);
    bool is_in_graph(Event const& event) const { return in_graph_.at(number(event.sequence) - 1); }
    void applied(Event const& event);                 // it is in the graph
    void settled(std::span<Event const> events);      // and the engine was told so
    void failed_by_store(Event const& event, Errc error);
    void refused_by_processor(Event const& event);
    void decided(log::Decision const& decision, log::MemoryLog::Disk const& disk);

    // Between any two steps.
    void check(engine::EngineState const& state) const;

    // When everything is at rest.
    void check_log() const;
    void check_end(engine::EngineState const& state) const;
    void check_fold(engine::Folded const& folded) const;
    void check_graph(graph::GraphStore const& graph) const;

    Sequence    last() const noexcept { return Sequence{log_.size()}; }
    std::size_t decisions(log::Verdict verdict) const;
    bool        is_decided(Sequence sequence) const { return decisions_.contains(number(sequence)); }

    engine::RetryOptions       retry;   // that the process runs with
    std::optional<std::size_t> killer;  // the event that ends every process which runs it

private:
    struct Lane {
        std::vector<std::uint64_t> sequences;
        std::size_t                unsettled{0};  // position of the first that is not settled
    };

    void        add(log::LoggedRecord const& record, Sequence sequence);
    bool        is_through(std::uint64_t sequence) const;
    void        advance(Lane& lane) const;
    void        read_decisions(log::MemoryLog::Disk const& disk);
    std::string describe(std::uint64_t sequence) const;

    std::vector<SimEvent> const&                      events_;
    std::unordered_map<std::string_view, std::size_t> by_payload_;

    // The log.
    std::vector<std::size_t>               log_;  // events by sequence
    std::map<std::size_t, std::uint64_t>   places_;  // of events in it
    std::map<std::string, Lane>            lanes_;   // by DID
    WallTime                               received_at_{};
    std::map<std::uint64_t, log::Decision> decisions_;  // durable

    // Producers.
    std::map<std::size_t, Sequence> acknowledged_;
    std::set<std::size_t>           refused_, open_;

    // The process.
    bool                                   is_recovering_{false}, is_restored_{false};
    std::vector<bool>                      in_graph_, settled_;  // by sequence - 1
    std::size_t                            unsettled_{0};        // the first that is not settled
    std::set<std::uint64_t>                refused_in_fold_;
    std::map<std::uint64_t, std::uint32_t> store_failures_;
};

}  // namespace sluice::sim
