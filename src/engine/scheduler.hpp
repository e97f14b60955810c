// Which events are worked on next: order within a lane, priority between lanes, and no starvation.
//
// A lane is the FIFO of one repository's pending events. Its tier is the highest of any event in it, so an important
// event lifts what stands before it instead of overtaking it. Lanes are served strictly by tier, except that of every
// `aged_share` events dispatched at least one comes from a lane whose head has waited longer than its tier's
// `max_wait`, oldest first, if there is one. Outside that rule are lanes that cannot run: a lane whose head waits for
// another try or for a verdict, a paused one, and all of them while the breaker is open.
//
// An event is *resident*, with its block, or a *backlog entry* of 16 bytes that is read from the log again when its
// turn comes. What cannot run is spilled: resident events become backlog entries and give their places back.
#pragma once

#include "engine/block.hpp"
#include "engine/breaker.hpp"
#include "engine/delays.hpp"
#include "engine/retry_budget.hpp"
#include "engine/slab.hpp"
#include "engine/timer_wheel.hpp"

#include <sluice/clock.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

#include <array>
#include <chrono>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace sluice::engine {

using LaneId = std::uint32_t;

// A durable event on its way to a lane.
struct Pending {
    std::uint64_t lane_key{0};
    Block*        block{nullptr};  // null: a backlog entry, and of what follows only tier, sequence and since are known
    std::uint32_t item{0};
    Tier          tier{};
    Producer      producer{0};  // whose place it holds
    Sequence      sequence{};
    WallTime      received_at{};
    Clock::Mono   since{};  // set by push(); of a backlog entry rounded down to a millisecond
};

// Consecutive events from the head of one lane.
struct Run {
    LaneId        lane{0};
    std::uint32_t first{0};     // in Batch::events
    std::uint32_t count{0};
    std::uint32_t attempts{0};  // failed ones of the first event
    Sequence      doubt{};      // events up to this one may be in the graph already
    Tier          tier{};       // that the lane was served for
    bool          is_retry{false};  // the first event has failed before, counted or not
    std::uint32_t resumes{0};       // calls of resume() before it was taken
};

// A micro-batch. The blocks stay alive until the runs are finished.
struct Batch {
    std::vector<Run>     runs;
    std::vector<Pending> events;
};

// What becomes of a lane after a run.
struct NextStep {
    enum class Kind : std::uint8_t {
        ready,   // serve it again when its turn comes; if nothing settled, nothing was tried
        retry,   // its head failed: not before `at`
        held,    // its head waits for a durable decision: not before released()
        paused,  // its head is paused: not before resume(), or an event of a higher tier than it was served for
    };
    Kind          kind{Kind::ready};
    Clock::Mono   at{};
    std::uint32_t attempts{0};
    Sequence      doubt{};  // as Run::doubt
    Error         error{};  // of retry and held: what happened to the head
};

enum class LaneState : std::uint8_t { ready, running, retrying, held, paused };
inline constexpr std::size_t lane_state_count = 5;

struct SchedulerOptions {
    std::size_t                                      batch_max{64};
    std::size_t                                      lane_batch_max{16};  // of one lane in one micro-batch
    std::uint32_t                                    aged_share{8};
    std::array<std::chrono::milliseconds, tier_count> max_wait{
        std::chrono::seconds(30), std::chrono::seconds(5), std::chrono::seconds(1), std::chrono::milliseconds::max()};
    RetryBudgetOptions                               budget{};
    std::uint32_t        read_span{256};     // sequences a run from the backlog spans at most
    std::size_t          slice_max{256};     // entries to spill, or lanes to resume, in one go
    std::size_t          errors_max{4'096};  // lanes whose errors are remembered
    std::chrono::seconds stuck_after{30};    // in one micro-batch
};

// A failed attempt.
struct Attempt {
    Clock::Mono at{};
    std::string reason, detail;
};

struct LaneInfo {
    std::uint64_t                         lane_key{0};
    LaneState                             state{};
    Sequence                              head{};   // what every other event of the lane waits behind
    std::array<std::uint32_t, tier_count> depth{};  // events by tier
    std::uint32_t                         resident{0}, backlog{0};
    Clock::Mono                           head_since{};
    std::optional<Clock::Mono>            blocked_since{};  // its head failed or is paused since
    std::optional<Clock::Mono>            next_retry{};     // earliest; it may still wait for the budget
    std::uint32_t                         attempts{0};      // that counted
    std::vector<Attempt>                  errors{};         // of the head, oldest first; the newest few
};

struct LaneStats {
    struct State {
        std::uint64_t lanes{0}, events{0};
    };
    struct Stuck {
        std::uint64_t lane_key{0};
        Sequence      head{};
        LaneState     state{};
    };
    using Times = std::array<std::chrono::nanoseconds, tier_count>;

