// The reading half of Operations: what is open, what it has in common, what waits.
#include "http/operations.hpp"

#include "http/operations_json.hpp"
#include "http/record_json.hpp"
#include "schema/syntax.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <charconv>

namespace sluice::http {

namespace json = boost::json;

namespace {

constexpr std::size_t answer_bytes_max = 8u << 20;  // a page ends where its payloads have passed this

std::optional<std::uint64_t> number_of(std::string_view text, std::uint64_t min, std::uint64_t max)
{
    std::uint64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < min || value > max) return std::nullopt;
    return value;
}

Response bad_query(std::string detail) { return problem(400, "bad_query", std::move(detail)); }

// The verdict that made it a dead letter.
Result<std::optional<log::Decision>> dead_letter_verdict(log::EventLog const& log, Sequence sequence)
{
    std::optional<log::Decision> found;
    auto const visited = log.visit_decisions(sequence, [&](log::Decision const& decision) {
        if (decision.sequence != sequence) return false;
        if (decision.verdict == log::Verdict::dead_letter) found = decision;
        return true;
    });
    if (!visited) return visited.error();
    return found;
}

json::object item_json(
    engine::DeadLetters::Item const& item, log::Decision const& verdict, log::LoggedRecord const& record)
{
    return {{"event_id", record.id(item.sequence)}, {"sequence", number(item.sequence)}, {"event_type", item.type},
            {"did", item.did}, {"retry_count", item.attempts == 0 ? 0 : item.attempts - 1},
            {"timestamp", schema::format_datetime(item.received_at)}, {"reason", item.reason},
            {"cause", cause_name(item.fingerprint)},
            {"stages", {{{"stage", "processing"}, {"timestamp", schema::format_datetime(item.at)}, {"success", false},
                         {"error", verdict.detail}}}}};
}

// The object with one more member, whose value is JSON already.
std::string with_raw(json::object const& object, std::string_view name, std::string_view value)
{
    auto text = json::serialize(object);
    text.pop_back();
    return text.append(",\"").append(name).append("\":").append(value).append("}");
}

}  // namespace

Result<Operations::Record> Operations::read(Sequence sequence) const
{
    auto block = deps_.log.read(sequence);
    if (!block) return block.error();
    if (!*block) return Error{Errc::corrupt, "no_event", "there is no event " + std::to_string(number(sequence))};
    auto const record = (*block)->record_at(sequence);
    return Record{std::move(*block), record};
}

void Operations::dead_letters(Request& request, Reply reply)
{
    auto const query = Query::parse(request.query);
    if (!query) return reply(bad_query(query.error().detail));
    auto const only = query->only(
        {"type", "did", "reason", "cause", "from", "to", "limit", "cursor", "order", "payload", "form"});
    if (!only) return reply(bad_query(only.error().detail));
    auto filter = read_filter(*query);
    if (!filter) return reply(bad_query(filter.error().detail));
    auto const limit = number_of(query->get("limit").value_or("100"), 1, 1000);
    if (!limit) return reply(bad_query("?limit= is a number from 1 to 1000"));
    auto const cursor = number_of(query->get("cursor").value_or("0"), 0, ~std::uint64_t{0});
    if (!cursor) return reply(bad_query("?cursor= is the next_cursor of another answer"));
    auto const order = query->get("order").value_or("newest");
    if (order != "newest" && order != "oldest")
        return reply(bad_query("?order= is newest or oldest, which comes first"));
    auto const payload = query->get("payload").value_or("false");
    if (payload != "true" && payload != "false") return reply(bad_query("?payload= is true or false"));
    auto const form = query->get("form").value_or("json");
    if (form != "json" && form != "ndjson") return reply(bad_query("?form= is json or ndjson"));

    bool const is_newest = order == "newest", with_payload = payload == "true", is_lines = form == "ndjson";
    deps_.background.run(std::move(reply), [=, this, filter = std::move(*filter)] {
        return is_lines ? list_lines(filter, *limit, Sequence{*cursor}, is_newest)
                        : list(filter, *limit, Sequence{*cursor}, is_newest, with_payload);
    });
}

