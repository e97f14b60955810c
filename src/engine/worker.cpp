#include "engine/worker.hpp"

#include <algorithm>
#include <utility>

namespace sluice::engine {

Worker::Worker(Deps deps, RetryOptions options, std::uint64_t seed)
    : deps_(deps), options_(options), random_(seed), hand_(deps.hand), decider_(deps.schemas),
      decide_([this](Event const& event, sluice::RecordView const& view) { return decider_(event, view); })
{
}

Result<bool> Worker::step()
{
    auto const start = deps_.clock.now();
    permit_ = deps_.breaker.permit(start);
    if (permit_ == Breaker::Permit::none) return deps_.scheduler.spill();
    auto const limit = permit_ == Breaker::Permit::probe ? 1 : batch_limit_;
    if (!deps_.scheduler.take(start, batch_, limit)) {
        if (permit_ == Breaker::Permit::probe) deps_.breaker.not_asked();
        return deps_.scheduler.spill();
    }

    settled_.clear();
    stale_ = 0;
    settled_of_.assign(deps_.admission.producers(), 0);
    for (auto const& pending : batch_.events) hand_.note(pending.sequence);
    if (auto const done = read(); !done) return done.error();
    work();
    for (auto const& result : results_)
        if (result.failure && result.failure->error.code == Errc::corrupt) return result.failure->error;
    if (permit_ == Breaker::Permit::probe) deps_.breaker.not_asked();
    hand_.clear();
    // Before the lanes go on: who sees nothing pending must see the watermark at the end.
    deps_.watermark.settled(settled_, stale_);
    deps_.admission.release(settled_of_);
    measure();
    for (std::size_t i = 0; i < batch_.runs.size(); ++i) conclude(batch_.runs[i], results_[i]);

    auto const took = deps_.clock.now() - start;
    adapt(took);
    add(deps_.counters.batches, 1);
    add(deps_.counters.work_ns, static_cast<std::uint64_t>(took.count()));
    return true;
}

// Where each event has its cost, no more are taken at once than fit the time, so that a more important one does not
// wait for a long batch. Where a call has its cost, fewer events would take as long.
void Worker::adapt(std::chrono::nanoseconds took)
{
    if (deps_.graph.repositories_at_once() > 1) return;
    auto const events = batch_.events.size();
    if (took > batch_time) {
        auto const fit = static_cast<std::size_t>(batch_time * static_cast<std::int64_t>(events) / took);
        batch_limit_ = std::max<std::size_t>(fit, 1);
    } else if (took < batch_time / 2 && events >= batch_limit_) {
        batch_limit_ = std::min(batch_limit_ * 2, batch_limit_max);
    }
}

// The batch's events: from their blocks, or from the log.
Result<> Worker::read()
{
    decider_.clear();
    events_.clear();
    readings_.assign(batch_.events.size(), Reading::done);
    if (blocks_.size() > 1) blocks_.erase(blocks_.begin(), blocks_.end() - 1);  // where the last batch ended
    for (auto const& pending : batch_.events) {
        auto const sequence = pending.sequence;
        if (pending.block != nullptr) {
            events_.push_back(decider_.read(pending.block->record(pending.item), sequence, pending.received_at));
            continue;
        }
        auto const at = events_.size();
        auto const reading = read_from_log(sequence);
        if (!reading) return reading.error();
        readings_[at] = *reading;
        if (*reading == Reading::done) continue;
        events_.emplace_back();
        events_.back().sequence = sequence;
    }
    return {};
}

// Neighbours in the log are in one block, and that is read once.
Result<Worker::Reading> Worker::read_from_log(Sequence sequence)
{
    auto found = std::ranges::find_if(blocks_, [&](auto const& block) { return block->holds(sequence); });
    if (found == blocks_.end()) {
        std::size_t bytes = 0;
        for (auto const& block : blocks_) bytes += block->bytes().size();
        if (!blocks_.empty() && bytes > blocks_bytes_max) return Reading::later;
        auto block = deps_.log.read(sequence);
        if (!block && block.error().code == Errc::corrupt) return block.error();
        if (!block) return Reading::failed;
        if (!*block) return Error{Errc::corrupt, "gap", "no event " + std::to_string(number(sequence)) + " in the log"};
        found = blocks_.insert(blocks_.end(), std::move(*block));
    }
    auto const& block = **found;
    events_.push_back(decider_.read(block.record_at(sequence), sequence, block.received_at()));
    return Reading::done;
}

// How many of the run's events come before the first that is paused.
std::uint32_t Worker::count_unpaused(Run const& run) const
{
    if (!deps_.gate.any()) return run.count;
    std::uint32_t count = 0;
    while (count < run.count && !deps_.gate.pauses(run.tier, events_[run.first + count])) ++count;
    return count;
}

// A run that is not tried comes back without a failure and with nothing settled.
void Worker::work()
{
    results_.assign(batch_.runs.size(), {});
    tries_.assign(batch_.runs.size(), {});
    if (may_ask())
        for (std::size_t r = 0; r < batch_.runs.size(); ++r) tries_[r] = try_of(batch_.runs[r], results_[r]);
    auto const at_once = deps_.graph.repositories_at_once();
    for (std::size_t first = 0; first < tries_.size(); first += at_once)
        while (may_ask() && ask(first, std::min(first + at_once, tries_.size()))) {}
    for (std::size_t r = 0; r < tries_.size(); ++r) {
        auto& result = results_[r];
        result.is_paused = result.is_paused && !result.failure && result.settled == tries_[r].count;
    }
}

// How many events of the run can be tried.
Worker::Try Worker::try_of(Run const& run, RunResult& result) const
{
    std::uint32_t readable = 0;
    while (readable < run.count && readings_[run.first + readable] == Reading::done) ++readable;
    if (readable == 0 && readings_[run.first] == Reading::failed) {
        Error error{Errc::unavailable, "log_unreadable", "the log did not give the event back"};
        result.failure = Failure{std::move(error), true, run.attempts, 0};
    }
    auto const unpaused = std::min(readable, count_unpaused(run));
    result.is_paused = unpaused < readable;
    return {.count = unpaused};
}

void Worker::tell_breaker(std::span<graph::ApplyResult const> answers)
{
    auto const permit = std::exchange(permit_, Breaker::Permit::all);
    auto const failed = std::ranges::find_if(answers, [](graph::ApplyResult const& answer) {
        return answer.error && answer.from_store && answer.error->code == Errc::unavailable;
    });
    if (failed != answers.end())
        deps_.breaker.failed(permit, *failed->error, deps_.clock.now(), random_);
    else
        deps_.breaker.succeeded(permit, deps_.clock.now());
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
        return deps_.parking.follows(record_key(event, deps_.schemas), version_of(event), event.sequence);
    };
    return static_cast<std::size_t>(std::ranges::find_if(events, waits) - events.begin());
}

