// Takes up dead letters and parked events again, many at a time: the job that a control record started.
#pragma once

#include "engine/block.hpp"
#include "engine/controls.hpp"
#include "engine/decide.hpp"

#include <sluice/clock.hpp>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace sluice::engine {

struct JobProgress {
    Job           job;
    std::uint64_t done{0};
    std::uint64_t failed{0};  // left open: `failure` says why the last one was
    std::string   failure{};
    bool          is_finished{false};
    WallTime      began{}, ended{};
};

// Makes the block that takes one event up again. One per thread.
class Successors {
public:
    struct Deps {  // outlive it
        log::EventLog const&     log;
        schema::SchemaSet const& schemas;
    };
    explicit Successors(Deps deps) : deps_(deps), decoder_(deps.schemas), decider_(deps.schemas) {}

    // What is to become of the event.
    struct Wish {
        log::Verdict                    verdict{};       // redriven, released or dropped
        std::optional<std::string_view> payload{};       // another one; a redrive
        bool                            as_new{false};   // likewise: it keeps no version
        std::string                     by{};
    };

    // Appends the order, and the record unless it is dropped, to the block's first request. `invalid`: no_event,
    // no_processor, or why it cannot be decoded today; then `why` has all of it.
    Result<> add(
        Block& block, Sequence sequence, Wish const& wish, WallTime at, schema::DecodeError* why = nullptr);

private:
    Deps const      deps_;
    schema::Decoder decoder_;
    Decider         decider_;
    std::string     payload_;
};

// Passive: one thread calls step(), progress() any. Resumes by itself after a restart: what is done left the list in
// the commit that holds its successor.
class Jobs {
public:
    struct Deps {  // outlive it
        log::EventLog const&          log;
        schema::SchemaSet const&      schemas;
        Controls const&               controls;
        DeadLetters const&            dead_letters;
        Admission&                    admission;
        Clock const&                  clock;
        std::function<void(BlockRef)> submit;  // to the appender
    };

    explicit Jobs(Deps deps);

    // One bounded piece of the job under way; false when there is nothing to do now.
    bool step();

    // The job under way first, then the newest that ended since the start.
    std::vector<JobProgress> progress() const;

    // Of all of them since the start.
    struct Totals {
        std::uint64_t done{0}, failed{0};
    };
    Totals totals() const;

private:
    static constexpr std::size_t batch_max = 64;
    static constexpr std::size_t scan_max = 4'096;  // decisions looked at in one step
    static constexpr std::size_t ended_max = 20;

    // Filled by the appender's thread.
    struct Answer {
        std::atomic<bool> is_there{false};
        RequestOutcome    outcome{};
        std::uint64_t     done{0}, closed{0};
    };

    bool                  begin(Job const& job);
    bool                  is_answered();
    std::size_t           allowance();
    std::vector<Sequence> next(std::size_t limit);
    std::vector<Sequence> next_parked(std::size_t limit);
    bool                  submit(std::vector<Sequence> const& sequences, Sequence from);
    void                  finish();
    void                  end();
    void                  leave();
    void                  leave_open();

    Deps const deps_;
    Successors successors_;

    // The thread of step().
    std::shared_ptr<Answer> answer_;     // of the block under way, if there is one
    std::vector<Sequence>   under_way_;  // what is in it
    Sequence                under_way_from_{};  // the cursor before it
    std::size_t             batch_{batch_max};  // smaller once so many have no place
    struct Failure {
        Sequence sequence;
        Error    error;
    };
    std::vector<Failure>    failures_;  // of the block under way: what it leaves open
    Sequence                cursor_{};   // looked at up to here
    Clock::Mono             refilled_{};
    Clock::Mono             rest_until_{};
    double                  tokens_{0};
    bool                    is_at_end_{false};
    bool                    is_finishing_{false};

    mutable std::mutex         mutex_;  // guards what is below
    std::optional<JobProgress> current_;
    std::deque<JobProgress>    ended_;
    Totals                     totals_;
};

// A block that says what an operator did; `answered` as Block::answered.
BlockRef make_control(
    std::string_view type, std::string_view payload, std::function<void(Block const&)> answered);

}  // namespace sluice::engine
