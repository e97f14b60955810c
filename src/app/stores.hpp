// The stores that the settings ask for: chosen here and nowhere else.
#pragma once

#include "adapters/postgres/postgres_graph.hpp"
#include "app/config.hpp"
#include "cache/cache.hpp"

#include <sluice/clock.hpp>

#include <memory>

namespace sluice::app {

// Of the database the settings name.
adapters::PostgresOptions postgres_options(Config const& config);

// The graph: in memory, or in Postgres. The clock outlives it.
std::unique_ptr<graph::GraphStore> make_graph(Config const& config, Clock const& clock);

// The cache of answers; null: none. One in Redis has memory to fall back on, and a thread that tends it and tells the
// log when it is left and when it is back. The settings were not refused; the clock outlives it.
std::unique_ptr<cache::Cache> make_cache(Config const& config, Clock const& clock);

}  // namespace sluice::app