Response Operations::list(
    Filter const& filter, std::size_t limit, Sequence cursor, bool newest_first, bool with_payload) const
{
    auto const& open = deps_.engine.dead_letters();
    auto const  items = open.list(filter, cursor, limit + 1, newest_first);
    std::string events;
    std::size_t shown = 0;
    for (; shown < std::min(limit, items.size()) && events.size() < answer_bytes_max; ++shown) {
        auto const& item = items[shown];
        auto const  verdict = dead_letter_verdict(deps_.log, item.sequence);
        auto const  found = read(item.sequence);
        if (!verdict || !found) return cannot_read(!verdict ? verdict.error() : found.error());
        auto const object = item_json(item, verdict->value_or(log::Decision{}), found->record);
        if (!events.empty()) events += ',';
        events += with_payload ? with_raw(object, "payload", found->record.payload()) : json::serialize(object);
    }
    json::object whole{{"count", open.stats().count}, {"matching", open.count(filter)}};
    if (shown < items.size()) whole["next_cursor"] = number(items[shown - 1].sequence);
    return {.status = 200, .content_type = "application/json", .body = with_raw(whole, "events", '[' + events + ']')};
}

// As ingest takes them.
Response Operations::list_lines(Filter const& filter, std::size_t limit, Sequence cursor, bool newest_first) const
{
    auto const  items = deps_.engine.dead_letters().list(filter, cursor, limit + 1, newest_first);
    Response    response{.status = 200, .content_type = "application/x-ndjson"};
    std::size_t shown = 0;
    for (; shown < std::min(limit, items.size()) && response.body.size() < answer_bytes_max; ++shown) {
        auto const found = read(items[shown].sequence);
        if (!found) return cannot_read(found.error());
        append_envelope(response.body, found->record);
        response.body += '\n';
    }
    if (shown < items.size())
        response.add_header("Next-Cursor", std::to_string(number(items[shown - 1].sequence)));
    return response;
}

