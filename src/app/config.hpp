// Every setting, its three spellings and where its value comes from: flag > environment > sluice.toml > default.
#pragma once

#include "cache/memory_cache.hpp"
#include "engine/derived_dedupe.hpp"
#include "engine/engine.hpp"
#include "graph/conviction.hpp"

#include <sluice/result.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::app {

enum class CacheBackend : std::uint8_t {
    by_url,  // Redis if there is a redis_url
    memory,
    redis,
};

struct Config {
    std::string              listen{"127.0.0.1:7480"};
    std::string              data{"sluice-data"};
    std::string              key;       // secret; required by serve
    std::string              key_file;  // holds the key, so that it stays out of the environment
    std::string              keys_file;  // holds those of further producers; see load_producers
    std::size_t              workers{0};  // 0: one per core
    std::vector<std::string> http_hosts;  // names accepted in Host beside localhost and loopback addresses
    bool                     http_open_status{false};  // /health/detailed and /metrics without a key, off loopback too
    std::size_t              http_streams_max{2'000};  // readers of /v1/stream
    engine::Admission::Limits queue{};  // without shares
    std::uint32_t            producer_share{75};  // of producers that do not have their own, when there are several
    std::chrono::milliseconds queue_wait{100};
    std::uint64_t            log_reserve_bytes{256u << 20};  // free disk space below which nothing is accepted
    std::uint64_t            log_low_water_bytes{0};  // below which LOW and NORMAL are refused; 0: by its size
    std::uint64_t            log_reserve_file_bytes{64u << 20};
    engine::CheckpointOptions checkpoint{};
    cache::MemoryCacheOptions cache{};  // keys_max 0: none
    std::string              database_url{};  // secret; of the graph's Postgres; empty: the graph is in memory
    std::uint32_t            database_pool_size{20};
    std::uint32_t            database_pool_overflow{10};
    std::chrono::seconds     database_pool_timeout{30};
    std::chrono::seconds     database_pool_recycle{3600};
    std::chrono::milliseconds database_statement_timeout{5'000};
    std::chrono::milliseconds database_slow_query{100};
    CacheBackend             cache_backend{CacheBackend::by_url};
    std::string              redis_url{};  // secret; empty: none
    std::size_t              redis_connections{50};
    std::chrono::milliseconds redis_timeout{50};
    std::chrono::seconds     cache_ttl{3600};  // of kinds of answers that have none of their own
    engine::DedupeOptions    dedupe{};
    engine::DeadLetterLimits dead_letters{};
    engine::ParkedTypes      parked{};  // event types whose failures are parked
    std::size_t              parked_max{1'000'000};
    graph::ConvictionFormula           conviction_formula{graph::ConvictionFormula::shrinkage};
    std::string              environment{"production"};  // shown by /health/detailed
};

// One setting as text. `queue.capacity` is --queue-capacity, SLUICE_QUEUE_CAPACITY and `capacity` in [queue].
struct Setting {
    std::string_view key;
    std::string_view help;
    std::string_view alias;  // the documents' environment variables, if any, the first that is set counts
    bool             secret{false};
    Result<> (*set)(Config&, std::string_view);
    std::string (*show)(Config const&);
    bool is_list{false};  // of comma-separated parts
};

std::vector<Setting> const& settings();

std::string flag_of(Setting const& setting);
std::string variable_of(Setting const& setting);

// Of two origins the higher wins.
enum class Source : std::uint8_t { standard, file, environment, flag };

struct Origin {
    std::string value;     // as Setting::show has it; stars for a secret
    Source      source{};
    std::string name;      // "--queue-capacity", "SLUICE_QUEUE_CAPACITY", "sluice.toml:3"; empty for a default
};

// "flag", "environment", "file", "default".
std::string_view source_name(Source source);

struct Loaded {
    Config                        config;
    std::map<std::string, Origin> origins;   // by key
    std::vector<std::string>      problems;  // not empty: the configuration must not be used
};

// `flags` by key; `environment` is the process's; `file` may be empty. Unknown SLUICE_* variables and unknown keys of
// the file are problems.
Loaded load_config(
    std::map<std::string, std::string> const& flags, char const* const* environment, std::string const& file);

// Of `workers`; else one per core, and 10 where they wait for a database.
std::size_t worker_count(Config const& config);

bool uses_postgres(Config const& config);
bool uses_redis(Config const& config);

// Every reason why a server must not start with this configuration.
std::vector<std::string> refusals_to_serve(Config const& config);

// The settings as a file that load_config reads; secrets are left out.
std::string to_toml(Loaded const& loaded);

// Where to listen.
struct Endpoint {
    std::string   host;
    std::uint16_t port{0};
};

// HOST:PORT
std::optional<Endpoint> parse_endpoint(std::string const& listen);

}  // namespace sluice::app
