#include "http/inspection.hpp"

#include "http/problem.hpp"
#include "schema/syntax.hpp"

#include <algorithm>
#include <charconv>
#include <future>

namespace sluice::http {

namespace json = boost::json;

namespace {

Response answer(json::object const& body)
{
    return {.status = 200, .content_type = "application/json", .body = json::serialize(body)};
}

Response problem(int status, std::string error, std::string detail, std::uint32_t retry_after = 0)
{
    return to_response({.status = status, .error = std::move(error), .detail = std::move(detail),
                        .retry_after = retry_after});
}

Response no_event() { return problem(404, "no_event", "there is no such event"); }

std::optional<std::uint64_t> number_of(std::string_view text)
{
    std::uint64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

constexpr std::string_view verdict_names[] = {"", "dead_letter", "parked", "released", "dropped", "redriven"};
constexpr std::string_view lane_states[] = {"ready", "running", "retrying", "held", "paused"};
constexpr std::string_view kind_names[] = {"repository", "relationship", "attestation", "entity"};

json::object to_json(log::Decision const& decision)
{
    json::object object{{"verdict", verdict_names[static_cast<std::size_t>(decision.verdict)]},
                        {"at", schema::format_datetime(decision.at)}, {"reason", decision.reason},
                        {"detail", decision.detail}, {"attempts", decision.attempts}};
    if (decision.successor != Sequence::none) object["successor"] = number(decision.successor);
    return object;
}

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

// The event in the log a lane waits with.
std::optional<std::string> did_of(log::EventLog const& log, Sequence sequence)
{
    auto const block = log.read(sequence);
    if (!block || !*block) return std::nullopt;
    return std::string((*block)->record_at(sequence).did());
}

}  // namespace

void Inspection::by_sequence(Request& request, Reply reply)
{
    auto const query = Query::parse(request.query);
    if (!query || !query->only({})) return reply(problem(400, "bad_query", "nothing is known here"));
    auto const sequence = number_of(request.path_tail);
    if (!sequence || *sequence == 0) return reply(problem(400, "bad_sequence", "a sequence is a number from 1"));
    deps_.background.run(std::move(reply), [this, at = Sequence{*sequence}] { return show(at); });
}

void Inspection::by_id(Request& request, Reply reply)
{
    auto const query = Query::parse(request.query);
    std::string id;
    if (query && query->only({"event_id"})) id = query->get("event_id").value_or("");
    if (id.empty()) return reply(problem(400, "bad_query", "?event_id says which, percent-encoded"));
    deps_.background.run(std::move(reply), [this, wanted = std::move(id)] { return find(wanted); });
}

void Inspection::lanes(Request& request, Reply reply)
{
    auto const query = Query::parse(request.query);
    if (!query || !query->only({"blocked", "limit", "cursor"}) || query->get("blocked") != "1")
        return reply(problem(400, "bad_query", "?blocked=1 lists blocked lanes; limit and cursor page through them"));
    std::size_t limit = 100;
    if (auto const text = query->get("limit")) {
        auto const given = number_of(*text);
        if (!given || *given == 0 || *given > 1'000)
            return reply(problem(400, "bad_query", "limit is a number from 1 to 1000"));
        limit = *given;
    }
    deps_.background.run(std::move(reply), [this, limit, cursor = std::string(query->get("cursor").value_or(""))] {
        return list_lanes(limit, cursor);
    });
}

Response Inspection::find(std::string const& event_id) const
{
    if (auto const made = engine::sequence_in_id(event_id); made != Sequence::none) {
        auto const block = deps_.log.read(made);
        bool const is_it = block && *block &&
                           (*block)->record_at(made).id(made) == event_id;
        if (is_it) return show(made);
    }
    auto const answer = std::make_shared<std::promise<Result<Sequence>>>();
    auto       found = answer->get_future();
    deps_.engine.find(event_id, [answer](Result<Sequence> at) { answer->set_value(std::move(at)); });
    deps_.wake_appender();
    if (found.wait_for(std::chrono::seconds(10)) != std::future_status::ready)
        return problem(503, "overload", "the log is too busy to look the id up", 1);
    auto const at = found.get();
    if (!at) return problem(503, at.error().reason, at.error().detail, 1);
    return *at == Sequence::none ? no_event() : show(*at);
}

Response Inspection::show(Sequence sequence) const
{
    auto const found = engine::locate({deps_.engine, deps_.log, deps_.graph, deps_.schemas}, sequence);
    if (!found) return problem(500, found.error().reason, "the log cannot be read");
    if (!*found) return no_event();
    auto const&  at = **found;
    json::object event{
        {"sequence", number(sequence)},
        {"event_id", at.event_id},
        {"state", engine::event_states[static_cast<std::size_t>(at.state)]},
        {"detail", at.detail},
        {"event_type", at.type},
        {"did", at.did},
        {"tier", tier_names[index(at.tier)]},
        {"durable_at", schema::format_datetime(at.durable_at)},
    };
    if (at.rev != Revision::none) event["rev"] = schema::format_tid(at.rev);
    if (at.kind != log::RecordKind::event) event["kind"] = log::record_kind_names[static_cast<std::size_t>(at.kind)];
    if (at.origin.cause != Sequence::none) {
        event["cause"] = number(at.origin.cause);
        if (at.origin.version != Sequence::none) event["version"] = number(at.origin.version);
    }
    if (!at.decisions.empty()) {
        json::array decisions;
        for (auto const& decision : at.decisions) decisions.push_back(to_json(decision));
        event["decisions"] = std::move(decisions);
    }
    if (!at.copies.empty()) {
        json::array copies;
        for (auto const copy : at.copies) copies.push_back(number(copy));
        event["copies"] = std::move(copies);
    }
    if (at.lane) {
        event["lane"] = lane_json(*at.lane);
        if (at.behind != Sequence::none) event["behind"] = number(at.behind);
    }
    if (at.is_paused) event["paused"] = true;
    if (at.is_away) {
        auto const breaker = deps_.engine.graph_breaker();
        event["waits_for"] = breaker.name;
        if (breaker.last_error) event["last_error"] = breaker.last_error->reason + ": " + breaker.last_error->detail;
    }
    if (at.written)
        event["record"] = json::object{
            {"kind", kind_names[static_cast<std::size_t>(at.written->kind)]},
            {"uri", at.written->key},
            {"sequence", number(at.written->sequence)},
            {"is_as_this_event_says", at.written->sequence == sequence},
        };
    auto response = answer(event);
    // Verbatim, as it was sent.
    response.body.pop_back();
    response.body += R"(,"payload":)" + at.payload + '}';
    return response;
}

json::object Inspection::lane_json(engine::LaneInfo const& lane) const
{
    auto const   now = deps_.clock.now();
    auto const   wall = deps_.clock.wall();
    auto const   time = [&](Clock::Mono at) {
        return schema::format_datetime(wall + std::chrono::duration_cast<std::chrono::microseconds>(at - now));
    };
    json::object depth;
    for (std::size_t t = tier_count; t-- > 0;) depth[tier_names[t]] = lane.depth[t];
    json::object object{{"state", lane_states[static_cast<std::size_t>(lane.state)]},
                        {"head", number(lane.head)},
                        {"depth", std::move(depth)},
                        {"backlog", lane.backlog},
                        {"head_waits_seconds", seconds(now - lane.head_since)},
                        {"attempts", lane.attempts}};
    if (lane.blocked_since) object["blocked_since"] = time(*lane.blocked_since);
    if (lane.next_retry) object["next_retry"] = time(*lane.next_retry);
    json::array errors;
    for (auto const& error : lane.errors)
        errors.push_back({{"at", time(error.at)}, {"reason", error.reason}, {"detail", error.detail}});
    object["errors"] = std::move(errors);
    return object;
}

// The cursor is the last lane's key and since when it is blocked.
Response Inspection::list_lanes(std::size_t limit, std::string const& cursor) const
{
    std::optional<std::uint64_t> after;
    Clock::Mono                  since{};
    if (!cursor.empty()) {
        auto const dash = cursor.find('-');
        auto const key = number_of(cursor.substr(0, dash));
        auto const at = dash == cursor.npos ? std::nullopt : number_of(cursor.substr(dash + 1));
        if (!key || !at) return problem(400, "bad_query", "cursor is the next_cursor of a page before");
        after = *key;
        since = Clock::Mono(std::chrono::nanoseconds(static_cast<std::int64_t>(*at)));
    }
    auto const  found = deps_.engine.blocked_lanes(limit, after, since);
    auto const  stats = deps_.engine.lanes();
    json::array lanes;
    for (auto const& lane : found) {
        auto object = lane_json(lane);
        if (auto const did = did_of(deps_.log, lane.head)) object["did"] = *did;
        lanes.push_back(std::move(object));
    }
    json::object body{{"blocked", stats.blocked}, {"lanes", std::move(lanes)},
                      {"graph_answers", deps_.engine.graph_answers()}};
    if (found.size() == limit && found.back().blocked_since)
        body["next_cursor"] = std::to_string(found.back().lane_key) + '-' +
                              std::to_string(found.back().blocked_since->time_since_epoch().count());
    return answer(body);
}

json::array stuck_lanes(engine::LaneStats const& stats, log::EventLog const& log)
{
    json::array lanes;
    for (auto const& stuck : stats.stuck) {
        json::object lane{{"head", number(stuck.head)}, {"state", lane_states[static_cast<std::size_t>(stuck.state)]}};
        if (auto const did = did_of(log, stuck.head)) lane["did"] = *did;
        lanes.push_back(std::move(lane));
    }
    return lanes;
}

}  // namespace sluice::http