json::array Operations::group_list(Filter const& filter) const
{
    auto const  now = deps_.clock.wall();
    json::array groups;
    for (auto const& group : deps_.engine.dead_letters().groups(filter)) {
        if (groups.size() == 1'000) break;  // the largest
        auto const age = std::chrono::duration_cast<std::chrono::seconds>(now - group.oldest).count();
        groups.push_back({{"cause", cause_name(group.fingerprint)}, {"event_type", group.type},
                          {"reason", group.reason}, {"count", group.count},
                          {"oldest", schema::format_datetime(group.oldest)},
                          {"newest", schema::format_datetime(group.newest)},
                          {"oldest_age_seconds", std::max<std::int64_t>(0, age)},
                          {"example", number(group.example)}});
    }
    return groups;
}

void Operations::dead_letter_groups(Request& request, Reply reply)
{
    auto const query = Query::parse(request.query);
    if (!query) return reply(bad_query(query.error().detail));
    auto const only = query->only({"type", "did", "reason", "cause", "from", "to"});
    if (!only) return reply(bad_query(only.error().detail));
    auto filter = read_filter(*query);
    if (!filter) return reply(bad_query(filter.error().detail));
    deps_.background.run(std::move(reply), [this, filter = std::move(*filter)] {
        return Response{.status = 200, .content_type = "application/json",
                        .body = json::serialize(group_list(filter))};
    });
}

void Operations::dead_letter(Request& request, Reply reply)
{
    auto const sequence = number_of(request.path_tail, 1, ~std::uint64_t{0});
    if (!sequence) return reply(problem(404, "not_open", "a dead letter is named by its sequence"));
    deps_.background.run(std::move(reply), [this, sequence] { return show(Sequence{*sequence}); });
}

Response Operations::show(Sequence sequence)
{
    auto const& open = deps_.engine.dead_letters();
    auto const  items = open.is_open(sequence) ? open.list({}, Sequence{number(sequence) - 1}, 1, false)
                                               : std::vector<engine::DeadLetters::Item>{};
    if (items.empty() || items.front().sequence != sequence) {
        auto response = not_open(sequence, log::Verdict::dead_letter);
        if (response.status == 409) response.status = 404;
        return response;
    }
    json::array                  decisions;
    std::optional<log::Decision> verdict;
    auto const visited = deps_.log.visit_decisions(sequence, [&](log::Decision const& decision) {
        if (decision.sequence != sequence) return false;
        decisions.push_back({{"verdict", verdict_name(decision.verdict)}, {"reason", decision.reason},
                             {"detail", decision.detail}, {"attempts", decision.attempts},
                             {"at", schema::format_datetime(decision.at)}});
        verdict = decision;
        return true;
    });
    auto const found = read(sequence);
    if (!visited || !found) return cannot_read(!visited ? visited.error() : found.error());
    auto const& record = found->record;
    auto        item = item_json(items.front(), verdict.value_or(log::Decision{}), record);
    auto const  event = decider_.read(record, sequence, found->block->received_at());
    item["tier"] = tier_names[index(record.tier())];
    item["rev"] = event.rev == Revision::none ? json::value() : json::value(schema::format_tid(event.rev));
    item["version"] = number(engine::version_of(event));
    auto const cause = record.origin().cause;
    item["made_from"] = cause == Sequence::none ? json::value() : json::value(number(cause));
    item["decisions"] = std::move(decisions);
    add_what_came_later(item, record, event);
    decider_.clear();
    return {.status = 200, .content_type = "application/json", .body = with_raw(item, "payload", record.payload())};
}

// What its record holds now, and which event a redrive would give way to. Not told of records that are gone.
void Operations::add_what_came_later(json::object& item, log::LoggedRecord const& logged, Event const& event) const
{
    item["record"] = item["stale_by"] = nullptr;
    auto const entry = deps_.schemas.find(logged.type());
    auto const uri = entry != nullptr && entry->uri ? event.fields.text(*entry->uri) : std::nullopt;
    if (!uri) return;
    for (auto const kind : {Kind::relationship, Kind::attestation, Kind::entity}) {
        auto const found = deps_.graph.find(kind, *uri);
        if (!found || !*found) continue;
        auto const& record = ***found;
        auto const  version = record.version == Sequence::none ? record.sequence : record.version;
        bool const  is_stale =
            event.rev != Revision::none ? event.rev <= record.rev : version > engine::version_of(event);
        item["record"] = json::object{
            {"uri", *uri}, {"sequence", number(record.sequence)},
            {"rev", record.rev == Revision::none ? json::value() : json::value(schema::format_tid(record.rev))}};
        if (is_stale) item["stale_by"] = number(record.sequence);
        return;
    }
}

// ---- parked events

void Operations::parked(Request&, Reply reply)
{
    deps_.background.run(std::move(reply), [this] {
        auto const  now = deps_.clock.wall();
        json::array types;
        for (auto const& [type, waiting] : deps_.engine.parking().by_type()) {
            auto const age = std::chrono::duration_cast<std::chrono::seconds>(now - waiting.oldest).count();
            types.push_back({{"event_type", type}, {"count", waiting.events},
                             {"oldest", schema::format_datetime(waiting.oldest)},
                             {"oldest_age_seconds", std::max<std::int64_t>(0, age)},
                             {"has_processor", deps_.schemas.find(type) != nullptr}});
        }
        return answer(json::object{{"count", deps_.engine.parking().events()}, {"types", std::move(types)}});
    });
}

// By its newest decision. Of everything, or of a type, it is known; only a repository's are counted one by one.
std::uint64_t Operations::parked_matching(Filter const& filter) const
{
    auto const& parking = deps_.engine.parking();
    if (!filter.did) {
        if (!filter.type) return parking.events();
        auto const types = parking.by_type();
        auto const found = types.find(*filter.type);
        return found == types.end() ? 0 : found->second.events;
    }
    std::uint64_t count = 0;
    Sequence      last{};
    bool          is_counted = false;  // the last one
    auto const visited = deps_.log.visit_decisions(Sequence{1}, [&](log::Decision const& decision) {
        auto const& subject = decision.subject;
        if (decision.sequence == last && is_counted) --count;
        last = decision.sequence;
        is_counted = decision.verdict == log::Verdict::parked && subject.did == *filter.did &&
                     (!filter.type || subject.type == *filter.type);
        count += is_counted;
        return true;
    });
    return visited ? count : 0;
}

}  // namespace sluice::http
