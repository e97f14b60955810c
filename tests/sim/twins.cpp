#include "sim/twins.hpp"

#include "base/hash.hpp"
#include "graph/record_digest.hpp"
#include "graph/resident_store.hpp"
#include "graph/stored_record.hpp"
#include "sim/forwarding.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>

namespace sluice::sim {
namespace {

using namespace engine;

class FourQueues final : public ForwardingScheduler {
public:
    using ForwardingScheduler::ForwardingScheduler;

    void push(std::span<Pending const> events, Clock::Mono now) override
    {
        for (auto event : events) {
            event.lane_key = event.lane_key * tier_count + index(event.tier);
            inner_->push({&event, 1}, now);
        }
    }
};

class FailedToTheBack final : public ForwardingScheduler {
public:
    using ForwardingScheduler::ForwardingScheduler;

    bool take(Clock::Mono now, Batch& batch, std::size_t limit) override
    {
        auto const is_any = inner_->take(now, batch, limit);
        taken_ = batch;
        return is_any;
    }
    void finish(Run const& run, std::uint32_t settled, NextStep next, Clock::Mono now) override
    {
        if (next.kind != NextStep::Kind::retry) return inner_->finish(run, settled, next, now);
        auto const     failed = taken_.events[run.first + settled];
        BlockRef const keep(failed.block);
        inner_->finish(run, settled + 1, {}, now);
        inner_->push({&failed, 1}, now);
    }

private:
    Batch taken_;
};

class ReleasedEarly final : public ForwardingScheduler {
public:
    using ForwardingScheduler::ForwardingScheduler;

    bool take(Clock::Mono now, Batch& batch, std::size_t limit) override
    {
        auto const is_any = inner_->take(now, batch, limit);
        taken_ = batch;
        return is_any;
    }
    void finish(Run const& run, std::uint32_t settled, NextStep next, Clock::Mono now) override
    {
        if (next.kind != NextStep::Kind::held) return inner_->finish(run, settled, next, now);
        is_resident_[run.lane].push_back(taken_.events[run.first + settled].block != nullptr);
        inner_->finish(run, settled + 1, {}, now);
    }
    bool released(LaneId lane, Clock::Mono) override
    {
        bool const is_resident = is_resident_[lane].front();
        is_resident_[lane].pop_front();
        return is_resident;
    }

private:
    Batch                              taken_;
    std::map<LaneId, std::deque<bool>> is_resident_;
};

// What is behind the breaker keeps its place.
class SpillKeepsTickets final : public ForwardingScheduler {
public:
    using ForwardingScheduler::ForwardingScheduler;

    void bind(Admission& admission, Breaker const& breaker) override
    {
        other_.emplace(admission.limits());
        inner_->bind(*other_, breaker);
    }

private:
    std::optional<Admission> other_;
};

class BacklogOutOfOrder final : public ForwardingScheduler {
public:
    using ForwardingScheduler::ForwardingScheduler;

    bool take(Clock::Mono now, Batch& batch, std::size_t limit) override
    {
        auto const is_any = inner_->take(now, batch, limit);
        for (auto const& run : batch.runs)
            if (run.count > 1 && batch.events[run.first].block == nullptr)
                std::swap(batch.events[run.first], batch.events[run.first + 1]);
        return is_any;
    }
};

class DroppedWhenFull final : public ForwardingScheduler {
public:
    using ForwardingScheduler::ForwardingScheduler;

    void push(std::span<Pending const> events, Clock::Mono now) override
    {
        auto const  pending = inner_->stats(now).pending;
        std::size_t room = 16;
        for (auto const count : pending) room -= std::min<std::size_t>(room, count);
        inner_->push(events.first(std::min(room, events.size())), now);
    }
};

// Knows which versions are those of copies.
class ForgetfulParking : public Parking {
public:
    using Parking::Parking;

    void released(log::Decision::Subject const& subject) override
    {
        copies_.insert(subject.version);
        Parking::released(subject);
    }
    void expect_copy(Sequence parked, std::uint64_t record, Sequence version) override
    {
        copies_.insert(version);
        Parking::expect_copy(parked, record, version);
    }

protected:
    bool is_copy(Sequence version) const { return copies_.contains(version); }

private:
    std::set<Sequence> copies_;
};

class NoFollowers final : public ForgetfulParking {
public:
    using ForgetfulParking::ForgetfulParking;

