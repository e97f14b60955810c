// From an event to what it does: the one place that runs processors, for workers, recovery and replay alike.
#pragma once

#include "graph/graph_store.hpp"
#include "log/event_log.hpp"
#include "schema/decoder.hpp"

#include <string>

namespace sluice::engine {

// One per thread: it owns buffers for events that an older version of their processor decoded.
class Decider {
public:
    explicit Decider(schema::SchemaSet const& schemas);

    // The event's effects; `invalid` with a reason if it cannot be processed. An exception is a processor's bug and
    // counts as "processor_exception".
    Result<Effects> operator()(Event const& event, sluice::RecordView const& view);

    // The event of a record, with fields as today's processor lists them. Valid until the next call of clear().
    Event read(log::LoggedRecord const& record, Sequence sequence, WallTime received_at);

    // Forgets buffers handed out by read().
    void clear() { fresh_.clear(); }

private:
    schema::SchemaSet const& schemas_;
    schema::Decoder          decoder_;
    std::vector<std::unique_ptr<std::string>> fresh_;  // records decoded again
};

inline constexpr char const* unknown_type = "unknown_type";

// The verdict on an event that cannot be processed: types without a processor wait for one.
log::Decision verdict_on(Sequence sequence, Error const& error, std::uint32_t attempts, WallTime at);

}  // namespace sluice::engine
