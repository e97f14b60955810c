#include "http/api.hpp"

#include "base/hex.hpp"
#include "graph/queries.hpp"
#include "http/record_json.hpp"
#include "schema/syntax.hpp"

#include <boost/asio/ip/address_v4.hpp>
#include <boost/json.hpp>
#include <openssl/crypto.h>

#include <algorithm>
#include <charconv>

namespace sluice::http {

namespace json = boost::json;

struct Api::Route {
    std::string_view path;  // as match_path takes it; the first route that fits a request counts
    Method           method;
    enum class Access : std::uint8_t { open, status, key, operators } access;
    void (Api::*handle)(Request&, Reply);
    std::size_t body_max{0};
    bool        batch{false};
};

std::span<Api::Route const> Api::routes()
{
    using enum Route::Access;
    constexpr auto event_max = schema::Decoder::event_bytes_max;
    constexpr auto batch_max = IngestLimits{}.batch_bytes_max;
    constexpr std::size_t control_max = 16 * 1024;
    static constexpr Route all[] = {
        {"/internal/events", Method::post, key, &Api::ingest_single, event_max},
        {"/v1/events", Method::post, key, &Api::ingest_single, event_max},
        {"/internal/events/batch", Method::post, key, &Api::ingest_batch, batch_max, true},
        {"/v1/events/batch", Method::post, key, &Api::ingest_batch, batch_max, true},
        {"/internal/events/metrics", Method::get, key, &Api::event_metrics},
        {"/internal/events/dead-letter", Method::get, key, &Api::dead_letters},
        {"/internal/events/dead-letter/groups", Method::get, key, &Api::dead_letter_groups},
        {"/internal/events/dead-letter/redrive", Method::post, operators, &Api::redrive, event_max},
        {"/internal/events/dead-letter/drop", Method::post, operators, &Api::drop, control_max},
        {"/internal/events/dead-letter/*", Method::get, key, &Api::dead_letter},
        {"/internal/events/by-sequence/*", Method::get, key, &Api::event_by_sequence},
        {"/internal/events/by-id", Method::get, key, &Api::event_by_id},
        {"/internal/lanes", Method::get, key, &Api::lanes},
        {"/internal/events/parked", Method::get, key, &Api::parked},
        {"/internal/events/parked/release", Method::post, operators, &Api::release, control_max},
        {"/internal/events/parked/drop", Method::post, operators, &Api::drop_parked, control_max},
        {"/internal/jobs", Method::get, key, &Api::jobs},
        {"/internal/jobs/stop", Method::post, operators, &Api::stop_job, control_max},
        {"/internal/jobs/resume", Method::post, operators, &Api::resume_job, control_max},
        {"/internal/controls", Method::get, key, &Api::controls},
        {"/internal/controls", Method::post, operators, &Api::control, control_max},
        {"/internal/cache", Method::get, key, &Api::cache},
        {"/internal/cache/clear", Method::post, operators, &Api::clear_cache, control_max},
        {"/health", Method::get, open, &Api::health},
        {"/health/ready", Method::get, open, &Api::ready},
        {"/health/detailed", Method::get, status, &Api::detailed},
        {"/metrics", Method::get, status, &Api::metrics},
        {"/v1/state", Method::get, key, &Api::state},
        {"/v1/relationships", Method::get, key, &Api::relationship},
        {"/v1/graph/neighbors", Method::get, key, &Api::neighbors},
        {"/v1/conviction", Method::get, key, &Api::conviction},
        {"/v1/attestations", Method::get, key, &Api::attestations},
        {"/v1/stream", Method::get, key, &Api::stream},
    };
    return all;
}

namespace {

Response answer(std::string body, int status = 200)
{
    return {.status = status, .content_type = "application/json", .body = std::move(body)};
}

Response answer(json::object const& body, int status = 200) { return answer(json::serialize(body), status); }

Response problem(int status, std::string error, std::string detail)
{
    return to_response({.status = status, .error = std::move(error), .detail = std::move(detail)});
}

bool same_secret(std::string_view given, std::string const& secret)
{
    return given.size() == secret.size() && CRYPTO_memcmp(given.data(), secret.data(), secret.size()) == 0;
}

// Looks at every key, so that the time it takes tells nothing about which one it was.
std::optional<engine::Producer> holder(std::vector<Producer> const& producers, std::string_view key)
{
    auto found = producers.size();
    for (std::size_t i = 0; i < producers.size(); ++i) found = same_secret(key, producers[i].key) ? i : found;
    if (found == producers.size()) return std::nullopt;
    return static_cast<engine::Producer>(found);
}

bool matches(Method method, Method route)
{
    return method == route || (method == Method::head && route == Method::get);
}

// Requests name the media type in any case and with parameters.
std::string_view media_type(std::string_view content_type)
{
    auto const end = std::min(content_type.find(';'), content_type.size());
    auto       type = content_type.substr(0, end);
    while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
    return type;
}

bool accepts(std::string_view type, bool batch)
{
    if (equal_ignoring_case(type, "application/json")) return true;
    if (!batch) return false;
    return equal_ignoring_case(type, "application/x-ndjson") || equal_ignoring_case(type, "application/jsonl");
}

double mean(std::uint64_t sum, std::uint64_t count, double unit)
{
    return count == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(count) / unit;
}


}  // namespace

Api::Api(Deps deps, ApiOptions options)
    : deps_(std::move(deps)), options_(std::move(options)), started_(deps_.clock.now()),
      operations_({deps_.engine, deps_.log, deps_.graph, deps_.schemas, deps_.clock, deps_.background,
                   options_.producers, deps_.submit}),
      cache_operations_({deps_.answers, deps_.background, options_.producers, deps_.cache_cleared}),
      inspection_({deps_.engine, deps_.log, deps_.graph, deps_.schemas, deps_.clock, deps_.background,
                   deps_.wake_appender})
{
}

Api::Route const* Api::find(Request const& request) const
{
    for (auto const& route : routes())
        if (match_path(route.path, request.path) && matches(request.method, route.method)) return &route;
    return nullptr;
}

// The methods this path has, as the header Allow lists them; empty when there is no such path.
std::string Api::allowed(std::string_view path)
{
    std::string methods;
    for (auto const& route : routes()) {
        auto const name = to_string(route.method);
        if (!match_path(route.path, path) || methods.find(name) != methods.npos) continue;
        methods.append(name).append(route.method == Method::get ? ", HEAD, " : ", ");
    }
    return methods.empty() ? methods : methods + "OPTIONS";
}

bool Api::known_host(std::string_view host) const
{
    if (host.starts_with('[')) {
        return host == "[::1]" || host.starts_with("[::1]:");
    }
    host = host.substr(0, host.find(':'));
    if (equal_ignoring_case(host, "localhost")) return true;
    boost::system::error_code not_one;
    auto const address = boost::asio::ip::make_address_v4(host, not_one);
    if (!not_one && address.is_loopback()) return true;
    return std::any_of(options_.hosts.begin(), options_.hosts.end(),
                       [&](auto const& name) { return equal_ignoring_case(name, host); });
}

std::variant<engine::Producer, Problem> Api::authorise(Route const& route, Request const& head) const
{
    if (route.access == Route::Access::open) return engine::Producer{0};
    if (route.access == Route::Access::status && options_.open_status) return engine::Producer{0};
    auto given = head.header("X-Internal-Key");
    if (!given) {
        constexpr std::string_view scheme = "Bearer ";
        auto const                 bearer = head.header("Authorization");
        if (bearer && bearer->size() > scheme.size() && equal_ignoring_case(bearer->substr(0, scheme.size()), scheme))
            given = bearer->substr(scheme.size());
    }
    if (!given)
        return Problem{
            .status = 401, .error = "no_key", .detail = "send the key as X-Internal-Key or as a Bearer token"};
    auto const producer = holder(options_.producers, *given);
    if (!producer) return Problem{.status = 403, .error = "bad_key", .detail = "the key is wrong"};
    if (route.access == Route::Access::operators && !options_.producers[*producer].is_operator)
        return Problem{
            .status = 403, .error = "not_operator", .detail = "this key may look, and not do what operators do"};
    return *producer;
}

std::variant<BodyLimit, Response> Api::on_head(Request const& head) const
{
    if (!head.host.empty() && !known_host(head.host))
        return problem(421, "unknown_host", "this server does not answer for that Host; see http.hosts");
    auto const* const route = find(head);
    if (route == nullptr) {
        auto const allow = allowed(head.path);
        if (allow.empty()) return problem(404, "not_found", "there is no such route");
        if (head.method == Method::options) {
            Response response{.status = 204};
            response.add_header("Allow", allow);
            return response;
        }
        return to_response({.status = 405, .error = "method_not_allowed", .detail = "this route has other methods",
                            .allow = allow});
    }
    auto const authorised = authorise(*route, head);
    if (auto const* const refused = std::get_if<Problem>(&authorised)) return to_response(*refused);
    if (route->method == Method::post && !accepts(media_type(head.content_type), route->batch))
        return problem(415, "unsupported_media_type",
                       route->batch ? "send application/json or application/x-ndjson" : "send application/json");
    return BodyLimit{route->body_max, std::get<engine::Producer>(authorised)};
}

void Api::on_request(Request& request, Reply reply)
{
    auto const* const route = find(request);
    if (route == nullptr) return reply(problem(404, "not_found", "there is no such route"));
    auto tail = percent_decode(*match_path(route->path, request.path));
    if (!tail) return reply(problem(400, tail.error().reason, tail.error().detail));
    request.path_tail = std::move(*tail);
    (this->*route->handle)(request, std::move(reply));
}

void Api::ingest_single(Request& request, Reply reply) { deps_.ingest.single(request, std::move(reply)); }

void Api::ingest_batch(Request& request, Reply reply)
{
    bool const array = equal_ignoring_case(media_type(request.content_type), "application/json");
    deps_.ingest.batch(request, array ? Ingest::Form::array : Ingest::Form::ndjson, std::move(reply));
}

namespace {

json::object seven_fields(engine::Engine const& engine, Rates const& rates)
{
    auto const& c = engine.counters();
    auto const  state = engine.state();
    auto const  in_process = engine::get(c.processed);
    return {
        {"events_processed", state.applied},
        {"events_failed", state.dead_lettered},
        {"events_in_queue", state.pending[0] + state.pending[1] + state.pending[2] + state.pending[3]},
        {"avg_processing_time_ms", mean(engine::get(c.work_ns), in_process, 1e6)},
        {"throughput_per_second", rates.settled_per_second()},
        {"worker_utilization", rates.utilization()},
        {"backpressure_active", engine.admission().use().closed[index(Tier::normal)]},
    };
}

}  // namespace

void Api::event_metrics(Request&, Reply reply) { reply(answer(seven_fields(deps_.engine, deps_.rates))); }

void Api::dead_letters(Request& r, Reply reply) { operations_.dead_letters(r, std::move(reply)); }
void Api::dead_letter_groups(Request& r, Reply reply) { operations_.dead_letter_groups(r, std::move(reply)); }
void Api::dead_letter(Request& r, Reply reply) { operations_.dead_letter(r, std::move(reply)); }
void Api::redrive(Request& r, Reply reply) { operations_.redrive(r, std::move(reply)); }
void Api::drop(Request& r, Reply reply) { operations_.drop(r, std::move(reply)); }
void Api::event_by_sequence(Request& r, Reply reply) { inspection_.by_sequence(r, std::move(reply)); }
void Api::event_by_id(Request& r, Reply reply) { inspection_.by_id(r, std::move(reply)); }
void Api::lanes(Request& r, Reply reply) { inspection_.lanes(r, std::move(reply)); }
void Api::parked(Request& r, Reply reply) { operations_.parked(r, std::move(reply)); }
void Api::release(Request& r, Reply reply) { operations_.release(r, std::move(reply)); }
void Api::drop_parked(Request& r, Reply reply) { operations_.drop_parked(r, std::move(reply)); }
void Api::jobs(Request& r, Reply reply) { operations_.jobs(r, std::move(reply)); }
void Api::stop_job(Request& r, Reply reply) { operations_.stop_job(r, std::move(reply)); }
void Api::resume_job(Request& r, Reply reply) { operations_.resume_job(r, std::move(reply)); }
void Api::controls(Request& r, Reply reply) { operations_.controls(r, std::move(reply)); }
void Api::control(Request& r, Reply reply) { operations_.control(r, std::move(reply)); }

void Api::cache(Request& r, Reply reply) { cache_operations_.show(r, std::move(reply)); }
void Api::clear_cache(Request& r, Reply reply) { cache_operations_.clear(r, std::move(reply)); }

void Api::health(Request&, Reply reply)
{
    reply(answer(json::object{{"status", "healthy"}, {"timestamp", schema::format_datetime(deps_.clock.wall())}}));
}

namespace {

struct Checks {
    bool database, pipeline;
    bool ready() const { return database && pipeline; }
};

Checks check(engine::Engine const& engine, bool draining)
{
    // NORMAL is closed by what waits, or by the disk.
    bool const is_closed = engine.admission().use().closed[index(Tier::normal)] ||
                           engine.space().level != log::Space::Level::ok;
    return {.database = !engine.log_failed(), .pipeline = !draining && engine.ids_have_room() && !is_closed};
}

char const* word(log::Space::Level disk)
{
    constexpr char const* words[] = {"healthy", "low", "full"};
    return words[static_cast<std::size_t>(disk)];
}

char const* word(bool healthy) { return healthy ? "healthy" : "degraded"; }

// The log, and the store of the graph if that is another one.
json::object database_json(engine::Engine const& engine, graph::StoreStatus const& store, bool log_works)
{
    auto const&  c = engine.counters();
    bool const   is_up = store.is_up && engine.graph_answers();
    json::object database{{"status", word(log_works && is_up)},
                          {"backend", store.backend},
                          {"latency_ms", mean(engine::get(c.commit_ns), engine::get(c.commits), 1e6)}};
    if (store.connections_max == 0) return database;
    auto const error = store.last_error ? json::value(store.last_error->detail) : json::value();
    database["graph"] = {{"status", word(is_up)},
                         {"latency_ms", mean(store.query_ns, store.queries, 1e6)},
                         {"last_error", error},
                         {"connections", store.connections},
                         {"connections_in_use", store.connections_in_use},
                         {"connections_max", store.connections_max},
                         {"slow_queries", store.slow_queries}};
    return database;
}

}  // namespace

void Api::ready(Request&, Reply reply)
{
    auto const checks = check(deps_.engine, draining_);
    auto       response = answer(
        json::object{{"status", checks.ready() ? "ready" : "degraded"},
                           {"checks", {{"database", word(checks.database && deps_.engine.graph_answers())},
                                       {"cache", word(!is_degraded(deps_.answers.stats()))},
                                       {"event_pipeline", word(checks.pipeline)}}},
                           {"timestamp", schema::format_datetime(deps_.clock.wall())}},
        checks.ready() ? 200 : 503);
    if (!checks.ready()) response.add_header("Retry-After", "1");
    reply(std::move(response));
}

// Stuck lanes are named by what the log has at their heads.
void Api::detailed(Request&, Reply reply)
{
    auto lanes = deps_.engine.lanes();
    if (lanes.stuck.empty()) return reply(detailed(lanes));
    deps_.background.run(std::move(reply), [this, stuck = std::move(lanes)] { return detailed(stuck); });
}

Response Api::detailed(engine::LaneStats const& lanes) const
{
    auto const checks = check(deps_.engine, draining_);
    auto const  space = deps_.engine.space();
    auto const uptime = std::chrono::duration_cast<std::chrono::seconds>(deps_.clock.now() - started_).count();
    auto const letters = deps_.engine.dead_letters().stats();
    json::array reasons;
    if (letters.is_full) reasons.emplace_back("dead_letters_full");
    if (!deps_.engine.parking().has_room()) reasons.emplace_back("parked_full");
    if (!deps_.engine.graph_answers()) reasons.emplace_back("graph_unavailable");
    if (!lanes.stuck.empty()) reasons.emplace_back("lanes_stuck");
    bool const is_well = reasons.empty();
    return answer(json::object{
        {"status", word(checks.ready() && is_well && !is_degraded(deps_.answers.stats()))},
        {"uptime_seconds", uptime},
        {"version", options_.version},
        {"environment", options_.environment},
        {"dependencies",
         {{"database", database_json(deps_.engine, deps_.graph.status(), checks.database)},
          {"cache", to_json(deps_.answers)},
          {"disk",
           {{"status", word(space.level)}, {"free_bytes", space.free_bytes}, {"has_reserve", space.has_reserve}}},
          {"event_pipeline",
           {{"status", word(checks.pipeline && is_well)}, {"metrics", seven_fields(deps_.engine, deps_.rates)},
            {"dead_letter_count", letters.count}, {"reasons", std::move(reasons)},
            {"stuck_lanes", stuck_lanes(lanes, deps_.log)}}}}},
        {"timestamp", schema::format_datetime(deps_.clock.wall())}});
}

void Api::metrics(Request&, Reply reply)
{
    reply(Response{.status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8", .body = deps_.metrics()});
}

void Api::state(Request&, Reply reply)
{
    auto const s = deps_.engine.state();
    auto const counts = deps_.graph.counts();
    json::object pending;
    for (std::size_t t = tier_count; t-- > 0;) pending[tier_names[t]] = s.pending[t];
    reply(answer(json::object{
        {"last_sequence", number(s.last_sequence)}, {"watermark", number(s.watermark)}, {"pending", std::move(pending)},
        {"digest", hex(deps_.graph.digest())}, {"accepted", s.accepted}, {"applied", s.applied}, {"stale", s.stale},
        {"dead_lettered", s.dead_lettered}, {"parked", s.parked},
        {"records",
         {{"relationships", counts.live[static_cast<std::size_t>(Kind::relationship)]},
          {"attestations", counts.live[static_cast<std::size_t>(Kind::attestation)]},
          {"entities", counts.live[static_cast<std::size_t>(Kind::entity)]}, {"tombstones", counts.tombstones}}}}));
}

namespace {

// One required identifier, and `at`: the request's, else now rounded down to the minute.
struct Read {
    std::string subject;
    WallTime    at;
    Query       query;
    bool        fresh;  // Cache-Control: no-cache

    // Of an answer about the subject at that time.
    std::string key(std::string_view question) const
    {
        return std::string(question) + ':' + subject + ':' + std::to_string(at.time_since_epoch().count());
    }
};

Result<Read> parse_read(
    Request const& request, Clock const& clock, std::string_view subject, bool (*valid)(std::string_view) noexcept,
    std::initializer_list<std::string_view> known)
{
    auto query = Query::parse(request.query);
    if (!query) return query.error();
    if (auto const only = query->only(known); !only) return only.error();
    auto const text = query->get(subject);
    if (!text || !valid(*text))
        return Error{Errc::invalid, "bad_query", "?" + std::string(subject) + "= is missing or malformed"};
    Read read{std::string(*text), std::chrono::floor<std::chrono::minutes>(clock.wall()), {}, false};
    if (auto const control = request.header("Cache-Control")) read.fresh = control->find("no-cache") != control->npos;
    if (auto const at = query->get("at")) {
        auto const time = schema::parse_datetime(*at);
        if (!time) return Error{Errc::invalid, "bad_query", "?at= is not a datetime such as 2026-01-01T00:00:00Z"};
        read.at = *time;
    }
    read.query = std::move(*query);
    return read;
}

Result<std::size_t> number_of(
    Query const& query, std::string_view name, std::size_t fallback, std::size_t min, std::size_t max)
{
    auto const text = query.get(name);
    if (!text) return fallback;
    std::size_t value = 0;
    auto const [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc{} || end != text->data() + text->size() || value < min || value > max)
        return Error{Errc::invalid, "bad_query", "?" + std::string(name) + "= is a number from " + std::to_string(min) +
                                                     " to " + std::to_string(max)};
    return value;
}

Response bad_query(Error const& error) { return problem(400, "bad_query", error.detail); }

// The graph does not answer.
Response unanswered(Error const& error)
{
    return to_response({.status = 503, .error = "graph_unavailable", .detail = error.detail, .retry_after = 5});
}

bool is_private(Record const& record)
{
    return record.fields.integer(relationship_field::visibility) == visibility_private;
}

}  // namespace

void Api::relationship(Request& request, Reply reply)
{
    auto read = parse_read(request, deps_.clock, "uri", schema::is_at_uri, {"uri"});
    if (!read) return reply(bad_query(read.error()));
    deps_.reads.run(std::move(reply), [this, uri = std::move(read->subject)] {
        auto const found = deps_.graph.find(Kind::relationship, uri);
        if (!found) return unanswered(found.error());
        if (!*found || is_private(***found)) return problem(404, "not_found", "there is no such relationship");
        return answer(json::object{{"relationship", relationship_json(***found)}});
    });
}

void Api::neighbors(Request& request, Reply reply)
{
    auto read = parse_read(request, deps_.clock, "did", schema::is_did, {"did", "minStrength", "limit", "at"});
    if (!read) return reply(bad_query(read.error()));
    auto const min = number_of(read->query, "minStrength", 0, 0, 100);
    auto const limit = number_of(read->query, "limit", 100, 1, 10'000);
    if (!min || !limit) return reply(bad_query(!min ? min.error() : limit.error()));
    deps_.reads.run(std::move(reply), [this, read = std::move(*read), min = *min, limit = *limit] {
        auto const watermark = deps_.engine.state().watermark;
        auto const key = read.key("graph:neighbors") + ':' + std::to_string(min) + ':' + std::to_string(limit);
        auto const list = deps_.answers.get(
            key, read.fresh, [&](graph::GraphReader const& graph) -> Result<std::string> {
                auto const found =
                    graph::neighbors(graph, read.subject, static_cast<double>(min), limit, read.at);
                if (!found) return found.error();
                json::array neighbors;
                for (auto const& n : *found)
                    neighbors.push_back({{"did", n.did}, {"uri", n.uri}, {"type", relationship_types[n.type]},
                                         {"strength", n.strength}, {"effective_strength", n.effective_strength}});
                return json::serialize(neighbors);
            });
        if (!list) return unanswered(list.error());
        return answer(R"({"did":)" + json::serialize(json::string(read.subject)) + R"(,"watermark":)" +
                      std::to_string(number(watermark)) + R"(,"neighbors":)" + *list + '}');
    });
}

void Api::conviction(Request& request, Reply reply)
{
    auto read = parse_read(request, deps_.clock, "uri", schema::is_at_uri, {"uri", "at"});
    if (!read) return reply(bad_query(read.error()));
    deps_.reads.run(std::move(reply), [this, read = std::move(*read)] {
        auto const text = deps_.answers.get(
            read.key("conviction"), read.fresh, [&](graph::GraphReader const& graph) -> Result<std::string> {
                auto const c = graph::conviction(graph, read.subject, read.at, options_.formula);
                if (!c) return c.error();
                return json::serialize(json::object{
                    {"uri", read.subject},
                    {"conviction",
                     {{"score", c->score}, {"attestationCount", c->attestation_count},
                      {"verifyCount", c->verify_count}, {"disputeCount", c->dispute_count},
                      {"strengthenCount", c->strengthen_count}, {"weakenCount", c->weaken_count}}}});
            });
        return text ? answer(*text) : unanswered(text.error());
    });
}

void Api::attestations(Request& request, Reply reply)
{
    auto read = parse_read(request, deps_.clock, "uri", schema::is_at_uri, {"uri"});
    if (!read) return reply(bad_query(read.error()));
    read->at = {};  // not asked for
    deps_.reads.run(std::move(reply), [this, read = std::move(*read)] {
        auto const text = deps_.answers.get(
            read.key("attestations"), read.fresh, [&](graph::GraphReader const& graph) -> Result<std::string> {
                auto const target = graph.find(Kind::relationship, read.subject);
                if (!target) return target.error();
                auto const records = graph.attestations_of(read.subject);
                if (!records) return records.error();
                json::array list;
                if (!*target || !is_private(***target))
                    for (auto const& record : *records) list.push_back(attestation_json(*record));
                return json::serialize(json::object{{"attestations", std::move(list)}});
            });
        return text ? answer(*text) : unanswered(text.error());
    });
}

void Api::stream(Request& request, Reply reply) { reply(deps_.tail.open(request)); }

}  // namespace sluice::http
