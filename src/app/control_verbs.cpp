// sluice tier|type|lane pause|resume, worker set, limit set, control show
#include "app/operator_verbs.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <memory>

namespace sluice::app {

namespace json = boost::json;

namespace {

struct Given {
    std::string                name, note;
    std::uint64_t              workers{0}, capacity{0}, bytes{0};
    std::vector<std::uint32_t> tier_limits;
};

int change(Remote const& remote, json::object body, Given const& given, bool as_json)
{
    if (!given.note.empty()) body["note"] = given.note;
    return post(remote, "/internal/controls", body, as_json,
                [](json::value const& answer) { print_members(answer.at("controls")); });
}

int set_limits(Remote const& remote, Given const& given, bool as_json)
{
    json::object limits;
    if (given.capacity != 0) limits["capacity"] = given.capacity;
    if (given.bytes != 0) limits["bytes"] = given.bytes;
    if (!given.tier_limits.empty())
        limits["tier_limits"] = json::array(given.tier_limits.begin(), given.tier_limits.end());
    if (limits.empty()) return fail({Errc::invalid, "usage", "name --capacity, --bytes or --tier-limits"});
    return change(remote, {{"action", "set"}, {"limits", std::move(limits)}}, given, as_json);
}

}  // namespace

void add_control_verbs(OperatorVerbs& verbs)
{
    auto const given = std::make_shared<Given>();
    auto const with_note = [=](CLI::App* command) {
        command->add_option("--note", given->note, "why, for the record");
    };

    struct Noun {
        char const *name, *help, *argument, *member;
    };
    for (auto const& [name, help, argument, member] :
         {Noun{"tier", "what is served first", "TIER", "tier"}, Noun{"type", "event types", "TYPE", "event_type"},
          Noun{"lane", "repositories", "DID", "did"}}) {
        auto* const noun = verbs.noun(name, help);
        if (noun->get_name() == "lane") add_lane_list(verbs, noun);
        for (auto const* const verb : {"pause", "resume"}) {
            auto* const command = verbs.add(
                noun, verb, verb == std::string_view("pause") ? "apply no such events until it is resumed" : "go on",
                [=, m = std::string_view(member)](Remote const& r, bool as_json) {
                    return change(r, {{"action", verb}, {m, given->name}}, *given, as_json);
                });
            command->add_option(argument, given->name)->required();
            with_note(command);
        }
    }

    auto* const worker = verbs.add(verbs.noun("worker", "threads that apply events"), "set", "have so many",
                                   [=](Remote const& r, bool as_json) {
                                       json::object body{{"action", "set"}, {"workers", given->workers}};
                                       return change(r, std::move(body), *given, as_json);
                                   });
    worker->add_option("COUNT", given->workers)->required()->check(CLI::Range(1, 256));
    with_note(worker);

    auto* const limit = verbs.add(verbs.noun("limit", "how much may be resident"), "set", "change it; the rest stays",
                                  [=](Remote const& r, bool as_json) { return set_limits(r, *given, as_json); });
    limit->add_option("--capacity", given->capacity, "events");
    limit->add_option("--bytes", given->bytes, "bytes of them");
    limit->add_option("--tier-limits", given->tier_limits, "per cent at which LOW,NORMAL,HIGH,CRITICAL are refused")
        ->delimiter(',');
    with_note(limit);

    verbs.add(verbs.noun("control", "what operators have set"), "show", "all of it", [](Remote const& r, bool as_json) {
        return get(r, "/internal/controls", as_json, [](json::value const& answer) { print_members(answer); });
    });
}

}  // namespace sluice::app
