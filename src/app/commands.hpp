// The verbs of the command line. Each returns the process's exit code and reports failures on stderr.
#pragma once

#include "app/config.hpp"

#include <string>

namespace sluice::app {

int serve(Config const& config);
int replay(Config const& config, bool as_json);

struct Remote {
    std::string url;
    std::string key;
};

int state(Remote const& remote, bool as_json);
// `path` may be "-".
int ingest(Remote const& remote, std::string const& path, std::size_t batch, bool as_json);

int config_show(Loaded const& loaded, bool as_json);

// The exit code that fits an error of opening or reading a log.
int exit_code(Error const& error);

}  // namespace sluice::app
