#include "app/commands.hpp"
#include "app/completion.hpp"
#include "app/exit_codes.hpp"
#include "app/operator_verbs.hpp"
#include "app/projection_verbs.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <new>

namespace sluice::app {

namespace {

int run(int argc, char** argv)
{
    CLI::App cli{"An event-sourced stream processor with priority tiers.", "sluice"};
    cli.require_subcommand(1);

    std::string                        file;
    std::map<std::string, std::string> flags;
    cli.add_option("--config", file, "settings file; without it ./sluice.toml if there is one");
    auto const with_settings = [&](CLI::App* command) {
        for (auto const& setting : settings())
            if (!setting.secret)
                command->add_option_function<std::string>(
                    flag_of(setting),
                    [&flags, key = std::string(setting.key)](std::string const& v) { flags[key] = v; },
                    std::string(setting.help));
    };

    bool        as_json = false;
    Remote      remote{.url = "http://127.0.0.1:7480", .key = {}};
    auto const  with_remote = [&](CLI::App* command) {
        command->add_option("--url", remote.url, "the server")->capture_default_str();
        command->add_option_function<std::string>(
            "--key-file", [&flags](std::string const& v) { flags["key_file"] = v; }, "file that holds the key");
    };
    auto const with_json = [&](CLI::App* command) { command->add_flag("--json", as_json, "print one JSON object"); };

    auto* const serve_command = cli.add_subcommand("serve", "run the server");
    with_settings(serve_command);
    auto* const ingest_command = cli.add_subcommand("ingest", "send events, one JSON object a line");
    std::string input;
    std::size_t batch = 1000;
    ingest_command->add_option("FILE", input, "a file, or - for standard input")->required();
    ingest_command->add_option("--batch", batch, "events in one request")
        ->check(CLI::Range(1, 10'000))
        ->capture_default_str();
    with_remote(ingest_command);
    with_json(ingest_command);
    auto* const state_command = cli.add_subcommand("state", "what a server has accepted, applied and holds");
    with_remote(state_command);
    with_json(state_command);
    auto* const tail_command = cli.add_subcommand("tail", "print events as they come");
    TailOptions following;
    tail_command->add_option("--from", following.from, "first sequence; without it only what comes from now on")
        ->check(CLI::PositiveNumber);
    tail_command->add_option("--types", following.types, "only these event types, comma-separated; relationship.* too");
    tail_command->add_option("--dids", following.dids, "only these repositories, comma-separated");
    tail_command->add_option("--tier", following.tier, "only these tiers, comma-separated");
    tail_command->add_option("--limit", following.limit, "end after so many events")->check(CLI::PositiveNumber);
    with_remote(tail_command);
    tail_command->add_flag("--json", as_json, "print each event as one JSON object a line");
    auto* const bench_command =
        cli.add_subcommand("bench", "post generated events to a running server that nobody else uses, and measure it");
    BenchOptions        load;
    std::vector<double> tier_mix{1, 9, 60, 30};
    auto&               work = load.workload;
    using Work = bench::Workload;
    bench_command->add_option("--connections", load.connections, "each has one request under way")
        ->check(CLI::Range(1, 10'000));
    bench_command->add_option("--batch", load.batch, "events in one request")->check(CLI::Range(1, 10'000));
    bench_command
        ->add_option("--rate", load.rate, "events a second, latency from the intended time; 0: as fast as answers come")
        ->check(CLI::NonNegativeNumber);
    bench_command->add_option("--seconds", load.seconds, "to measure")->check(CLI::Range(0.1, 86'400.0));
    bench_command->add_option("--warmup", load.warmup, "seconds before, not measured")->check(CLI::Range(0.0, 3'600.0));
    bench_command->add_option("--rest", load.rest, "seconds a connection rests after a refusal; only without --rate")
        ->check(CLI::Range(0.0, 60.0));
    bench_command->add_option("--body-size", work.body_bytes, "mean bytes of an event, log-normal up to 1600")
        ->check(CLI::Range(Work::body_bytes_min, Work::body_bytes_max));
    bench_command->add_option("--tier-mix", tier_mix, "weights from CRITICAL to LOW")
        ->delimiter(',')
        ->expected(static_cast<int>(tier_count))
        ->check(CLI::NonNegativeNumber);
    bench_command->add_option("--dids", work.dids, "repositories")->check(CLI::Range(2, 10'000'000));
    bench_command->add_option("--skew", work.skew, "Zipf exponent of the repositories; 0: all alike")
        ->check(CLI::Range(0.0, 5.0));
    bench_command->add_option("--records", work.records, "different records, written again and again; 0: all new")
        ->capture_default_str();
    bench_command->add_option("--duplicates", work.duplicates, "share of events that were sent before")
        ->check(CLI::Range(0.0, 0.99));
    bench_command->add_option("--seed", work.seed, "of bodies, tiers and repositories");
    bench_command->add_option("--server-pid", load.server_pid, "a local server's process, to tell its CPU time")
        ->check(CLI::PositiveNumber);
    for (auto* const option : bench_command->get_options([](CLI::Option const* o) { return o->get_type_size() != 0; }))
        option->capture_default_str();
    with_remote(bench_command);
    with_json(bench_command);
    OperatorVerbs operators{.cli = cli, .with_remote = with_remote, .with_json = with_json};
    add_dead_letter_verbs(operators);
    add_parked_verbs(operators);
    add_job_verbs(operators);
    add_control_verbs(operators);
    add_event_verbs(operators);
    ProjectionVerbs projection;
    add_projection_verbs(cli, projection, with_settings, with_json, remote.url);
    add_cache_verbs(operators);
    auto* const replay_command = cli.add_subcommand("replay", "fold a log into an empty graph: speed and digest");
    with_settings(replay_command);
    with_json(replay_command);
    auto* const verify_command = cli.add_subcommand("verify", "check a log, its digest and its checkpoints");
    with_settings(verify_command);
    with_json(verify_command);
    auto* const log_command = cli.add_subcommand("log", "look into a log");
    log_command->require_subcommand(1);
    auto* const info_command = log_command->add_subcommand("info", "what a log holds");
    with_settings(info_command);
    with_json(info_command);
    auto* const export_command = log_command->add_subcommand("export", "its events, one JSON object a line");
    Selection   selection;
    export_command->add_option("--from", selection.from, "first sequence")->capture_default_str();
    export_command->add_option("--to", selection.to, "last sequence");
    export_command->add_option("--type", selection.type, "only this event type");
    export_command->add_option("--did", selection.did, "only this repository");
    export_command->add_flag("--bare", selection.bare, "only the events, as `sluice ingest` takes them");
    with_settings(export_command);
    auto* const config_command = cli.add_subcommand("config", "settings");
    config_command->require_subcommand(1);
    auto* const show_command = config_command->add_subcommand("show", "every setting, as a sluice.toml");
    bool        with_origin = false;
    show_command->add_flag("--origin", with_origin, "print a table that says where each value comes from");
    with_settings(show_command);
    with_json(show_command);
    auto* const check_command = config_command->add_subcommand("check", "say what `serve` would refuse");
    with_settings(check_command);
    with_json(check_command);
    auto* const completion_command = cli.add_subcommand("completion", "print a completion script for a shell");
    completion_command->require_subcommand(1);
    completion_command->add_subcommand("bash", "for ~/.bashrc: eval \"$(sluice completion bash)\"");
    completion_command->add_subcommand("zsh", "for ~/.zshrc, after compinit: eval \"$(sluice completion zsh)\"");
    completion_command->add_subcommand("fish", "for config.fish: sluice completion fish | source");
    auto* const version_command = cli.add_subcommand("version", "what this is");
    with_json(version_command);

    try {
        cli.parse(argc, argv);
    } catch (CLI::ParseError const& error) {
        auto const code = cli.exit(error);
        return code == 0 ? Exit::ok : Exit::usage;
    }
    if (*version_command) {
        fmt::print(fmt::runtime(as_json ? "{{\"version\":\"{}\"}}\n" : "sluice {}\n"), SLUICE_VERSION);
        return Exit::ok;
    }
    if (*completion_command) {
        fmt::print("{}", completion(cli, completion_command->get_subcommands().at(0)->get_name()));
        return Exit::ok;
    }

    for (std::size_t t = 0; t < tier_count; ++t) work.tier_mix[t] = tier_mix[tier_count - 1 - t];
    if (tier_mix == std::vector<double>(tier_count, 0)) {
        fmt::print(stderr, "sluice: --tier-mix: one tier needs a weight\n");
        return Exit::usage;
    }

    auto const loaded = load_config(flags, environ, file);
    if (*check_command) return config_check(loaded, as_json);
    for (auto const& problem : loaded.problems) fmt::print(stderr, "sluice: {}\n", problem);
    if (!loaded.problems.empty()) return Exit::usage;
    remote.key = loaded.config.key;
    if (*serve_command) return serve(loaded.config);
    if (*replay_command) return replay(loaded.config, as_json);
    if (*verify_command) return verify(loaded.config, as_json);
    if (*info_command) return log_info(loaded.config, as_json);
    if (*export_command) return log_export(loaded.config, selection);
    if (*state_command) return state(remote, as_json);
    if (*ingest_command) return ingest(remote, input, batch, as_json);
    if (*tail_command) return tail(remote, following, as_json);
    if (projection.chosen) return projection.chosen(loaded.config, remote, as_json);
    if (operators.chosen) return operators.chosen(remote, as_json);
    if (*bench_command) return bench(remote, load, as_json);
    return config_show(loaded, with_origin, as_json);
}

}  // namespace

}  // namespace sluice::app

int main(int argc, char** argv)
{
    std::set_new_handler([] {
        std::fputs("sluice: out of memory\n", stderr);
        std::_Exit(sluice::app::Exit::out_of_memory);
    });
    spdlog::set_default_logger(spdlog::stderr_color_mt("sluice"));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
    try {
        return sluice::app::run(argc, argv);
    } catch (std::exception const& error) {
        std::fprintf(stderr, "sluice: %s\n", error.what());
        return sluice::app::Exit::failure;
    }
}
