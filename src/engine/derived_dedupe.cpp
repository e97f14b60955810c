#include "engine/derived_dedupe.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <limits>

namespace sluice::engine {
namespace {

constexpr std::uint32_t generations = 4;    // memory_ids is so many
constexpr std::size_t   waiting_max = 4;    // generations that are not written yet
constexpr std::size_t   fan_in = 8;         // runs that become one
constexpr std::size_t   cursor_blocks = 64;
constexpr std::uint64_t span_max = std::numeric_limits<std::uint32_t>::max();  // places are 32 bits

bool is_damage(Error const& error) { return error.reason == "damaged_ids"; }

// 0 for a run of one generation, one more for each merge.
int level(std::uint64_t span, std::uint64_t generation)
{
    int result = 0;
    for (auto limit = generation * 2; span > limit; limit *= fan_in) ++result;
    return result;
}

Result<bool> belongs_to(IdRange const& range, log::EventLog const& log)
{
    auto const block = log.read(range.last);
    if (!block) return block.error();
    if (!*block) return false;
    auto const record = (*block)->record_at(range.last);
    return record.header().chain == range.chain;
}

// Whether its blocks are what was written.
Result<> read_whole(IdRun const& run)
{
    for (std::uint64_t block = 0; block < run.blocks(); block += cursor_blocks) {
        auto const entries = run.read(block, cursor_blocks);
        if (!entries) return entries.error();
    }
    return {};
}

// The entries of a run in order.
class RunCursor {
public:
    explicit RunCursor(IdRun const& run, Sequence base)
        : run_(run), shift_(static_cast<std::uint32_t>(number(run.range().first) - number(base)))
    {
    }

    // Null at the end.
    Result<IdEntry const*> peek()
    {
        if (at_ == entries_.size()) {
            auto entries = run_.read(next_block_, cursor_blocks);
            if (!entries) return entries.error();
            next_block_ += cursor_blocks;
            entries_ = std::move(*entries);
            for (auto& entry : entries_) entry.place += shift_;
            at_ = 0;
        }
        return at_ < entries_.size() ? &entries_[at_] : nullptr;
    }
    void advance() noexcept { ++at_; }

private:
    IdRun const&         run_;
    std::uint32_t const  shift_;
    std::uint64_t        next_block_{0};
    std::vector<IdEntry> entries_;
    std::size_t          at_{0};
};

}  // namespace

// A merge under way. The runs it reads stay as they are until its own is durable.
class DerivedDedupe::Merge {
public:
    static Result<std::unique_ptr<Merge>> start(files::Directory& directory, std::vector<RunPtr> inputs)
    {
        IdRange range = inputs.back()->range();
        range.first = inputs.front()->range().first;
        std::uint64_t ids = 0;
        for (auto const& run : inputs) ids += run->ids();
        auto writer = IdRunWriter::create(directory, range, ids);
        if (!writer) return writer.error();
        return std::unique_ptr<Merge>(new Merge(std::move(inputs), std::move(*writer), range));
    }

    std::vector<RunPtr> const& inputs() const noexcept { return inputs_; }
    RunPtr const&              damaged() const noexcept { return damaged_; }  // the one a step could not read
    std::string                name() const { return run_name(range_); }

    // Merges up to `count` ids; true: the new run is durable.
    Result<bool> step(std::size_t count)
    {
        for (; count > 0; --count) {
            RunCursor*     smallest = nullptr;
            IdEntry const* entry = nullptr;
            for (auto& cursor : cursors_) {
                auto const candidate = cursor.peek();
                if (!candidate) {
                    damaged_ = inputs_[static_cast<std::size_t>(&cursor - cursors_.data())];
                    return candidate.error();
                }
                if (*candidate == nullptr || (entry != nullptr && *entry <= **candidate)) continue;
                smallest = &cursor;
                entry = *candidate;
            }
            if (entry == nullptr) {
                if (auto const done = writer_->commit(); !done) return done.error();
                writer_.reset();  // with its filter, before the run is opened with the same one
                return true;
            }
            if (auto const added = writer_->add(*entry); !added) return added.error();
            smallest->advance();
        }
        return false;
    }

private:
    Merge(std::vector<RunPtr> inputs, std::unique_ptr<IdRunWriter> writer, IdRange const& range)
        : inputs_(std::move(inputs)), writer_(std::move(writer)), range_(range)
    {
        for (auto const& run : inputs_) cursors_.emplace_back(*run, range.first);
    }

