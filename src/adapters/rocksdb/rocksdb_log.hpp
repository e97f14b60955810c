// The event log on RocksDB.
//
//   <directory>/FORMAT  version of this layout
//   <directory>/HEAD    how far the log was known to reach, written by us and not by RocksDB
//   <directory>/log/    RocksDB: blocks and decisions
//   <directory>/reserve room that is given up when somebody else has filled the disk
//   <directory>/checkpoints/   of the graph; derived from the log
#pragma once

#include "log/event_log.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace sluice::adapters {

struct RocksdbLogOptions {
    std::string   directory;                      // created, with mode 0700, unless read_only
    std::uint64_t reserve_bytes{256u << 20};      // free space to leave: restarting after a crash writes two buffers
    std::uint64_t low_water_bytes{0};             // as DiskSpace::Limits
    std::uint64_t reserve_file_bytes{0};          // as DiskSpace::Limits; 0: no such file
    std::size_t   write_buffer_bytes{64u << 20};  // in memory twice; smaller makes more and smaller files
    bool          read_only{false};               // works beside a running server, sees what was durable when opened
};

// Opens or creates a log and compares it with HEAD. A log that is refused as corrupt stays as it was found.
//   unavailable  already_running   another process has it
//   unavailable  data_directory    the directory or a file beside the log cannot be used
//   invalid      newer_format      written by a later version
//   invalid      no_log            read_only, and there is none
//   full         disk_full         recovery needs space
//   corrupt      log_behind_head   events or decisions that were durable are missing
//   corrupt      head_mismatch     the log is not the one HEAD was written for
//   corrupt      head_missing, head_damaged, format_missing, format_damaged
//   corrupt      damaged_log, damaged_block, gap
// Every append is one synced write; a failed one poisons the log ("log_failed") until it is opened again.
Result<std::unique_ptr<log::EventLog>> open_rocksdb_log(RocksdbLogOptions const& options);

inline std::string checkpoint_path(std::string const& directory) { return directory + "/checkpoints"; }

}  // namespace sluice::adapters
