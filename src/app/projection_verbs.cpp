#include "app/projection_verbs.hpp"

#include <memory>

namespace sluice::app {

void add_projection_verbs(
    CLI::App& cli, ProjectionVerbs& verbs, std::function<void(CLI::App*)> const& with_settings,
    std::function<void(CLI::App*)> const& with_json, std::string& url)
{
    struct Given {
        RebuildOptions               rebuild;
        std::optional<std::uint32_t> generation;
        bool                         beside_server{false};
    };
    auto const given = std::make_shared<Given>();
    auto* const noun = cli.add_subcommand("projection", "graphs in a database, made from the log");
    noun->require_subcommand(1);
    auto const add = [&](char const* name, char const* help, ProjectionVerbs::Verb verb) {
        auto* const command = noun->add_subcommand(name, help);
        with_settings(command);
        with_json(command);
        command->callback([&verbs, verb = std::move(verb)] { verbs.chosen = verb; });
        return command;
    };

    auto* const rebuild = add(
        "rebuild", "fold the log into a new generation of the database and compare it, while another one serves",
        [given](Config const& config, Remote const& remote, bool as_json) {
            auto const server = given->beside_server ? std::optional(remote) : std::nullopt;
            return projection_rebuild(config, server, given->rebuild, as_json);
        });
    rebuild->add_option_function<std::string>(
        "--url", [given, &url](std::string const& v) { given->beside_server = true, url = v; },
        "the server that runs over the same data; needed if there is one");
    rebuild->add_option("--rate", given->rebuild.rate, "events a second at most")->check(CLI::PositiveNumber);
    rebuild->add_option("--share", given->rebuild.share, "per cent of the time that it works beside the server")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    rebuild->add_option("--lag-max", given->rebuild.lag_max, "rest while the server has more events pending")
        ->capture_default_str();
    rebuild->add_flag("--follow", given->rebuild.follow, "apply what comes as well, until SIGINT");
    rebuild->add_flag("--activate", given->rebuild.activate, "make it current if no record differs");

    auto* const verify = add(
        "verify", "compare the graph with the log, and name the first record that differs",
        [given](Config const& config, Remote const&, bool as_json) {
            return projection_verify(config, given->generation, as_json);
        });
    verify->add_option("--generation", given->generation, "of the database; without it the current one");

    add("list", "the generations of the database",
        [](Config const& config, Remote const&, bool as_json) { return projection_list(config, as_json); });
    auto* const activate = add(
        "activate", "use this generation from the server's next start on; the one before is kept",
        [given](Config const& config, Remote const&, bool as_json) {
            return projection_activate(config, *given->generation, as_json);
        });
    auto* const drop = add(
        "drop", "remove a generation that is not current",
        [given](Config const& config, Remote const&, bool as_json) {
            return projection_drop(config, *given->generation, as_json);
        });
    for (auto* const command : {activate, drop})
        command->add_option("GENERATION", given->generation, "its number")->required();
}

}  // namespace sluice::app