    bool follows(RecordKey key, Sequence version, Sequence sequence) const override
    {
        return is_copy(version) && Parking::follows(key, version, sequence);
    }
};

class NoElders final : public ForgetfulParking {
public:
    using ForgetfulParking::ForgetfulParking;

    bool follows(RecordKey key, Sequence version, Sequence sequence) const override
    {
        return !is_copy(version) && Parking::follows(key, version, sequence);
    }
};

class PauseForgotten final : public WrongGate {
public:
    void watch(Controls const& controls) override { controls_ = &controls; }
    bool any() const noexcept override
    {
        auto const last = controls_->state().last;
        if (!before_) before_ = last;
        return controls_->any() && last > *before_;
    }
    bool pauses(Tier listed_in, Event const& event) const override { return controls_->pauses(listed_in, event); }

private:
    Controls const*                 controls_{nullptr};
    mutable std::optional<Sequence> before_;  // the last control of the processes before
};

class CursorAsMaximum final : public Watermark {
public:
    void start(Sequence settled_through, std::uint64_t) override { highest_ = settled_through; }
    void logged(Sequence, std::size_t) override {}
    void settled(std::span<Sequence const> sequences, std::uint64_t) override
    {
        for (auto const sequence : sequences) highest_ = std::max(highest_, sequence);
    }
    Sequence low() const override { return highest_; }
    Sequence last() const override { return highest_; }
    Position position() const override { return {.last = highest_, .stale = 0, .unsettled = {}}; }
    bool     is_unsettled(Sequence) const override { return false; }

private:
    Sequence highest_{};
};

class ForwardingWatermark : public Watermark {
public:
    void     start(Sequence through, std::uint64_t stale) override { inner_.start(through, stale); }
    void     logged(Sequence first, std::size_t count) override { inner_.logged(first, count); }
    void     settled(std::span<Sequence const> s, std::uint64_t stale) override { inner_.settled(s, stale); }
    Sequence low() const override { return inner_.low(); }
    Sequence last() const override { return inner_.last(); }
    Position position() const override { return inner_.position(); }
    bool     is_unsettled(Sequence sequence) const override { return inner_.is_unsettled(sequence); }

protected:
    DenseWatermark inner_;
};

class UnsettledForgotten final : public ForwardingWatermark {
public:
    Position position() const override
    {
        auto position = inner_.position();
        position.unsettled.clear();
        return position;
    }
};

class CursorBeforeEffect final : public ForwardingWatermark {
public:
    void logged(Sequence first, std::size_t count) override { inner_.start(Sequence{number(first) + count - 1}, 0); }
    void settled(std::span<Sequence const>, std::uint64_t) override {}
};

// Passes everything on.
class ForwardingDedupe : public DedupeIndex {
public:
    explicit ForwardingDedupe(std::unique_ptr<DedupeIndex> inner) : inner_(std::move(inner)) {}

    Result<>     recover(log::EventLog const& log) override { return inner_->recover(log); }
    Result<bool> find(Hash128 id, Confirm const& confirm) override { return inner_->find(id, confirm); }
    void         insert(Hash128 id, Sequence sequence) override { inner_->insert(id, sequence); }
    void         erase(Hash128 id, Sequence sequence) override { inner_->erase(id, sequence); }
    void         committed(Sequence last, std::uint64_t chain) override { inner_->committed(last, chain); }
    bool         has_room() const override { return inner_->has_room(); }
    Result<bool> maintain() override { return inner_->maintain(); }
    DedupeStats  stats() const override { return inner_->stats(); }

protected:
    std::unique_ptr<DedupeIndex> const inner_;
};

class DedupeForgotten final : public ForwardingDedupe {
public:
    DedupeForgotten() : ForwardingDedupe(std::make_unique<MemoryDedupe>()) {}

    Result<> recover(log::EventLog const&) override { return {}; }
};

// Does not find what `is_hidden` says.
class Hiding : public ForwardingDedupe {
public:
    using ForwardingDedupe::ForwardingDedupe;

