// sluice projection rebuild|verify|list|activate|drop
#pragma once

#include "app/projection.hpp"

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

namespace sluice::app {

// What was given on the command line; run() if `chosen`.
struct ProjectionVerbs {
    using Verb = std::function<int(Config const& config, Remote const& remote, bool as_json)>;

    Verb chosen{};
};

void add_projection_verbs(
    CLI::App& cli, ProjectionVerbs& verbs, std::function<void(CLI::App*)> const& with_settings,
    std::function<void(CLI::App*)> const& with_json, std::string& url);

}  // namespace sluice::app
