// sluice event show, sluice lane list
#include "app/operator_verbs.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

namespace sluice::app {

namespace json = boost::json;

namespace {

bool is_number(std::string const& text)
{
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

int show(Remote const& remote, std::string const& which, bool as_json)
{
    auto const target = is_number(which) ? "/internal/events/by-sequence/" + which
                                         : "/internal/events/by-id?event_id=" + percent_encoded(which);
    return get(remote, target, as_json, [](json::value const& event) { print_members(event); });
}

int list_lanes(Remote const& remote, std::size_t limit, bool as_json)
{
    auto const target = fmt::format("/internal/lanes?blocked=1&limit={}", limit);
    return get(remote, target, as_json, [](json::value const& answer) {
        std::vector<std::vector<std::string>> rows;
        for (auto const& lane : answer.at("lanes").as_array()) {
            auto const& errors = lane.at("errors").as_array();
            rows.push_back({cell(lane, "did"), cell(lane, "state"), cell(lane, "blocked_since"), cell(lane, "head"),
                            cell(lane, "depth"), cell(lane, "next_retry"),
                            errors.empty() ? "-" : cell(errors.back(), "reason")});
        }
        print_table({"DID", "STATE", "SINCE", "HEAD", "DEPTH", "NEXT RETRY", "LAST ERROR"}, rows);
    });
}

}  // namespace

void add_event_verbs(OperatorVerbs& verbs)
{
    auto const which = std::make_shared<std::string>();
    verbs
        .add(verbs.noun("event", "one event"), "show", "where it is, and why",
             [=](Remote const& remote, bool as_json) { return show(remote, *which, as_json); })
        ->add_option("EVENT", *which, "its sequence, or its id")
        ->required();
}

void add_lane_list(OperatorVerbs& verbs, CLI::App* lane)
{
    auto const limit = std::make_shared<std::size_t>(100);
    verbs
        .add(lane, "list", "the blocked ones, the longest first",
             [=](Remote const& remote, bool as_json) { return list_lanes(remote, *limit, as_json); })
        ->add_option("--limit", *limit)
        ->check(CLI::Range(1, 1'000))
        ->capture_default_str();
}

}  // namespace sluice::app
