#include "http/operations_json.hpp"

#include "schema/syntax.hpp"

#include <boost/json.hpp>

#include <charconv>

namespace sluice::http {

namespace json = boost::json;

Response answer(json::object const& body, int status)
{
    return {.status = status, .content_type = "application/json", .body = json::serialize(body)};
}

Response problem(int status, std::string error, std::string detail)
{
    return to_response({.status = status, .error = std::move(error), .detail = std::move(detail)});
}

Response cannot_read(Error const& error)
{
    return problem(500, error.reason, "the log cannot be read: " + error.detail);
}

std::string_view verdict_name(log::Verdict verdict)
{
    switch (verdict) {
    case log::Verdict::dead_letter: return "dead_letter";
    case log::Verdict::parked: return "parked";
    case log::Verdict::released: return "released";
    case log::Verdict::dropped: return "dropped";
    case log::Verdict::redriven: return "redriven";
    }
    return "unknown";
}

json::value time_or_null(WallTime time)
{
    return time == WallTime{} ? json::value() : json::value(schema::format_datetime(time));
}

std::string cause_name(std::uint64_t fingerprint)
{
    std::string name(16, '0');
    for (std::size_t i = 16; i-- > 0; fingerprint >>= 4) name[i] = "0123456789abcdef"[fingerprint & 15];
    return name;
}

json::object to_json(engine::DeadLetters::Filter const& filter)
{
    json::object shown;
    if (filter.type) shown["type"] = *filter.type;
    if (filter.did) shown["did"] = *filter.did;
    if (filter.reason) shown["reason"] = *filter.reason;
    if (filter.fingerprint) shown["cause"] = cause_name(*filter.fingerprint);
    if (filter.from) shown["from"] = schema::format_datetime(*filter.from);
    if (filter.to) shown["to"] = schema::format_datetime(*filter.to);
    if (number(filter.through) != ~std::uint64_t{0}) shown["through"] = number(filter.through);
    return shown;
}

namespace {

std::optional<std::uint64_t> parse_cause(std::string_view text)
{
    std::uint64_t cause = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), cause, 16);
    if (text.size() != 16 || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return cause;
}

// `text(name)` is the value of a name, if it has one; `wrong(name, code, detail)` is told what is none.
template <class Text, class Wrong>
engine::DeadLetters::Filter read(Text const& text, Wrong const& wrong)
{
    engine::DeadLetters::Filter filter{.type = text("type"), .did = text("did"), .reason = text("reason")};
    if (auto const cause = text("cause"); cause && !(filter.fingerprint = parse_cause(*cause)))
        wrong("cause", "cause_syntax", "must be 16 hex digits, as the groups have them");
    for (auto const& [name, time] : {std::pair{"from", &filter.from}, std::pair{"to", &filter.to}})
        if (auto const given = text(name); given && !(*time = schema::parse_datetime(*given)))
            wrong(name, "datetime_syntax", "must be a datetime such as 2026-01-01T00:00:00Z");
    return filter;
}

}  // namespace

engine::DeadLetters::Filter read_filter(Members& filter)
{
    auto found = read([&](char const* name) { return filter.text(name); },
                      [&](char const* name, char const* code, char const* detail) { filter.fail(name, code, detail); });
    filter.done();
    return found;
}

Result<engine::DeadLetters::Filter> read_filter(Query const& query)
{
    std::optional<Error> failed;
    auto filter = read(
        [&](char const* name) -> std::optional<std::string> {
            auto const value = query.get(name);
            if (!value) return std::nullopt;
            return std::string(*value);
        },
        [&](char const* name, char const*, char const* detail) {
            failed = Error{Errc::invalid, "bad_query", std::string("?") + name + "= " + detail};
        });
    if (failed) return *failed;
    return filter;
}

}  // namespace sluice::http
