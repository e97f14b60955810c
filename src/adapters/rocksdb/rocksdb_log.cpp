#include "adapters/rocksdb/rocksdb_log.hpp"

#include "adapters/rocksdb/data_directory.hpp"
#include "adapters/rocksdb/database.hpp"
#include "adapters/rocksdb/head_file.hpp"
#include "adapters/rocksdb/keys.hpp"
#include "adapters/rocksdb/recent_blocks.hpp"
#include "adapters/rocksdb/rocksdb_log_on_env.hpp"
#include "adapters/rocksdb/status.hpp"
#include "base/assert.hpp"

#include <rocksdb/write_batch.h>

#include <atomic>
#include <limits>
#include <map>

namespace sluice::adapters {
namespace {

constexpr std::uint32_t    decision_number_max = std::numeric_limits<std::uint32_t>::max();
constexpr std::string_view decision_total_key = "decisions";

// HEAD goes to disk once a second of log time, and after so many commits in case the wall clock stands still.
constexpr auto          head_sync_interval = std::chrono::seconds(1);
constexpr std::uint32_t head_sync_commits = 4096;

Error log_failed(std::string detail) { return {Errc::corrupt, "log_failed", std::move(detail)}; }

Error foreign_key() { return {Errc::corrupt, "damaged_log", "a key of unknown form"}; }

rocksdb::ReadOptions scan_options(std::size_t readahead)
{
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.readahead_size = readahead;
    return options;
}

Result<log::StoredBlock> parse_at(rocksdb::Iterator const& it)
{
    auto const first = BlockKey::parse(it.key());
    if (!first) return foreign_key();
    return log::StoredBlock::parse(it.value().ToString(), *first);
}

class BlockCursor final : public log::EventLog::Cursor {
public:
    BlockCursor(Database const& database, Sequence from)
        : it_(database.db().NewIterator(scan_options(readahead), database.blocks())), from_(from)
    {
        it_->SeekToLast();
        if (it_->Valid()) end_ = BlockKey::parse(it_->key()).value_or(Sequence::none);
        if (!it_->status().ok()) {
            failed_ = damaged(it_->status());
            return;
        }
        it_->SeekForPrev(BlockKey(from).slice());
        if (!it_->Valid() && it_->status().ok()) it_->SeekToFirst();
    }

    Result<std::optional<log::StoredBlock>> next() override
    {
        if (failed_) return *failed_;
        for (; it_->Valid(); it_->Next()) {
            auto block = parse_at(*it_);
            if (!block) return fail(block.error());
            if (auto const continues = continuity_.check(*block); !continues) return fail(continues.error());
            at_ = block->first();
            if (block->sequence(block->size()) <= from_) continue;
            it_->Next();
            return std::optional(std::move(*block));
        }
        if (!it_->status().ok()) return fail(damaged(it_->status()));
        // RocksDB 7.8 may end without an error where a file begins with a damaged block.
        if (at_ != end_)
            return fail({Errc::corrupt, "gap", "nothing can be read behind sequence " + std::to_string(number(at_))});
        return std::nullopt;
    }

private:
    static constexpr std::size_t readahead = 2u << 20;

    Error fail(Error error) { return *(failed_ = std::move(error)); }

    std::unique_ptr<rocksdb::Iterator> it_;
    Sequence                           from_;
    Sequence                           at_{};   // the block read last
    Sequence                           end_{};  // the last block there was
    log::Continuity                    continuity_;
    std::optional<Error>               failed_;
};

class RocksdbLog final : public log::EventLog {
public:
    RocksdbLog(
        RocksdbLogOptions const& options, std::unique_ptr<DataDirectory> directory, std::unique_ptr<DiskSpace> space,
        HeadFile head, std::unique_ptr<Database> database)
        : options_(options), directory_(std::move(directory)), space_(std::move(space)), head_(std::move(head)),
          database_(std::move(database))
    {
        sync_write_.sync = true;
    }

    ~RocksdbLog() override
    {
        if (!options_.read_only && !failed_) (void)head_.sync();  // the witness may be older than the log
    }

    // Reads the end of the log.
    Result<> restore();
    // Brings HEAD, which is not ahead of the log, up to it.
    Result<> catch_up_head();

    Result<> append(log::Commit const& commit) override;
    log::Space check_space() override { return space_ ? space_->look() : log::Space{}; }

