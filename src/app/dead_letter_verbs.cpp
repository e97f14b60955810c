// sluice dead-letter ...
#include "app/exit_codes.hpp"
#include "app/operator_verbs.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

namespace sluice::app {

namespace json = boost::json;

namespace {

constexpr std::string_view route = "/internal/events/dead-letter";

// What the verbs are given; all of them share one.
struct Given {
    std::string   type, did, reason, cause, from, to, payload_file;
    std::uint64_t sequence{0};
    std::size_t   limit{100};
    double        rate{100};
    bool          all{false}, as_new{false}, is_sure{false};

    std::vector<std::pair<std::string_view, std::string>> filter() const
    {
        std::vector<std::pair<std::string_view, std::string>> members;
        for (auto const& [name, value] : {std::pair<std::string_view, std::string const*>{"type", &type}, {"did", &did},
                                          {"reason", &reason}, {"cause", &cause}, {"from", &from}, {"to", &to}})
            if (!value->empty()) members.emplace_back(name, *value);
        return members;
    }
    std::string query() const
    {
        std::string text;
        for (auto const& [name, value] : filter()) text.append(name).append("=").append(percent_encoded(value)) += '&';
        return text;
    }
};
using GivenRef = std::shared_ptr<Given>;

void with_filter(CLI::App* command, GivenRef const& given)
{
    command->add_option("--type", given->type, "only this event type");
    command->add_option("--did", given->did, "only this repository");
    command->add_option("--reason", given->reason, "only this reason");
    command->add_option("--cause", given->cause, "only this cause, as `groups` names it");
    command->add_option("--from", given->from, "given up at this time or later, such as 2026-01-01T00:00:00Z");
    command->add_option("--to", given->to, "given up before");
}

int list(Remote const& remote, Given const& given, bool as_json)
{
    auto const target = fmt::format("{}?{}limit={}", route, given.query(), given.limit);
    return get(remote, target, as_json, [](json::value const& answer) {
        std::vector<std::vector<std::string>> rows;
        for (auto const& item : answer.at("events").as_array())
            rows.push_back({cell(item, "sequence"), cell(item, "event_type"), cell(item, "did"), cell(item, "reason"),
                            cell(item, "retry_count"), cell(item.at("stages").at(0), "timestamp"),
                            cell(item.at("stages").at(0), "error")});
        print_table({"SEQUENCE", "TYPE", "DID", "REASON", "RETRIES", "GIVEN UP", "ERROR"}, rows);
        fmt::print("{} of {} that match, {} open\n", rows.size(), cell(answer, "matching"), cell(answer, "count"));
    });
}

int groups(Remote const& remote, Given const& given, bool as_json)
{
    return get(remote, fmt::format("{}/groups?{}", route, given.query()), as_json, [](json::value const& answer) {
        std::vector<std::vector<std::string>> rows;
        for (auto const& group : answer.as_array())
            rows.push_back({cell(group, "count"), cell(group, "event_type"), cell(group, "reason"),
                            cell(group, "cause"), cell(group, "oldest"), cell(group, "newest"),
                            cell(group, "example")});
        print_table({"COUNT", "TYPE", "REASON", "CAUSE", "OLDEST", "NEWEST", "EXAMPLE"}, rows);
    });
}

// One event at once, or all that match with a job.
int change(Remote const& remote, Given const& given, std::string const& verb, bool as_json)
{
    auto const target = fmt::format("{}/{}", route, verb);
    auto const filter = given.filter();
    if (int{given.sequence != 0} + int{!filter.empty()} + int{given.all} != 1)
        return fail({Errc::invalid, "usage", "name one SEQUENCE, or a filter such as --cause, or --all"});
    if (given.sequence == 0) {
        if (!given.payload_file.empty())
            return fail({Errc::invalid, "usage", "--payload is for one SEQUENCE"});
        json::object members;
        for (auto const& [name, value] : filter) members[name] = value;
        json::object body{{"filter", std::move(members)}, {"rate", given.rate}};
        if (given.as_new) body["as_new"] = true;
        return post_bulk(remote, target, std::move(body), given.is_sure, as_json);
    }
    // The payload goes as it is in the file.
    auto body = fmt::format(R"({{"sequence":{})", given.sequence);
    if (given.as_new) body += R"(,"as_new":true)";
    if (!given.payload_file.empty()) {
        std::ifstream file;
        if (given.payload_file != "-") file.open(given.payload_file, std::ios::binary);
        std::stringstream text;
        text << (given.payload_file == "-" ? std::cin : file).rdbuf();
        if (text.str().empty()) return fail({Errc::invalid, "file", "cannot read " + given.payload_file});
        body += R"(,"payload":)" + text.str();
    }
    auto client = Client::open(remote.url, remote.key);
    if (!client) return fail(client.error());
    auto const response = client->post(target, "application/json", body + '}');
    if (!response) return fail(response.error());
    if (response->status != 202) return refused(*response);
    if (as_json) {
        fmt::print("{}\n", response->body);
        return Exit::ok;
    }
    auto const answer = json::parse(response->body);
    auto const successor = cell(answer, "successor");
    fmt::print("event {} {}{}\n", cell(answer, "sequence"), cell(answer, "status"),
               successor == "-" ? "" : " as event " + successor);
    return Exit::ok;
}

// Oldest first, so that events of a record come in their order.
int export_lines(Remote const& remote, Given const& given)
{
    auto client = Client::open(remote.url, remote.key);
    if (!client) return fail(client.error());
    for (std::string cursor = "0"; !cursor.empty();) {
        auto const response = client->get(
            fmt::format("{}?{}form=ndjson&order=oldest&limit=1000&cursor={}", route, given.query(), cursor));
        if (!response) return fail(response.error());
        if (response->status != 200) return refused(*response);
        if (std::fwrite(response->body.data(), 1, response->body.size(), stdout) != response->body.size()) break;
        auto const next = response->headers.find("next-cursor");
        cursor = next == response->headers.end() ? "" : next->second;
    }
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return Exit::ok;
    fmt::print(stderr, "sluice: cannot write\n");
    return Exit::failure;
}

}  // namespace

void add_dead_letter_verbs(OperatorVerbs& verbs)
{
    auto const  given = std::make_shared<Given>();
    auto* const noun = verbs.noun("dead-letter", "events that could not be processed");

    auto* const list_command = verbs.add(noun, "list", "the open ones, the newest first",
                                         [=](Remote const& r, bool as_json) { return list(r, *given, as_json); });
    with_filter(list_command, given);
    list_command->add_option("--limit", given->limit, "how many")->check(CLI::Range(1, 1000))->capture_default_str();

    with_filter(verbs.add(noun, "groups", "what they have in common, the most frequent first",
                          [=](Remote const& r, bool as_json) { return groups(r, *given, as_json); }),
                given);

    verbs.add(noun, "show", "one of them, with its payload",
              [=](Remote const& r, bool as_json) {
                  return get(r, fmt::format("{}/{}", route, given->sequence), as_json,
                             [](json::value const& item) { print_members(item); });
              })
        ->add_option("SEQUENCE", given->sequence)
        ->required();

    for (auto const* const verb : {"redrive", "drop"}) {
        bool const  is_redrive = verb == std::string_view("redrive");
        auto* const command = verbs.add(
            noun, verb, is_redrive ? "process one again, or all that match" : "give up one, or all that match",
            [=](Remote const& r, bool as_json) { return change(r, *given, verb, as_json); });
        command->add_option("SEQUENCE", given->sequence);
        with_filter(command, given);
        command->add_flag("--all", given->all, "all that are open");
        command->add_flag("--yes", given->is_sure, "do it; without, a filter only tells what it would do");
        command->add_option("--rate", given->rate, "events a second")
            ->check(CLI::PositiveNumber)
            ->capture_default_str();
        if (!is_redrive) continue;
        command->add_option("--payload", given->payload_file, "a file with another payload, or - for standard input");
        command->add_flag("--as-new", given->as_new, "overwrite what was written since");
    }

    with_filter(verbs.add(noun, "export", "the events, one JSON object a line, as `sluice ingest` takes them",
                          [=](Remote const& r, bool) { return export_lines(r, *given); }),
                given);
}

}  // namespace sluice::app
