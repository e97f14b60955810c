// sluice cache ...
#include "app/operator_verbs.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <memory>

namespace sluice::app {

namespace json = boost::json;

void add_cache_verbs(OperatorVerbs& verbs)
{
    auto* const noun = verbs.noun("cache", "answers that are kept while they are true");

    verbs.add(noun, "show", "what keeps them, and how well", [](Remote const& r, bool as_json) {
        return get(r, "/internal/cache", as_json, [](json::value const& answer) { print_members(answer); });
    });

    auto const  pattern = std::make_shared<std::string>();
    auto* const clear = verbs.add(noun, "clear", "forget those whose keys match", [=](Remote const& r, bool as_json) {
        return post(r, "/internal/cache/clear", {{"pattern", *pattern}}, as_json,
                    [](json::value const& answer) { fmt::print("{} removed\n", cell(answer, "removed")); });
    });
    clear->add_option("PATTERN", *pattern, "such as 'conviction:*'; only * is special")->required();
}

}  // namespace sluice::app
