#include "adapters/redis/redis_cache.hpp"

#include "adapters/redis/redis_pool.hpp"
#include "adapters/redis/stored_value.hpp"

#include <charconv>

namespace sluice::adapters {
namespace {

// "used_memory:1048576\r\n" in what INFO says; 0: it does not say.
std::uint64_t number_after(std::string_view info, std::string_view name)
{
    auto const at = info.find(std::string(name) + ':');
    if (at == info.npos) return 0;
    std::uint64_t number = 0;
    auto const    text = info.substr(at + name.size() + 1);
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

bool is_text(redisReply const& reply) { return reply.type == REDIS_REPLY_STRING; }
bool is_ok(redisReply const& reply) { return reply.type == REDIS_REPLY_STATUS && text_of(reply) == "OK"; }

Error not_understood() { return {Errc::transient, "redis_reply", "a reply that does not fit the command"}; }

class RedisCache final : public cache::Cache {
public:
    RedisCache(RedisCacheOptions options, Clock const& clock);

    Result<std::optional<std::string>> get(std::string_view key) override;
    Result<> put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime) override;
    Result<std::uint64_t> clear(cache::Pattern const& keys) override;
    Result<>              check() override;
    cache::CacheStats     stats() const override;

private:
    using Replies = Result<std::vector<RedisReply>>;

    // An error also if one of the replies is.
    Replies     ask(std::span<RedisCommand const> commands);
    Error       counted(Error error);
    std::string full_key(std::string_view key) const { return prefix_ + std::string(key); }
    Result<>    forget(std::string const& full_key);

    std::string const prefix_, check_key_;
    RedisPool         pool_;

    std::atomic<std::uint64_t> errors_{0}, corrupt_{0};
    mutable std::mutex         mutex_;
    cache::CacheStats          told_;  // guarded by mutex_
};

RedisCache::RedisCache(RedisCacheOptions options, Clock const& clock)
    : prefix_("sluice:" + options.tenant + ':' + options.epoch + ':'),
      check_key_("sluice:" + options.tenant + ":check:" + options.epoch),
      pool_(std::move(options.address), options.connections_max, options.timeouts, clock)
{
}

Error RedisCache::counted(Error error)
{
    errors_.fetch_add(1, std::memory_order_relaxed);
    return error;
}

RedisCache::Replies RedisCache::ask(std::span<RedisCommand const> commands)
{
    auto replies = pool_.ask(commands);
    if (!replies) return replies;
    for (auto const& reply : *replies)
        if (is_error(*reply)) return Error{Errc::transient, "redis_refused", std::string(text_of(*reply))};
    return replies;
}

// GETRANGE, so that a value that is not ours costs no more than the biggest of ours.
Result<std::optional<std::string>> RedisCache::get(std::string_view key)
{
    static auto const  last = std::to_string(StoredValue::overhead + redis_value_max);
    auto const         name = full_key(key);
    RedisCommand const command{"GETRANGE", name, "0", last};
    auto const         replies = pool_.ask({&command, 1});
    if (!replies) return counted(replies.error());
    auto const& reply = *replies->front();
    bool const  is_foreign = is_error(reply) && text_of(reply).starts_with("WRONGTYPE");
    if (is_error(reply) && !is_foreign)
        return counted({Errc::transient, "redis_refused", std::string(text_of(reply))});
    if (!is_foreign) {
        if (!is_text(reply)) return counted(not_understood());
        if (reply.len == 0) return std::nullopt;
        if (auto const value = StoredValue::unpack(name, text_of(reply))) return std::string(*value);
    }
    corrupt_.fetch_add(1, std::memory_order_relaxed);
    if (auto const forgotten = forget(name); !forgotten) return forgotten.error();
    return std::nullopt;
}

Result<> RedisCache::put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime)
{
    auto const name = full_key(key);
    if (value.size() > redis_value_max) return forget(name);  // rather than the one before
    auto const         stored = StoredValue::pack(name, value);
    auto const         time = std::to_string(lifetime.count());
    RedisCommand const command{"SET", name, stored, "PX", time};
    auto const         replies = ask({&command, 1});
    if (!replies) return counted(replies.error());
    return {};
}

Result<> RedisCache::forget(std::string const& full_key)
{
    RedisCommand const command{"UNLINK", full_key};
    auto const         replies = ask({&command, 1});
    if (!replies) return counted(replies.error());
    return {};
}

// What one step found goes together with the question for the next.
Result<std::uint64_t> RedisCache::clear(cache::Pattern const& keys)
{
    auto const               match = prefix_ + keys.glob();
    std::uint64_t            removed = 0;
    std::string              cursor = "0";
    std::vector<std::string> found;
    for (bool is_scanned = false; !is_scanned || !found.empty();) {
        std::vector<RedisCommand> commands;
        if (!found.empty()) commands.push_back({"UNLINK"});
        for (auto const& name : found) commands.front().push_back(name);
        if (!is_scanned) commands.push_back({"SCAN", cursor, "MATCH", match, "COUNT", "1000"});
        auto const replies = ask(commands);
        if (!replies) return counted(replies.error());
        if (!found.empty()) removed += static_cast<std::uint64_t>(replies->front()->integer);
        found.clear();
        if (is_scanned) break;
        auto const& page = *replies->back();
        if (page.type != REDIS_REPLY_ARRAY || page.elements != 2) return counted(not_understood());
        cursor = text_of(*page.element[0]);
        is_scanned = cursor == "0";
        for (std::size_t i = 0; i < page.element[1]->elements; ++i)
            found.emplace_back(text_of(*page.element[1]->element[i]));
    }
    return removed;
}

Result<> RedisCache::check()
{
    if (auto const found = pool_.find_server(); !found) return counted(found.error());
    auto const                stored = StoredValue::pack(check_key_, {});
    std::vector<RedisCommand> commands{{"SET", check_key_, stored, "PX", "10000"}, {"GET", check_key_}};
    // These may be forbidden, and then are not told.
    commands.insert(commands.end(), {{"DBSIZE"}, {"INFO", "memory"}, {"INFO", "clients"}, {"INFO", "stats"}});
    auto const replies = pool_.ask(commands);
    if (!replies) return counted(replies.error());
    auto const& all = *replies;
    for (std::size_t i = 0; i < 2; ++i)
        if (is_error(*all[i])) return counted({Errc::unavailable, "redis_refused", std::string(text_of(*all[i]))});
    if (!is_ok(*all[0]) || !is_text(*all[1]) || text_of(*all[1]) != stored) return counted(not_understood());
    auto const info = [&](std::size_t i) { return is_text(*all[i]) ? text_of(*all[i]) : std::string_view(); };
    std::lock_guard const lock(mutex_);
    told_.keys = all[2]->type == REDIS_REPLY_INTEGER ? static_cast<std::uint64_t>(all[2]->integer) : 0;
    told_.bytes = number_after(info(3), "used_memory");
    told_.clients = number_after(info(4), "connected_clients");
    told_.evicted = number_after(info(5), "evicted_keys");
    return {};
}

cache::CacheStats RedisCache::stats() const
{
    auto const            numbers = pool_.numbers();
    std::lock_guard const lock(mutex_);
    auto                  stats = told_;
    stats.backend = "redis";
    stats.connections = numbers.connections;
    stats.calls = numbers.calls;
    stats.call_ns = numbers.nanoseconds;
    stats.errors = errors_.load(std::memory_order_relaxed);
    stats.corrupt = corrupt_.load(std::memory_order_relaxed);
    return stats;
}

}  // namespace

std::unique_ptr<cache::Cache> make_redis_cache(RedisCacheOptions options, Clock const& clock)
{
    return std::make_unique<RedisCache>(std::move(options), clock);
}

}  // namespace sluice::adapters
