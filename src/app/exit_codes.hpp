// What the process says when it ends.
#pragma once

namespace sluice::app {

enum Exit : int {
    ok = 0,
    failure = 1,
    usage = 2,  // or configuration
    // client verbs
    not_found = 3,
    refused_key = 4,
    unreachable = 5,
    backpressure = 6,
    partial = 7,
    // serve and offline verbs
    damaged_log = 10,
    newer_format = 11,
    log_failed = 12,
    already_running = 13,
    out_of_memory = 14,
    forced_stop = 15,
};

}  // namespace sluice::app
