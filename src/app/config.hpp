// Every setting, its three spellings and where its value comes from: flag > environment > sluice.toml > default.
#pragma once

#include "cache/memory_cache.hpp"
#include "engine/engine.hpp"
#include "graph/conviction.hpp"

#include <sluice/result.hpp>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::app {

struct Config {
    std::string              listen{"127.0.0.1:7480"};
    std::string              data{"sluice-data"};
    std::string              key;       // secret; required by serve
    std::string              key_file;  // holds the key, so that it stays out of the environment
    std::size_t              workers{0};  // 0: one per core
    std::vector<std::string> http_hosts;  // names accepted in Host beside localhost and loopback addresses
    bool                     http_open_status{false};  // /health/detailed and /metrics without a key, off loopback too
    engine::Admission::Limits queue{};
    std::uint64_t            log_reserve_bytes{256u << 20};  // free disk space below which nothing is accepted
    engine::CheckpointOptions checkpoint{};
    cache::MemoryCacheOptions cache{};  // keys_max 0: none
    graph::ConvictionFormula           conviction_formula{graph::ConvictionFormula::shrinkage};
    std::string              environment{"production"};  // shown by /health/detailed
};

// One setting as text. `queue.capacity` is --queue-capacity, SLUICE_QUEUE_CAPACITY and `capacity` in [queue].
struct Setting {
    std::string_view key;
    std::string_view help;
    std::string_view alias;  // the documents' environment variable, or empty
    bool             secret{false};
    Result<> (*set)(Config&, std::string_view);
    std::string (*show)(Config const&);
};

std::vector<Setting> const& settings();

std::string flag_of(Setting const& setting);
std::string variable_of(Setting const& setting);

struct Origin {
    std::string value;
    std::string from;  // "flag", "environment", a file's name, "default"
};

struct Loaded {
    Config                        config;
    std::map<std::string, Origin> origins;  // by key
};

// `flags` by key; `environment` is the process's; `file` may be empty. Unknown SLUICE_* variables and unknown keys of
// the file are errors.
Result<Loaded> load_config(
    std::map<std::string, std::string> const& flags, char const* const* environment, std::string const& file);

// Why a server must not start with this configuration; nullopt if it may.
std::optional<Error> refuse_to_serve(Config const& config);

}  // namespace sluice::app