// One call to the graph, with what is left of the runs; a conflict is tried again at once. False: nothing is left.
bool Worker::ask(std::size_t first, std::size_t last)
{
    asked_.clear();
    asked_events_.clear();
    for (auto r = first; r < last; ++r) {
        auto const& [count, conflicts] = tries_[r];
        auto&       result = results_[r];
        if (result.failure || result.settled == count) continue;
        auto const events = std::span<Event const>(events_).subspan(batch_.runs[r].first, count);
        auto const rest = events.subspan(result.settled);
        auto const unparked = before_parked(rest);
        if (unparked == 0) {
            result.failure = Failure{{Errc::invalid, follows_parked, "an earlier event of its record is parked"}};
            continue;
        }
        asked_.push_back(r);
        asked_events_.push_back(rest.first(same_repository(rest.first(unparked))));
    }
    if (asked_.empty()) return false;
    auto const answers = deps_.graph.apply_all(asked_events_, decide_);
    tell_breaker(answers);
    for (std::size_t i = 0; i < asked_.size(); ++i) take(asked_[i], answers[i]);
    return true;
}

void Worker::take(std::size_t r, graph::ApplyResult const& answer)
{
    auto const& run = batch_.runs[r];
    auto& [count, conflicts] = tries_[r];
    auto& result = results_[r];
    settle(answer.outcomes, run.first + result.settled);
    result.settled += static_cast<std::uint32_t>(answer.outcomes.size());
    if (!answer.outcomes.empty()) conflicts = 0;
    if (answer.outcomes.empty() && !answer.error) {  // not tried
        count = result.settled;
        result.is_paused = false;
    }
    if (!answer.error || (answer.error->code == Errc::conflict && conflicts++ < options_.conflicts_max)) return;
    result.failure = Failure{
        *answer.error, answer.from_store, result.settled == 0 ? run.attempts : 0, count - result.settled};
}