    std::array<std::uint64_t, tier_count> pending{};      // events
    Times                                 oldest_age{};   // of the oldest head, by its tier
    Times                                 oldest_wait{};  // of those that are ready; none while the breaker is open
    Times                                 lag{};          // to work off the tier and those above at the measured rate
    Times                                 wait_bound{};   // no ready lane's head waits longer; max: nothing is served
    std::array<State, lane_state_count>   states{};
    std::size_t                           lanes{0};
    std::size_t                           blocked{0};     // lanes that are retrying, held or paused
    bool                                  is_away{false}; // the breaker is open: nothing but the probe runs
    std::size_t                           waiting_for_budget{0};  // lanes whose retry is due
    std::uint64_t                         backlog{0};        // events that are backlog entries
    std::uint64_t                         backlog_lanes{0};  // lanes that have any
    double                                rate{0};           // events settled per second, lately
    std::vector<Stuck>                    stuck{};  // a few lanes with work that does not move although it could
};

// Any thread. Bounded by the places and backlog entries of the events inside.
class Scheduler {
public:
    virtual ~Scheduler() = default;

    // Once, before anything else: where places go back to, and whether anything can run. Both outlive the scheduler.
    // Without this every event stays resident.
    virtual void bind(Admission& admission, Breaker const& breaker) = 0;

    // In log order; `events` become visible together. Takes a reference on each block. Each event holds a place; an
    // event without a block is a backlog entry from the start and holds none.
    virtual void push(std::span<Pending const> events, Clock::Mono now) = 0;

    // Fills `batch` with up to `limit` events, and up to batch_max; false if no lane is ready. A lane is in one batch
    // at a time.
    virtual bool take(Clock::Mono now, Batch& batch, std::size_t limit) = 0;

    // The first `settled` events of the run leave their lane. Whoever settles them has released the places of those
    // with a block.
    virtual void finish(Run const& run, std::uint32_t settled, NextStep next, Clock::Mono now) = 0;

    // The head of a held lane is settled by its decision. True if it was resident: the caller releases its place.
    virtual bool released(LaneId lane, Clock::Mono now) = 0;

    // Every lane that is paused now will be ready again, and so will one that is in a batch and comes back as paused.
    virtual void resume() = 0;

    // A slice of what is to be spilled. False once nothing is left. For times when nobody takes.
    virtual bool spill() = 0;

    // Whether a lane is ready, and when the next one is at the latest if nothing else happens.
    virtual bool                       is_ready() const = 0;
    virtual std::optional<Clock::Mono> next_due() const = 0;

    virtual LaneStats stats(Clock::Mono now) const = 0;

    // From ready to dispatched, by the tier served for; per dispatched run.
    virtual Delays const& waits(Tier tier) const = 0;

    virtual std::optional<LaneInfo> lane(std::uint64_t lane_key, Clock::Mono now) const = 0;

    // Lanes whose head failed or is paused, by since when, after the one given (none: from the first).
    virtual std::vector<LaneInfo> blocked(
        std::size_t limit, std::optional<std::uint64_t> after_lane, Clock::Mono after_since, Clock::Mono now) const = 0;
};

class LaneScheduler final : public Scheduler {
public:
    // What a lane with backlog entries counts in the backlog, beside its entries.
    static constexpr std::uint64_t lane_entries = 10;

    explicit LaneScheduler(SchedulerOptions options);
    ~LaneScheduler() override;

