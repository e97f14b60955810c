// The stores that the settings ask for: chosen here and nowhere else.
#pragma once

#include "app/config.hpp"
#include "cache/cache.hpp"

#include <sluice/clock.hpp>

#include <memory>

namespace sluice::app {

// The cache of answers; null: none. One in Redis has memory to fall back on, and a thread that tends it and tells the
// log when it is left and when it is back. The settings were not refused; the clock outlives it.
std::unique_ptr<cache::Cache> make_cache(Config const& config, Clock const& clock);

}  // namespace sluice::app
