#include "app/config.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sys/stat.h>

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

std::string file_name() { return "sluice.toml"; }

// Values of a file by dotted key; arrays become comma-separated.
Result<> flatten(toml::table const& table, std::string const& prefix, std::map<std::string, std::string>& out)
{
    for (auto const& [name, node] : table) {
        auto const key = prefix + std::string(name.str());
        if (auto const* inner = node.as_table()) {
            if (auto const flat = flatten(*inner, key + ".", out); !flat) return flat;
        } else if (auto const* list = node.as_array()) {
            std::vector<std::string> parts;
            for (auto const& element : *list) {
                if (auto const text = element.value<std::string>())
                    parts.push_back(*text);
                else if (auto const integer = element.value<std::int64_t>())
                    parts.push_back(std::to_string(*integer));
                else
                    return bad(key, "a list of texts or integers");
            }
            out[key] = join(parts);
        } else if (node.is_boolean()) {
            out[key] = *node.value<bool>() ? "true" : "false";
        } else if (node.is_integer()) {
            out[key] = std::to_string(*node.value<std::int64_t>());
        } else if (node.is_string()) {
            out[key] = *node.value<std::string>();
        } else {
            return bad(key, "a text, an integer, a boolean or a list of them");
        }
    }
    return {};
}

Result<std::map<std::string, std::string>> read_file(std::string const& file)
{
    std::map<std::string, std::string> values;
    try {
        auto const table = toml::parse_file(file);
        if (auto const flat = flatten(table, "", values); !flat) return flat.error();
    } catch (toml::parse_error const& error) {
        return Error{Errc::invalid, "config", file + ": " + std::string(error.description())};
    }
    return values;
}

// Which origin of two wins: the higher.
int rank(std::string_view origin)
{
    if (origin == "flag") return 3;
    if (origin == "environment") return 2;
    return origin == "default" ? 0 : 1;
}

std::string unknown_key(std::string const& what)
{
    std::string known;
    for (auto const& setting : settings()) known += (known.empty() ? "" : ", ") + std::string(setting.key);
    return what + " is not a setting; known are: " + known;
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
        {"key_file", "file that holds the key, readable by its owner only", "", false,
         [](Config& c, std::string_view v) { return set_text(c.key_file, v); },
         [](Config const& c) { return c.key_file; }},
        {"workers", "threads that apply events; 0: one per core", "", false,
         [](Config& c, std::string_view v) { return set_number<std::size_t>(c.workers, v, 0, 256); },
         [](Config const& c) { return std::to_string(c.workers); }},
        {"http.hosts", "names accepted in Host beside localhost and loopback addresses, comma-separated", "", false,
         [](Config& c, std::string_view v) -> Result<> {
             c.http_hosts = split(v);
             return {};
         },
         [](Config const& c) { return join(c.http_hosts); }},
        {"http.open_status", "serve /health/detailed and /metrics without a key", "", false,
         [](Config& c, std::string_view v) { return set_bool(c.http_open_status, v); },
         [](Config const& c) { return std::string(c.http_open_status ? "true" : "false"); }},
        {"queue.capacity", "events resident between acceptance and settlement", "", false,
         [](Config& c, std::string_view v) { return set_number(c.queue.events, v, 10u, 4'000'000u); },
         [](Config const& c) { return std::to_string(c.queue.events); }},
        {"queue.bytes", "bytes of those events", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.queue.bytes, v, 1u << 20, std::uint64_t{64} << 30);
         },
         [](Config const& c) { return std::to_string(c.queue.bytes); }},
        {"queue.tier_limits", "per cent of the capacity at which LOW,NORMAL,HIGH,CRITICAL are refused", "", false,
         set_tier_limits, [](Config const& c) { return join(c.queue.percent); }},
        {"log.reserve_bytes", "free disk space below which nothing is accepted", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::uint64_t>(c.log_reserve_bytes, v, 0, std::uint64_t{1} << 50);
         },
         [](Config const& c) { return std::to_string(c.log_reserve_bytes); }},
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
        {"cache.max_keys", "answers kept in memory; 0: none", "CACHE_MAX_MEMORY_SIZE", false,
         [](Config& c, std::string_view v) { return set_number<std::size_t>(c.cache.keys_max, v, 0, 100'000'000); },
         [](Config const& c) { return std::to_string(c.cache.keys_max); }},
        {"cache.max_bytes", "bytes those may take", "", false,
         [](Config& c, std::string_view v) {
             return set_number<std::size_t>(c.cache.bytes_max, v, 1u << 16, std::size_t{1} << 40);
         },
         [](Config const& c) { return std::to_string(c.cache.bytes_max); }},
        {"cache.ttl", "seconds after which an answer is computed again even if nothing changed", "CACHE_DEFAULT_TTL",
         false,
         [](Config& c, std::string_view v) {
             auto       seconds = c.cache.ttl.count();
             auto const set = set_number<std::chrono::seconds::rep>(seconds, v, 1, 31'536'000);
             c.cache.ttl = std::chrono::seconds(seconds);
             return set;
         },
         [](Config const& c) { return std::to_string(c.cache.ttl.count()); }},
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

