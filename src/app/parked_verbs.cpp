// sluice parked ...
#include "app/operator_verbs.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <memory>

namespace sluice::app {

namespace json = boost::json;

namespace {

constexpr std::string_view route = "/internal/events/parked";

struct Given {
    std::string   type, did;
    std::uint64_t sequence{0};
    double        rate{100};
    bool          all{false}, is_sure{false};
};

int list(Remote const& remote, bool as_json)
{
    return get(remote, std::string(route), as_json, [](json::value const& answer) {
        std::vector<std::vector<std::string>> rows;
        for (auto const& type : answer.at("types").as_array())
            rows.push_back({cell(type, "event_type"), cell(type, "count"), cell(type, "oldest"),
                            type.at("has_processor").as_bool() ? "yes" : "no"});
        print_table({"TYPE", "COUNT", "OLDEST", "PROCESSOR"}, rows);
        fmt::print("{} parked\n", cell(answer, "count"));
    });
}

int release(Remote const& remote, Given const& given, bool as_json)
{
    json::object filter;
    if (!given.type.empty()) filter["type"] = given.type;
    if (!given.did.empty()) filter["did"] = given.did;
    if (filter.empty() != given.all) return fail({Errc::invalid, "usage", "name --type or --did, or --all"});
    return post_bulk(remote, fmt::format("{}/release", route), {{"filter", std::move(filter)}, {"rate", given.rate}},
                     given.is_sure, as_json);
}

}  // namespace

void add_parked_verbs(OperatorVerbs& verbs)
{
    auto const  given = std::make_shared<Given>();
    auto* const noun = verbs.noun("parked", "events that wait for a processor, and what waits behind them");

    verbs.add(noun, "list", "how many of which type", [](Remote const& r, bool as_json) { return list(r, as_json); });

    auto* const command = verbs.add(noun, "release", "process those that match",
                                    [=](Remote const& r, bool as_json) { return release(r, *given, as_json); });
    command->add_option("--type", given->type, "only this event type");
    command->add_option("--did", given->did, "only this repository");
    command->add_flag("--all", given->all, "all that are parked");
    command->add_flag("--yes", given->is_sure, "do it; without, it only tells how many there are");
    command->add_option("--rate", given->rate, "events a second")->check(CLI::PositiveNumber)->capture_default_str();

    verbs.add(noun, "drop", "give up one",
              [=](Remote const& r, bool as_json) {
                  return post(r, fmt::format("{}/drop", route), {{"sequence", given->sequence}}, as_json,
                              [](json::value const& answer) {
                                  fmt::print("event {} {}\n", cell(answer, "sequence"), cell(answer, "status"));
                              });
              })
        ->add_option("SEQUENCE", given->sequence)
        ->required();
}

}  // namespace sluice::app
