#include "app/stores.hpp"

#include "adapters/redis/redis_cache.hpp"
#include "cache/fallback_cache.hpp"
#include "graph/resident_store.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <condition_variable>
#include <mutex>
#include <random>
#include <stop_token>
#include <thread>

namespace sluice::app {
namespace {

adapters::RedisCacheOptions redis_options(Config const& config)
{
    std::random_device random;
    return {.address = adapters::RedisAddress::parse(config.redis_url).value(),
            .epoch = fmt::format("{:08x}{:08x}", random(), random()),
            .connections_max = config.redis_connections,
            .timeouts = {.answer = config.redis_timeout}};
}

class RedisWithFallback final : public cache::Cache {
public:
    RedisWithFallback(Config const& config, Clock const& clock)
        : clock_(clock), redis_(adapters::make_redis_cache(redis_options(config), clock)),
          memory_(config.cache, clock), cache_(*redis_, memory_, clock),
          tender_([this](std::stop_token stop) { tend(stop); })
    {
    }

    Result<std::optional<std::string>> get(std::string_view key) override { return cache_.get(key); }
    Result<> put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime) override
    {
        return cache_.put(key, value, lifetime);
    }
    Result<std::uint64_t> clear(cache::Pattern const& keys) override { return cache_.clear(keys); }
    cache::CacheStats     stats() const override { return cache_.stats(); }

private:
    void tend(std::stop_token const& stop)
    {
        std::mutex                  mutex;
        std::condition_variable_any never;
        std::unique_lock            lock(mutex);
        while (!stop.stop_requested()) {
            tell_changes();  // only tending brings Redis back: nothing is missed
            cache_.tend();
            tell_changes();
            never.wait_for(lock, stop, std::chrono::seconds(1), [] { return false; });
        }
    }

    void tell_changes()
    {
        auto const stats = cache_.stats();
        if (stats.fallback_since == away_since_) return;
        if (stats.fallback_since)
            spdlog::warn("cache fallback: memory answers instead of redis err={}", stats.last_error->detail);
        else
            spdlog::info("cache restored: redis answers again seconds={:.1f}",
                         std::chrono::duration<double>(clock_.wall() - *away_since_).count());
        away_since_ = stats.fallback_since;
    }

    Clock const&                  clock_;
    std::unique_ptr<cache::Cache> redis_;
    cache::MemoryCache            memory_;
    cache::FallbackCache          cache_;
    std::optional<WallTime>       away_since_;  // as it was told last; the tender's
    std::jthread                  tender_;      // last: it uses the others
};

}  // namespace

adapters::PostgresOptions postgres_options(Config const& config)
{
    auto const writers = std::min<std::size_t>(worker_count(config), config.database_pool_size);
    return {.url = config.database_url,
            .writers = static_cast<std::uint32_t>(writers),
            .pool_size = config.database_pool_size,
            .pool_overflow = config.database_pool_overflow,
            .pool_timeout = config.database_pool_timeout,
            .pool_recycle = config.database_pool_recycle,
            .statement_timeout = config.database_statement_timeout,
            .slow_query = config.database_slow_query,
            .on_slow_query = [](std::string_view statement, std::chrono::nanoseconds took) {
                spdlog::warn("slow query statement={} milliseconds={}", statement, took.count() / 1'000'000);
            }};
}

std::unique_ptr<graph::GraphStore> make_graph(Config const& config, Clock const& clock)
{
    if (!uses_postgres(config)) return graph::make_resident_store();
    return adapters::open_postgres_graph(postgres_options(config), clock);
}

std::unique_ptr<cache::Cache> make_cache(Config const& config, Clock const& clock)
{
    if (uses_redis(config)) return std::make_unique<RedisWithFallback>(config, clock);
    if (config.cache.keys_max == 0) return nullptr;
    return std::make_unique<cache::MemoryCache>(config.cache, clock);
}

}  // namespace sluice::app
