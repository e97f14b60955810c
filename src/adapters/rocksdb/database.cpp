#include "adapters/rocksdb/database.hpp"

#include "adapters/rocksdb/status.hpp"

#include <rocksdb/cache.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>

#include <cstdarg>
#include <limits>

namespace sluice::adapters {
namespace {

// After a failed write nobody knows what is on disk: RocksDB must not go on by itself, not even when space returns.
class Listener final : public rocksdb::EventListener {
public:
    explicit Listener(std::function<void()> before_flush) : before_flush_(std::move(before_flush)) {}

private:
    void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* auto_recovery) override
    {
        *auto_recovery = false;
    }
    void OnFlushBegin(rocksdb::DB*, rocksdb::FlushJobInfo const&) override
    {
        if (before_flush_) before_flush_();
    }

    std::function<void()> const before_flush_;
};

// RocksDB's own log would be on the disk that may be full, where a line that fails ends the process at the next line.
// What matters comes as a status.
class NoInfoLog final : public rocksdb::Logger {
public:
    using rocksdb::Logger::Logv;
    void Logv(char const*, std::va_list) override {}
};

rocksdb::DBOptions database_options(
    rocksdb::Env& env, Database::Mode mode, std::size_t write_buffer_bytes, std::function<void()> before_flush)
{
    rocksdb::DBOptions options;
    options.env = &env;
    options.create_if_missing = mode == Database::Mode::create;
    options.create_missing_column_families = mode == Database::Mode::create;

    // The default mode drops synced events behind a damaged one without a word.
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
    options.track_and_verify_wals_in_manifest = true;
    options.paranoid_checks = true;
    options.avoid_flush_during_recovery = false;
    options.max_bgerror_resume_count = 0;
    options.listeners.push_back(std::make_shared<Listener>(std::move(before_flush)));

    options.max_background_jobs = 2;
    options.max_total_wal_size = 2 * write_buffer_bytes;  // bounds recovery when decisions alone keep old files alive
    options.max_open_files = 256;
    options.bytes_per_sync = 1u << 20;
    options.skip_stats_update_on_db_open = true;

    options.info_log = std::make_shared<NoInfoLog>();
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    return options;
}

rocksdb::ColumnFamilyOptions
family_options(std::shared_ptr<rocksdb::Cache> const& cache, std::size_t write_buffer_bytes, std::size_t block_size)
{
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.block_size = block_size;
    table.format_version = 5;

    rocksdb::ColumnFamilyOptions options;
    options.write_buffer_size = write_buffer_bytes;
    options.max_write_buffer_number = 2;
    options.compression = rocksdb::kLZ4Compression;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    return options;
}

// Keys only grow, so files never overlap: each moves to the last level by name, and nothing is ever rewritten. There a
// reader finds its file by binary search.
rocksdb::ColumnFamilyOptions growing(rocksdb::ColumnFamilyOptions options)
{
    options.num_levels = 2;
    options.level0_file_num_compaction_trigger = 1;
    options.level0_slowdown_writes_trigger = 64;
    options.level0_stop_writes_trigger = 128;
    options.max_bytes_for_level_base = std::numeric_limits<std::uint64_t>::max() / 2;
    options.target_file_size_base = std::uint64_t{1} << 32;
    return options;
}

Error refusal(rocksdb::Status const& status)
{
    if (status.IsNoSpace()) return {Errc::full, "disk_full", status.ToString()};
    return damaged(status);
}

}  // namespace

Result<std::unique_ptr<Database>>
Database::open(
    std::string const& path, rocksdb::Env& env, Mode mode, std::size_t write_buffer_bytes,
    std::function<void()> before_flush)
{
    constexpr std::size_t cache_bytes = 16u << 20, small_buffer_bytes = 4u << 20;
    constexpr std::size_t block_size = 64u << 10, small_block_size = 16u << 10;

    auto const cache = rocksdb::NewLRUCache(cache_bytes);
    auto const small = family_options(cache, std::min(small_buffer_bytes, write_buffer_bytes), small_block_size);
    std::vector<rocksdb::ColumnFamilyDescriptor> const families{
        {rocksdb::kDefaultColumnFamilyName, small},
        {"blocks", growing(family_options(cache, write_buffer_bytes, block_size))},
        {"decisions", small},
    };
    auto const options = database_options(env, mode, write_buffer_bytes, std::move(before_flush));

    // Compressing what was written must not delay what arrives.
    env.LowerThreadPoolIOPriority(rocksdb::Env::HIGH);
    env.LowerThreadPoolCPUPriority(rocksdb::Env::HIGH);

    std::unique_ptr<Database> database(new Database);
    auto const                status =
        mode == Mode::read_only
                           ? rocksdb::DB::OpenForReadOnly(options, path, families, &database->families_, &database->db_)
                           : rocksdb::DB::Open(options, path, families, &database->families_, &database->db_);
    if (!status.ok()) return refusal(status);
    return database;
}

Database::~Database()
{
    if (!db_) return;
    for (auto* const family : families_) db_->DestroyColumnFamilyHandle(family);
    db_->Close().PermitUncheckedError();  // whatever is not on disk yet is in the write-ahead log
    delete db_;
}

}  // namespace sluice::adapters
