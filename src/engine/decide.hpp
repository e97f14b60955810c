// From an event to what it does: the one place that runs processors, for workers, recovery and replay alike.
#pragma once

#include "engine/parking.hpp"
#include "graph/graph_store.hpp"
#include "log/event_log.hpp"
#include "schema/decoder.hpp"

#include <set>
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
inline constexpr char const* follows_parked = "follows_parked";

// Event types whose events are parked where others become dead letters.
using ParkedTypes = std::set<std::string, std::less<>>;

// The names of the event's record, as its processor's field table has them.
RecordKey record_key(Event const& event, schema::SchemaSet const& schemas);

// The verdict on an event that cannot be processed: types without a processor wait for one, and so does what is parked
// by type or stands behind such an event.
log::Decision verdict_on(
    Event const& event, Error const& error, std::uint32_t attempts, WallTime at, schema::SchemaSet const& schemas,
    ParkedTypes const& parked);

inline Sequence version_of(Event const& event)
{
    return event.version == Sequence::none ? event.sequence : event.version;
}

}  // namespace sluice::engine
