// How offline verbs open a log: beside a running server they see what was durable then.
#pragma once

#include "adapters/rocksdb/rocksdb_log.hpp"
#include "app/config.hpp"

#include <fmt/format.h>

#include <memory>

namespace sluice::app {

inline Result<std::unique_ptr<log::EventLog>> open_log(Config const& config)
{
    return adapters::open_rocksdb_log(
        {.directory = config.data, .reserve_bytes = config.log_reserve_bytes, .read_only = true});
}

}  // namespace sluice::app