void Worker::settle(std::span<graph::Outcome const> outcomes, std::uint32_t first)
{
    std::uint64_t stale = 0;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
        auto const& event = events_[first + i];
        auto const& pending = batch_.events[first + i];
        if (outcomes[i] == graph::Outcome::stale) {
            ++stale;
            deps_.recent_stale.add(event.sequence);
        }
        settled_.push_back(event.sequence);
        if (pending.block != nullptr) ++settled_of_[pending.producer];
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
    using Kind = NextStep::Kind;
    auto const settled = result.settled;
    auto const now = deps_.clock.now();
    if (result.is_paused) return deps_.scheduler.finish(run, settled, {.kind = Kind::paused}, now);
    if (!result.failure) return deps_.scheduler.finish(run, settled, {}, now);
    auto const& failure = *result.failure;
    auto const  sequence = events_[run.first + settled].sequence;
    if (failure.from_store && failure.error.code != Errc::invalid) {
        // An event that may be in the graph is not given up: a replay would do without what it did.
        auto const code = sequence <= std::max(run.doubt, deps_.doubt) ? Errc::unavailable : failure.error.code;
        auto const is_unknown = failure.error.code == Errc::unavailable && failure.in_doubt != 0;
        auto const doubt =
            is_unknown ? events_[run.first + settled + failure.in_doubt - 1].sequence : Sequence::none;
        if (auto const retry = retry_after(code, failure.attempts, options_, random_)) {
            add(deps_.counters.retries, 1);
            return deps_.scheduler.finish(
                run, settled, {Kind::retry, now + retry->after, retry->attempts, doubt, failure.error}, now);
        }
    }
    give_up(run, settled, failure);
}

// The lane waits for the verdict, or for room to keep what it is about.
void Worker::give_up(Run const& run, std::uint32_t settled, Failure const& failure)
{
    using Kind = NextStep::Kind;
    auto const  now = deps_.clock.now();
    auto const& event = events_[run.first + settled];
    auto        verdict =
        verdict_on(event, failure.error, failure.attempts + 1, deps_.clock.wall(), deps_.schemas, deps_.parked);
    bool const is_parked = verdict.verdict == log::Verdict::parked;
    if (!(is_parked ? deps_.parking.reserve() : deps_.dead_letters.reserve(verdict.subject.bytes))) {
        Error const full{Errc::full, is_parked ? "parked_full" : "dead_letters_full",
                         "waits for room: " + failure.error.reason};
        return deps_.scheduler.finish(
            run, settled, {Kind::retry, now + options_.no_room, failure.attempts, Sequence::none, full}, now);
    }
    deps_.scheduler.finish(run, settled, {.kind = Kind::held, .error = failure.error}, now);
    deps_.appender.submit(std::move(verdict), run.lane, batch_.events[run.first + settled].producer);
}

}  // namespace sluice::engine