    std::vector<RunPtr> const    inputs_;  // neighbours, by sequence
    std::unique_ptr<IdRunWriter> writer_;
    std::vector<RunCursor>       cursors_;  // one for each input
    RunPtr                       damaged_;
    IdRange const                range_;
};

DerivedDedupe::DerivedDedupe(files::Directory& directory, DedupeOptions options)
    : directory_(directory), options_(options),
      generation_(std::max(1u, options.memory_ids / generations)), view_(std::make_shared<View>()),
      active_(std::make_unique<IdGeneration>(Sequence{1}, generation_))
{
}

DerivedDedupe::~DerivedDedupe() = default;

// ---- the view

DerivedDedupe::ViewPtr DerivedDedupe::view() const
{
    std::lock_guard lock(mutex_);
    return view_;
}

template <class Change>
void DerivedDedupe::update(Change const& change)
{
    ViewPtr         old;  // what only it holds is freed after the lock
    std::lock_guard lock(mutex_);
    auto            changed = std::make_shared<View>(*view_);
    change(*changed);
    trim(*changed);
    old = std::exchange(view_, std::move(changed));
}

// Lets go of the oldest generations that are written, and says from where on memory is complete.
void DerivedDedupe::trim(View& view) const
{
    auto const by_sequence = [](auto const& a, auto const& b) { return a.range.first < b.range.first; };
    std::sort(view.frozen.begin(), view.frozen.end(), by_sequence);
    std::sort(view.runs.begin(), view.runs.end(),
              [](auto const& a, auto const& b) { return a->range().first < b->range().first; });
    std::size_t kept = 0;
    for (auto it = view.frozen.end(); it != view.frozen.begin();)
        if (--it; ++kept > generations && it->is_written) it = view.frozen.erase(it);
    view.memory_from = view.active_first;
    for (auto it = view.frozen.rbegin(); it != view.frozen.rend(); ++it) {
        if (next(it->range.last) != view.memory_from) break;
        view.memory_from = it->range.first;
    }
}

DedupeStats DerivedDedupe::stats() const
{
    auto const  now = view();
    DedupeStats stats{
        .memory_ids = active_ids_.load(std::memory_order_relaxed),
        .memory_bytes = active_bytes_.load(std::memory_order_relaxed),
        .runs = now->runs.size(),
        .disk_lookups = disk_lookups_.load(std::memory_order_relaxed),
        .write_failures = write_failures_.load(std::memory_order_relaxed)};
    for (auto const& frozen : now->frozen) {
        stats.memory_ids += frozen.ids->size();
        stats.memory_bytes += frozen.ids->bytes();
    }
    for (auto const& run : now->runs) {
        stats.run_ids += run->ids();
        stats.disk_bytes += run->file_bytes();
        stats.filter_bytes += run->memory_bytes();
    }
    return stats;
}

// ---- the appender's thread

Result<bool> DerivedDedupe::find(Hash128 id, Confirm const& confirm)
{
    SLUICE_ASSERT(is_complete_.load(std::memory_order_relaxed));
    auto const hash = id.low;
    auto const now = view();
    // Every table and filter is a cache miss: let them happen together.
    active_->prefetch(hash);
    for (auto const& frozen : now->frozen) frozen.ids->prefetch(hash);
    for (auto const& run : now->runs)
        if (run->range().first < now->memory_from) run->prefetch(hash);

    if (auto const found = active_->find(hash, confirm); !found || *found) return found;
    for (auto it = now->frozen.rbegin(); it != now->frozen.rend(); ++it)
        if (auto const found = it->ids->find(hash, confirm); !found || *found) return found;
    for (auto it = now->runs.rbegin(); it != now->runs.rend(); ++it) {
        auto const& run = **it;
        if (run.range().first >= now->memory_from || !run.may_have(hash)) continue;
        disk_lookups_.fetch_add(1, std::memory_order_relaxed);
        auto const entries = run.find(hash);
        if (!entries) {
            // So that the next start makes it again.
            if (is_damage(entries.error())) (void)directory_.remove(run.name());
            return entries.error();
        }
        for (auto entry = entries->rbegin(); entry != entries->rend(); ++entry) {
            auto const found = confirm(Sequence{number(run.range().first) + entry->place});
            if (!found || *found) return found;
        }
    }
    return false;
}

void DerivedDedupe::committed(Sequence last, std::uint64_t chain)
{
    IdRange const range{active_->first(), last, chain};
    if (range.size() >= generation_) freeze(range);
    active_ids_.store(active_->size(), std::memory_order_relaxed);
    active_bytes_.store(active_->bytes(), std::memory_order_relaxed);
}

// The active generation is complete; the next one begins behind it.
void DerivedDedupe::freeze(IdRange const& range)
{
    auto const ids = std::shared_ptr<IdGeneration const>(std::move(active_));
    active_ = std::make_unique<IdGeneration>(next(range.last), generation_);
    update([&](View& view) {
        view.frozen.push_back({ids, range});
        view.active_first = next(range.last);
    });
}

bool DerivedDedupe::has_room() const
{
    return is_complete_.load(std::memory_order_acquire) && waiting() < waiting_max;
}

std::size_t DerivedDedupe::waiting() const
{
    auto const now = view();
    return static_cast<std::size_t>(std::count_if(
        now->frozen.begin(), now->frozen.end(), [](auto const& frozen) { return !frozen.is_written; }));
}

// ---- the background

Result<bool> DerivedDedupe::maintain()
{
    if (auto const written = write_oldest(); !written || *written) return written;
    if (!gaps_.empty()) {
        if (auto const indexed = index_some(); !indexed) return indexed.error();
        return true;
    }
    if (!merge_) {
        auto chosen = choose(*view());
        if (chosen.empty()) return false;
        auto started = Merge::start(directory_, std::move(chosen));
        if (!started) {
            write_failures_.fetch_add(1, std::memory_order_relaxed);
            return started.error();
        }
        merge_ = std::move(*started);
    }
    auto const merged = merge();
    if (!merged) {
        merge_.reset();
        write_failures_.fetch_add(1, std::memory_order_relaxed);
        return merged.error();
    }
    return true;
}

// The oldest neighbours of the lowest level that has enough of them, with the smaller ones between them.
std::vector<DerivedDedupe::RunPtr> DerivedDedupe::choose(View const& view) const
{
    auto const level_of = [this](RunPtr const& run) { return level(run->range().size(), generation_); };
    int        highest = 0;
    for (auto const& run : view.runs) highest = std::max(highest, level_of(run));
    for (int wanted = 0; wanted <= highest; ++wanted) {
        std::vector<RunPtr> streak;
        std::size_t         of_level = 0;
        for (auto const& run : view.runs) {
            bool const continues = streak.empty() || next(streak.back()->range().last) == run->range().first;
            auto const its_level = level_of(run);
            if (!continues || its_level > wanted) {
                streak.clear();
                of_level = 0;
            }
            if (its_level > wanted || (streak.empty() && its_level < wanted)) continue;
            streak.push_back(run);
            of_level += its_level == wanted;
            if (of_level < fan_in) continue;
            if (number(run->range().last) - number(streak.front()->range().first) < span_max) return streak;
            streak.clear();
            of_level = 0;
        }
    }
    return {};
}

// True: there was one that waited.
Result<bool> DerivedDedupe::write_oldest()
{
    auto const now = view();
    auto const waiting = std::find_if(
        now->frozen.begin(), now->frozen.end(), [](auto const& frozen) { return !frozen.is_written; });
    if (waiting == now->frozen.end()) return false;
    if (auto const written = write(*waiting); !written) return written.error();
    return true;
}

Result<> DerivedDedupe::write(Frozen const& frozen)
{
    auto const fail = [this](Error const& error) -> Result<> {
        write_failures_.fetch_add(1, std::memory_order_relaxed);
        return error;
    };
    auto writer = IdRunWriter::create(directory_, frozen.range, frozen.ids->size());
    if (!writer) return fail(writer.error());
    for (auto const& entry : frozen.ids->sorted())
        if (auto const added = (*writer)->add(entry); !added) return fail(added.error());
    if (auto const done = (*writer)->commit(); !done) return fail(done.error());
    auto run = IdRun::open(directory_, run_name(frozen.range));
    if (!run) return fail(run.error());
    update([&](View& view) {
        view.runs.push_back(std::move(*run));
        for (auto& other : view.frozen)
            if (other.ids == frozen.ids) other.is_written = true;
    });
    return {};
}

// One step of the merge under way; after the last one its run stands for those it was made from.
Result<> DerivedDedupe::merge()
{
    auto const done = merge_->step(options_.merge_step);
    if (!done) {
        if (is_damage(done.error()) && merge_->damaged()) (void)directory_.remove(merge_->damaged()->name());
        return done.error();
    }
    if (!*done) return {};
    auto merged = IdRun::open(directory_, merge_->name());
    if (!merged) return merged.error();
    auto const inputs = merge_->inputs();
    update([&](View& view) {
        std::erase_if(view.runs, [&](auto const& run) {
            return std::find(inputs.begin(), inputs.end(), run) != inputs.end();
        });
        view.runs.push_back(std::move(*merged));
    });
    merge_.reset();
    // What cannot be removed now is superfluous at the next start too.
    for (auto const& run : inputs) (void)directory_.remove(run->name());
    return {};
}

// ---- the start

Result<> DerivedDedupe::recover(log::EventLog const& log)
{
    auto const runs = usable_runs(log);
    if (!runs) return runs.error();
    update([&](View& view) { view.runs = *runs; });

    is_complete_ = false;
    log_ = &log;
    Sequence from{1};
    for (auto const& run : *runs) {
        if (from < run->range().first) gaps_.push_back({from, Sequence{number(run->range().first) - 1}});
        from = next(run->range().last);
    }
    gaps_.push_back({from, log.last()});  // empty if the runs have everything

    while (!gaps_.empty()) {
        if (auto const indexed = index_some(); !indexed) return indexed;
        auto const written = write_oldest();
        if (!written && written.error().code == Errc::corrupt) return written.error();
        // A full disk does not keep a server from starting: it reads, and stores nothing until the rest is indexed.
        if (!written && waiting() >= waiting_max) return {};
    }
    return {};
}

// The runs that are whole and of this log, each sequence in one of them at most. What is of no use is removed.
Result<std::vector<DerivedDedupe::RunPtr>> DerivedDedupe::usable_runs(log::EventLog const& log)
{
    auto const names = directory_.list();
    if (!names) return names.error();
    std::vector<IdRange> found;
    for (auto const& name : *names)
        if (auto const range = parse_run_name(name)) found.push_back(*range);
    std::sort(found.begin(), found.end(), [](auto const& a, auto const& b) {
        return a.first != b.first ? a.first < b.first : a.last > b.last;
    });

    std::vector<RunPtr> runs;
    for (auto const& range : found) {
        auto const name = run_name(range);
        bool const is_covered = !runs.empty() && range.first <= runs.back()->range().last;
        if (!is_covered && range.last <= log.last()) {
            auto run = IdRun::open(directory_, name);
            if (!run && !is_damage(run.error())) return run.error();
            if (run) {
                auto const is_own = belongs_to((*run)->range(), log);
                if (!is_own) return is_own.error();
                if (*is_own) {
                    runs.push_back(std::move(*run));
                    continue;
                }
            }
        }
        if (auto const removed = directory_.remove(name); !removed) return removed.error();
    }
    return runs;
}

// Reads the ids of the first gap from the log, up to a generation. The last ones before the end of the log stay active.
Result<> DerivedDedupe::index_some()
{
    auto const [from, to] = gaps_.front();
    bool const is_tail = gaps_.size() == 1;
    active_ = std::make_unique<IdGeneration>(from, generation_);
    std::optional<IdRange> full;
    if (from <= to) {
        auto const visited = visit_ids(*log_, from, [&](Hash128 key, Sequence sequence, auto chain, bool has_id) {
            if (has_id) insert(key, sequence);
            IdRange const range{from, sequence, chain};
            if (range.size() >= generation_ || (!is_tail && sequence == to)) full = range;
            return !full && sequence < to;
        });
        if (!visited) return visited.error();
    }
    if (full) freeze(*full);
    if (full && full->last < to) {
        gaps_.front().from = next(full->last);
        return {};
    }
    gaps_.erase(gaps_.begin());
    if (!is_tail) return {};
    update([&](View& view) { view.active_first = active_->first(); });
    active_ids_.store(active_->size(), std::memory_order_relaxed);
    active_bytes_.store(active_->bytes(), std::memory_order_relaxed);
    is_complete_.store(true, std::memory_order_release);
    return {};
}

Result<IdsChecked> check_ids(files::Directory const& directory, log::EventLog const& log)
{
    IdsChecked checked;
    auto const names = directory.list();
    if (!names) {
        checked.refused.push_back(names.error());
        return checked;
    }
    for (auto const& name : *names) {
        if (!parse_run_name(name)) continue;
        auto const run = IdRun::open(directory, name);
        auto const whole = run ? read_whole(**run) : Result<>(run.error());
        if (!whole) {
            // A merge may have replaced it since it was listed.
            if (whole.error().reason != "no_file") checked.refused.push_back(whole.error());
            continue;
        }
        auto const is_own = belongs_to((*run)->range(), log);
        if (!is_own) return is_own.error();
        if (*is_own) {
            ++checked.runs;
            checked.ids += (*run)->ids();
        } else {
            checked.refused.push_back({Errc::invalid, "foreign_ids", name + ": belongs to another log"});
        }
    }
    return checked;
}

}  // namespace sluice::engine
