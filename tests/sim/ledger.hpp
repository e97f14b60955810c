// What must be true, kept apart from the program under test: the simulator tells it everything that happens, and it
// throws a Violation when a promise is broken.
#pragma once

#include "engine/engine.hpp"
#include "log/memory_log.hpp"
#include "sim/events.hpp"
#include "sim/reference.hpp"

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace sluice::sim {

struct Violation : std::runtime_error {
    using runtime_error::runtime_error;
};

void require(bool kept, std::string_view promise, std::string const& detail = {});

// A control record as the operator meant it. What the server says by itself (a job has ended) it says in its own words.
struct Control {
    std::string                type;
    std::string                name{};  // of a tier, an event type or a DID
    std::optional<std::size_t> workers{};
    std::optional<std::size_t> capacity{};
    std::uint64_t              job{0};
};

class Ledger {
public:
    Ledger(std::vector<SimEvent> const& events, engine::ParkedTypes const& parked);

    // A process starts over the log that is left. What it had applied is gone unless its graph survives.
    void restart(log::MemoryLog::Disk const& disk, bool graph_survives);
    // It begins, or begins again, to fold the log.
    void recovery_begins(bool maybe_restored);  // from a checkpoint; what that held, the graph shows in the end
    void recovery_ends(engine::EngineState const& state, graph::GraphStore const& graph);
    void recovery_ends(engine::EngineState const& state, std::function<bool(Sequence)> const& is_unsettled);
    void upgrade() { is_upgraded_ = true; }  // while no process runs
    bool is_upgraded() const noexcept { return is_upgraded_; }

    // Looks at what was appended since the last time.
    void read_log(log::MemoryLog::Disk const& disk);

    // What producers were told.
    void acknowledged(std::size_t event, Sequence sequence);
    void refused(std::size_t event) { refused_.insert(event); }
    void left_open(std::size_t event) { open_.insert(event); }  // told nothing, or that nobody knows
    bool is_open(std::size_t event) const { return open_.contains(event); }

    // What the operator is about to say.
    std::string_view edited(Sequence sequence, std::string nonce, bool is_refused);  // the payload
    void             controlling(std::string payload, Control control) { controls_sent_.emplace(payload, control); }

    // What the graph was asked and what became of it.
    void graph_cleared() { in_graph_.assign(in_graph_.size(), false); }
    void work_begins(bool log_works)
    {
        served_for_.clear();
        log_works_ = log_works;
    }
    void applying(std::span<Event const> events);
    bool is_in_graph(Event const& event) const { return in_graph_.at(number(event.sequence) - 1); }
    void applied(Event const& event);                 // it is in the graph
    void settled(std::span<Event const> events);      // and the engine was told so
    void failed_by_store(Event const& event, Errc error);
    void refused_by_processor(Event const& event);
    void decided(log::Decision const& decision, log::MemoryLog::Disk const& disk);

    // Between any two steps of a process whose log works.
    void check(engine::EngineState const& state) const;
    void check_controls(engine::Controls::State const& state) const;

    // When everything is at rest.
    void check_log() const;
    void check_end(engine::EngineState const& state) const;
    void check_fold(engine::Folded const& folded) const;
    void check_graph(graph::GraphStore const& graph) const;

    Sequence    last() const noexcept { return Sequence{log_.size()}; }
    bool        is_event(Sequence sequence) const { return at(number(sequence)).event != nullptr; }
    bool        is_edited(Sequence sequence) const { return event_at(number(sequence)).json.empty(); }
    std::uint64_t verdicts() const noexcept { return verdicts_; }  // read so far
    std::uint64_t open_dead_letters() const noexcept { return open_dead_letters_; }
    std::uint64_t controls() const noexcept { return controls_; }  // records
    std::uint64_t parked_events() const noexcept { return parked_.size(); }
    std::vector<Sequence> parked() const { return {parked_.begin(), parked_.end()}; }
    // Of these, what could be applied if it were released now.
    bool        is_releasable(Sequence sequence) const;
    std::optional<log::Verdict> verdict(Sequence sequence) const;  // the newest
    Sequence    successor(Sequence sequence) const { return decisions_.at(number(sequence)).newest.successor; }
    bool        is_paused(Sequence sequence) const;  // by its type or lane

    engine::RetryOptions       retry;   // that the process runs with
    std::optional<std::size_t> killer;  // the event that ends every process which runs it

private:
    struct Entry {
        SimEvent const* event{nullptr};  // null: a control record
        log::RecordKind kind{};
        Sequence        cause{}, version{};  // of what is made from another event
        WallTime        received_at{};       // of the event whose place it has
    };
    struct Lane {
        std::vector<std::uint64_t> sequences;
        std::size_t                unsettled{0};  // position of the first that is not settled
    };
    struct Decided {
        std::uint32_t count{0};
        log::Decision newest;
    };

    void        add(log::LoggedRecord const& record, Sequence sequence);
    void        add_event(log::LoggedRecord const& record, Sequence sequence, SimEvent const& event);
    void        add_successor(log::LoggedRecord const& record, SimEvent const& event);
    void        add_control(log::LoggedRecord const& record, Sequence sequence);
    bool        is_through(std::uint64_t sequence) const;
    void        advance(Lane& lane);
    void        settle(std::uint64_t sequence);
    void        check_pauses(Lane const& lane, std::span<Event const> events);
    void        read_decisions(log::MemoryLog::Disk const& disk);
    void        add_decision(log::Decision decision);
    void        check_successors() const;
    void        recount();
    Reference   reference() const;
    std::string describe(std::uint64_t sequence) const;

    Entry const&    at(std::uint64_t sequence) const { return log_[sequence - 1]; }
    SimEvent const& event_at(std::uint64_t sequence) const { return *at(sequence).event; }
    Sequence        place(std::uint64_t sequence) const;  // in the order of its record
    bool            waits_for(std::uint64_t sequence, std::uint64_t elder) const;
    std::uint64_t   elder(std::uint64_t sequence) const;  // that is parked, or released and not settled; 0: none
    bool            had_elder(std::uint64_t sequence) const;
    bool            is_parked_type(SimEvent const& event) const;
    bool            is_processable(SimEvent const& event) const;

    std::vector<SimEvent> const&                          events_;
    engine::ParkedTypes const&                            parked_types_;
    std::deque<SimEvent>                                  edits_;
    std::unordered_map<std::string_view, SimEvent const*> by_payload_;
    std::map<std::string, Control, std::less<>>           controls_sent_;
    bool                                                  is_upgraded_{false};

    // The log.
    std::vector<Entry>                     log_;     // by sequence
    std::map<std::size_t, std::uint64_t>   places_;  // of events in it
    std::map<std::string, Lane>            lanes_;   // by DID
    WallTime                               received_at_{};
    std::map<std::uint64_t, Decided>       decisions_;  // durable
    std::set<Sequence>                     parked_;     // by their newest verdict
    std::set<std::uint64_t>                copies_;     // of released events, not settled yet
    std::uint64_t                          verdicts_{0}, controls_{0};
    std::uint64_t                          accepted_{0}, applied_{0}, dead_{0}, open_dead_letters_{0};

    // What its control records say.
    std::array<bool, tier_count> paused_tiers_{};
    std::set<std::string>        paused_types_, paused_lanes_;
    std::optional<std::size_t>   workers_, capacity_;
    std::uint64_t                job_{0};  // under way or stopped
    bool                         is_job_stopped_{false};

    // Producers.
    std::map<std::size_t, Sequence> acknowledged_;
    std::set<std::size_t>           refused_, open_;

    // The process.
    bool                                   is_recovering_{false}, is_restored_{false};
    std::vector<bool>                      in_graph_, settled_;  // by sequence - 1
    std::size_t                            unsettled_{0};        // the first that is not settled
    std::set<std::uint64_t>                given_up_in_fold_, parked_in_fold_;
    std::map<std::uint64_t, std::uint32_t> store_failures_;
    std::map<std::string, Tier>            served_for_;  // lanes in this step's batch
    bool                                   log_works_{true};  // else it may have more than the process knows
};

}  // namespace sluice::sim
