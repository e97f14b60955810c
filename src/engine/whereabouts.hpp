// Where an event is, and why: what an operator asks first.
#pragma once

#include "engine/engine.hpp"

#include <optional>
#include <string>
#include <vector>

namespace sluice::engine {

enum class EventState : std::uint8_t {
    pending,        // durable; its turn comes
    retrying,       // it failed and is tried again
    blocked,        // it waits behind an event that is retrying, for a pause to end, or for a dependency to answer
    applied,
    stale,          // settled without a change: its record was newer
    dead_lettered,  // the decisions say whether it was redriven or dropped since
    parked,
    internal,       // a control record: no event
};
inline constexpr std::string_view event_states[] = {
    "pending", "retrying", "blocked", "applied", "stale", "dead_lettered", "parked", "internal"};

struct Whereabouts {
    Sequence    sequence{};
    EventState  state{};
    std::string detail{};  // why, for people

    // What the log has.
    std::string     event_id{}, type{}, did{}, payload{};
    Tier            tier{};
    Revision        rev{};
    log::RecordKind kind{};
    log::Origin     origin{};
    WallTime        durable_at{};

    std::vector<log::Decision> decisions{};  // oldest first
    // A released event is where its copy is: this one, and so on to the last.
    std::vector<Sequence> copies{};

    // While it is not settled.
    std::optional<LaneInfo> lane{};
    Sequence                behind{};  // the head of the lane, if that is another one
    bool                    is_away{false};    // the graph does not answer
    bool                    is_paused{false};  // by a control

    // Its record as it is now, if it has one that is live.
    struct Written {
        Kind        kind{};
        std::string key{};
        Sequence    sequence{};  // of the event that wrote it last
        Sequence    version{};   // whose place that had
    };
    std::optional<Written> written{};
};

// What whereabouts are made from.
struct WhereaboutsDeps {
    Engine const&             engine;
    log::EventLog const&      log;
    graph::GraphReader const& graph;
    schema::SchemaSet const&  schemas;
};

// Any thread but the appender's; it reads the log. nullopt: the log has no such sequence.
Result<std::optional<Whereabouts>> locate(WhereaboutsDeps const& deps, Sequence sequence);

// The sequence that the server put into an id it made; none: it is another id. Its event may not exist.
Sequence sequence_in_id(std::string_view event_id);

}  // namespace sluice::engine
