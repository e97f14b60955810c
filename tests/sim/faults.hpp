// Ports that fail as disks, networks and processes do.
#pragma once

#include "files/memory_directory.hpp"
#include "graph/graph_store.hpp"
#include "sim/forwarding.hpp"
#include "sim/ledger.hpp"
#include "sim/manual_clock.hpp"

#include <map>
#include <string>

namespace sluice::sim {

// The process ends here and now.
struct Crash {};

// What went wrong, and how often: goals that a batch of runs must reach.
using Goals = std::map<std::string, std::uint64_t>;

// Probabilities of one run. Many are zero, so that each kind of fault also comes alone.
struct Faults {
    double crash{0};         // between two steps
    double crash_inside{0};  // of an append or an apply
    double crash_in_recovery{0};
    double recovery_fails{0};
    double append_error{0};
    double disk_full{0};  // for a time
    double disk_low{0};   // at a look
    double conflict{0};
    double transient{0};
    double outage{0};  // of the graph, for a time
    double unknown{0};  // applied, but reported as unavailable
    double reply_lost{0};
    double wall_jump{0};
    double file_damaged{0};  // a checkpoint or a run of ids, at a restart
    double file_misread{0};  // a bit of one that is read
    bool   graph_survives{false};  // a crash, as a database server would
    bool   keeps_position{false};  // the graph that survives

    static Faults draw(Random& random);
    Faults none() const;  // no more of them, and the same graph
};

// What the faulty ports of one process share.
struct FaultContext {
    Faults&          faults;
    Random&          random;
    ManualClock&     clock;
    Ledger&          ledger;
    Goals&           goals;
    bool             is_recovering{false};
    Clock::Mono      disk_full_until{};
    Clock::Mono      outage_until{};
    std::uint64_t    recovery_fails_at{0};  // counts down, 0: does not
    engine::BreakerOptions breaker{};       // that the process runs with
    std::string_view killer{};              // payload of the event that ends every process; empty: there is none
    std::uint64_t    killed{0};             // times it did, in a row
    std::string      position{};            // that the graph keeps
    std::vector<std::byte> in_hand = std::vector<std::byte>(engine::Suspects::bytes);  // survives every crash

    bool        chance(double p) { return p > 0 && random.chance(p); }
    Clock::Mono later(std::int64_t milliseconds_max)
    {
        return clock.now() + std::chrono::milliseconds(random.below(static_cast<std::uint64_t>(milliseconds_max)));
    }
};

class FaultyLog final : public ForwardingLog {
public:
    FaultyLog(log::EventLog& inner, FaultContext& context) : ForwardingLog(inner), context_(context) {}

    Result<>   append(log::Commit const& commit) override;
    log::Space check_space() override;

private:
    FaultContext& context_;
    bool          is_broken_{false};
};

// Files that are lost, damaged, misread and cannot be written; processes that end between two of them.
class FaultyDirectory final : public files::Directory {
public:
    // `name` is for goals.
    FaultyDirectory(std::string name, files::MemoryDirectory& inner, FaultContext& context)
        : name_(std::move(name)), inner_(inner), context_(context)
    {
    }

    Result<std::unique_ptr<files::Writer>>  create(std::string const& name) override;
    Result<std::unique_ptr<files::Reader>>  open(std::string const& name) const override;
    Result<std::vector<std::string>>        list() const override { return inner_.list(); }
    Result<>                                remove(std::string const& name) override;

    // While no process runs: a file is gone, shorter or not what it was.
    void damage_one();

private:
    class File;
    class View;
    std::uint64_t& goal(char const* what) const;
    void           maybe_crash(char const* what) const;
    Result<>       check_space(char const* otherwise) const;

    std::string const       name_;
    files::MemoryDirectory& inner_;
    FaultContext&           context_;
};

// Also tells the ledger what is applied.
class FaultyGraph final : public ForwardingGraph, private graph::Snapshots {
public:
    FaultyGraph(graph::GraphStore& inner, FaultContext& context)
        : ForwardingGraph(inner), context_(context), positions_(*this)
    {
    }

    graph::ApplyResult apply(std::span<Event const> events, graph::Decide const& decide) override;

    // A graph that survives needs no checkpoints.
    graph::Snapshots* snapshots() noexcept override
    {
        return context_.faults.graph_survives || inner_.snapshots() == nullptr ? nullptr : this;
    }

    graph::Positions* positions() noexcept override { return context_.faults.keeps_position ? &positions_ : nullptr; }
    std::size_t       repositories_at_once() const noexcept override { return context_.faults.keeps_position ? 8 : 1; }

private:
    // Does not always answer, and may have done what it did not answer to.
    class FaultyPositions final : public graph::Positions {
    public:
        explicit FaultyPositions(FaultyGraph& graph) : graph_(graph) {}
        Result<std::string> begin() override;
        void                open() override { is_open_ = true; }
        Result<>            save(std::string_view position, Sequence through) override;
        Result<>            clear() override;
        bool                is_open() const noexcept { return is_open_; }

    private:
        FaultyGraph& graph_;
        bool         is_open_{false};
    };

    graph::ApplyResult pass(std::span<Event const> events, graph::Decide const& decide);
    graph::ApplyResult fail(Event const& event, Errc error, char const* reason);
    graph::ApplyResult ask(std::span<Event const> events, graph::Decide const& decide);
    void               maybe_die(std::span<Event const> events, graph::Decide const& decide);

    bool     capture(Capture& capture, std::string& bytes) override;
    Result<> restore(
        std::string_view bytes, std::uint32_t number, std::function<void(Restored const&)> const& restored) override;
    void clear() override;

    FaultContext& context_;
    std::uint32_t away_in_row_{0};  // answers of this process's workers: it is away
    Clock::Mono   away_at_{};       // the last of them
    FaultyPositions positions_;
};

}  // namespace sluice::sim
