// What RocksDB says, as ours.
#pragma once

#include <sluice/result.hpp>

#include <rocksdb/status.h>

namespace sluice::adapters {

// Of reading or opening stored data.
inline Error damaged(rocksdb::Status const& status) { return {Errc::corrupt, "damaged_log", status.ToString()}; }

// Of the files beside the log.
inline Error io_failure(rocksdb::Status const& status)
{
    if (status.IsNoSpace()) return {Errc::full, "disk_full", status.ToString()};
    return {Errc::unavailable, "data_directory", status.ToString()};
}

}  // namespace sluice::adapters
