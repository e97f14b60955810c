// The verbs of operators: each asks a running server, and prints what it says.
#pragma once

#include "app/client.hpp"
#include "app/commands.hpp"

#include <CLI/CLI.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::app {

// Where verbs are added, and which one was given.
struct OperatorVerbs {
    using Verb = std::function<int(Remote const& remote, bool as_json)>;

    CLI::App&                      cli;
    std::function<void(CLI::App*)> with_remote, with_json;
    Verb                           chosen{};

    CLI::App* noun(std::string const& name, std::string const& help);
    // Runs `verb` when it is the one given.
    CLI::App* add(CLI::App* noun, std::string const& name, std::string const& help, Verb verb);
};

void add_dead_letter_verbs(OperatorVerbs& verbs);
void add_parked_verbs(OperatorVerbs& verbs);
void add_job_verbs(OperatorVerbs& verbs);
void add_control_verbs(OperatorVerbs& verbs);
void add_event_verbs(OperatorVerbs& verbs);
void add_cache_verbs(OperatorVerbs& verbs);
void add_lane_list(OperatorVerbs& verbs, CLI::App* lane);

// Prints the body, or gives what was parsed of it to `show`; the exit code.
int get(Remote const& remote, std::string const& target, bool as_json,
        std::function<void(boost::json::value const&)> const& show);
int post(Remote const& remote, std::string const& target, boost::json::object const& body, bool as_json,
         std::function<void(boost::json::value const&)> const& show);

// A dry run, and with `is_sure` what it tells of.
int post_bulk(Remote const& remote, std::string const& target, boost::json::object body, bool is_sure, bool as_json);

// Columns as wide as their widest cell.
void        print_table(std::vector<std::string> const& titles, std::vector<std::vector<std::string>> const& rows);
std::string cell(boost::json::value const& object, std::string_view member);  // "-" for what is not there
void        print_members(boost::json::value const& object, std::string const& prefix = {});
std::string percent_encoded(std::string_view text);

}  // namespace sluice::app
