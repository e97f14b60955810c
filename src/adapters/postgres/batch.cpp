#include "adapters/postgres/batch.hpp"

#include "base/assert.hpp"
#include "base/hash.hpp"
#include "graph/guard.hpp"
#include "graph/record_digest.hpp"

namespace sluice::adapters::postgres {

void Totals::enter(Kind kind, bool removed, Hash128 record)
{
    digest += record;
    ++(removed ? counts.tombstones : counts.live[static_cast<std::size_t>(kind)]);
}

void Totals::leave(Kind kind, bool removed, Hash128 record)
{
    digest -= record;
    --(removed ? counts.tombstones : counts.live[static_cast<std::size_t>(kind)]);
}

void Totals::add(Totals const& other)
{
    digest += other.digest;
    counts.tombstones += other.counts.tombstones;
    for (std::size_t i = 0; i < kind_count; ++i) counts.live[i] += other.counts.live[i];
}

// The repository with everything before the event applied.
class Batch::View final : public RecordView {
public:
    View(Batch& batch, std::string_view did) : batch_(batch), did_(did) {}

    std::optional<Record> find(Kind kind, std::string_view key) const override
    {
        if (table_of(kind) == nullptr || graph::authority(key) != did_) return std::nullopt;
        auto const* const row = batch_.need(kind, key, true);
        if (row == nullptr) return std::nullopt;
        if (row->after) return row->after->removed() ? std::nullopt : std::optional(row->after->view());
        return row->record ? std::optional(**row->record) : std::nullopt;
    }

private:
    Batch&           batch_;
    std::string_view did_;
};

Batch::Batch(std::vector<std::span<Event const>> const& runs)
{
    runs_.reserve(runs.size());
    for (auto const& events : runs) runs_.push_back({.events = events});
}

bool Batch::fold(graph::Decide const& decide)
{
    is_complete_ = true;
    for (auto& [key, row] : rows_) row.after = nullptr;
    for (auto& run : runs_) {
        run = {.events = run.events};
        fold(run, decide);
    }
    return is_complete_;
}

void Batch::fold(Run& run, graph::Decide const& decide)
{
    if (run.events.empty()) return;
    View const view(*this, run.events.front().did);
    for (auto const& event : run.events) {
        SLUICE_ASSERT(event.did == run.events.front().did);
        auto const effects = decide(event, view);
        run.stops_at_removal = effects && effects->action == Effects::Action::remove_repository;
        if (run.stops_at_removal) return;
        auto const outcome = effects ? execute(event, *effects) : effects.error();
        if (!outcome) {
            run.error = outcome.error();
            return;
        }
        run.outcomes.push_back(*outcome);
    }
}

// The row, if it is known as well as it has to be.
Row* Batch::need(Kind kind, std::string_view key, bool record)
{
    auto& row = rows_[{kind, std::string(key)}];
    if (row.after) return &row;
    row.wants_record = row.wants_record || record;
    if (!row.lacks()) return &row;
    is_complete_ = false;
    return nullptr;
}

Result<graph::Outcome> Batch::execute(Event const& event, Effects const& effects)
{
    using graph::Outcome;
    if (effects.action == Effects::Action::none) return Outcome::applied;
    if (auto const checked = graph::check(event, effects); !checked) return checked.error();

    auto const* const tombstone = need(Kind::repository, event.did, false);
    auto* const       row = need(effects.kind, effects.key, false);
    if (tombstone == nullptr || row == nullptr) return Outcome::applied;  // to be folded again

    graph::Guard guard;
    if (tombstone->before) {
        auto const& end = *tombstone->before;
        guard.add(Kind::repository, end.sequence, end.version, end.rev);
    }
    Revision floor{};
    if (row->after) {
        floor = row->after->rev();
        guard.add(effects.kind, row->after->sequence(), row->after->version(), floor);
    } else if (row->before) {
        floor = row->before->rev;
        guard.add(effects.kind, row->before->sequence, row->before->version, floor);
    }
    if (auto const outcome = guard.settles(event)) return *outcome;

    bool const removed = effects.action == Effects::Action::remove;
    auto const after = graph::StoredRecord::make(
        Record{
            .kind = effects.kind,
            .did = event.did,
            .key = effects.key,
            .rev = event.rev,
            .sequence = event.sequence,
            .version = event.version,
            .removed = removed,
            .payload_hash = removed ? Hash128{} : event.payload_hash,
            .fields = {}},
        std::span(effects.fields).first(removed ? 0 : effects.field_count));
    after->raise_rev(floor);
    row->after = after;
    row->digest = graph::record_digest(after->view(), scratch_);
    row->payload = event.payload;
    return Outcome::applied;
}

bool Batch::writes() const
{
    for (auto const& [key, row] : rows_)
        if (row.after) return true;
    return false;
}

Totals Batch::change() const
{
    Totals change;
    for (auto const& [key, row] : rows_) {
        if (!row.after) continue;
        if (row.before) change.leave(key.first, row.before->removed, row.before->digest);
        change.enter(key.first, row.after->removed(), row.digest);
    }
    return change;
}

}  // namespace sluice::adapters::postgres
