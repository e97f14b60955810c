// RocksDB as the log uses it: three column families, opened strictly, closed in order.
#pragma once

#include <sluice/result.hpp>

#include <rocksdb/db.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sluice::adapters {

class Database {
public:
    enum class Mode : std::uint8_t { create, existing, read_only };

    // Neither repairs nor skips: whatever RocksDB does not accept whole is damaged_log.
    // `before_flush` is called on RocksDB's threads and outlives the database.
    static Result<std::unique_ptr<Database>>
    open(std::string const& path, rocksdb::Env& env, Mode mode, std::size_t write_buffer_bytes,
         std::function<void()> before_flush = {});

    ~Database();
    Database(Database const&) = delete;
    Database& operator=(Database const&) = delete;

    rocksdb::DB&                 db() const { return *db_; }
    rocksdb::ColumnFamilyHandle* totals() const { return families_[0]; }
    rocksdb::ColumnFamilyHandle* blocks() const { return families_[1]; }
    rocksdb::ColumnFamilyHandle* decisions() const { return families_[2]; }

private:
    Database() = default;

    rocksdb::DB*                              db_{nullptr};
    std::vector<rocksdb::ColumnFamilyHandle*> families_;
};

}  // namespace sluice::adapters
