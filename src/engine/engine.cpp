#include "engine/engine.hpp"

#include <algorithm>

namespace sluice::engine {

Engine::Engine(Deps deps, EngineOptions options, Answered answered, Decided on_decided, EngineParts parts)
    : deps_(deps), options_(options), on_decided_(std::move(on_decided)), admission_(options.admission),
      breaker_("graph", options.breaker),
      dead_letters_(options.dead_letters), parking_(options.parked_max),
      jobs_({deps.log, deps.schemas, controls_, dead_letters_, admission_, deps.clock,
             [this](BlockRef block) { submit(std::move(block)); }}),
      dedupe_(parts.dedupe ? std::move(parts.dedupe) : std::make_unique<MemoryDedupe>()),
      watermark_(parts.watermark ? std::move(parts.watermark) : std::make_unique<DenseWatermark>()),
      scheduler_(parts.scheduler ? std::move(parts.scheduler) : std::make_unique<LaneScheduler>(options.scheduler))
{
    scheduler_->bind(admission_, breaker_);
    appender_ = std::make_unique<Appender>(
        Appender::Deps{deps_.log, *dedupe_, *scheduler_, *watermark_, counters_, deps_.clock}, options_.appender,
        Appender::Listener{
            .answered = std::move(answered),
            .decided = [this](log::Decision const& decision, LaneId lane) { decided(decision, lane); },
            .ordered = [this](Block::Order const& order) { ordered(order); },
            .controlled = [this](log::LoggedRecord const& record, Sequence sequence) { controlled(record, sequence); },
        });
    for (std::size_t i = 0; i < options_.workers; ++i)
        workers_.push_back(std::make_unique<Worker>(
            Worker::Deps{*scheduler_, deps_.log, deps_.graph, breaker_, *watermark_, admission_, *appender_,
                         counters_, deps_.clock, deps_.schemas, parking_, dead_letters_, options_.parked,
                         deps_.gate != nullptr ? *deps_.gate : controls_, recent_stale_},
            options_.retry, options_.seed + i));
}

Result<Folded> Engine::recover(std::vector<Error>* refused)
{
    if (auto const recovered = dedupe_->recover(deps_.log); !recovered) return recovered.error();
    Checkpoint  checkpoint;
    auto* const snapshots = deps_.checkpoints != nullptr ? deps_.graph.snapshots() : nullptr;
    if (snapshots != nullptr) {
        checkpoint = load_checkpoint(*deps_.checkpoints, deps_.log, deps_.schemas, *snapshots);
        if (refused != nullptr) *refused = checkpoint.refused;
        checkpointer_ = std::make_unique<Checkpointer>(
            Checkpointer::Deps{*deps_.checkpoints, deps_.log, *snapshots, *watermark_, controls_, deps_.schemas, deps_.clock},
            options_.checkpoint, checkpoint);
    }
    auto folded = fold(
        {deps_.log, deps_.schemas, deps_.graph, deps_.clock, options_.parked, dead_letters_, parking_, controls_},
        options_.fold_threads, std::move(checkpoint));
    if (!folded) return folded.error();
    if (!folded->undecided.empty()) {
        log::Commit const commit{.first = next(deps_.log.last()), .count = 0, .chain_after = deps_.log.last_chain(),
                                 .received_at = deps_.log.last_received_at(), .parts = {},
                                 .decisions = folded->undecided};
        if (auto const stored = deps_.log.append(commit); !stored) return stored.error();
        if (on_decided_)
            for (auto const& decision : folded->undecided) on_decided_(decision);
    }
    watermark_->start(folded->last, folded->stale);
    add(counters_.accepted, folded->events);
    add(counters_.applied, folded->applied);
    add(counters_.stale, folded->stale);
    add(counters_.dead_lettered, folded->dead_lettered);
    add(counters_.parked, folded->parked);
    return folded;
}

// The head of a held lane has its verdict.
void Engine::decided(log::Decision const& decision, LaneId lane)
{
    if (decision.verdict == log::Verdict::parked) {
        add(counters_.parked, 1);
        parking_.parked(decision);
    } else {
        add(counters_.dead_lettered, 1);
        dead_letters_.add(decision);
        auto const& subject = decision.subject;
        if (subject.version != decision.sequence) parking_.settled({0, subject.record}, subject.version);
    }
    watermark_->settled({&decision.sequence, 1}, 0);
    if (scheduler_->released(lane, deps_.clock.now())) admission_.release(1, 0);
    if (on_decided_) on_decided_(decision);
}

// Somebody took up a decided event again.
void Engine::ordered(Block::Order const& order)
{
    auto const& decision = order.decision;
    if (order.before == log::Verdict::dead_letter) dead_letters_.remove(decision.sequence);
    if (order.before == log::Verdict::parked) {
        counters_.parked.fetch_sub(1, std::memory_order_relaxed);
        if (decision.verdict == log::Verdict::released)
            parking_.released(decision.subject);
        else {
            parking_.dropped(decision.subject);
            add(counters_.dead_lettered, 1);
        }
    }
    if (on_decided_) on_decided_(decision);
}

void Engine::controlled(log::LoggedRecord const& record, Sequence sequence)
{
    controls_.apply(record.type(), record.payload(), sequence);
    if (record.type().ends_with("_resumed")) scheduler_->resume();
}

std::optional<Clock::Mono> Engine::next_due() const
{
    auto const due = scheduler_->next_due();
    if (breaker_.is_closed()) return due;
    auto const probe = breaker_.next_probe();
    if (!probe || scheduler_->is_ready()) return probe;
    return due ? std::optional(std::max(*probe, *due)) : std::nullopt;
}

bool Engine::idle() const
{
    if (!appender_->idle()) return false;
    auto const now = state();
    return now.accepted == now.applied + now.dead_lettered + now.parked;
}

EngineState Engine::state() const
{
    EngineState state;
    // In this order: who sees nothing pending sees the watermark at the end.
    state.pending = scheduler_->stats(deps_.clock.now()).pending;
    state.watermark = watermark_->low();
    state.applied = get(counters_.applied);
    state.stale = get(counters_.stale);
    state.dead_lettered = get(counters_.dead_lettered);
    state.parked = get(counters_.parked);
    state.accepted = get(counters_.accepted);
    state.last_sequence = watermark_->last();
    return state;
}

}  // namespace sluice::engine
