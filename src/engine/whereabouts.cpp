#include "engine/whereabouts.hpp"

namespace sluice::engine {
namespace {

struct Read {
    std::shared_ptr<log::StoredBlock const> block;
    log::LoggedRecord                       record;
};

Result<std::optional<Read>> read(log::EventLog const& log, Sequence sequence)
{
    auto block = log.read(sequence);
    if (!block) return block.error();
    if (!*block) return std::nullopt;
    auto const record = (*block)->record_at(sequence);
    return std::optional(Read{std::move(*block), record});
}

Result<std::vector<log::Decision>> decisions_about(log::EventLog const& log, Sequence sequence)
{
    std::vector<log::Decision> found;
    auto const                 visited = log.visit_decisions(sequence, [&](log::Decision const& decision) {
        if (decision.sequence != sequence) return false;
        found.push_back(decision);
        return true;
    });
    if (!visited) return visited.error();
    return found;
}

// A copy may have been parked and released again.
Result<std::vector<Sequence>> copies_from(log::EventLog const& log, Sequence copy)
{
    std::vector<Sequence> copies{copy};
    for (;;) {
        auto const decisions = decisions_about(log, copies.back());
        if (!decisions) return decisions.error();
        if (decisions->empty() || decisions->back().verdict != log::Verdict::released) return copies;
        copies.push_back(decisions->back().successor);
    }
}

void describe_lane(WhereaboutsDeps const& deps, Whereabouts& at, Event const& event, std::uint64_t lane_key)
{
    at.lane = deps.engine.lane(lane_key);
    at.is_away = !deps.engine.graph_answers();
    at.state = EventState::pending;
    at.detail = "it is about to be listed in its lane";
    if (!at.lane) return;
    auto const& lane = *at.lane;
    at.is_paused = deps.engine.controls().pauses(event.tier, event);
    bool const is_head = lane.head == at.sequence;
    if (!is_head) at.behind = lane.head;
    switch (lane.state) {
    case LaneState::retrying:
        at.state = is_head ? EventState::retrying : EventState::blocked;
        at.detail = is_head ? "it failed and is tried again" : "the event before it failed and is tried again";
        break;
    case LaneState::held:
        at.state = is_head ? EventState::retrying : EventState::blocked;
        at.detail = "the verdict on the head of its lane is being made durable";
        break;
    case LaneState::paused:
        at.state = EventState::blocked;
        at.detail = "its lane is paused";
        break;
    case LaneState::ready:
    case LaneState::running:
        at.detail = is_head ? "its turn comes" : "it waits for the events before it";
        if (at.is_away) {
            at.state = EventState::blocked;
            at.detail = "the graph does not answer";
        }
        break;
    }
}

void describe_record(WhereaboutsDeps const& deps, Whereabouts& at, Event const& event)
{
    auto const entry = deps.schemas.find(event.type);
    auto const uri = entry != nullptr && entry->uri ? event.fields.text(*entry->uri) : std::nullopt;
    if (!uri) return;
    for (auto const kind : {Kind::relationship, Kind::attestation, Kind::entity})
        if (auto const found = deps.graph.find(kind, *uri); found && *found)
            at.written = {kind, std::string(*uri), (**found)->sequence, (**found)->version};
}

void describe_settled(WhereaboutsDeps const& deps, Whereabouts& at, Event const& event)
{
    at.state = EventState::applied;
    bool const was_older = at.written && at.written->version < version_of(event);
    if (deps.engine.recent_stale().contains(at.sequence) || was_older) {
        at.state = EventState::stale;
        at.detail = "its record was newer: it changed nothing";
    } else if (at.written && at.written->sequence == at.sequence) {
        at.detail = "its record is as it says";
    } else if (at.written) {
        at.detail = "its record was written again by sequence " + std::to_string(number(at.written->sequence));
    } else {
        at.detail = "it left no live record, or that was removed";
    }
}

}  // namespace

Result<std::optional<Whereabouts>> locate(WhereaboutsDeps const& deps, Sequence sequence)
{
    // In this order: what settles meanwhile is seen as pending, never as settled without its verdict.
    bool const is_unsettled = sequence > deps.engine.last_sequence() || deps.engine.is_unsettled(sequence);
    auto const stored = read(deps.log, sequence);
    if (!stored) return stored.error();
    if (!*stored) return std::nullopt;
    auto const& [block, record] = **stored;
    auto decisions = decisions_about(deps.log, sequence);
    if (!decisions) return decisions.error();

    Decider     decider(deps.schemas);
    auto const  event = decider.read(record, sequence, block->received_at());
    Whereabouts at{
        .sequence = sequence,
        .event_id = record.id(sequence),
        .type = std::string(record.type()),
        .did = std::string(record.did()),
        .payload = std::string(record.payload()),
        .tier = record.tier(),
        .rev = Revision{record.header().rev},
        .kind = record.kind(),
        .origin = record.origin(),
        .durable_at = block->received_at(),
        .decisions = std::move(*decisions),
    };
    if (at.kind == log::RecordKind::control) {
        at.state = EventState::internal;
        return std::optional(std::move(at));
    }
    describe_record(deps, at, event);
    if (!at.decisions.empty()) {
        auto const& newest = at.decisions.back();
        if (newest.verdict == log::Verdict::released) {
            auto copies = copies_from(deps.log, newest.successor);
            if (!copies) return copies.error();
            auto copy = locate(deps, copies->back());
            if (!copy || !*copy) return copy;
            at.state = (*copy)->state;
            at.detail = "it was released: " + (*copy)->detail;
            at.lane = (*copy)->lane;
            at.behind = (*copy)->behind;
            at.copies = std::move(*copies);
        } else {
            at.state = newest.verdict == log::Verdict::parked ? EventState::parked : EventState::dead_lettered;
            at.detail = newest.reason + (newest.detail.empty() ? "" : ": " + newest.detail);
        }
    } else if (is_unsettled) {
        describe_lane(deps, at, event, log::lane_key(record.header().tenant, record.did()));
    } else {
        describe_settled(deps, at, event);
    }
    return std::optional(std::move(at));
}

Sequence sequence_in_id(std::string_view event_id)
{
    // As LoggedRecord::id() writes it.
    std::uint64_t value = 0;
    constexpr std::string_view shape = "00000000-0000-8000-8000-000000000000";
    if (event_id.size() != shape.size()) return Sequence::none;
    for (std::size_t i = 0; i < shape.size(); ++i) {
        bool const is_digit = (i >= 9 && i < 13) || i >= 24;
        if (!is_digit && event_id[i] != shape[i]) return Sequence::none;
        if (!is_digit) continue;
        auto const c = event_id[i];
        auto const digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return Sequence::none;
        value = value << 4 | static_cast<unsigned>(digit);
    }
    return Sequence{value};
}

}  // namespace sluice::engine