    Result<bool> find(Hash128 id, Confirm const& confirm) override
    {
        return inner_->find(id, [&](Sequence sequence) -> Result<bool> {
            if (is_hidden(sequence)) return false;
            return confirm(sequence);
        });
    }

protected:
    virtual bool is_hidden(Sequence sequence) const = 0;
};

class NoDedupe final : public Hiding {
public:
    using Hiding::Hiding;

private:
    bool is_hidden(Sequence) const override { return true; }
};

std::vector<IdRange> runs_in(files::Directory const& directory)
{
    std::vector<IdRange> runs;
    for (auto const& name : *directory.list())
        if (auto const range = parse_run_name(name)) runs.push_back(*range);
    return runs;
}

class RunSkipped final : public Hiding {
public:
    RunSkipped(std::unique_ptr<DedupeIndex> inner, files::Directory const& directory)
        : Hiding(std::move(inner)), directory_(directory)
    {
    }

private:
    bool is_hidden(Sequence sequence) const override
    {
        auto const runs = runs_in(directory_);
        return !runs.empty() && sequence >= runs.front().first && sequence <= runs.front().last;
    }
    files::Directory const& directory_;
};

class GenerationLost final : public Hiding {
public:
    GenerationLost(std::unique_ptr<DedupeIndex> inner, files::Directory const& directory, std::uint64_t generation)
        : Hiding(std::move(inner)), directory_(directory), generation_(generation)
    {
    }
    void committed(Sequence last, std::uint64_t chain) override
    {
        inner_->committed(last, chain);
        if (number(last) - number(std::max(frozen_, written())) >= generation_) frozen_ = last;
    }

private:
    Sequence written() const
    {
        auto const runs = runs_in(directory_);
        return runs.empty() ? Sequence{} : runs.back().last;
    }
    bool is_hidden(Sequence sequence) const override { return sequence <= frozen_ && sequence > written(); }

    files::Directory const& directory_;
    std::uint64_t const     generation_;
    Sequence                frozen_{};
};

// A plain store of the same promises, each of which can be left out.
class PlainStore final : public graph::GraphStore {
public:
    explicit PlainStore(Twin twin) : twin_(twin) {}

    graph::ApplyResult apply(std::span<Event const> events, graph::Decide const& decide) override
    {
        graph::ApplyResult result;
        if (++applies_ % 4 == 0) commit_cursors();
        for (auto const& event : events) {
            auto& repository = repositories_[std::string(event.did)];
            auto const effects = decide(event, View(repository));
            if (!effects) {
                result.error = effects.error();
                return result;
            }
            result.outcomes.push_back(execute(repository, event, *effects));
            repository.cursor = std::max(repository.cursor, event.sequence);
        }
        return result;
    }

    Result<std::optional<graph::OwnedRecord>> find(Kind kind, std::string_view uri) const override
    {
        for (auto const& [did, repository] : repositories_)
            if (auto const record = View(repository).find(kind, uri)) return std::optional<graph::OwnedRecord>(*record);
        return std::optional<graph::OwnedRecord>();
    }
    graph::Stamp stamp(std::string_view) const override { return graph::Stamp::none; }
    void crash()
    {
        for (auto& [did, repository] : repositories_) repository.cursor = repository.durable_cursor;
    }
    void commit_cursors()
    {
        for (auto& [did, repository] : repositories_) repository.durable_cursor = repository.cursor;
    }
    // The simulator reads records by their key only.
    Result<std::vector<graph::OwnedRecord>> relationships_of(std::string_view) const override
    {
        return std::vector<graph::OwnedRecord>();
    }
    Result<std::vector<graph::OwnedRecord>> attestations_of(std::string_view) const override
    {
        return std::vector<graph::OwnedRecord>();
    }

    Hash128 digest() const override
    {
        Hash128     sum;
        std::string scratch;
        for_each([&](graph::StoredRecord const& record) { sum += graph::record_digest(record.view(), scratch); });
        return sum;
    }
    graph::Counts counts() const override
    {
        graph::Counts counts;
        for_each([&](graph::StoredRecord const& record) {
            ++(record.removed() ? counts.tombstones : counts.live[static_cast<std::size_t>(record.kind())]);
        });
        return counts;
    }

private:
    struct Repository {
        graph::RecordRef                                         tombstone;
        std::map<std::pair<Kind, std::string>, graph::RecordRef> records;
        Sequence cursor{}, durable_cursor{};  // of effect_then_cursor, instead of the records' sequences
    };
    class View final : public RecordView {
    public:
        explicit View(Repository const& repository) : repository_(repository) {}
        std::optional<Record> find(Kind kind, std::string_view key) const override
        {
            auto const found = repository_.records.find({kind, std::string(key)});
            if (found == repository_.records.end() || found->second->removed()) return std::nullopt;
            return found->second->view();
        }

