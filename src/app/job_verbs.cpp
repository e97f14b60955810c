// sluice job ...
#include "app/operator_verbs.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <memory>

namespace sluice::app {

namespace json = boost::json;

namespace {

int list(Remote const& remote, bool as_json)
{
    return get(remote, "/internal/jobs", as_json, [](json::value const& answer) {
        std::vector<std::vector<std::string>> rows;
        for (auto const& job : answer.at("jobs").as_array())
            rows.push_back({cell(job, "job"), cell(job, "kind"), cell(job, "state"), cell(job, "done"),
                            cell(job, "failed"), cell(job, "matching"), cell(job, "rate"), cell(job, "filter"),
                            cell(job, "failure")});
        print_table({"JOB", "KIND", "STATE", "DONE", "FAILED", "LEFT", "RATE", "FILTER", "FAILURE"}, rows);
    });
}

}  // namespace

void add_job_verbs(OperatorVerbs& verbs)
{
    auto* const noun = verbs.noun("job", "changes of many events");
    verbs.add(noun, "list", "the one under way, and those that ended since the server started", list);
    auto const job = std::make_shared<std::uint64_t>(0);
    for (auto const* const verb : {"stop", "resume"})
        verbs
            .add(noun, verb,
                 verb == std::string_view("stop") ? "stop it; what it did stays" : "go on with a stopped one",
                 [=](Remote const& r, bool as_json) {
                     return post(r, fmt::format("/internal/jobs/{}", verb), {{"job", *job}}, as_json,
                                 [](json::value const& answer) {
                                     fmt::print("job {} {}\n", cell(answer, "job"), cell(answer, "state"));
                                 });
                 })
            ->add_option("JOB", *job)
            ->required();
}

}  // namespace sluice::app
