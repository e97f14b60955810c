// What says where in the log a projection stands: the beginning of a checkpoint, and what a store behind a server
// keeps.
#pragma once

#include "engine/watermark.hpp"
#include "log/event_log.hpp"
#include "schema/decoder.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace sluice::engine {

struct CheckpointHeader {
    std::uint32_t number{0};
    std::uint32_t base{0};  // the number of the chain's base
    Position      position;
    std::uint64_t chain{0};    // of the log's record at the position
    std::string   controls;    // Controls::State at the position, or after it
    std::string   processors;  // their names and versions
};

std::string                     encode(CheckpointHeader const& header);
std::optional<CheckpointHeader> decode_checkpoint_header(std::string_view bytes);

// The names and versions of the processors, as headers have them.
std::string versions_of(schema::SchemaSet const& schemas);

// The chain value of the log's record at a sequence; 0 before the first.
Result<std::uint64_t> chain_at(log::EventLog const& log, Sequence sequence);

// Whether a projection that says so was made from this log with these processors. `invalid`: other_processors,
// unfit_checkpoint (detail says why); otherwise what the log says.
Result<> check_fits(CheckpointHeader const& header, log::EventLog const& log, std::string_view processors);

// Everything up to here is settled.
Sequence watermark_of(Position const& position);

}  // namespace sluice::engine