    private:
        Repository const& repository_;
    };

    template <class Visit>
    void for_each(Visit const& visit) const
    {
        for (auto const& [did, repository] : repositories_) {
            if (repository.tombstone) visit(*repository.tombstone);
            for (auto const& [key, record] : repository.records) visit(*record);
        }
    }

    graph::Outcome execute(Repository& repository, Event const& event, Effects const& effects)
    {
        using Action = Effects::Action;
        if (effects.action == Action::none) return graph::Outcome::applied;
        bool const is_account = effects.action == Action::remove_repository;
        auto const key = std::pair(effects.kind, std::string(effects.key));
        auto const found = repository.records.find(key);
        auto const before = is_account || found == repository.records.end() ? graph::RecordRef() : found->second;

        Sequence sequence{}, written{};
        Revision rev{};
        for (auto const& record : {repository.tombstone, before})
            if (record) {
                sequence = std::max(sequence, record->sequence());
                rev = std::max(rev, record->rev());
                bool const counts = event.rev == Revision::none || is_account || record == repository.tombstone;
                if (counts) written = std::max(written, record->version());
            }
        for (auto const& [name, record] : repository.records)
            if (is_account) written = std::max(written, record->version());
        if (twin_ == Twin::effect_then_cursor) sequence = repository.cursor;
        if (event.sequence <= sequence && twin_ != Twin::sequence_ignored) return graph::Outcome::applied;
        if (event.rev != Revision::none && event.rev <= rev && twin_ != Twin::rev_ignored) return graph::Outcome::stale;
        bool const is_late = event.version != Sequence::none && event.version < written;
        if (is_late && twin_ != Twin::version_forgotten) return graph::Outcome::stale;
        if (is_account) return remove_all(repository, event, rev);

        bool const is_removal = effects.action == Action::remove;
        if (is_removal && twin_ == Twin::tombstone_forgotten) {
            repository.records.erase(key);
            return graph::Outcome::applied;
        }
        Record const identity{
            .kind = effects.kind, .did = event.did, .key = effects.key,
            .rev = before ? std::max(before->rev(), event.rev) : event.rev, .sequence = event.sequence,
            .version = event.version, .removed = is_removal,
            .payload_hash = is_removal ? Hash128{} : event.payload_hash, .fields = {}};
        repository.records[key] = graph::StoredRecord::make(
            identity, std::span(effects.fields).first(is_removal ? 0 : effects.field_count));
        return graph::Outcome::applied;
    }

    graph::Outcome remove_all(Repository& repository, Event const& event, Revision floor)
    {
        if (event.rev != Revision::none)
            floor = event.rev;
        else
            for (auto const& [key, record] : repository.records) floor = std::max(floor, record->rev());
        std::erase_if(repository.records, [&](auto const& entry) { return entry.second->rev() <= floor; });
        repository.tombstone = graph::StoredRecord::make(
            Record{.kind = Kind::repository, .did = event.did, .key = event.did, .rev = floor,
                   .sequence = event.sequence, .version = event.version, .removed = true, .payload_hash = {},
                   .fields = {}},
            {});
        return graph::Outcome::applied;
    }

    Twin const                        twin_;
    std::map<std::string, Repository> repositories_;
    std::uint64_t                     applies_{0};
};

class OutageCounted final : public ForwardingGraph {
public:
    using ForwardingGraph::ForwardingGraph;

    graph::ApplyResult apply(std::span<Event const> events, graph::Decide const& decide) override
    {
        auto result = inner_.apply(events, decide);
        if (result.error && result.error->code == Errc::unavailable) result.error->code = Errc::transient;
        return result;
    }
};

// Takes every repository once, and never again.
class ChangesForgotten final : public ForwardingGraph, private graph::Snapshots {
public:
    using ForwardingGraph::ForwardingGraph;

