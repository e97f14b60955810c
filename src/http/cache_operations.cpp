#include "http/cache_operations.hpp"

#include "http/members.hpp"
#include "http/operations_json.hpp"
#include "schema/syntax.hpp"

#include <boost/json.hpp>

namespace sluice::http {

namespace json = boost::json;

bool is_degraded(cache::CacheStats const& stats) { return stats.fallback_since.has_value(); }

json::object to_json(cache::Answers const& answers)
{
    auto const stats = answers.stats();
    auto const counts = answers.counts();
    auto const hit_rate = counts.hit_rate();
    auto const megabytes = static_cast<double>(stats.bytes) / 1e6;
    auto const since = stats.fallback_since;
    return {{"status", is_degraded(stats) ? "degraded" : "healthy"},
            {"backend", stats.backend},
            {"has_fallback", stats.has_fallback},
            {"fallback_since", since ? json::value(schema::format_datetime(*since)) : json::value()},
            {"last_error", stats.last_error ? json::value(stats.last_error->detail) : json::value()},
            {"hit_rate", hit_rate},
            {"total_keys", stats.keys},
            {"memory_usage_mb", megabytes},
            {"stats",
             {{"hit_rate", hit_rate}, {"total_keys", stats.keys}, {"hits", counts.hits}, {"misses", counts.misses},
              {"shared", counts.shared}, {"memory_mb", megabytes}, {"evicted", stats.evicted},
              {"errors", stats.errors}, {"corrupt", stats.corrupt}, {"fallbacks", stats.fallbacks},
              {"clients", stats.clients}, {"connections", stats.connections}}}};
}

void CacheOperations::show(Request&, Reply reply) { reply(answer(to_json(deps_.answers))); }

void CacheOperations::clear(Request& request, Reply reply)
{
    auto const* const by = &deps_.producers[request.producer].name;
    deps_.background.run(
        std::move(reply), [this, by, body = std::move(request.body)] { return do_clear(body, *by); });
}

Response CacheOperations::do_clear(std::string const& body, std::string const& by) const
{
    Document   document(body);
    Members    members(document);
    auto const text = members.text("pattern", cache::Pattern::size_max);
    auto const pattern = cache::Pattern::parse(text.value_or(""));
    if (!text && !document.problem()) members.fail("pattern", "missing", "is required; * is every key");
    if (text && !pattern) members.fail("pattern", pattern.error().reason, pattern.error().detail);
    members.done();
    if (auto const wrong = document.problem()) return to_response(*wrong);
    auto* const cache = deps_.answers.cache();
    auto const  removed = cache != nullptr ? cache->clear(*pattern) : 0;
    if (!removed)
        return to_response({.status = 503, .error = "cache_unavailable",
                            .detail = removed.error().detail + "; what is left there is given only while it is true",
                            .retry_after = 1});
    deps_.told(by, pattern->text(), *removed);
    return answer(json::object{{"removed", *removed}});
}

}  // namespace sluice::http
