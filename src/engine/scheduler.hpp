// Which events are worked on next: order within a lane, priority between lanes, and no starvation.
//
// A lane is the FIFO of one repository's pending events. Its tier is the highest of any event in it, so an important
// event lifts what stands before it instead of overtaking it. Lanes are served strictly by tier, except that of every
// `aged_share` events dispatched at least one comes from a lane whose head has waited longer than its tier's
// `max_wait`, oldest first, if there is one.
#pragma once

#include "engine/block.hpp"

#include <sluice/clock.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

#include <array>
#include <chrono>
#include <mutex>
#include <optional>
#include <queue>
#include <span>
#include <vector>

namespace sluice::engine {

using LaneId = std::uint32_t;

// A durable event on its way to a lane.
struct Pending {
    std::uint64_t lane_key{0};
    Block*        block{nullptr};
    std::uint32_t item{0};
    Tier          tier{};
    Sequence      sequence{};
    WallTime      received_at{};
    Clock::Mono   since{};  // set by push()
};

// Consecutive events from the head of one lane.
struct Run {
    LaneId        lane{0};
    std::uint32_t first{0};     // in Batch::events
    std::uint32_t count{0};
    std::uint32_t attempts{0};  // failed ones of the first event
    Sequence      doubt{};      // events up to this one may be in the graph already
};

// A micro-batch. The blocks stay alive until the runs are finished.
struct Batch {
    std::vector<Run>     runs;
    std::vector<Pending> events;
};

// What becomes of a lane after a run.
struct NextStep {
    enum class Kind : std::uint8_t {
        ready,  // serve it again when its turn comes
        retry,  // its head failed: not before `at`
        held,   // its head waits for a durable decision: not before released()
    };
    Kind          kind{Kind::ready};
    Clock::Mono   at{};
    std::uint32_t attempts{0};
    Sequence      doubt{};  // as Run::doubt
};

struct SchedulerOptions {
    std::size_t                                      batch_max{64};
    std::size_t                                      lane_batch_max{16};  // of one lane in one micro-batch
    std::uint32_t                                    aged_share{8};
    std::array<std::chrono::milliseconds, tier_count> max_wait{
        std::chrono::seconds(30), std::chrono::seconds(5), std::chrono::seconds(1), std::chrono::milliseconds::max()};
};

struct LaneStats {
    std::array<std::uint64_t, tier_count>            pending{};     // events
    std::array<std::chrono::nanoseconds, tier_count> oldest_age{};  // of the oldest waiting head, by the head's tier
    std::size_t                                      lanes{0};
    std::size_t                                      blocked{0};    // lanes that wait for a retry or a decision
};

// Any thread. Bounded by the tickets of the events inside.
class Scheduler {
public:
    virtual ~Scheduler() = default;

    // In log order; `events` become visible together. Takes a reference on each block.
    virtual void push(std::span<Pending const> events, Clock::Mono now) = 0;

    // Fills `batch` with up to batch_max events; false if no lane is ready. A lane is in one batch at a time.
    virtual bool take(Clock::Mono now, Batch& batch) = 0;

    // The first `settled` events of the run leave their lane.
    virtual void finish(Run const& run, std::uint32_t settled, NextStep next) = 0;

    // The head of a held lane is settled by its decision.
    virtual void released(LaneId lane) = 0;

    // When the earliest retry is due, if any lane waits for one.
    virtual std::optional<Clock::Mono> next_due() const = 0;

    virtual LaneStats stats(Clock::Mono now) const = 0;
};

class LaneScheduler final : public Scheduler {
public:
    explicit LaneScheduler(SchedulerOptions options);
    ~LaneScheduler() override;

    void push(std::span<Pending const> events, Clock::Mono now) override;
    bool take(Clock::Mono now, Batch& batch) override;
    void finish(Run const& run, std::uint32_t settled, NextStep next) override;
    void released(LaneId lane) override;
    std::optional<Clock::Mono> next_due() const override;
    LaneStats                  stats(Clock::Mono now) const override;

private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    enum class LaneState : std::uint8_t { ready, running, retrying, held };

    struct Entry {
        Pending       event;
        std::uint32_t next{none};
    };

    struct Lane {
        std::uint64_t                         key{0};
        std::uint32_t                         head{none}, tail{none};  // entries
        std::array<std::uint32_t, tier_count> pending{};               // by tier, so that lifting needs no scan
        std::uint32_t                         attempts{0};
        Sequence                              doubt{};
        std::uint32_t                         previous{none}, next{none};  // in the ready list of listed_in
        std::uint32_t                         age_slot{none};              // in the age heap of its head's tier
        Tier                                  listed_in{};
        LaneState                             state{LaneState::ready};
    };

    struct ReadyList {
        std::uint32_t first{none}, last{none};
    };

    struct Retry {
        Clock::Mono at;
        LaneId      lane;
        bool        operator>(Retry const& other) const noexcept { return at > other.at; }
    };

    Entry&       head(Lane const& lane) { return entries_[lane.head]; }
    Entry const& head(Lane const& lane) const { return entries_[lane.head]; }
    static Tier  top_tier(Lane const& lane) noexcept;

    LaneId lane_for(std::uint64_t key);
    void   append(LaneId id, Pending const& event, Clock::Mono now);
    BlockRef settle_head(Lane& lane);
    void   make_ready(LaneId id);
    void   relist(LaneId id);
    void   unlist(LaneId id);
    void   free_lane(LaneId id);
    void   wake_due(Clock::Mono now);
    LaneId overdue(Clock::Mono now) const;
    std::uint32_t dispatch(LaneId id, std::size_t limit, Batch& batch);

    bool older(LaneId a, LaneId b) const;
    void age_insert(LaneId id);
    void age_erase(LaneId id);
    void age_sift(std::vector<LaneId>& heap, std::size_t slot);

    SchedulerOptions const options_;

    mutable std::mutex mutex_;  // guards everything below; held for bounded work, never while calling out
    std::vector<Entry>                                       entries_;
    std::vector<std::uint32_t>                               free_entries_;
    std::vector<Lane>                                        lanes_;
    std::vector<LaneId>                                      free_lanes_;
    boost::unordered_flat_map<std::uint64_t, LaneId>         lane_by_key_;
    std::array<ReadyList, tier_count>                        ready_{};
    std::array<std::vector<LaneId>, tier_count>              by_age_;  // min-heaps of ready lanes by head sequence
    std::priority_queue<Retry, std::vector<Retry>, std::greater<>> retries_;
    std::array<std::uint64_t, tier_count>                    pending_{};
    std::size_t                                              blocked_{0};
    std::uint32_t since_aged_{0};  // events dispatched since the lane overdue longest was served
};

}  // namespace sluice::engine
