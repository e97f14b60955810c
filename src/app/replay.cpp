#include "app/commands.hpp"
#include "app/exit_codes.hpp"
#include "app/open_log.hpp"
#include "app/system_clock.hpp"
#include "base/hex.hpp"
#include "engine/fold.hpp"
#include "graph/resident_store.hpp"

#include <fmt/format.h>

namespace sluice::app {

// Reads beside a running server: what it had made durable when the log was opened.
int replay(Config const& config, bool as_json)
{
    auto const log = open_log(config);
    if (!log) {
        fmt::print(stderr, "sluice: {}: {} ({})\n", config.data, log.error().detail, log.error().reason);
        return exit_code(log.error());
    }
    SystemClock const       clock;
    schema::SchemaSet const schemas(all_processors());
    auto const              graph = graph::make_resident_store();

    auto const start = clock.now();
    auto const folded = engine::fold(**log, schemas, *graph, clock, worker_count(config));
    if (!folded) {
        fmt::print(stderr, "sluice: {} ({})\n", folded.error().detail, folded.error().reason);
        return exit_code(folded.error());
    }
    auto const seconds = std::chrono::duration<double>(clock.now() - start).count();
    auto const rate = seconds > 0 ? static_cast<double>(folded->events) / seconds : 0;
    auto const counts = graph->counts();
    auto const live = [&](Kind kind) { return counts.live[static_cast<std::size_t>(kind)]; };
    if (as_json)
        fmt::print(
            R"({{"events":{},"seconds":{:.6f},"events_per_second":{:.0f},"last_sequence":{},"digest":"{}",)"
            R"("applied":{},"stale":{},"dead_lettered":{},"parked":{},)"
            R"("records":{{"relationships":{},"attestations":{},"entities":{},"tombstones":{}}}}})"
            "\n",
            folded->events, seconds, rate, number(folded->last), hex(graph->digest()), folded->applied, folded->stale,
            folded->dead_lettered, folded->parked, live(Kind::relationship), live(Kind::attestation),
            live(Kind::entity), counts.tombstones);
    else
        fmt::print(
            "{} events in {:.2f} s: {:.0f} events/s\ndigest {}\napplied {} (stale {}), dead-lettered {}, parked {}\n",
            folded->events, seconds, rate, hex(graph->digest()), folded->applied, folded->stale,
            folded->dead_lettered, folded->parked);
    return Exit::ok;
}

}  // namespace sluice::app
