#include "app/producers.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace sluice::app {

namespace {

// On a file system that is read-only or in memory.
bool is_mounted_secret(std::string const& file)
{
    struct statfs info {};
    if (statfs(file.c_str(), &info) != 0) return false;
    return (info.f_flags & ST_RDONLY) != 0 || info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC;
}

// Why a key must not be used; empty: it may.
std::string weakness(std::string const& key)
{
    static constexpr std::string_view samples[] = {
        "your-secure-key-here", "dev-internal-key-change-in-prod", "your-key", "changeme"};
    if (std::find(std::begin(samples), std::end(samples), key) != std::end(samples))
        return "the key is a sample from documentation: make one with `openssl rand -hex 32`";
    if (key.size() < 16) return "the key is shorter than 16 characters";
    return {};
}

bool is_name(std::string_view text)
{
    return !text.empty() && text.size() <= 32 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
}

// Reads one table after the other, and notes what is wrong with each.
class KeysReader {
public:
    KeysReader(Config const& config, Producers& to) : config_(config), to_(to) {}

    void read(toml::table const& root)
    {
        for (auto const& [name, node] : root) {
            auto const* const table = node.as_table();
            if (table == nullptr)
                complain(node, "'" + std::string(name.str()) + "' is outside a producer's table");
            else if (!is_name(name.str()) || name.str() == "default")
                complain(node, "'" + std::string(name.str()) +
                                   "' cannot be a producer's name: 1 to 32 of a-z 0-9 _ -, and not default");
            else if (++read_ == http::Producer::max + 1)
                complain(node, "there are more than " + std::to_string(http::Producer::max) + " producers");
            else
                read_producer(std::string(name.str()), *table);
        }
    }

private:
    void complain(toml::node const& at, std::string const& what)
    {
        to_.problems.push_back(config_.keys_file + ':' + std::to_string(at.source().begin.line) + ": " + what);
    }

    // Of an integer member; nothing when it is not there, or wrong.
    std::optional<std::int64_t> number(toml::table const& table, char const* name, std::int64_t max)
    {
        auto const* const node = table.get(name);
        if (node == nullptr) return std::nullopt;
        auto const value = node->value_exact<std::int64_t>();
        if (value && *value >= 1 && *value <= max) return value;
        complain(*node, std::string(name) + " is not a number from 1 to " + std::to_string(max));
        return std::nullopt;
    }

    void read_producer(std::string const& name, toml::table const& table)
    {
        static constexpr std::string_view members[] = {"key",   "key_file", "rate",    "window",
                                                       "share", "tier_cap", "operator"};
        for (auto const& [member, node] : table)
            if (std::find(std::begin(members), std::end(members), member.str()) == std::end(members))
                complain(node, "'" + std::string(member.str()) +
                                   "' is not known here; known are: key, key_file, rate, window, share, tier_cap, "
                                   "operator");
        http::Producer producer{.name = name};
        read_key(table, producer);
        if (auto const rate = number(table, "rate", 1'000'000'000))
            producer.quota = {static_cast<std::uint64_t>(*rate),
                              std::chrono::seconds(number(table, "window", 86'400).value_or(1))};
        else if (auto const* const window = table.get("window"); window != nullptr && !table.contains("rate"))
            complain(*window, "window without rate");
        if (auto const* const cap = table.get("tier_cap")) {
            auto const* const at =
                std::find(std::begin(tier_names), std::end(tier_names), cap->value_exact<std::string>().value_or(""));
            if (at == std::end(tier_names))
                complain(*cap, "tier_cap is not low, normal, high or critical");
            else
                producer.tier_cap = static_cast<Tier>(at - std::begin(tier_names));
        }
        if (auto const* const node = table.get("operator")) {
            auto const is_operator = node->value_exact<bool>();
            if (!is_operator) complain(*node, "operator is not true or false");
            producer.is_operator = is_operator.value_or(false);
        }
        auto const share = number(table, "share", 100);
        to_.shares.push_back(share ? static_cast<std::uint32_t>(*share) : 0);
        to_.all.push_back(std::move(producer));
    }

    void read_key(toml::table const& table, http::Producer& producer)
    {
        auto const* const direct = table.get("key");
        auto const* const by_file = table.get("key_file");
        if ((direct == nullptr) == (by_file == nullptr))
            return complain(table, '[' + producer.name + "] needs a key or a key_file, and only one of them");
        auto const& node = direct != nullptr ? *direct : *by_file;
        auto        text = node.value_exact<std::string>();
        if (!text) return complain(node, "a key is a text");
        if (by_file != nullptr) {
            auto const secret = read_secrets(*text, "key_file");
            if (!secret) return complain(node, secret.error().detail);
            text = secret->substr(0, secret->find('\n'));
        }
        producer.key = *text;
        if (auto const why = weakness(producer.key); !why.empty()) return complain(node, why);
        for (auto const& other : to_.all)
            if (other.key == producer.key)
                return complain(node, "the key is that of " + other.name + " as well");
    }

    Config const& config_;
    Producers&    to_;
    std::size_t   read_{0};
};

}  // namespace

Result<std::string> read_secrets(std::string const& file, std::string const& setting)
{
    auto const refuse = [](std::string why) { return Error{Errc::invalid, "config", std::move(why)}; };
    struct stat info {};
    std::ifstream in(file);
    if (!in || stat(file.c_str(), &info) != 0) return refuse("cannot read " + setting + ' ' + file);
    // What root lets a group read was handed to it; what everybody may read is a secret only where it was mounted for
    // this process, as systemd's credentials and containers' secrets are.
    bool const is_handed =
        info.st_uid == 0 && geteuid() != 0 && ((info.st_mode & 07) == 0 || is_mounted_secret(file));
    if ((info.st_mode & 077) != 0 && !is_handed) return refuse(file + " is open to others: chmod 600 it");
    return std::string(std::istreambuf_iterator<char>(in), {});
}

Producers load_producers(Config const& config)
{
    Producers loaded;
    if (!config.key.empty()) {
        loaded.all.push_back({.key = config.key, .is_operator = true});
        loaded.shares.push_back(0);
        if (auto why = weakness(config.key); !why.empty()) loaded.problems.push_back(std::move(why));
    }
    if (!config.keys_file.empty()) {
        auto const text = read_secrets(config.keys_file, "keys_file");
        if (!text) {
            loaded.problems.push_back(text.error().detail);
        } else {
            try {
                KeysReader(config, loaded).read(toml::parse(*text, config.keys_file));
            } catch (toml::parse_error const& error) {
                loaded.problems.push_back(config.keys_file + ':' + std::to_string(error.source().begin.line) + ": " +
                                          std::string(error.description()));
            }
        }
    }
    if (loaded.all.empty() && loaded.problems.empty())
        loaded.problems.emplace_back(
            "serve needs a key: set INTERNAL_API_KEY, or key_file to a file that holds one, or keys_file to one with "
            "several");
    auto const share = loaded.all.size() == 1 ? 100 : config.producer_share;
    std::replace(loaded.shares.begin(), loaded.shares.end(), 0u, share);
    return loaded;
}

}  // namespace sluice::app
