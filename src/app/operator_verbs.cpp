#include "app/operator_verbs.hpp"

#include "app/exit_codes.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace sluice::app {

namespace json = boost::json;

CLI::App* OperatorVerbs::noun(std::string const& name, std::string const& help)
{
    auto* const command = cli.add_subcommand(name, help);
    command->require_subcommand(1);
    return command;
}

CLI::App* OperatorVerbs::add(CLI::App* noun, std::string const& name, std::string const& help, Verb verb)
{
    auto* const command = noun->add_subcommand(name, help);
    command->callback([this, verb = std::move(verb)] { chosen = verb; });
    with_remote(command);
    with_json(command);
    return command;
}

namespace {

int show_answer(
    Result<ClientResponse> const& response, bool as_json, std::function<void(json::value const&)> const& show)
{
    if (!response) return fail(response.error());
    if (response->status != 200 && response->status != 202) return refused(*response);
    if (as_json)
        fmt::print("{}\n", response->body);
    else
        show(json::parse(response->body));
    return Exit::ok;
}

}  // namespace

int get(Remote const& remote, std::string const& target, bool as_json,
        std::function<void(json::value const&)> const& show)
{
    auto client = Client::open(remote.url, remote.key);
    if (!client) return fail(client.error());
    return show_answer(client->get(target), as_json, show);
}

int post(Remote const& remote, std::string const& target, json::object const& body, bool as_json,
         std::function<void(json::value const&)> const& show)
{
    auto client = Client::open(remote.url, remote.key);
    if (!client) return fail(client.error());
    return show_answer(client->post(target, "application/json", json::serialize(body)), as_json, show);
}

int post_bulk(Remote const& remote, std::string const& target, json::object body, bool is_sure, bool as_json)
{
    body["dry_run"] = !is_sure;
    return post(remote, target, body, as_json, [&](json::value const& answer) {
        auto const matching = cell(answer, "matching");
        if (is_sure) {
            fmt::print(
                "job {} takes up {} events; sluice job list says how far it is\n", cell(answer, "job"), matching);
            return;
        }
        fmt::print("{} events match; nothing was changed: add --yes to go on\n", matching);
        if (auto const* const groups = answer.as_object().if_contains("groups")) {
            std::vector<std::vector<std::string>> rows;
            for (auto const& group : groups->as_array())
                rows.push_back({cell(group, "count"), cell(group, "event_type"), cell(group, "reason"),
                                cell(group, "cause"), cell(group, "example")});
            if (!rows.empty()) print_table({"COUNT", "TYPE", "REASON", "CAUSE", "EXAMPLE"}, rows);
        }
    });
}

void print_table(std::vector<std::string> const& titles, std::vector<std::vector<std::string>> const& rows)
{
    std::vector<std::size_t> widths;
    for (auto const& title : titles) widths.push_back(title.size());
    for (auto const& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    auto const print = [&](std::vector<std::string> const& row) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
        line.erase(line.find_last_not_of(' ') + 1);
        fmt::print("{}\n", line);
    };
    print(titles);
    for (auto const& row : rows) print(row);
}

namespace {

std::string text_of(json::value const& value)
{
    if (value.is_null()) return "-";
    auto text = value.is_string() ? std::string(value.get_string()) : json::serialize(value);
    // Texts of producers do not reach the terminal as commands.
    auto const is_control = [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; };
    std::replace_if(text.begin(), text.end(), is_control, ' ');
    return text;
}

}  // namespace

std::string cell(json::value const& object, std::string_view member)
{
    auto const* const value = object.as_object().if_contains(member);
    return value == nullptr ? "-" : text_of(*value);
}

void print_members(json::value const& object, std::string const& prefix)
{
    for (auto const& [name, value] : object.as_object()) {
        auto const full = prefix + std::string(name);
        if (value.is_object())
            print_members(value, full + '.');
        else
            fmt::print("{:<28} {}\n", full, text_of(value));
    }
}

std::string percent_encoded(std::string_view text)
{
    std::string out;
    for (char const c : text) {
        bool const plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                           c == '.' || c == '_' || c == '~';
        out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
}

}  // namespace sluice::app
