// The middle of Sluice: admission, log, lanes, workers and watermark, wired. Passive: threads call its steps, the
// simulator calls the same steps on one thread.
#pragma once

#include "engine/admission.hpp"
#include "engine/appender.hpp"
#include "engine/checkpoint.hpp"
#include "engine/fold.hpp"
#include "engine/jobs.hpp"
#include "engine/position_keeper.hpp"
#include "engine/suspects.hpp"
#include "engine/worker.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <vector>

namespace sluice::engine {

struct EngineOptions {
    Admission::Limits admission{};
    AppenderOptions   appender{};
    SchedulerOptions  scheduler{};
    RetryOptions      retry{};
    BreakerOptions    breaker{};
    CheckpointOptions checkpoint{};
    PositionOptions   position{};
    std::uint64_t     queued_at_start_max{1'000'000};  // events a store lacks; with more a start waits for it
    DeadLetterLimits  dead_letters{};
    std::size_t       parked_max{1'000'000};  // events that wait
    ParkedTypes       parked{};
    std::size_t       workers{2};
    std::size_t       fold_threads{1};  // of recover()
    std::uint64_t     seed{0};  // for jitter
};

// What is replaceable. Empty members are filled with the shipped ones; without an index all ids stay in memory.
struct EngineParts {
    std::unique_ptr<Scheduler>   scheduler;
    std::unique_ptr<Watermark>   watermark;
    std::unique_ptr<DedupeIndex> dedupe;
    std::unique_ptr<Parking>     parking{};
};

// Every number at one moment, as far as relaxed counters allow; exact while nothing happens.
struct EngineState {
    Sequence                              last_sequence{};
    Sequence                              watermark{};
    std::array<std::uint64_t, tier_count> pending{};
    std::uint64_t                         accepted{0}, applied{0}, stale{0}, dead_lettered{0}, parked{0};
};

class Engine {
public:
    struct Deps {  // outlive the engine
        log::EventLog&           log;
        graph::GraphStore&       graph;
        schema::SchemaSet const& schemas;
        Clock const&             clock;
        files::Directory*        checkpoints{nullptr};  // null: there are none
        Gate const*              gate{nullptr};         // null: the controls
        std::span<std::byte>     in_hand{};             // as Suspects keeps them; empty: there are none
    };
    using Answered = std::function<void(std::vector<BlockRef>)>;
    using Decided = std::function<void(log::Decision const&)>;

    // `answered` and `decided` are called on the appender's thread.
    Engine(Deps deps, EngineOptions options, Answered answered, Decided decided = {}, EngineParts parts = {});

    // Brings graph, ids and counters to the end of the log, from the newest checkpoint on if there is one; files that
    // could not be used are listed in `refused`. What a store behind a server lacks is left to the workers, unless it
    // is too much for that. An event that killed the process too often is decided, not run. Once,
    // before any step.
    Result<Folded> recover(std::vector<Error>* refused = nullptr);

    // Any thread. The block's tickets must come from admission().
    void submit(BlockRef block) { appender_->submit(std::move(block)); }

    // As Appender::find().
    void find(std::string id, std::function<void(Result<Sequence>)> found)
    {
        appender_->find(std::move(id), std::move(found));
    }

    bool         append_step() { return appender_->step(); }
    // A worker's steps are one thread's. Any number below Controls::workers_max works, whatever workers() says.
    Result<bool> work_step(std::size_t worker);
    // At an orderly end, when no worker is at work: so that the next start has nothing to look at twice.
    void save_position();
    // Of a store in memory as Checkpointer::step(), of one behind a server as PositionKeeper::step().
    Result<bool> checkpoint_step();
    // As Checkpointer::pause().
    std::chrono::nanoseconds checkpoint_pause() const
    {
        return checkpointer_ ? checkpointer_->pause() : std::chrono::nanoseconds(0);
    }
    // One thread, any: as Jobs::step().
    bool jobs_step() { return jobs_.step(); }
    // One thread, any: what DedupeIndex::maintain() promises.
    Result<bool> maintain_ids_step() { return dedupe_->maintain(); }

    // Nothing waits to be appended and nothing is pending.
    bool idle() const;
    bool log_failed() const noexcept { return appender_->failed(); }
    Error log_failure() const { return appender_->failure(); }  // once log_failed()
    bool append_waits() const { return !appender_->idle(); }

