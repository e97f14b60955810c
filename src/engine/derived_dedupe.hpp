// The index of ids: the newest in memory, all older ones in sorted runs on disk.
//
// Ids enter the active generation. When it covers a quarter of memory_ids sequences it is frozen, the background
// writes it as a run, and it stays in memory until newer ones take its room. Eight neighbouring runs of a size become
// one. Files are bound to the log by its chain; whatever is missing, damaged or of another log is made again from it.
#pragma once

#include "engine/dedupe.hpp"
#include "engine/id_run.hpp"

#include <atomic>
#include <mutex>

namespace sluice::engine {

struct DedupeOptions {
    std::uint32_t memory_ids{4'000'000};  // kept in memory; at a start up to a quarter of them is read from the log
    std::size_t   merge_step{256'000};    // ids that one maintain() merges
};

class DerivedDedupe final : public DedupeIndex {
public:
    // Nobody else writes to `directory`, which outlives the index. Files that are no runs are left alone.
    DerivedDedupe(files::Directory& directory, DedupeOptions options);
    ~DerivedDedupe() override;

    Result<>     recover(log::EventLog const& log) override;
    Result<bool> find(Hash128 id, Confirm const& confirm) override;
    void         insert(Hash128 id, Sequence sequence) override { active_->insert(id.low, sequence); }
    void         erase(Hash128 id, Sequence sequence) override { active_->erase(id.low, sequence); }
    void         committed(Sequence last, std::uint64_t chain) override;
    bool         has_room() const override;
    Result<bool> maintain() override;
    DedupeStats  stats() const override;

private:
    struct Frozen {
        std::shared_ptr<IdGeneration const> ids;
        IdRange                             range;
        bool                                is_written{false};
    };
    using RunPtr = std::shared_ptr<IdRun const>;
    // What lookups see beside the active generation. Never changed, only replaced.
    struct View {
        std::vector<Frozen> frozen;  // by sequence
        std::vector<RunPtr> runs;    // by sequence; disjoint
        Sequence            active_first{1};
        Sequence            memory_from{1};  // memory has every id from here on
    };
    using ViewPtr = std::shared_ptr<View const>;
    class Merge;
    struct Gap {  // sequences no run has
        Sequence from, to;
    };

    ViewPtr view() const;
    template <class Change>
    void     update(Change const& change);
    void     trim(View& view) const;
    void     freeze(IdRange const& range);
    Result<> write(Frozen const& frozen);
    std::size_t  waiting() const;
    Result<bool> write_oldest();
    Result<>     index_some();
    std::vector<RunPtr>         choose(View const& view) const;
    Result<std::vector<RunPtr>> usable_runs(log::EventLog const& log);
    Result<> merge();

    files::Directory&   directory_;
    DedupeOptions const options_;
    std::uint32_t const generation_;  // sequences a generation covers

    mutable std::mutex mutex_;
    ViewPtr            view_;  // guarded by mutex_

    std::atomic<bool>             is_complete_{true};  // recover() says otherwise
    std::unique_ptr<IdGeneration> active_;  // the appender's thread only; until it is complete, the background's
    std::unique_ptr<Merge>        merge_;   // the background's thread only, as what follows
    log::EventLog const*          log_{nullptr};
    std::vector<Gap>              gaps_;    // to be indexed, by sequence

    std::atomic<std::uint64_t> active_ids_{0}, active_bytes_{0}, disk_lookups_{0}, write_failures_{0};
};

// What the files of the ids hold.
struct IdsChecked {
    std::uint64_t      runs{0}, ids{0};  // of those that are whole and of this log
    std::vector<Error> refused;          // damaged_ids, foreign_ids (of another log), or what the directory says
};

// Reads every run to its end. Changes nothing. An error is one of the log.
Result<IdsChecked> check_ids(files::Directory const& directory, log::EventLog const& log);

}  // namespace sluice::engine