    void bind(Admission& admission, Breaker const& breaker) override;
    void push(std::span<Pending const> events, Clock::Mono now) override;
    bool take(Clock::Mono now, Batch& batch, std::size_t limit) override;
    void finish(Run const& run, std::uint32_t settled, NextStep next, Clock::Mono now) override;
    bool released(LaneId lane, Clock::Mono now) override;
    void resume() override;
    bool spill() override;
    bool is_ready() const override;
    std::optional<Clock::Mono> next_due() const override;
    LaneStats                  stats(Clock::Mono now) const override;
    Delays const&              waits(Tier tier) const override { return waits_[index(tier)]; }
    std::optional<LaneInfo>    lane(std::uint64_t lane_key, Clock::Mono now) const override;
    std::vector<LaneInfo>      blocked(
             std::size_t limit, std::optional<std::uint64_t> after_lane, Clock::Mono after_since,
             Clock::Mono now) const override;

    // What waiting is measured from: `since` as backlog entries keep it.
    static constexpr Clock::Mono coarse(Clock::Mono since) noexcept
    {
        return Clock::Mono(since.time_since_epoch() / tick * tick);
    }

private:
    static constexpr std::uint32_t            none = ~std::uint32_t{0};
    static constexpr std::chrono::nanoseconds tick = std::chrono::milliseconds(1);
    static constexpr std::size_t              stuck_max = 8;
    static constexpr std::size_t              errors_of_lane_max = 8;
    static constexpr std::size_t              error_detail_max = 256;
    static constexpr std::size_t              rate_seconds = 8;

    struct Entry {
        Pending       event;
        std::uint32_t previous{none}, next{none};
    };

    struct BacklogEntry {
        std::uint64_t sequence_and_tier{0};  // the tier in the two highest bits
        std::uint32_t next{none};
        std::uint32_t since{0};  // ticks, modulo 2^32: an age of more than 49 days is taken for less

        Sequence sequence() const noexcept { return Sequence{sequence_and_tier & (~std::uint64_t{0} >> 2)}; }
        Tier     tier() const noexcept { return Tier{static_cast<std::uint8_t>(sequence_and_tier >> 62)}; }
    };
    static_assert(sizeof(BacklogEntry) == 16);

    struct Lane {
        std::uint64_t                         key{0};
        Sequence                              first{};  // of its head, kept here because heaps compare it
        std::uint32_t                         head{none}, tail{none};                  // resident entries, and after
        std::uint32_t                         backlog_head{none}, backlog_tail{none};  // them the backlog
        std::array<std::uint32_t, tier_count> pending{};  // by tier, so that lifting needs no scan
        std::uint32_t                         resident{0};
        std::uint32_t                         attempts{0};
        Sequence                              doubt{};
        Clock::Mono                           state_at{};  // since when it is what it is; retrying: when that is due
        Clock::Mono                           blocked_since{};
        std::uint32_t                         previous{none}, next{none};  // in the list of its state, if that has one
        std::uint32_t                         blocked_previous{none}, blocked_next{none};
        std::uint32_t                         oldest_slot{none};  // in the heap of listed_in, if its head is backlog
        std::uint32_t                         age_slot{none};     // in the age heap of its head's tier
        Tier                                  first_tier{};       // of its head
        Tier                                  listed_in{};
        LaneState                             state{LaneState::ready};
        bool                                  is_retry{false};    // ready or running: its head has failed before
        bool                                  is_blocked{false};  // in the list of those
        bool                                  to_spill{false};    // in the list of those
    };

    struct List {
        std::uint32_t first{none}, last{none};
    };
    using Heap = std::vector<LaneId>;  // a min-heap by the sequence of the lane's head

    struct Head {
        Sequence    sequence{};
        Tier        tier{};
        Clock::Mono since{};
    };

    bool        is_away() const noexcept { return breaker_ != nullptr && !breaker_->is_closed(); }
    static bool is_empty(Lane const& lane) noexcept { return lane.head == none && lane.backlog_head == none; }
    void        note_head(Lane& lane) noexcept;
    Head        head(Lane const& lane, Clock::Mono now) const noexcept;
    static Clock::Mono since_of(BacklogEntry const& entry, Clock::Mono now) noexcept;
    static BacklogEntry backlog_entry(Pending const& event, Clock::Mono since) noexcept;
    static Tier top_tier(Lane const& lane) noexcept;
    static std::uint64_t events_of(Lane const& lane) noexcept;

