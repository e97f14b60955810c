#include "adapters/postgres/postgres_graph.hpp"

#include "adapters/postgres/ledger.hpp"
#include "adapters/postgres/pool.hpp"
#include "adapters/postgres/removal.hpp"
#include "adapters/postgres/rows.hpp"
#include "adapters/postgres/schema.hpp"
#include "adapters/postgres/stamps.hpp"

#include <algorithm>
#include <shared_mutex>

namespace sluice::adapters {
namespace {

using namespace postgres;

constexpr std::size_t repositories_per_call = 64;

Error const not_begun{Errc::unavailable, "not_begun", "the store has not begun yet"};

class PostgresGraph final : public graph::GraphStore, public graph::Positions {
public:
    PostgresGraph(PostgresOptions options, Clock const& clock) : options_(std::move(options)), pool_(options_, clock) {}

    graph::Positions* positions() noexcept override { return this; }

    Result<std::string> begin() override;
    void                open() override { is_open_.store(true, std::memory_order_release); }
    Result<>            save(std::string_view position, Sequence through) override;
    Result<>            clear() override;

    graph::ApplyResult              apply(std::span<Event const> events, graph::Decide const& decide) override;
    std::vector<graph::ApplyResult> apply_all(Runs runs, graph::Decide const& decide) override;
    std::size_t                     repositories_at_once() const noexcept override { return repositories_per_call; }

    Result<std::optional<graph::OwnedRecord>> find(Kind kind, std::string_view uri) const override;
    Result<std::vector<graph::OwnedRecord>>   relationships_of(std::string_view did) const override;
    Result<std::vector<graph::OwnedRecord>>   attestations_of(std::string_view target) const override;

    graph::Stamp       stamp(std::string_view name) const override { return stamps_.of(name); }
    Hash128            digest() const override { return ledger_.totals().digest; }
    graph::Counts      counts() const override { return ledger_.totals().counts; }
    graph::StoreStatus status() const override;

private:
    // The graph this process may write, and as what.
    struct Begun {
        std::string  schema;
        std::int64_t epoch;
        Statements   sql;
    };
    struct Found {
        std::string                 position;
        std::vector<Ledger::Writer> writers;
    };
    // Events of one repository that are to be applied, and where what became of them goes.
    struct Work {
        std::span<Event const> events;
        graph::ApplyResult*    result;
    };

    template <class F>
    Result<Found>       transact(F const& work);
    Result<Found>       begin(Connection& connection);
    Result<Found>       clear(Connection& connection) const;
    Result<std::string> schema(Connection& connection) const;

    void                   apply(std::vector<Work> work, graph::Decide const& decide);
    void                   divide(std::vector<Work> const& work, graph::Decide const& decide);
    bool                   take_over(Work& work, Batch::Run const& run);
    Result<>               carry_out(Batch& batch, graph::Decide const& decide);
    Result<>               load(Connection& connection, Batch& batch) const;
    Result<graph::Outcome> remove_repository(Event const& event);

    template <class F>
    Result<>              commit(Totals const& change, F const& transact);
    Result<Ledger::Taken> take_writer();
    Result<bool>          settle(Ledger::Taken const& taken);

    template <class F>
    Result<std::vector<graph::OwnedRecord>> read(Table const& table, F const& statement, Params const& params) const;

    PostgresOptions const options_;
    mutable Pool          pool_;
    Ledger                ledger_;
    Stamps                stamps_;

    mutable std::shared_mutex mutex_;  // guards begun_: shared by all that use it
    std::optional<Begun>      begun_;
    std::atomic<bool>         is_open_{false};  // for events