    Result<std::shared_ptr<log::StoredBlock const>> read(Sequence sequence) const override;
    std::unique_ptr<Cursor>                         blocks(Sequence from) const override
    {
        return std::make_unique<BlockCursor>(*database_, from);
    }
    Result<> visit_decisions(Sequence from, std::function<bool(log::Decision const&)> const& visit) const override;
    Sequence                           first() const noexcept override { return first_; }

    Sequence      last() const noexcept override { return last_; }
    std::uint64_t last_chain() const noexcept override { return last_chain_; }
    WallTime      last_received_at() const noexcept override { return last_received_at_; }

private:
    Result<> compare_with_head() const;
    Result<> write(log::Commit const& commit);
    Result<> stage_block(log::Commit const& commit);
    Result<> stage_decisions(std::span<log::Decision const> decisions);
    Result<> note_head();
    Head     head_now() const { return {last_, last_chain_, decision_total_}; }

    RocksdbLogOptions const        options_;
    std::unique_ptr<DataDirectory> directory_;  // first: its lock goes last
    std::unique_ptr<DiskSpace>     space_;      // null when read only
    HeadFile                       head_;
    std::unique_ptr<Database>      database_;
    mutable RecentBlocks           recent_;
    std::atomic<Sequence>          first_{};

    // The appender's thread only.
    rocksdb::WriteOptions       sync_write_;
    rocksdb::WriteBatch         batch_;
    std::vector<rocksdb::Slice> slices_;
    Sequence                    last_{};
    std::uint64_t               last_chain_{0};
    WallTime                    last_received_at_{};
    std::uint64_t               decision_total_{0};
    WallTime                    head_synced_at_{};
    std::uint32_t               head_unsynced_{head_sync_commits};  // commits; the first one syncs
    bool                        failed_{false};
};

Result<> RocksdbLog::restore()
{
    std::unique_ptr<rocksdb::Iterator> const it(database_->db().NewIterator(scan_options(0), database_->blocks()));
    it->SeekToLast();
    if (!it->status().ok()) return damaged(it->status());
    if (it->Valid()) {
        auto const block = parse_at(*it);
        if (!block) return block.error();
        last_ = block->sequence(block->size() - 1);
        last_chain_ = block->chain_after();
        last_received_at_ = block->received_at();
        it->SeekToFirst();
        if (!it->status().ok()) return damaged(it->status());
        auto const first = it->Valid() ? BlockKey::parse(it->key()) : std::nullopt;
        if (!first) return foreign_key();
        first_ = *first;
    }

    std::string total;
    auto const  status = database_->db().Get({}, database_->totals(), decision_total_key, &total);
    if (!status.ok() && !status.IsNotFound()) return damaged(status);
    if (status.ok() && total.size() != sizeof decision_total_) return foreign_key();
    if (status.ok()) std::memcpy(&decision_total_, total.data(), sizeof decision_total_);
    return compare_with_head();
}

Result<> RocksdbLog::compare_with_head() const
{
    auto const& head = head_.head();
    auto const  behind = [](std::string const& what, std::uint64_t expected, std::uint64_t found) {
        return Error{
            Errc::corrupt, "log_behind_head",
            "HEAD names " + what + " " + std::to_string(expected) + ", the log ends at " + std::to_string(found)};
    };
    if (head.sequence > last_) return behind("sequence", number(head.sequence), number(last_));
    if (head.decisions > decision_total_) return behind("decision", head.decisions, decision_total_);
    if (head.sequence == Sequence::none) return {};

    auto const block = read(head.sequence);
    if (!block) return block.error();
    if (!*block)
        return Error{Errc::corrupt, "gap", "sequence " + std::to_string(number(head.sequence)) + " is missing"};
    auto const record = (*block)->record_at(head.sequence);
    if (record.header().chain != head.chain)
        return Error{
            Errc::corrupt, "head_mismatch",
            "the log holds another event than HEAD at sequence " + std::to_string(number(head.sequence))};
    return {};
}

Result<> RocksdbLog::catch_up_head()
{
    if (head_.head() == head_now()) return {};
    if (auto const written = head_.write(head_now()); !written) return written;
    return head_.sync();
}

Result<> RocksdbLog::append(log::Commit const& commit)
{
    if (options_.read_only) return log_failed("the log was opened for reading");
    if (failed_) return log_failed("an earlier write failed");
    auto written = write(commit);
    failed_ = !written;
    return written;
}

Result<> RocksdbLog::write(log::Commit const& commit)
{
    SLUICE_ASSERT(commit.parts.empty() == (commit.count == 0));
    SLUICE_ASSERT(commit.count == 0 || commit.first == next(last_));
    batch_.Clear();
    if (auto const staged = stage_block(commit); !staged) return staged;
    if (auto const staged = stage_decisions(commit.decisions); !staged) return staged;
    if (auto const status = database_->db().Write(sync_write_, &batch_); !status.ok())
        return log_failed(status.ToString());

    decision_total_ += commit.decisions.size();
    if (commit.count != 0) {
        if (last_ == Sequence::none) first_ = commit.first;
        last_ = Sequence{number(last_) + commit.count};
        last_chain_ = commit.chain_after;
        last_received_at_ = commit.received_at;
    }
    return note_head();
}

Result<> RocksdbLog::stage_block(log::Commit const& commit)
{
    if (commit.count == 0) return {};
    slices_.clear();
    for (auto const part : commit.parts) slices_.emplace_back(part.data(), part.size());
    BlockKey const       key(commit.first);
    rocksdb::Slice const key_slice = key.slice();
    auto const           status = batch_.Put(
                  database_->blocks(), rocksdb::SliceParts(&key_slice, 1),
                  rocksdb::SliceParts(slices_.data(), static_cast<int>(slices_.size())));
    if (!status.ok()) return log_failed(status.ToString());
    return {};
}

Result<> RocksdbLog::stage_decisions(std::span<log::Decision const> decisions)
{
    if (decisions.empty()) return {};
    std::unique_ptr<rocksdb::Iterator> const it(database_->db().NewIterator({}, database_->decisions()));
    std::map<Sequence, std::uint32_t>        numbers;  // next of each sequence in this commit
    for (auto const& decision : decisions) {
        auto const [next_number, first_of_commit] = numbers.try_emplace(decision.sequence, 0u);
        if (first_of_commit) {
            it->SeekForPrev(DecisionKey(decision.sequence, decision_number_max).slice());
            if (!it->status().ok()) return log_failed(it->status().ToString());
            auto const stored = it->Valid() ? DecisionKey::parse(it->key()) : std::nullopt;
            if (stored && stored->sequence == decision.sequence) next_number->second = stored->number + 1;
        }
        DecisionKey const key(decision.sequence, next_number->second++);
        auto const        status = batch_.Put(database_->decisions(), key.slice(), log::encode_decision(decision));
        if (!status.ok()) return log_failed(status.ToString());
    }
    auto const total = decision_total_ + decisions.size();
    auto const status = batch_.Put(
        database_->totals(), decision_total_key, rocksdb::Slice(reinterpret_cast<char const*>(&total), sizeof total));
    if (!status.ok()) return log_failed(status.ToString());
    return {};
}

Result<> RocksdbLog::note_head()
{
    auto const failure = [](Error const& error) { return log_failed("HEAD: " + error.detail); };
    if (auto const written = head_.write(head_now()); !written) return failure(written.error());
    if (++head_unsynced_ < head_sync_commits && last_received_at_ < head_synced_at_ + head_sync_interval) return {};
    if (auto const synced = head_.sync(); !synced) return failure(synced.error());
    head_synced_at_ = last_received_at_;
    head_unsynced_ = 0;
    return {};
}

Result<std::shared_ptr<log::StoredBlock const>> RocksdbLog::read(Sequence sequence) const
{
    if (auto recent = recent_.find(sequence)) return recent;
    std::unique_ptr<rocksdb::Iterator> const it(database_->db().NewIterator(scan_options(0), database_->blocks()));
    it->SeekForPrev(BlockKey(sequence).slice());
    if (!it->status().ok()) return damaged(it->status());
    if (!it->Valid()) return nullptr;
    auto block = parse_at(*it);
    if (!block) return block.error();
    if (block->sequence(block->size()) <= sequence) return nullptr;
    auto shared = std::make_shared<log::StoredBlock const>(std::move(*block));
    recent_.insert(shared);
    return shared;
}

Result<> RocksdbLog::visit_decisions(
    Sequence from, std::function<bool(log::Decision const&)> const& visit) const
{
    std::unique_ptr<rocksdb::Iterator> const it(database_->db().NewIterator(scan_options(0), database_->decisions()));
    for (it->Seek(DecisionKey(from, 0).slice()); it->Valid(); it->Next()) {
        auto const key = DecisionKey::parse(it->key());
        if (!key) return foreign_key();
        auto const decision = log::decode_decision(key->sequence, it->value().ToStringView());
        if (!decision) return decision.error();
        if (!visit(*decision)) return {};
    }
    if (!it->status().ok()) return damaged(it->status());
    return {};
}

// Whether there is a database to open. Without CURRENT RocksDB would start a new one over the remains.
Result<bool> database_exists(std::string const& path, rocksdb::Env& env)
{
    if (env.FileExists(path + "/CURRENT").ok()) return true;
    std::vector<std::string> names;
    if (!env.GetChildren(path, &names).ok()) return false;
    for (auto const& name : names)
        if (name.ends_with(".sst") || name.ends_with(".log"))
            return Error{Errc::corrupt, "damaged_log", path + " holds " + name + ", but no CURRENT"};
    return false;
}

Result<std::unique_ptr<RocksdbLog>> open_in(
    std::unique_ptr<DataDirectory> directory, RocksdbLogOptions const& options, rocksdb::Env& env, Database::Mode mode)
{
    auto head = HeadFile::open(directory->head_path(), env, options.read_only);
    if (!head) return head.error();
    // What is in memory twice, and was before a crash, is written: at the start, and by each flush.
    auto const                 most = 2 * std::uint64_t{options.write_buffer_bytes};
    std::unique_ptr<DiskSpace> space;
    std::function<void()>      make_room;
    if (!options.read_only) {
        space = std::make_unique<DiskSpace>(
            DiskSpace::Limits{options.reserve_bytes, options.low_water_bytes, options.reserve_file_bytes},
            directory->reserve_path(), [&here = *directory] { return here.room(); });
        make_room = [space = space.get(), most] { space->make_room(most); };
        make_room();
    }
    auto database = Database::open(directory->log_path(), env, mode, options.write_buffer_bytes, std::move(make_room));
    if (!database) return database.error();
    auto log = std::make_unique<RocksdbLog>(
        options, std::move(directory), std::move(space), std::move(*head), std::move(*database));
    if (auto const restored = log->restore(); !restored) return restored.error();
    return log;
}

Result<std::unique_ptr<RocksdbLog>> open_for_reading(RocksdbLogOptions options, rocksdb::Env& env)
{
    options.read_only = true;
    auto directory = DataDirectory::open(options.directory, env, true);
    if (!directory) return directory.error();
    return open_in(std::move(*directory), options, env, Database::Mode::read_only);
}

Result<std::unique_ptr<RocksdbLog>> open_for_writing(RocksdbLogOptions const& options, rocksdb::Env& env)
{
    auto directory = DataDirectory::open(options.directory, env, false);
    if (!directory) return directory.error();
    auto const head = HeadFile::open((*directory)->head_path(), env, true);
    if (!head) return head.error();
    auto const exists = database_exists((*directory)->log_path(), env);
    if (!exists) return exists.error();

    // HEAD is on disk before the first append is answered: an empty one means that nothing was, and a crash may have
    // interrupted the creation. Otherwise a look that changes nothing comes first, so that a refused log stays as it
    // is.
    bool const fresh = head->head() == Head{};
    if (!fresh && !*exists)
        return Error{Errc::corrupt, "log_behind_head", (*directory)->log_path() + " holds no database, HEAD names one"};
    if (fresh) {
        if (auto const made = (*directory)->make_log_directory(); !made) return made.error();
    } else if (auto const looked = open_for_reading(options, env); !looked) {
        return looked.error();
    }
    auto log = open_in(std::move(*directory), options, env, fresh ? Database::Mode::create : Database::Mode::existing);
    if (!log) return log;
    if (auto const caught_up = (*log)->catch_up_head(); !caught_up) return caught_up.error();
    return log;
}

}  // namespace

Result<std::unique_ptr<log::EventLog>> open_rocksdb_log(RocksdbLogOptions const& options, rocksdb::Env& env)
{
    auto log = options.read_only ? open_for_reading(options, env) : open_for_writing(options, env);
    // A running server may remove a file between the moment it is named and the moment it is opened.
    for (int again = 0; options.read_only && !log && log.error().code == Errc::corrupt && again < 2; ++again)
        log = open_for_reading(options, env);
    if (!log) return log.error();
    return std::unique_ptr<log::EventLog>(std::move(*log));
}

Result<std::unique_ptr<log::EventLog>> open_rocksdb_log(RocksdbLogOptions const& options)
{
    return open_rocksdb_log(options, *rocksdb::Env::Default());
}

}  // namespace sluice::adapters
