// The answers' cache in a Redis.
//
// Keys are sluice:TENANT:EPOCH:KEY. The epoch is a new random one with every start of the process, because the stamps
// in the values are of one process: what another process wrote, or this one before it was started again, is never even
// looked at, and goes when its time is over.
#pragma once

#include "adapters/redis/redis_address.hpp"
#include "cache/cache.hpp"

#include <memory>

namespace sluice::adapters {

struct RedisCacheOptions {
    RedisAddress  address;
    std::string   tenant{"default"};  // this and the epoch: of letters, digits, - and _
    std::string   epoch;
    std::size_t   connections_max{50};  // at least 1
    RedisTimeouts timeouts{};
};

// Bigger values are not kept. The neighbours of somebody with tens of thousands fit, for whom it matters most; and
// through a gigabit one comes in the time an answer has.
inline constexpr std::size_t redis_value_max = 4u << 20;

// Everything is `unavailable` until check() has succeeded once. What is waited for in vain is `transient`, and so is
// what Redis refuses: no memory, read-only, loading, no permission. check() writes and reads a key of its own. Of
// stats(), keys are those of the database, others' included, bytes, clients and evictions those of the server, all as
// check() was told last. The process ignores SIGPIPE. The clock outlives the cache.
std::unique_ptr<cache::Cache> make_redis_cache(RedisCacheOptions options, Clock const& clock);

}  // namespace sluice::adapters
