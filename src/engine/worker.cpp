#include "engine/worker.hpp"

#include <algorithm>

namespace sluice::engine {

Worker::Worker(Deps deps, RetryOptions options, std::uint64_t seed)
    : deps_(deps), options_(options), random_(seed), decider_(deps.schemas),
      decide_([this](Event const& event, sluice::RecordView const& view) { return decider_(event, view); })
{
}

Result<bool> Worker::step()
{
    auto const start = deps_.clock.now();
    if (!deps_.scheduler.take(start, batch_)) return false;

    decider_.clear();
    events_.clear();
    settled_.clear();
    stale_ = 0;
    for (auto const& pending : batch_.events)
        events_.push_back(decider_.read(pending.block->record(pending.item), pending.sequence, pending.received_at));
    results_.clear();
    for (auto const& run : batch_.runs) {
        results_.push_back(apply(run));
        auto const& failure = results_.back().failure;
        if (failure && failure->error.code == Errc::corrupt) return failure->error;
    }
    // Before the lanes go on: who sees nothing pending must see the watermark at the end.
    deps_.watermark.settled(settled_, stale_);
    deps_.admission.release(static_cast<std::uint32_t>(settled_.size()), 0);
    measure();
    for (std::size_t i = 0; i < batch_.runs.size(); ++i) conclude(batch_.runs[i], results_[i]);

    add(deps_.counters.batches, 1);
    add(deps_.counters.work_ns, static_cast<std::uint64_t>((deps_.clock.now() - start).count()));
    return true;
}

// Two repositories share a lane when their keys collide: order is kept, and each is applied on its own.
static std::size_t same_repository(std::span<Event const> events)
{
    std::size_t count = 1;
    while (count < events.size() && events[count].did == events.front().did) ++count;
    return count;
}

// How many come before one that must wait behind a parked event of its record.
std::size_t Worker::before_parked(std::span<Event const> events) const
{
    if (deps_.parking.is_empty()) return events.size();
    auto const waits = [&](Event const& event) {
        return deps_.parking.follows(record_key(event, deps_.schemas), version_of(event));
    };
    return static_cast<std::size_t>(std::ranges::find_if(events, waits) - events.begin());
}

// Applies the run's events until one fails; conflicts are tried again at once.
Worker::RunResult Worker::apply(Run const& run)
{
    auto const    events = std::span<Event const>(events_).subspan(run.first, run.count);
    std::uint32_t settled = 0, conflicts = 0;
    for (;;) {
        auto const unparked = before_parked(events.subspan(settled));
        if (unparked == 0)
            return {settled, Failure{{Errc::invalid, follows_parked, "an earlier event of its record is parked"}}};
        auto const rest = events.subspan(settled, unparked);
        auto const result = deps_.graph.apply(rest.first(same_repository(rest)), decide_);
        settle(result.outcomes, run.first + settled);
        if (!result.outcomes.empty()) conflicts = 0;
        settled += static_cast<std::uint32_t>(result.outcomes.size());
        if (!result.error && settled == run.count) return {settled, std::nullopt};
        if (!result.error) continue;
        if (result.error->code == Errc::conflict && conflicts++ < options_.conflicts_max) continue;
        return {settled, Failure{*result.error, result.from_store, settled == 0 ? run.attempts : 0}};
    }
}

void Worker::settle(std::span<graph::Outcome const> outcomes, std::uint32_t first)
{
    std::uint64_t stale = 0;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
        stale += outcomes[i] == graph::Outcome::stale;
        auto const& event = events_[first + i];
        settled_.push_back(event.sequence);
        if (event.version != Sequence::none)
            deps_.parking.settled(record_key(event, deps_.schemas), event.version);
    }
    add(deps_.counters.processed, outcomes.size());
    add(deps_.counters.applied, outcomes.size());
    add(deps_.counters.stale, stale);
    stale_ += stale;
}

// Neighbours tend to have become durable together: they are counted together.
void Worker::measure()
{
    auto const now = deps_.clock.now();
    for (std::size_t r = 0; r < results_.size(); ++r) {
        auto const events =
            std::span<Pending const>(batch_.events).subspan(batch_.runs[r].first, results_[r].settled);
        for (std::size_t i = 0, same = 0; i < events.size(); i += same) {
            auto const& event = events[i];
            auto const  delay = now - event.since;
            same = 1;
            while (i + same < events.size() && events[i + same].since == event.since &&
                   events[i + same].tier == event.tier)
                ++same;
            deps_.counters.delays[index(event.tier)].add(
                Delays::bucket(delay), same, delay * static_cast<std::int64_t>(same));
        }
    }
}

// The lane goes on. If the event after the settled ones failed, it waits for another try, or for a durable verdict.
void Worker::conclude(Run const& run, RunResult const& result)
{
    auto const settled = result.settled;
    if (!result.failure) return deps_.scheduler.finish(run, settled, {});
    auto const& failure = *result.failure;
    auto const  sequence = events_[run.first + settled].sequence;
    if (failure.from_store && failure.error.code != Errc::invalid) {
        // An event that may be in the graph is not given up: a replay would do without what it did.
        auto const code = sequence <= run.doubt ? Errc::unavailable : failure.error.code;
        auto const is_unknown = failure.error.code == Errc::unavailable;
        auto const doubt = is_unknown ? events_[run.first + run.count - 1].sequence : Sequence::none;
        if (auto const retry = retry_after(code, failure.attempts, options_, random_)) {
            add(deps_.counters.retries, 1);
            return deps_.scheduler.finish(
                run, settled, {NextStep::Kind::retry, deps_.clock.now() + retry->after, retry->attempts, doubt});
        }
    }
    give_up(run, settled, failure);
}

// The lane waits for the verdict, or for room to keep what it is about.
void Worker::give_up(Run const& run, std::uint32_t settled, Failure const& failure)
{
    auto const& event = events_[run.first + settled];
    auto        verdict =
        verdict_on(event, failure.error, failure.attempts + 1, deps_.clock.wall(), deps_.schemas, deps_.parked);
    bool const has_room = verdict.verdict == log::Verdict::parked ? deps_.parking.has_room()
                                                                  : deps_.dead_letters.has_room();
    if (!has_room) {
        auto const again = deps_.clock.now() + options_.no_room;
        return deps_.scheduler.finish(run, settled, {NextStep::Kind::retry, again, failure.attempts});
    }
    deps_.scheduler.finish(run, settled, {.kind = NextStep::Kind::held});
    deps_.appender.submit(std::move(verdict), run.lane);
}

}  // namespace sluice::engine