    EngineState     state() const;
    log::Space      space() const;  // as the appender saw it last
    DedupeStats     ids() const { return dedupe_->stats(); }
    bool            ids_have_room() const { return dedupe_->has_room(); }  // events are stored only while they have
    LaneStats       lanes() const { return scheduler_->stats(deps_.clock.now()); }
    // When a worker finds work at the latest that nothing else announces: a retry, or a probe of the graph.
    std::optional<Clock::Mono> next_due() const;

    bool            graph_answers() const noexcept { return breaker_.is_closed(); }
    Breaker::Status graph_breaker() const { return breaker_.status(); }
    Delays const&   waits(Tier tier) const { return scheduler_->waits(tier); }  // from ready to taken

    std::optional<LaneInfo> lane(std::uint64_t lane_key) const
    {
        return scheduler_->lane(lane_key, deps_.clock.now());
    }
    // As Scheduler::blocked().
    std::vector<LaneInfo> blocked_lanes(
        std::size_t limit, std::optional<std::uint64_t> after_lane, Clock::Mono after_since) const
    {
        return scheduler_->blocked(limit, after_lane, after_since, deps_.clock.now());
    }
    // After a pause was lifted: paused lanes are judged again.
    void resume_lanes() { scheduler_->resume(); }

    Checkpointer::Status checkpoints() const
    {
        if (keeper_) return keeper_->status();
        return checkpointer_ ? checkpointer_->status() : Checkpointer::Status{};
    }

    Suspects const& suspects() const noexcept { return suspects_; }  // of a crash; until recover() has acquitted them
    DeadLetters const& dead_letters() const noexcept { return dead_letters_; }
    Parking const&     parking() const noexcept { return *parking_; }
    Controls const&    controls() const noexcept { return controls_; }
    RecentStale const& recent_stale() const noexcept { return recent_stale_; }
    Sequence           last_sequence() const { return watermark_->last(); }
    bool               is_unsettled(Sequence sequence) const { return watermark_->is_unsettled(sequence); }
    Jobs const&        jobs() const noexcept { return jobs_; }

    Admission&       admission() noexcept { return admission_; }
    Admission const& admission() const noexcept { return admission_; }
    Counters const&  counters() const noexcept { return counters_; }
    EngineOptions const& options() const noexcept { return options_; }

    // How many workers are wanted now: as configured, or as an operator has set since.
    std::size_t workers() const noexcept { return workers_wanted_.load(std::memory_order_relaxed); }

private:
    void decided(log::Decision const& decision, LaneId lane, Producer producer);
    void ordered(Block::Order const& order);
    void controlled();
    void looked(log::Space const& space);
    Result<Folded> bring_up(Checkpoint checkpoint);
    Result<> decide_before_fold(Checkpoint const& checkpoint);
    Result<> make_durable(std::span<log::Decision const> decisions);

    Deps const                           deps_;
    EngineOptions const                  options_;
    Decided const                        on_decided_;
    Suspects                             suspects_;
    Counters                             counters_;
    Admission                            admission_;
    Breaker                              breaker_;
    DeadLetters                          dead_letters_;
    std::unique_ptr<Parking> const       parking_;
    Controls                             controls_;
    RecentStale                          recent_stale_;
    Jobs                                 jobs_;
    std::unique_ptr<DedupeIndex>         dedupe_;
    std::unique_ptr<Watermark>           watermark_;
    std::unique_ptr<Scheduler>           scheduler_;
    std::unique_ptr<Appender>            appender_;
    std::vector<std::unique_ptr<Worker>> workers_;  // each made by the thread that takes its steps
    std::atomic<std::size_t>             workers_wanted_;
    std::atomic<log::Space::Level>       space_level_{log::Space::Level::ok};
    std::atomic<std::uint64_t>           free_bytes_{0};
    std::atomic<bool>                    has_reserve_{true};
    std::unique_ptr<Checkpointer>        checkpointer_;  // from recover() on, if there are checkpoints
    std::unique_ptr<PositionKeeper>      keeper_;        // likewise, of a store behind a server
    Sequence                             queued_through_{};  // recover() left events up to here to the workers
};

}  // namespace sluice::engine
