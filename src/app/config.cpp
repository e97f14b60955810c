#include "app/config.hpp"

#include "adapters/redis/redis_address.hpp"
#include "app/producers.hpp"

#include <boost/asio/ip/address.hpp>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <thread>

namespace sluice::app {

namespace {

Error bad(std::string_view value, std::string_view wanted)
{
    return {Errc::invalid, "config", "'" + std::string(value) + "' is not " + std::string(wanted)};
}

template <class T>
Result<> set_number(T& target, std::string_view text, T min, T max)
{
    T value{};
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < min || value > max)
        return bad(text, "a number from " + std::to_string(min) + " to " + std::to_string(max));
    target = value;
    return {};
}

std::vector<std::string> split(std::string_view text)
{
    std::vector<std::string> parts;
    while (!text.empty()) {
        auto const comma = text.find(',');
        if (auto const part = text.substr(0, comma); !part.empty()) parts.emplace_back(part);
        text = comma == text.npos ? std::string_view{} : text.substr(comma + 1);
    }
    return parts;
}

std::string join(auto const& parts)
{
    std::string text;
    for (auto const& part : parts) {
        if (!text.empty()) text += ',';
        if constexpr (requires { text += part; } && !std::integral<std::decay_t<decltype(part)>>)
            text += part;
        else
            text += std::to_string(part);
    }
    return text;
}

Result<> set_tier_limits(Config& config, std::string_view text)
{
    auto const parts = split(text);
    if (parts.size() != tier_count) return bad(text, "four percentages (LOW,NORMAL,HIGH,CRITICAL)");
    auto limits = config.queue.percent;
    for (std::size_t t = 0; t < tier_count; ++t)
        if (auto const set = set_number(limits[t], parts[t], 1u, 100u); !set) return set;
    config.queue.percent = limits;
    return {};
}

constexpr std::string_view formulas[] = {"shrinkage", "normalised", "additive"};

Result<> set_formula(Config& config, std::string_view text)
{
    auto const at = std::find(std::begin(formulas), std::end(formulas), text);
    if (at == std::end(formulas)) return bad(text, "shrinkage, normalised or additive");
    config.conviction_formula = static_cast<graph::ConvictionFormula>(at - std::begin(formulas));
    return {};
}

constexpr std::string_view cache_backends[] = {"auto", "memory", "redis"};

Result<> set_cache_backend(Config& config, std::string_view text)
{
    auto const at = std::find(std::begin(cache_backends), std::end(cache_backends), text);
    if (at == std::end(cache_backends)) return bad(text, "auto, memory or redis");
    config.cache_backend = static_cast<CacheBackend>(at - std::begin(cache_backends));
    return {};
}

// Also as SQLAlchemy writes it: postgresql+asyncpg://... An empty one is none, as compose files pass on what is unset.
Result<> set_database_url(Config& config, std::string_view text)
{
    config.database_url.clear();
    if (text.empty()) return {};
    auto const scheme = text.substr(0, text.find("://"));
    auto const dialect = scheme.substr(0, scheme.find('+'));
    if (scheme == text || (dialect != "postgres" && dialect != "postgresql"))
        return bad("the value", "a URL as postgresql://USER:PASSWORD@HOST:PORT/DATABASE");
    config.database_url = std::string(dialect) + std::string(text.substr(scheme.size()));
    return {};
}

template <class Duration>
Result<> set_duration(Duration& target, std::string_view text, std::int64_t min, std::int64_t max)
{
    std::int64_t count = target.count();
    if (auto const set = set_number(count, text, min, max); !set) return set;
    target = Duration(count);
    return {};
}

Result<> set_redis_url(Config& config, std::string_view text)
{
    if (auto const address = adapters::RedisAddress::parse(text); !text.empty() && !address) return address.error();
    config.redis_url = text;
    return {};
}

Result<> set_text(std::string& target, std::string_view text)
{
    if (text.empty()) return bad(text, "a value");
    target = text;
    return {};
}

Result<> set_bool(bool& target, std::string_view text)
{
    if (text != "true" && text != "false") return bad(text, "true or false");
    target = text == "true";
    return {};
}

using Variables = std::map<std::string, std::string>;

// The first of these names that has a value.
Variables::const_iterator find_alias(Variables const& variables, std::string_view names)
{
    std::istringstream words{std::string(names)};
    for (std::string name; words >> name;)
        if (auto const found = variables.find(name); found != variables.end() && !found->second.empty()) return found;
    return variables.end();
}

std::string file_name() { return "sluice.toml"; }

struct FileValue {
    std::string value;
    std::string place;  // "sluice.toml:3"
};
using FileValues = std::map<std::string, FileValue>;

// nullopt: not something a setting can be.
std::optional<std::string> text_of(toml::node const& node)
{
    if (auto const* const list = node.as_array()) {
        std::vector<std::string> parts;
        for (auto const& element : *list) {
            auto const part = element.is_array() ? std::nullopt : text_of(element);
            if (!part) return std::nullopt;
            parts.push_back(*part);
        }
        return join(parts);
    }
    if (auto const value = node.value_exact<bool>()) return *value ? "true" : "false";
    if (auto const value = node.value_exact<std::int64_t>()) return std::to_string(*value);
    return node.value_exact<std::string>();
}

// Values of a file by dotted key; arrays become comma-separated.
void flatten(
    toml::table const& table, std::string const& prefix, std::string const& file, FileValues& values,
    std::vector<std::string>& problems)
{
    for (auto const& [name, node] : table) {
        auto const key = prefix + std::string(name.str());
        auto const place = file + ':' + std::to_string(node.source().begin.line);
        if (auto const* inner = node.as_table())
            flatten(*inner, key + ".", file, values, problems);
        else if (auto text = text_of(node))
            values[key] = {std::move(*text), place};
        else
            problems.push_back(place + ": " + key + " is not a text, an integer, a boolean or a list of them");
    }
}

FileValues read_file(std::string const& file, std::vector<std::string>& problems)
{
    FileValues values;
    try {
        flatten(toml::parse_file(file), "", file, values, problems);
    } catch (toml::parse_error const& error) {
        auto const line = error.source().begin.line;
        problems.push_back(
            file + (line == 0 ? "" : ':' + std::to_string(line)) + ": " + std::string(error.description()));
    }
    return values;
}

std::string unknown_key(std::string const& what)
{
    std::string known;
    for (auto const& setting : settings()) known += (known.empty() ? "" : ", ") + std::string(setting.key);
    return what + " is not a setting; known are: " + known;
}

bool is_ip_address(std::string host)
{
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    boost::system::error_code error;
    boost::asio::ip::make_address(host, error);
    return !error || host == "localhost";
}

// Integers and booleans bare, anything else in quotes.
std::string toml_value(std::string const& value)
{
    std::int64_t integer{};
    auto const   end = std::from_chars(value.data(), value.data() + value.size(), integer).ptr;
    if (std::to_string(integer) == std::string(value.data(), end) && end == value.data() + value.size()) return value;
    if (value == "true" || value == "false") return value;
    std::ostringstream out;
    out << toml::toml_formatter{toml::value<std::string>(value), toml::format_flags::none};
    return out.str();
}

std::string toml_list(std::string const& value)
{
    std::string list;
    for (auto const& part : split(value)) list += (list.empty() ? "" : ", ") + toml_value(part);
    return '[' + list + ']';
}

}  // namespace