    graph::Snapshots* snapshots() noexcept override { return inner_.snapshots() != nullptr ? this : nullptr; }

private:
    bool capture(Capture& capture, std::string& bytes) override
    {
        return capture.all && inner_.snapshots()->capture(capture, bytes);
    }
    Result<> restore(
        std::string_view bytes, std::uint32_t number, std::function<void(Restored const&)> const& restored) override
    {
        return inner_.snapshots()->restore(bytes, number, restored);
    }
    void clear() override { inner_.snapshots()->clear(); }
};

}  // namespace

std::string_view name(Twin twin)
{
    switch (twin) {
    case Twin::none: return "none";
    case Twin::plain_store: return "plain store";
    case Twin::four_queues: return "four queues instead of lanes";
    case Twin::failed_to_the_back: return "failed event to the back";
    case Twin::released_early: return "lane released before its verdict is durable";
    case Twin::strict_priority: return "strict priority without aging";
    case Twin::dropped_when_full: return "accepted event dropped when the queue is full";
    case Twin::cursor_before_effect: return "cursor before the effect";
    case Twin::cursor_as_maximum: return "cursor as maximum";
    case Twin::unsettled_forgotten: return "checkpoint without what was unsettled";
    case Twin::changes_forgotten: return "checkpoint without what changed since the one before";
    case Twin::no_dedupe: return "ids never found";
    case Twin::dedupe_forgotten: return "ids forgotten after a restart";
    case Twin::run_skipped: return "oldest run of ids skipped";
    case Twin::generation_lost: return "ids lost while they are written";
    case Twin::answer_before_append: return "answer before append";
    case Twin::error_ignored: return "error of an append ignored";
    case Twin::verdict_not_durable: return "dead letter not durable";
    case Twin::tombstone_forgotten: return "tombstone forgotten";
    case Twin::rev_ignored: return "rev guard ignored";
    case Twin::sequence_ignored: return "sequence guard ignored";
    case Twin::effect_then_cursor: return "effect, then its cursor";
    case Twin::outage_counted: return "outage counted as failure";
    case Twin::retry_ignores_budget: return "retries beyond their budget";
    case Twin::breaker_never_opens: return "breaker that never opens";
    case Twin::backlog_out_of_order: return "backlog read out of order";
    case Twin::spill_keeps_tickets: return "places kept by what is spilled";
    case Twin::suspects_forgotten: return "suspects forgotten";
    case Twin::suspect_not_alone: return "suspect given up who was not alone";
    case Twin::order_without_successor: return "verdict without its successor";
    case Twin::taken_up_twice: return "event taken up twice";
    case Twin::decision_counted_wrong: return "released event counted twice";
    case Twin::version_forgotten: return "late event overwrites what is newer";
    case Twin::released_overtaken: return "parked event overtaken";
    case Twin::released_before_its_elders: return "released event before its elders";
    case Twin::pause_forgotten_at_restart: return "pause forgotten at a restart";
    case Twin::no_limit_of_dead_letters: return "dead letters without a limit";
    }
    return "";
}

EngineOptions wrong_options(Twin twin, EngineOptions options)
{
    if (twin == Twin::breaker_never_opens)
        options.breaker.failures_in_row = options.breaker.failures_of_20 = 1'000'000;
    if (twin == Twin::no_limit_of_dead_letters) options.dead_letters.events = ~std::size_t{0};
    return options;
}

std::unique_ptr<WrongGate> wrong_gate(Twin twin)
{
    return twin == Twin::pause_forgotten_at_restart ? std::make_unique<PauseForgotten>() : nullptr;
}

EngineParts wrong_parts(Twin twin, EngineOptions const& all)
{
    EngineParts parts;
    auto const& options = all.scheduler;
    auto        lanes = std::make_unique<LaneScheduler>(options);
    switch (twin) {
    case Twin::four_queues: parts.scheduler = std::make_unique<FourQueues>(std::move(lanes)); break;
    case Twin::failed_to_the_back: parts.scheduler = std::make_unique<FailedToTheBack>(std::move(lanes)); break;
    case Twin::released_early: parts.scheduler = std::make_unique<ReleasedEarly>(std::move(lanes)); break;
    case Twin::strict_priority: {
        auto strict = options;
        strict.max_wait.fill(std::chrono::milliseconds::max());
        parts.scheduler = std::make_unique<LaneScheduler>(strict);
        break;
    }
    case Twin::dropped_when_full: parts.scheduler = std::make_unique<DroppedWhenFull>(std::move(lanes)); break;
    case Twin::backlog_out_of_order: parts.scheduler = std::make_unique<BacklogOutOfOrder>(std::move(lanes)); break;
    case Twin::spill_keeps_tickets: parts.scheduler = std::make_unique<SpillKeepsTickets>(std::move(lanes)); break;
    case Twin::retry_ignores_budget: {
        auto spendthrift = options;
        spendthrift.budget.saved_max = 1'000'000;
        parts.scheduler = std::make_unique<LaneScheduler>(spendthrift);
        break;
    }
    case Twin::released_overtaken: parts.parking = std::make_unique<NoFollowers>(all.parked_max); break;
    case Twin::released_before_its_elders: parts.parking = std::make_unique<NoElders>(all.parked_max); break;
    case Twin::cursor_before_effect: parts.watermark = std::make_unique<CursorBeforeEffect>(); break;
    case Twin::unsettled_forgotten: parts.watermark = std::make_unique<UnsettledForgotten>(); break;
    case Twin::cursor_as_maximum: parts.watermark = std::make_unique<CursorAsMaximum>(); break;
    default: break;
    }
    return parts;
}

std::unique_ptr<DedupeIndex> make_index(Twin twin, files::Directory& directory, DedupeOptions const& options)
{
    auto index = std::make_unique<DerivedDedupe>(directory, options);
    switch (twin) {
    case Twin::no_dedupe: return std::make_unique<NoDedupe>(std::move(index));
    case Twin::dedupe_forgotten: return std::make_unique<DedupeForgotten>();
    case Twin::run_skipped: return std::make_unique<RunSkipped>(std::move(index), directory);
    case Twin::generation_lost:
        return std::make_unique<GenerationLost>(std::move(index), directory, options.memory_ids / 4);
    default: return index;
    }
}

std::unique_ptr<graph::GraphStore> make_graph(Twin twin)
{
    switch (twin) {
    case Twin::plain_store:
    case Twin::version_forgotten:
    case Twin::tombstone_forgotten:
    case Twin::rev_ignored:
    case Twin::sequence_ignored:
    case Twin::effect_then_cursor: return std::make_unique<PlainStore>(twin);
    default: return graph::make_resident_store();
    }
}

void crash(Twin twin, graph::GraphStore& graph)
{
    if (twin == Twin::effect_then_cursor) static_cast<PlainStore&>(graph).crash();
}

void misjudge(Twin twin, std::span<std::byte> in_hand)
{
    if (twin == Twin::suspects_forgotten) std::ranges::fill(in_hand, std::byte{});
    if (twin != Twin::suspect_not_alone) return;
    static_cast<void>(Suspects{in_hand});
    auto& notes = *reinterpret_cast<Suspects::Notes*>(in_hand.data());
    for (auto& suspect : std::span(notes.suspects, notes.count)) {
        suspect.faults = Suspects::guilty_from;
        suspect.is_alone = 1;
    }
}

std::unique_ptr<graph::GraphStore> wrong_view(Twin twin, graph::GraphStore& graph)
{
    if (twin == Twin::outage_counted) return std::make_unique<OutageCounted>(graph);
    if (twin == Twin::changes_forgotten) return std::make_unique<ChangesForgotten>(graph);
    return nullptr;
}

// Each commit becomes durable with the next.
class Storage::EarlyLog final : public ForwardingLog {
public:
    explicit EarlyLog(Storage& storage) : EarlyLog(storage, std::make_unique<log::MemoryLog>(storage.seen_)) {}