Result<Loaded> load_config(
    std::map<std::string, std::string> const& flags, char const* const* environment, std::string const& file)
{
    std::map<std::string, std::string> variables;
    for (; *environment != nullptr; ++environment) {
        std::string_view const entry = *environment;
        auto const             equals = entry.find('=');
        if (equals != entry.npos) variables.emplace(entry.substr(0, equals), entry.substr(equals + 1));
    }
    auto source = file;
    if (source.empty() && std::ifstream(file_name()).good()) source = file_name();
    std::map<std::string, std::string> from_file;
    if (!source.empty()) {
        auto values = read_file(source);
        if (!values) return values.error();
        from_file = std::move(*values);
    }

    Loaded loaded;
    for (auto const& setting : settings()) {
        std::string const key(setting.key);
        auto const        variable = variable_of(setting);
        Origin            origin{.value = {}, .from = "default"};
        if (auto const flag = flags.find(key); flag != flags.end()) {
            origin = {flag->second, "flag"};
        } else if (auto const own = variables.find(variable); own != variables.end()) {
            origin = {own->second, "environment"};
        } else if (auto const alias = variables.find(std::string(setting.alias));
                   !setting.alias.empty() && alias != variables.end() && !alias->second.empty()) {
            origin = {alias->second, "environment"};
        } else if (auto const value = from_file.find(key); value != from_file.end()) {
            origin = {value->second, source};
        }
        if (origin.from != "default")
            if (auto const set = setting.set(loaded.config, origin.value); !set)
                return Error{Errc::invalid, "config", key + " (" + origin.from + "): " + set.error().detail};
        origin.value = setting.show(loaded.config);
        if (setting.secret && !origin.value.empty()) origin.value = "********";
        loaded.origins.emplace(key, std::move(origin));
        variables.erase(variable);
        from_file.erase(key);
    }
    if (!from_file.empty())
        return Error{Errc::invalid, "config", source + ": " + unknown_key(from_file.begin()->first)};
    for (auto const& [name, value] : variables)
        if (name.starts_with("SLUICE_")) return Error{Errc::invalid, "config", unknown_key(name)};

    // The key itself and the file that holds one are the same setting: where both are given, the stronger origin wins.
    auto const& direct = loaded.origins.at("key").from;
    auto const& by_file = loaded.origins.at("key_file").from;
    if (!loaded.config.key_file.empty() && (loaded.config.key.empty() || rank(by_file) > rank(direct))) {
        struct stat info {};
        std::ifstream in(loaded.config.key_file);
        if (!in || stat(loaded.config.key_file.c_str(), &info) != 0)
            return Error{Errc::invalid, "config", "cannot read key_file " + loaded.config.key_file};
        if ((info.st_mode & 077) != 0)
            return Error{Errc::invalid, "config", loaded.config.key_file + " is open to others: chmod 600 it"};
        std::getline(in, loaded.config.key);
    }
    return loaded;
}

std::optional<Error> refuse_to_serve(Config const& config)
{
    static constexpr std::string_view samples[] = {
        "your-secure-key-here", "dev-internal-key-change-in-prod", "your-key", "changeme"};
    auto const refuse = [](std::string detail) { return Error{Errc::invalid, "config", std::move(detail)}; };
    if (config.key.empty())
        return refuse("serve needs a key: set INTERNAL_API_KEY, or key_file to a file that holds one");
    if (std::find(std::begin(samples), std::end(samples), config.key) != std::end(samples))
        return refuse("the key is a sample from documentation: make one with `openssl rand -hex 32`");
    if (config.key.size() < 16) return refuse("the key is shorter than 16 characters");
    return std::nullopt;
}

}  // namespace sluice::app