std::vector<Setting> const& settings()
{
    static std::vector<Setting> const all = {
        {"listen", "address and port to serve on", "", false,
         [](Config& c, std::string_view v) { return set_text(c.listen, v); }, [](Config const& c) { return c.listen; }},
        {"data", "directory of the log", "", false,
         [](Config& c, std::string_view v) { return set_text(c.data, v); }, [](Config const& c) { return c.data; }},
        {"key", "the key producers send as X-Internal-Key; not accepted as a flag", "INTERNAL_API_KEY", true,
         [](Config& c, std::string_view v) { return set_text(c.key, v); }, [](Config const& c) { return c.key; }},
        {"key_file", "file that holds the key, open to its owner only, or root's and not open to everybody", "", false,
         [](Config& c, std::string_view v) { return set_text(c.key_file, v); },
         [](Config const& c) { return c.key_file; }},
        {"keys_file", "file with a table for each further producer: its key, share, rate, tier_cap", "", false,
         [](Config& c, std::string_view v) { return set_text(c.keys_file, v); },
         [](Config const& c) { return c.keys_file; }},
        {"workers", "threads that apply events; 0: one per core", "", false,
         [](Config& c, std::string_view v) { return set_number<std::size_t>(c.workers, v, 0, 256); },
         [](Config const& c) { return std::to_string(c.workers); }},
        {"http.hosts", "names accepted in Host beside localhost and loopback addresses, comma-separated", "", false,
         [](Config& c, std::string_view v) -> Result<> {
             c.http_hosts = split(v);
             return {};
         },
         [](Config const& c) { return join(c.http_hosts); }, true},
        {"http.open_status", "serve /health/detailed and /metrics without a key", "", false,
         [](Config& c, std::string_view v) { return set_bool(c.http_open_status, v); },
         [](Config const& c) { return std::string(c.http_open_status ? "true" : "false"); }},
        {"http.streams_max", "readers of /v1/stream at once", "", false,
         [](Config& c, std::string_view v) { return set_number<std::size_t>(c.http_streams_max, v, 0, 10'000); },
         [](Config const& c) { return std::to_string(c.http_streams_max); }},
        {"queue.capacity", "events resident between acceptance and settlement", "", false,
         [](Config& c, std::string_view v) { return set_number(c.queue.events, v, 10u, 4'000'000u); },
         [](Config const& c) { return std::to_string(c.queue.events); }},
        {"queue.bytes", "bytes of those events", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.queue.bytes, v, 1u << 20, std::uint64_t{64} << 30);
         },
         [](Config const& c) { return std::to_string(c.queue.bytes); }},
        {"queue.tier_limits", "per cent of the capacity at which LOW,NORMAL,HIGH,CRITICAL are refused", "", false,
         set_tier_limits, [](Config const& c) { return join(c.queue.percent); }, true},
        {"queue.producer_share", "per cent of a tier's places one of several producers may hold", "", false,
         [](Config& c, std::string_view v) { return set_number(c.producer_share, v, 1u, 100u); },
         [](Config const& c) { return std::to_string(c.producer_share); }},
        {"queue.wait_ms", "milliseconds a request without a place may wait for one; 0: it is refused at once", "",
         false,
         [](Config& c, std::string_view v) {
             auto       wait = c.queue_wait.count();
             auto const set = set_number<std::chrono::milliseconds::rep>(wait, v, 0, 10'000);
             c.queue_wait = std::chrono::milliseconds(wait);
             return set;
         },
         [](Config const& c) { return std::to_string(c.queue_wait.count()); }},
        {"log.reserve_bytes", "free disk space below which nothing is accepted", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.log_reserve_bytes, v, 0, std::uint64_t{1} << 50);
         },
         [](Config const& c) { return std::to_string(c.log_reserve_bytes); }},
        {"log.low_water_bytes",
         "free disk space below which LOW and NORMAL are refused; 0: a tenth of the disk, at most 1 GiB", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.log_low_water_bytes, v, 0, std::uint64_t{1} << 50);
         },
         [](Config const& c) { return std::to_string(c.log_low_water_bytes); }},
        {"log.reserve_file_bytes", "size of a file that is given up when somebody else fills the disk; 0: none", "",
         false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.log_reserve_file_bytes, v, 0, std::uint64_t{1} << 50);
         },
         [](Config const& c) { return std::to_string(c.log_reserve_file_bytes); }},
        {"checkpoint.events", "events after which the graph is checkpointed: a restart folds about so many", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.checkpoint.events, v, 1, std::uint64_t{1} << 40);
         },
         [](Config const& c) { return std::to_string(c.checkpoint.events); }},
        {"checkpoint.interval", "seconds after which it is, if there was any event", "", false,
         [](Config& c, std::string_view v) {
             auto       seconds = c.checkpoint.interval.count();
             auto const set = set_number<std::chrono::seconds::rep>(seconds, v, 1, 86'400);
             c.checkpoint.interval = std::chrono::seconds(seconds);
             return set;
         },
         [](Config const& c) { return std::to_string(c.checkpoint.interval.count()); }},
        {"checkpoint.bytes_per_second", "at most so much is written, so that others have the disk", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.checkpoint.bytes_per_second, v, 1u << 20, std::uint64_t{1} << 40);
         },
         [](Config const& c) { return std::to_string(c.checkpoint.bytes_per_second); }},
        {"cache.backend", "where answers are kept: memory, redis, or auto: redis if there is a redis.url",
         "CACHE_BACKEND", false, set_cache_backend,
         [](Config const& c) { return std::string(cache_backends[static_cast<std::size_t>(c.cache_backend)]); }},
        {"cache.max_keys", "answers kept in memory; 0: none", "CACHE_MAX_MEMORY_SIZE", false,
         [](Config& c, std::string_view v) { return set_number<std::size_t>(c.cache.keys_max, v, 0, 100'000'000); },
         [](Config const& c) { return std::to_string(c.cache.keys_max); }},
        {"cache.max_bytes", "bytes those may take", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::size_t>(c.cache.bytes_max, v, 1u << 16, std::size_t{1} << 40);
         },
         [](Config const& c) { return std::to_string(c.cache.bytes_max); }},
        {"cache.ttl", "seconds an answer is kept at most, where its kind has no time of its own",
         "CACHE_DEFAULT_TTL REDIS_TTL", false,
         [](Config& c, std::string_view v) {
             auto       seconds = c.cache_ttl.count();
             auto const set = set_number<std::chrono::seconds::rep>(seconds, v, 1, 31'536'000);
             c.cache_ttl = std::chrono::seconds(seconds);
             return set;
         },
         [](Config const& c) { return std::to_string(c.cache_ttl.count()); }},
        {"database.url", "the Postgres that holds the graph, postgresql://USER:PASSWORD@HOST:PORT/DATABASE; none: in "
                         "memory; not accepted as a flag",
         "DATABASE_URL", true, set_database_url, [](Config const& c) { return c.database_url; }},
        {"database.pool_size", "connections to it that are kept", "DATABASE_POOL_SIZE", false,
         [](Config& c, std::string_view v) { return set_number<std::uint32_t>(c.database_pool_size, v, 2, 1'000); },
         [](Config const& c) { return std::to_string(c.database_pool_size); }},
        {"database.pool_overflow", "further connections to it for a while", "DATABASE_MAX_OVERFLOW", false,
         [](Config& c, std::string_view v) { return set_number<std::uint32_t>(c.database_pool_overflow, v, 0, 1'000); },
         [](Config const& c) { return std::to_string(c.database_pool_overflow); }},
        {"database.pool_timeout", "seconds to wait for a free connection", "DATABASE_POOL_TIMEOUT", false,
         [](Config& c, std::string_view v) { return set_duration(c.database_pool_timeout, v, 1, 3'600); },
         [](Config const& c) { return std::to_string(c.database_pool_timeout.count()); }},
        {"database.pool_recycle", "seconds after which a connection is replaced", "DATABASE_POOL_RECYCLE", false,
         [](Config& c, std::string_view v) { return set_duration(c.database_pool_recycle, v, 1, 1'000'000); },
         [](Config const& c) { return std::to_string(c.database_pool_recycle.count()); }},
        {"database.statement_timeout_ms", "milliseconds a statement may take", "", false,
         [](Config& c, std::string_view v) { return set_duration(c.database_statement_timeout, v, 100, 600'000); },
         [](Config const& c) { return std::to_string(c.database_statement_timeout.count()); }},
        {"database.slow_query_ms", "milliseconds from which on a statement is logged and counted as slow", "", false,
         [](Config& c, std::string_view v) { return set_duration(c.database_slow_query, v, 1, 600'000); },
         [](Config const& c) { return std::to_string(c.database_slow_query.count()); }},
        {"redis.url", "redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] or unix:///PATH; not accepted as a flag",
         "REDIS_URL", true, set_redis_url, [](Config const& c) { return c.redis_url; }},
        {"redis.connections", "connections to Redis at most", "REDIS_MAX_CONNECTIONS", false,
         [](Config& c, std::string_view v) { return set_number<std::size_t>(c.redis_connections, v, 1, 10'000); },
         [](Config const& c) { return std::to_string(c.redis_connections); }},
        {"redis.timeout_ms", "milliseconds an answer of Redis may take before it counts as none", "", false,
         [](Config& c, std::string_view v) { return set_duration(c.redis_timeout, v, 1, 1'000); },
         [](Config const& c) { return std::to_string(c.redis_timeout.count()); }},
        {"dedupe.memory_ids", "newest event ids kept in memory, 20 bytes each; older ones are on disk", "", false,
         [](Config& c, std::string_view v) { return set_number(c.dedupe.memory_ids, v, 1'000u, 1'000'000'000u); },
         [](Config const& c) { return std::to_string(c.dedupe.memory_ids); }},
        {"dead_letter.max_events", "open dead letters; with as many, events that would become one wait", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::size_t>(c.dead_letters.events, v, 1, 10'000'000);
         },
         [](Config const& c) { return std::to_string(c.dead_letters.events); }},
        {"dead_letter.max_bytes", "bytes of those events", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.dead_letters.bytes, v, 1u << 20, std::uint64_t{1} << 40);
         },
         [](Config const& c) { return std::to_string(c.dead_letters.bytes); }},
        {"dead_letter.park", "event types that are parked where they would become dead letters, comma-separated", "",
         false,
         [](Config& c, std::string_view v) -> Result<> {
             auto const types = split(v);
             c.parked = {types.begin(), types.end()};
             return {};
         },
         [](Config const& c) { return join(c.parked); }, true},
        {"parked.max_events", "events that wait for a processor; with as many, further ones hold up their lanes", "",
         false,
         [](Config& c, std::string_view v) { return set_number<std::size_t>(c.parked_max, v, 1, 100'000'000); },
         [](Config const& c) { return std::to_string(c.parked_max); }},
        {"conviction.formula", "shrinkage, normalised or additive", "", false, set_formula,
         [](Config const& c) { return std::string(formulas[static_cast<std::size_t>(c.conviction_formula)]); }},
        {"environment", "a name for this installation, shown by /health/detailed", "ENVIRONMENT", false,
         [](Config& c, std::string_view v) { return set_text(c.environment, v); },
         [](Config const& c) { return c.environment; }},
    };
    return all;
}

std::string flag_of(Setting const& setting)
{
    std::string flag = "--" + std::string(setting.key);
    std::replace(flag.begin(), flag.end(), '.', '-');
    std::replace(flag.begin(), flag.end(), '_', '-');
    return flag;
}

std::string variable_of(Setting const& setting)
{
    std::string variable = "SLUICE_" + std::string(setting.key);
    for (auto& c : variable) c = c == '.' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    return variable;
}

std::string_view source_name(Source source)
{
    constexpr std::string_view names[] = {"default", "file", "environment", "flag"};
    return names[static_cast<std::size_t>(source)];
}

Loaded load_config(
    std::map<std::string, std::string> const& flags, char const* const* environment, std::string const& file)
{
    Variables variables;
    for (; *environment != nullptr; ++environment) {
        std::string_view const entry = *environment;
        auto const             equals = entry.find('=');
        if (equals != entry.npos) variables.emplace(entry.substr(0, equals), entry.substr(equals + 1));
    }
    auto source = file;
    if (source.empty() && std::ifstream(file_name()).good()) source = file_name();

    Loaded     loaded;
    auto&      problems = loaded.problems;
    FileValues from_file;
    if (!source.empty()) from_file = read_file(source, problems);
    for (auto const& setting : settings()) {
        std::string const key(setting.key);
        auto const        variable = variable_of(setting);
        Origin            origin;
        if (auto const flag = flags.find(key); flag != flags.end()) {
            origin = {flag->second, Source::flag, flag_of(setting)};
        } else if (auto const own = variables.find(variable); own != variables.end()) {
            origin = {own->second, Source::environment, variable};
        } else if (auto const alias = find_alias(variables, setting.alias); alias != variables.end()) {
            origin = {alias->second, Source::environment, alias->first};
        } else if (auto const value = from_file.find(key); value != from_file.end()) {
            origin = {value->second.value, Source::file, value->second.place};
        }
        if (origin.source != Source::standard)
            if (auto const set = setting.set(loaded.config, origin.value); !set)
                problems.push_back(
                    key + " (" + std::string(source_name(origin.source)) + ' ' + origin.name +
                    "): " + set.error().detail);
        origin.value = setting.show(loaded.config);
        if (setting.secret && !origin.value.empty()) origin.value = "********";
        loaded.origins.emplace(key, std::move(origin));
        variables.erase(variable);
        from_file.erase(key);
    }
    for (auto const& [key, value] : from_file) problems.push_back(value.place + ": " + unknown_key(key));
    for (auto const& [name, value] : variables)
        if (name.starts_with("SLUICE_")) problems.push_back(unknown_key(name));

    // The key itself and the file that holds one are the same setting: where both are given, the stronger origin wins.
    auto const direct = loaded.origins.at("key").source;
    auto const by_file = loaded.origins.at("key_file").source;
    auto&      config = loaded.config;
    if (!config.key_file.empty() && (config.key.empty() || by_file > direct)) {
        auto const text = read_secrets(config.key_file, "key_file");
        if (!text)
            problems.push_back(text.error().detail);
        else if (config.key = text->substr(0, text->find('\n')); config.key.empty())
            problems.push_back("key_file " + config.key_file + " is empty");
    }
    return loaded;
}

std::size_t worker_count(Config const& config)
{
    constexpr std::size_t beside_a_database = 10;
    if (config.workers != 0) return config.workers;
    return uses_postgres(config) ? beside_a_database : std::max(1u, std::thread::hardware_concurrency());
}

bool uses_postgres(Config const& config) { return !config.database_url.empty(); }

bool uses_redis(Config const& config)
{
    if (config.cache_backend == CacheBackend::by_url) return !config.redis_url.empty();
    return config.cache_backend == CacheBackend::redis;
}

std::vector<std::string> refusals_to_serve(Config const& config)
{
    auto refusals = load_producers(config).problems;
    if (uses_redis(config) && config.redis_url.empty())
        refusals.push_back("cache.backend is redis, and there is no redis.url (REDIS_URL)");
    if (auto const address = parse_endpoint(config.listen); !address)
        refusals.push_back("listen: '" + config.listen + "' is not HOST:PORT");
    else if (!is_ip_address(address->host))
        refusals.push_back("listen: '" + address->host + "' is not an IP address");
    return refusals;
}

std::string to_toml(Loaded const& loaded)
{
    // In the order of their first settings; those of no table must stand before every table.
    std::vector<std::pair<std::string, std::string>> tables{{"", ""}};
    for (auto const& setting : settings()) {
        auto const dot = setting.key.find('.');
        bool const is_inside = dot != setting.key.npos;
        auto const name = is_inside ? setting.key.substr(0, dot) : "";
        auto       table =
            std::find_if(tables.begin(), tables.end(), [&](auto const& known) { return known.first == name; });
        if (table == tables.end()) table = tables.insert(table, {std::string(name), "\n[" + std::string(name) + "]\n"});

        auto const& value = loaded.origins.at(std::string(setting.key)).value;
        bool const  is_unset = value.empty() && !setting.is_list;
        auto&       text = table->second;
        text += "# " + std::string(setting.help) + (setting.secret || is_unset ? "\n# " : "\n");
        text += std::string(setting.key.substr(is_inside ? dot + 1 : 0)) + " = ";
        text += (setting.is_list ? toml_list(value) : toml_value(value)) + '\n';
    }
    std::string text;
    for (auto const& table : tables) text += table.second;
    return text;
}

std::optional<Endpoint> parse_endpoint(std::string const& listen)
{
    auto const colon = listen.rfind(':');
    if (colon == listen.npos || colon == 0) return std::nullopt;
    Endpoint          address{listen.substr(0, colon), 0};
    auto const* const begin = listen.data() + colon + 1;
    auto const* const end = listen.data() + listen.size();
    auto const [last, error] = std::from_chars(begin, end, address.port);
    if (error != std::errc{} || last != end || begin == end) return std::nullopt;
    return address;
}

}  // namespace sluice::app