    LaneId   lane_for(std::uint64_t key);
    bool     goes_to_backlog(Lane const& lane, Pending const& event) const noexcept;
    void     append(LaneId id, Pending const& event, Clock::Mono now);
    void     append_resident(Lane& lane, Pending const& event, Clock::Mono now);
    void     append_backlog(Lane& lane, Pending const& event, Clock::Mono now);
    bool     settle_head(Lane& lane, std::vector<BlockRef>& let_go);
    void     set_state(Lane& lane, LaneState state, Clock::Mono now);
    void     make_ready(LaneId id, Clock::Mono now);
    void     leave_ready(LaneId id);
    void     enlist(LaneId id);
    void     unlist(LaneId id);
    void     set_aside(LaneId id, LaneState state, Clock::Mono now);
    void     leave_paused(LaneId id, Clock::Mono now);
    void     wait_for_budget(LaneId id);
    void     free_lane(LaneId id);
    void     link(List& list, LaneId id);
    void     unlink(List& list, LaneId id);
    void     block(LaneId id, Clock::Mono now);
    void     unblock(LaneId id);
    void     remember(LaneId id, Error const& error, Clock::Mono now);
    void     queue_spill(LaneId id);
    std::size_t spill_some(LaneId id, std::size_t most, std::vector<BlockRef>& let_go);
    bool     spill_slice(std::vector<BlockRef>& let_go);
    void     wake(Clock::Mono now);
    LaneId   overdue(Clock::Mono now) const;
    LaneId   first_ready(std::size_t tier);
    std::uint32_t dispatch(LaneId id, std::size_t limit, Batch& batch, Clock::Mono now);
    void     count_settled(std::uint32_t events, Clock::Mono now);
    double   rate(Clock::Mono now) const;
    LaneInfo info(LaneId id, Clock::Mono now) const;

    Heap& age_heap(Lane const& lane);
    void  heap_insert(Heap& heap, std::uint32_t Lane::*slot, LaneId id);
    void  heap_erase(Heap& heap, std::uint32_t Lane::*slot, LaneId id);
    void  heap_sift(Heap& heap, std::uint32_t Lane::*slot, std::size_t at);
    bool  older(LaneId a, LaneId b) const;

    SchedulerOptions const options_;
    Admission*             admission_{nullptr};
    Breaker const*         breaker_{nullptr};

    std::array<Delays, tier_count> waits_;

    mutable std::mutex mutex_;  // guards everything below; held for bounded work, and calls out to admission only
    Slab<Entry>                                      entries_;
    Slab<BacklogEntry>                               backlog_;
    Slab<Lane>                                       lanes_;
    boost::unordered_flat_map<std::uint64_t, LaneId> lane_by_key_;
    std::array<List, tier_count>                     ready_{};      // with a resident head, as they became ready
    std::array<Heap, tier_count>                     ready_backlog_; // with a head in the backlog, oldest first
    std::array<bool, tier_count>                     backlog_turn_{};
    std::array<std::array<Heap, tier_count>, 2>      by_age_;       // by the head's tier: ready lanes, blocked ones
    List                                             running_{};    // as they were taken
    List                                             paused_{};     // as they were paused
    List                                             blocked_{};    // linked by their own members
    TimerWheel<LaneId>                               retries_;
    std::vector<LaneId>                              due_;          // scratch
    std::array<std::deque<LaneId>, tier_count>       without_budget_;  // their retry is due; by tier
    std::size_t                                      waiting_for_budget_{0};  // of those
    RetryBudget                                      budget_;
    std::vector<std::uint64_t>                       to_spill_;     // keys of lanes
    std::vector<std::uint32_t>                       spilled_of_;   // scratch: places given back, by producer
    std::uint32_t                                    resumes_{0};    // calls of resume()
    std::size_t                                      resume_left_{0};  // of paused_, from its first on
    std::int64_t                                     rate_from_{0};  // the second something settled first
    boost::unordered_flat_map<LaneId, std::vector<Attempt>> errors_;
    std::array<std::uint64_t, tier_count>            pending_{};
    std::array<LaneStats::State, lane_state_count>   states_{};
    std::uint64_t                                    backlog_lanes_{0};
    std::array<std::uint64_t, rate_seconds>          settled_{};    // by second, a ring
    std::int64_t                                     settled_second_{0};
    std::uint32_t since_aged_{0};  // events dispatched since the lane overdue longest was served
};

}  // namespace sluice::engine
