// The verbs of the command line. Each returns the process's exit code and reports failures on stderr.
#pragma once

#include "app/config.hpp"
#include "bench/workload.hpp"

#include <cstdint>
#include <string>

namespace sluice::app {

struct ClientResponse;

int serve(Config const& config);
int replay(Config const& config, bool as_json);

// Reads the whole log, the checkpoints in use and the ids: 10 and its kin when the log is damaged, 1 when only what is
// made from it is. Beside a running server it looks at what was there when it began.
int verify(Config const& config, bool as_json);

int log_info(Config const& config, bool as_json);

// Which events of the log.
struct Selection {
    std::uint64_t from{1}, to{UINT64_MAX};
    std::string   type, did;    // empty: any
    bool          bare{false};  // just the event, as `ingest` takes it
};
// One JSON object a line.
int log_export(Config const& config, Selection const& selection);

struct Remote {
    std::string url;
    std::string key;
};

int state(Remote const& remote, bool as_json);
// `path` may be "-".
int ingest(Remote const& remote, std::string const& path, std::size_t batch, bool as_json);

struct TailOptions {
    std::uint64_t from{0};            // first sequence; 0: what comes next
    std::string   types, dids, tier;  // as the parameters of /v1/stream; empty: any
    std::uint64_t limit{0};           // ends after so many events; 0: never
};

// Prints events as they come, until SIGINT or SIGTERM; a connection that is lost is opened again.
int tail(Remote const& remote, TailOptions const& options, bool as_json);

struct BenchOptions {
    bench::WorkloadOptions workload;
    std::size_t            connections{64};
    std::size_t            batch{1};
    double                 rate{0};  // events a second; 0: as fast as answers come
    double                 seconds{10};
    double                 warmup{2};
    double                 rest{0.01};  // seconds a connection without a rate rests after a refusal
    int                    server_pid{0};  // 0: unknown
};

// Measures a running server that nobody else writes to.
int bench(Remote const& remote, BenchOptions const& options, bool as_json);

// As a settings file; with `origin` as a table that says where each value comes from.
int config_show(Loaded const& loaded, bool origin, bool as_json);
// Says everything for which `serve` would refuse these settings.
int config_check(Loaded const& loaded, bool as_json);

// What a client verb says when the server was not reached, and when it refused; both return the exit code.
int fail(Error const& error);
int refused(ClientResponse const& response);

// The exit code that fits an error of opening or reading a log.
int exit_code(Error const& error);

}  // namespace sluice::app
