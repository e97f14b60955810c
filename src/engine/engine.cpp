#include "engine/engine.hpp"

#include <algorithm>

namespace sluice::engine {

Engine::Engine(Deps deps, EngineOptions options, Answered answered, Decided on_decided, EngineParts parts)
    : deps_(deps), options_(options), on_decided_(std::move(on_decided)), suspects_(deps.in_hand),
      admission_(options.admission), breaker_("graph", options.breaker), dead_letters_(options.dead_letters),
      parking_(parts.parking ? std::move(parts.parking) : std::make_unique<Parking>(options.parked_max)),
      jobs_({deps.log, deps.schemas, controls_, dead_letters_, admission_, deps.clock,
             [this](BlockRef block) { submit(std::move(block)); }}),
      dedupe_(parts.dedupe ? std::move(parts.dedupe) : std::make_unique<MemoryDedupe>()),
      watermark_(parts.watermark ? std::move(parts.watermark) : std::make_unique<DenseWatermark>()),
      scheduler_(parts.scheduler ? std::move(parts.scheduler) : std::make_unique<LaneScheduler>(options.scheduler)),
      workers_(Controls::workers_max), workers_wanted_(options.workers)
{
    scheduler_->bind(admission_, breaker_);
    appender_ = std::make_unique<Appender>(
        Appender::Deps{deps_.log, *dedupe_, *scheduler_, *watermark_, counters_, deps_.clock}, options_.appender,
        Appender::Listener{
            .answered = std::move(answered),
            .decided = [this](log::Decision const& decision, LaneId lane, Producer producer) {
                decided(decision, lane, producer);
            },
            .ordered = [this](Block::Order const& order) { ordered(order); },
            .controlled =
                [this](log::LoggedRecord const& record, Sequence sequence) {
                    controls_.apply(record.type(), record.payload(), sequence);
                    controlled();
                    if (record.type().ends_with("_resumed")) scheduler_->resume();
                },
            .looked = [this](log::Space const& space) { looked(space); },
        });
}

Result<bool> Engine::work_step(std::size_t worker)
{
    auto& made = workers_[worker];
    if (!made)
        made = std::make_unique<Worker>(
            Worker::Deps{*scheduler_, deps_.log, deps_.graph, breaker_, *watermark_, admission_, *appender_,
                         counters_, deps_.clock, deps_.schemas, *parking_, dead_letters_, options_.parked,
                         deps_.gate != nullptr ? *deps_.gate : controls_, recent_stale_, suspects_.hand(worker),
                         queued_through_},
            options_.retry, options_.seed + worker);
    return made->step();
}

void Engine::save_position()
{
    if (keeper_ && keeper_->is_open()) (void)keeper_->save(watermark_->position());
}

Result<bool> Engine::checkpoint_step()
{
    if (keeper_) return keeper_->step();
    return checkpointer_ && checkpointer_->step();
}

Result<Folded> Engine::recover(std::vector<Error>* refused)
{
    if (auto const recovered = dedupe_->recover(deps_.log); !recovered) return recovered.error();
    Checkpoint  checkpoint;
    auto* const snapshots = deps_.checkpoints != nullptr ? deps_.graph.snapshots() : nullptr;
    if (auto* const positions = deps_.graph.positions()) {
        keeper_ = std::make_unique<PositionKeeper>(
            PositionKeeper::Deps{*positions, deps_.checkpoints, deps_.log, *watermark_, controls_, deps_.schemas,
                                 deps_.clock},
            options_.position);
        auto loaded = keeper_->load();
        if (!loaded) return loaded.error();
        checkpoint = std::move(*loaded);
    } else if (snapshots != nullptr) {
        checkpoint = load_checkpoint(*deps_.checkpoints, deps_.log, deps_.schemas, *snapshots);
        checkpointer_ = std::make_unique<Checkpointer>(
            Checkpointer::Deps{*deps_.checkpoints, deps_.log, *snapshots, *watermark_, controls_, deps_.schemas,
                               deps_.clock},
            options_.checkpoint, checkpoint);
    }
    if (refused != nullptr) *refused = checkpoint.refused;
    if (auto const decided = decide_before_fold(checkpoint); !decided) return decided.error();
    auto folded = bring_up(std::move(checkpoint));
    if (!folded) return folded.error();
    add(counters_.accepted, folded->events);
    add(counters_.applied, folded->applied);
    add(counters_.stale, folded->stale);
    add(counters_.dead_lettered, folded->dead_lettered);
    add(counters_.parked, folded->parked);
    controlled();
    return folded;
}

Result<Folded> Engine::bring_up(Checkpoint checkpoint)
{
    FoldDeps deps{deps_.log, deps_.schemas, deps_.graph, deps_.clock, options_.parked, dead_letters_, *parking_,
                  controls_, &suspects_};
    auto const& position = checkpoint.position;
    auto const  lacking = number(deps_.log.last()) - number(position.last) + position.unsettled_events();
    bool const  is_away = keeper_ && !keeper_->is_open();
    // After a fault what is lacking is folded, for that finds the event which is to blame.
    if (keeper_ && lacking <= options_.queued_at_start_max && (is_away || suspects_.faults() == 0)) {
        queued_through_ = deps_.log.last();
        return queue_rest(deps, std::move(checkpoint), *scheduler_, *watermark_);
    }
    if (is_away) return checkpoint.refused.back();

    auto next_save = deps_.clock.now() + options_.position.interval;
    if (keeper_)
        deps.passed = [this, &next_save](Sequence passed) {
            if (deps_.clock.now() < next_save) return;
            next_save = deps_.clock.now() + options_.position.interval;
            (void)keeper_->save({.last = passed, .unsettled = {}});  // the next one may succeed
        };
    auto folded = fold(deps, suspects_.careful() ? 1 : options_.fold_threads, std::move(checkpoint));
    if (!folded) return folded;
    if (auto const stored = make_durable(folded->undecided); !stored) return stored.error();
    suspects_.acquit();
    watermark_->start(folded->last, folded->stale);
    return folded;
}

Result<> Engine::make_durable(std::span<log::Decision const> decisions)
{
    if (decisions.empty()) return {};
    log::Commit const commit{.first = next(deps_.log.last()), .count = 0, .chain_after = deps_.log.last_chain(),
                             .received_at = deps_.log.last_received_at(), .parts = {}, .decisions = decisions};
    if (auto const stored = deps_.log.append(commit); !stored) return stored;
    if (on_decided_)
        for (auto const& decision : decisions) on_decided_(decision);
    return {};
}

// An event that the fold would run, and that has killed the process too often, is a dead letter.
Result<> Engine::decide_before_fold(Checkpoint const& checkpoint)
{
    auto const guilty = suspects_.guilty();
    if (guilty.empty()) return {};
    std::vector<log::Decision> decisions;
    for (auto const& suspect : guilty) {
        auto const  sequence = Sequence{suspect.sequence};
        auto const& position = checkpoint.position;
        bool const  is_folded = sequence > position.last || position.is_unsettled(sequence);
        if (!is_folded || sequence > deps_.log.last()) continue;
        auto const known = log::newest_verdict(deps_.log, sequence);
        if (!known) return known.error();
        if (*known) continue;
        auto const block = deps_.log.read(sequence);
        if (!block) return block.error();
        if (!*block) continue;
        auto const record = (*block)->record_at(sequence);
        auto const ahead = checkpoint.ahead.find(record.did());
        if (ahead != checkpoint.ahead.end() && sequence <= ahead->second) continue;
        Error const why{Errc::invalid, "crash_loop",
                        "the process died " + std::to_string(suspect.faults) + " times in a row with it in hand"};
        Decider    decider(deps_.schemas);
        auto const event = decider.read(record, sequence, (*block)->received_at());
        decisions.push_back(
            verdict_on(event, why, suspect.faults, deps_.clock.wall(), deps_.schemas, options_.parked));
    }
    return make_durable(decisions);
}

// What operators have set takes effect.
void Engine::controlled()
{
    auto const state = controls_.state();
    workers_wanted_.store(state.workers.value_or(options_.workers), std::memory_order_relaxed);
    auto limits = options_.admission;
    if (state.limits) {
        limits.events = state.limits->events;
        limits.bytes = state.limits->bytes;
        limits.percent = state.limits->percent;
    }
    admission_.set_limits(std::move(limits));
}

// The head of a held lane has its verdict.
void Engine::decided(log::Decision const& decision, LaneId lane, Producer producer)
{
    if (decision.verdict == log::Verdict::parked) {
        add(counters_.parked, 1);
        parking_->parked(decision, true);
    } else {
        add(counters_.dead_lettered, 1);
        dead_letters_.add(decision, true);
        auto const& subject = decision.subject;
        if (subject.version != decision.sequence) parking_->settled({0, subject.record}, subject.version);
    }
    watermark_->settled({&decision.sequence, 1}, 0);
    if (scheduler_->released(lane, deps_.clock.now())) admission_.release(producer, 1, 0);
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
            parking_->released(decision.subject);
        else {
            parking_->dropped(decision.subject);
            add(counters_.dead_lettered, 1);
        }
    }
    if (on_decided_) on_decided_(decision);
}

std::optional<Clock::Mono> Engine::next_due() const
{
    auto const due = scheduler_->next_due();
    if (breaker_.is_closed()) return due;
    auto const probe = breaker_.next_probe();
    if (!probe || scheduler_->is_ready()) return probe;
    return due ? std::optional(std::max(*probe, *due)) : std::nullopt;
}

void Engine::looked(log::Space const& space)
{
    admission_.close_for_disk(space.level != log::Space::Level::ok);
    free_bytes_.store(space.free_bytes, std::memory_order_relaxed);
    has_reserve_.store(space.has_reserve, std::memory_order_relaxed);
    space_level_.store(space.level, std::memory_order_relaxed);
}

log::Space Engine::space() const
{
    return {.level = space_level_.load(std::memory_order_relaxed),
            .free_bytes = free_bytes_.load(std::memory_order_relaxed),
            .has_reserve = has_reserve_.load(std::memory_order_relaxed)};
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
