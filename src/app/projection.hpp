// Graphs beside the one in use: made again from the log, compared with it, and switched to.
#pragma once

#include "app/commands.hpp"

#include <optional>

namespace sluice::app {

struct RebuildOptions {
    std::uint64_t rate{0};         // events a second at most; 0: as fast as the database takes them
    std::uint32_t share{25};       // per cent of the time that it works beside a running server
    std::uint64_t lag_max{50};     // while a running server has more events pending, the rebuild rests
    bool          follow{false};   // until SIGINT or SIGTERM, instead of ending when it has caught up
    bool          activate{false};  // once it has caught up and was found equal
};

// Folds the log into a new generation of the database, or goes on with one that was begun, while the one in use serves.
// `server`: the one that runs over the same data, if there is one; nothing it has not settled is taken. Ends with a
// comparison with the log.
int projection_rebuild(
    Config const& config, std::optional<Remote> const& server, RebuildOptions const& options, bool as_json);

// Compares the graph of the database (the generation, or the current one), or without a database the checkpoints, with
// the log: 1 if a record differs, and which one first.
int projection_verify(Config const& config, std::optional<std::uint32_t> generation, bool as_json);

int projection_list(Config const& config, bool as_json);
// The server uses it from its next start on.
int projection_activate(Config const& config, std::uint32_t generation, bool as_json);
int projection_drop(Config const& config, std::uint32_t generation, bool as_json);

}  // namespace sluice::app
