// For tests that bring their own disk.
#pragma once

#include "adapters/rocksdb/rocksdb_log.hpp"

namespace rocksdb {
class Env;
}

namespace sluice::adapters {

// As open_rocksdb_log, with all files but the lock on `env`, which outlives the log.
Result<std::unique_ptr<log::EventLog>> open_rocksdb_log(RocksdbLogOptions const& options, rocksdb::Env& env);

}  // namespace sluice::adapters