    Result<> append(log::Commit const& commit) override
    {
        storage_.durable_ = storage_.seen_;
        return inner_.append(commit);
    }

private:
    EarlyLog(Storage& storage, std::unique_ptr<log::MemoryLog> log)
        : ForwardingLog(*log), storage_(storage), log_(std::move(log))
    {
    }
    Storage&                        storage_;
    std::unique_ptr<log::MemoryLog> log_;
};

// Calls a commit durable that the disk has refused, as a second fsync after a failed one does. The process sees it, and
// all that follow, until it ends.
class Storage::ErrorIgnored final : public ForwardingLog {
public:
    ErrorIgnored(Storage& storage, log::EventLog& failing, log::EventLog& opened)
        : ForwardingLog(failing), storage_(storage), opened_(opened)
    {
    }
    Result<> append(log::Commit const& commit) override
    {
        auto const before = size();
        if (inner_.append(commit)) return {};
        if (!storage_.durable_) storage_.durable_ = storage_.seen_;
        return size() != before ? Result<>() : opened_.append(commit);
    }

private:
    std::size_t size() const { return storage_.seen_.blocks.size() + storage_.seen_.decisions.size(); }

    Storage&       storage_;
    log::EventLog& opened_;
};

class Storage::ForgetfulLog final : public ForwardingLog {
public:
    explicit ForgetfulLog(std::unique_ptr<log::EventLog> log) : ForwardingLog(*log), log_(std::move(log)) {}

