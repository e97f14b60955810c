// `sluice config`: the settings as they are.
#include "app/commands.hpp"
#include "app/exit_codes.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::app {

namespace json = boost::json;

int config_show(Loaded const& loaded, bool origin, bool as_json)
{
    json::object object;
    if (!origin && !as_json) fmt::print("{}", to_toml(loaded));
    for (auto const& setting : settings()) {
        auto const& from = loaded.origins.at(std::string(setting.key));
        auto const  source = source_name(from.source);
        if (as_json)
            object[setting.key] = json::object{{"value", from.value}, {"origin", source}, {"name", from.name}};
        else if (origin)
            fmt::print(
                "{:<20} {:<28} {}{}{}\n", setting.key, from.value.empty() ? "-" : from.value, source,
                from.name.empty() ? "" : " ", from.name);
    }
    if (as_json) fmt::print("{}\n", json::serialize(object));
    return Exit::ok;
}

int config_check(Loaded const& loaded, bool as_json)
{
    auto problems = loaded.problems;
    for (auto& refusal : refusals_to_serve(loaded.config)) problems.push_back(std::move(refusal));
    if (as_json)
        fmt::print(
            "{}\n", json::serialize(json::object{{"ok", problems.empty()}, {"problems", json::value_from(problems)}}));
    else if (problems.empty())
        fmt::print("ok\n");
    else
        for (auto const& problem : problems) fmt::print(stderr, "sluice: {}\n", problem);
    return problems.empty() ? Exit::ok : Exit::usage;
}

}  // namespace sluice::app