    std::atomic<std::uint64_t> transactions_{0}, unknown_commits_{0};
};

Error fenced() { return {Errc::corrupt, "fenced", "another process applies to the store"}; }

// Beginning.

Result<std::string> PostgresGraph::begin()
{
    std::unique_lock const lock(mutex_);
    is_open_.store(false, std::memory_order_release);
    auto found = transact([this](Connection& connection) { return begin(connection); });
    if (!found) begun_.reset();
    if (!found) return found.error();
    pool_.close_idle();  // they may have prepared statements of another generation
    return std::move(found->position);
}

Result<> PostgresGraph::clear()
{
    std::unique_lock const lock(mutex_);
    if (!begun_) return not_begun;
    auto const found = transact([this](Connection& connection) { return clear(connection); });
    if (!found) return found.error();
    return {};
}

// One transaction that changes what all writers come to.
template <class F>
Result<PostgresGraph::Found> PostgresGraph::transact(F const& work)
{
    auto const lease = pool_.take(Pool::Use::apply);
    if (!lease) return lease.error();
    Transaction transaction(**lease);
    if (auto const opened = transaction.begin(); !opened) return opened.error();
    Result<Found> found = work(**lease);
    if (!found) return found;
    auto const writers = (*lease)->run("writers", "select " + writer_columns() + " from " + begun_->schema +
                                                      ".writer order by number");
    if (!writers) return writers.error();
    for (auto const& row : *writers) found->writers.push_back(read_writer(row));
    if (auto const committed = transaction.commit(); !committed) return committed.error();
    ledger_.reset(std::move(found->writers), options_.writers);
    stamps_.change_all();
    return found;
}

// Takes the next epoch.
Result<PostgresGraph::Found> PostgresGraph::begin(Connection& connection)
{
    auto const schema = this->schema(connection);
    if (!schema) return schema.error();
    auto const projection =
        connection.run("begin", "update " + *schema + ".projection set epoch = epoch + 1 returning epoch, position");
    if (!projection) return projection.error();
    auto const epoch = read_number((*projection)[0][0]);
    auto const taken = connection.run(
        "take_writers", "insert into " + *schema + ".writer (number, epoch) select i, 0 from generate_series(0, " +
                            std::to_string(options_.writers - 1) + ") as n(i) on conflict do nothing; update " +
                            *schema + ".writer set epoch = " + std::to_string(epoch));
    if (!taken) return taken.error();
    begun_ = {*schema, epoch, Statements(*schema)};
    return Found{.position = read_bytes((*projection)[0][1]), .writers = {}};
}

// Of the generation to use, with its tables as this program needs them.
Result<std::string> PostgresGraph::schema(Connection& connection) const
{
    if (auto const locked = lock_generations(connection); !locked) return locked.error();
    auto generation = options_.generation;
    if (!generation) {
        auto const current = current_generation(connection);
        if (!current) return current.error();
        generation = *current;
    }
    auto const made = generation ? migrate(connection, *generation) : add_generation(connection, 1, true);
    if (!made) return made.error();
    return schema_of(generation.value_or(1));
}

Result<PostgresGraph::Found> PostgresGraph::clear(Connection& connection) const
{
    Params nowhere;
    nowhere.add(begun_->epoch).add(std::string_view()).add(stored(Sequence::none));
    auto const saved = connection.run(begun_->sql.save, nowhere);
    if (!saved) return saved.error();
    if (saved->empty()) return fenced();
    auto names = begun_->schema + ".repository";
    for (auto const& table : tables()) names += ", " + begun_->schema + '.' + std::string(table.name);
    auto const cleared = connection.run(
        "clear", "truncate " + names + "; update " + begun_->schema +
                     ".writer set era = era + 1, digest_low = 0, digest_high = 0, relationships = 0, "
                     "attestations = 0, entities = 0, tombstones = 0");
    if (!cleared) return cleared.error();
    return Found{};
}

Result<> PostgresGraph::save(std::string_view position, Sequence through)
{
    std::shared_lock const lock(mutex_);
    if (!begun_) return not_begun;
    auto const lease = pool_.take(Pool::Use::apply);
    if (!lease) return lease.error();
    auto const saved = (*lease)->run(begun_->sql.save, Params().add(begun_->epoch).add(position).add(stored(through)));
    if (!saved) return saved.error();
    if (saved->empty()) return fenced();
    return {};
}

// Applying.

graph::ApplyResult PostgresGraph::apply(std::span<Event const> events, graph::Decide const& decide)
{
    return std::move(apply_all({&events, 1}, decide).front());
}

std::vector<graph::ApplyResult> PostgresGraph::apply_all(Runs runs, graph::Decide const& decide)
{
    std::vector<graph::ApplyResult> results(runs.size());
    std::vector<Work>               work;
    for (std::size_t i = 0; i < runs.size(); ++i)
        if (!runs[i].empty()) work.push_back({runs[i], &results[i]});
    std::shared_lock const lock(mutex_);
    if (begun_ && is_open_.load(std::memory_order_acquire)) {
        apply(std::move(work), decide);
    } else {
        for (auto const& one : work) *one.result = {.outcomes = {}, .error = not_begun, .from_store = true};
    }
    return results;
}

// One transaction for all of it, but for repositories that are removed: each of those is one of its own.
void PostgresGraph::apply(std::vector<Work> work, graph::Decide const& decide)
{
    while (!work.empty()) {
        std::vector<std::span<Event const>> runs;
        for (auto const& one : work) runs.push_back(one.events);
        Batch      batch(runs);
        auto const done = carry_out(batch, decide);
        if (!done && done.error().code == Errc::invalid && (work.size() > 1 || work.front().events.size() > 1))
            return divide(work, decide);
        if (!done) {
            for (auto& one : work) {
                one.result->error = done.error();
                one.result->from_store = true;
            }
            return;
        }
        std::vector<Work> rest;
        for (std::size_t i = 0; i < work.size(); ++i)
            if (take_over(work[i], batch.runs()[i])) rest.push_back(work[i]);
        work = std::move(rest);
    }
}

// One of the events cannot be stored, and nothing was: which one it is shows when they come one by one.
void PostgresGraph::divide(std::vector<Work> const& work, graph::Decide const& decide)
{
    for (auto const& one : work) {
        if (work.size() > 1) {
            apply({one}, decide);
        } else {
            for (std::size_t i = 0; i < one.events.size() && !one.result->error; ++i)
                apply({Work{one.events.subspan(i, 1), one.result}}, decide);
        }
        auto const& error = one.result->error;
        if (error && one.result->from_store && error->code == Errc::unavailable) return;
    }
}

// Hands over what became of a run, and removes its repository if that is what comes next. False: it is at its end.
bool PostgresGraph::take_over(Work& work, Batch::Run const& run)
{
    auto& result = *work.result;
    result.outcomes.insert(result.outcomes.end(), run.outcomes.begin(), run.outcomes.end());
    result.error = run.error;
    work.events = work.events.subspan(run.outcomes.size());
    if (!run.stops_at_removal) return false;
    auto const outcome = remove_repository(work.events.front());
    if (!outcome) {
        result.error = outcome.error();
        result.from_store = true;
        return false;
    }
    result.outcomes.push_back(*outcome);
    work.events = work.events.subspan(1);
    return !work.events.empty();
}

Result<> PostgresGraph::carry_out(Batch& batch, graph::Decide const& decide)
{
    if (batch.fold(decide) && !batch.writes()) return {};
    auto const lease = pool_.take(Pool::Use::apply);
    if (!lease) return lease.error();
    do {
        if (auto const loaded = load(**lease, batch); !loaded) return loaded.error();
    } while (!batch.fold(decide));
    if (!batch.writes()) return {};

    std::size_t set = 0;
    for (auto const& [key, row] : batch.rows())
        if (row.after) set |= std::size_t{1} << index_of(*table_of(key.first));
    auto const done = commit(batch.change(), [&](Params params) {
        for (std::size_t i = 0; i < table_count; ++i)
            if (set >> i & 1) add_written(params, tables()[i], batch.rows());
        return (*lease)->run(begun_->sql.write[set], params);
    });
    // Also after an error: what happened may be unknown.
    for (auto const& [key, row] : batch.rows()) {
        if (!row.after) continue;
        stamps_.change(graph::authority(key.second));
        for (auto const& name : row.after->mentions())
            if (!name.empty()) stamps_.change(name);
        if (!row.before) continue;
        for (auto const& name : row.before->mentions)
            if (!name.empty()) stamps_.change(name);
    }
    return done;
}

// The rows the batch lacks.
Result<> PostgresGraph::load(Connection& connection, Batch& batch) const
{
    using enum Array::Element;
    std::vector<Array> guards(table_count + 1, Array(text)), records(table_count, Array(text));
    std::array<bool, table_count> wants_records{};
    bool                          wants_guards = false;
    for (auto& [key, row] : batch.rows()) {
        auto const* const table = table_of(key.first);
        auto const        i = table ? index_of(*table) : table_count;
        if (!row.lacks()) continue;
        row.is_loaded = true;
        if (row.wants_record) {
            records[i].add(key.second);
            wants_records[i] = true;
        } else {
            guards[table ? i + 1 : 0].add(key.second);
            wants_guards = true;
        }
    }
    if (wants_guards) {
        Params params;
        for (auto& array : guards) params.add(std::move(array));
        auto const found = connection.run(begun_->sql.guards, params);
        if (!found) return found.error();
        for (auto const& row : *found) batch.rows()[key_of_guard(row)].before = read_guard(row);
    }
    for (std::size_t i = 0; i < table_count; ++i) {
        if (!wants_records[i]) continue;
        auto const found = connection.run(begun_->sql.records[i], Params().add(std::move(records[i])));
        if (!found) return found.error();
        auto const& table = tables()[i];
        for (auto const& row : *found) {
            auto& stored = batch.rows()[{table.kind, std::string(read_text(row[row_column::uri]))}];
            stored.before = read_row_guard(row, table);
            if (!stored.before->removed) stored.record = read_record(row, table);
        }
    }
    return {};
}

Result<graph::Outcome> PostgresGraph::remove_repository(Event const& event)
{
    auto const lease = pool_.take(Pool::Use::apply);
    if (!lease) return lease.error();
    auto&       connection = **lease;
    Transaction transaction(connection);
    if (auto const opened = transaction.begin(); !opened) return opened.error();
    Removal    removal(connection, begun_->sql);
    auto const outcome = removal.apply(event);
    if (!outcome) return outcome.error();
    if (*outcome) return **outcome;

    auto const done = commit(removal.change(), [&](Params const& params) -> Result<pqxx::result> {
        auto answer = connection.run(begun_->sql.write[0], params);
        if (!answer || answer->empty()) return answer;
        if (auto const committed = transaction.commit(); !committed) return committed.error();
        return answer;
    });
    for (auto const place : removal.places()) stamps_.change_place(place);
    if (!done) return done.error();
    return graph::Outcome::applied;
}

// Committing.

// `transact` is given the writer's part of a transaction and carries that out: its answer has no row if the writer is
// not ours as we know it. On success the changes are part of the sums.
template <class F>
Result<> PostgresGraph::commit(Totals const& change, F const& transact)
{
    auto const taken = take_writer();
    if (!taken) return taken.error();
    auto next = taken->writer;
    ++next.commits;
    next.totals.add(change);
    Params params;
    params.add(stored(taken->number)).add(begun_->epoch);
    add_writer(params, next);

    transactions_.fetch_add(1, std::memory_order_relaxed);
    auto const answer = transact(std::move(params));
    if (answer && !answer->empty()) {
        ledger_.give_back(*taken, next);
        return {};
    }
    if (!answer && answer.error().reason != Connection::lost) {
        ledger_.give_back(*taken, taken->writer);
        return answer.error();
    }
    if (!answer) unknown_commits_.fetch_add(1, std::memory_order_relaxed);
    auto const happened = settle(*taken);
    if (!happened) return happened.error().code == Errc::corrupt || answer ? happened.error() : answer.error();
    if (*happened) return {};
    if (!answer) return answer.error();
    return Error{Errc::corrupt, "store_changed", "the server refused a writer it knows"};
}

// One whose row is as we know it.
Result<Ledger::Taken> PostgresGraph::take_writer()
{
    for (;;) {
        auto const taken = ledger_.take(options_.pool_timeout);
        if (!taken) return Error{Errc::unavailable, "pool_exhausted", "every writer has been in use for long"};
        if (!taken->in_doubt) return *taken;
        auto const happened = settle(*taken);
        if (!happened) return happened.error();
        if (*happened) stamps_.change_all();
    }
}

// Whether the writer's last transaction happened. Afterwards it cannot happen any more, even if it is on its way.
Result<bool> PostgresGraph::settle(Ledger::Taken const& taken)
{
    auto lease = pool_.take(Pool::Use::apply);
    if (!lease) {
        ledger_.give_back(taken, std::nullopt);
        return lease.error();
    }
    auto const rows = (*lease)->run(begun_->sql.settle_writer, Params().add(stored(taken.number)).add(begun_->epoch));
    if (!rows || rows->empty()) {
        ledger_.give_back(taken, std::nullopt);
        return rows ? fenced() : rows.error();
    }
    auto const now = read_writer((*rows)[0]);
    auto const before = taken.writer.commits;
    if (now.commits != before && now.commits != before + 1) {
        ledger_.give_back(taken, std::nullopt);
        return Error{Errc::corrupt, "store_changed", "the server has forgotten transactions it had committed"};
    }
    ledger_.give_back(taken, now);
    return now.commits != before;
}

// Reading.

template <class F>
Result<std::vector<graph::OwnedRecord>>
PostgresGraph::read(Table const& table, F const& statement, Params const& params) const
{
    std::shared_lock const lock(mutex_);
    if (!begun_) return not_begun;
    auto const lease = pool_.take(Pool::Use::read);
    if (!lease) return lease.error();
    auto const rows = (*lease)->run(statement(begun_->sql), params);
    std::vector<graph::OwnedRecord> records;
    if (!rows && rows.error().code == Errc::invalid) return records;  // nothing that Postgres takes has such a name
    if (!rows) return rows.error();
    records.reserve(rows->size());
    for (auto const& row : *rows) records.push_back(read_record(row, table));
    std::ranges::sort(records, {}, [](auto const& record) { return record->key; });
    return records;
}

Result<std::optional<graph::OwnedRecord>> PostgresGraph::find(Kind kind, std::string_view uri) const
{
    std::optional<graph::OwnedRecord> none;
    auto const* const                 table = table_of(kind);
    if (table == nullptr) return none;
    Array keys(Array::Element::text);
    keys.add(uri);
    auto const statement = [i = index_of(*table)](Statements const& sql) -> Statement const& { return sql.records[i]; };
    auto       found = read(*table, statement, Params().add(std::move(keys)));
    if (!found) return found.error();
    if (found->empty() || found->front()->removed) return none;
    return std::optional(std::move(found->front()));
}

Result<std::vector<graph::OwnedRecord>> PostgresGraph::relationships_of(std::string_view did) const
{
    return read(
        *table_of(Kind::relationship), [](Statements const& sql) -> Statement const& { return sql.relationships_of; },
        Params().add(did));
}

Result<std::vector<graph::OwnedRecord>> PostgresGraph::attestations_of(std::string_view target) const
{
    return read(
        *table_of(Kind::attestation), [](Statements const& sql) -> Statement const& { return sql.attestations_of; },
        Params().add(target));
}

graph::StoreStatus PostgresGraph::status() const
{
    auto status = pool_.status();
    status.transactions = transactions_.load(std::memory_order_relaxed);
    status.unknown_commits = unknown_commits_.load(std::memory_order_relaxed);
    return status;
}

}  // namespace

std::unique_ptr<graph::GraphStore> open_postgres_graph(PostgresOptions options, Clock const& clock)
{
    return std::make_unique<PostgresGraph>(std::move(options), clock);
}

}  // namespace sluice::adapters