    Result<> append(log::Commit const& commit) override
    {
        if (commit.count == 0) return {};
        auto events = commit;
        events.decisions = {};
        return inner_.append(events);
    }

private:
    std::unique_ptr<log::EventLog> log_;
};

// Makes verdicts durable first and the records they name with the commit after.
class Storage::SuccessorsLate final : public ForwardingLog {
public:
    explicit SuccessorsLate(Storage& storage)
        : SuccessorsLate(storage, std::make_unique<log::MemoryLog>(storage.seen_))
    {
    }

    Result<> append(log::Commit const& commit) override
    {
        storage_.durable_.reset();
        if (commit.count == 0 || commit.decisions.empty()) return inner_.append(commit);
        log::Commit const verdicts{
            .first = commit.first, .count = 0, .chain_after = inner_.last_chain(),
            .received_at = inner_.last_received_at(), .parts = {}, .decisions = commit.decisions};
        if (auto const done = inner_.append(verdicts); !done) return done;
        storage_.durable_ = storage_.seen_;
        auto records = commit;
        records.decisions = {};
        return inner_.append(records);
    }

private:
    SuccessorsLate(Storage& storage, std::unique_ptr<log::MemoryLog> log)
        : ForwardingLog(*log), storage_(storage), log_(std::move(log))
    {
    }
    Storage&                        storage_;
    std::unique_ptr<log::MemoryLog> log_;
};

// Shows verdicts wrongly: to whoever asks about one event only the first, or to a fold what was released as redriven.
class Storage::VerdictsWrong final : public ForwardingLog {
public:
    VerdictsWrong(std::unique_ptr<log::EventLog> log, bool is_fold_wrong)
        : ForwardingLog(*log), log_(std::move(log)), is_fold_wrong_(is_fold_wrong)
    {
    }
    Result<> visit_decisions(
        Sequence from, std::function<bool(log::Decision const&)> const& visit) const override
    {
        Sequence   before{};
        bool const is_fold = from == Sequence::none;
        return inner_.visit_decisions(from, [&](log::Decision decision) {
            bool const is_first = decision.sequence != std::exchange(before, decision.sequence);
            if (!is_fold_wrong_ && !is_fold && !is_first) return true;
            if (is_fold_wrong_ && is_fold && decision.verdict == log::Verdict::released)
                decision.verdict = log::Verdict::redriven;
            return visit(decision);
        });
    }

private:
    std::unique_ptr<log::EventLog> log_;
    bool const                     is_fold_wrong_;
};

void Storage::crash()
{
    if (durable_) seen_ = *std::exchange(durable_, std::nullopt);
}

std::unique_ptr<log::EventLog> Storage::open()
{
    if (twin_ == Twin::answer_before_append) return std::make_unique<EarlyLog>(*this);
    if (twin_ == Twin::order_without_successor) return std::make_unique<SuccessorsLate>(*this);
    auto log = std::make_unique<log::MemoryLog>(seen_);
    if (twin_ == Twin::taken_up_twice || twin_ == Twin::decision_counted_wrong)
        return std::make_unique<VerdictsWrong>(std::move(log), twin_ == Twin::decision_counted_wrong);
    if (twin_ == Twin::verdict_not_durable) return std::make_unique<ForgetfulLog>(std::move(log));
    return log;
}

std::unique_ptr<log::EventLog> Storage::wrong_view(log::EventLog& failing, log::EventLog& opened)
{
    if (twin_ != Twin::error_ignored) return nullptr;
    return std::make_unique<ErrorIgnored>(*this, failing, opened);
}

}  // namespace sluice::sim
