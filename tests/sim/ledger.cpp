#include "sim/ledger.hpp"

#include "sim/reference.hpp"

namespace sluice::sim {

void require(bool kept, std::string_view promise, std::string const& detail)
{
    if (!kept) throw Violation(std::string(promise) + (detail.empty() ? "" : ": " + detail));
}

Ledger::Ledger(std::vector<SimEvent> const& events) : events_(events)
{
    for (std::size_t i = 0; i < events.size(); ++i) by_payload_.emplace(events[i].payload, i);
}

std::string Ledger::describe(std::uint64_t sequence) const
{
    auto text = "sequence " + std::to_string(sequence);
    if (sequence == 0 || sequence > log_.size()) return text;
    auto const& event = events_[log_[sequence - 1]];
    return text + ' ' + event.type + ' ' + event.cid + " of " + event.did;
}

void Ledger::restart(log::MemoryLog::Disk const& disk, bool graph_survives)
{
    auto const was_in_graph = in_graph_;
    log_.clear();
    places_.clear();
    lanes_.clear();
    received_at_ = {};
    in_graph_.clear();
    settled_.clear();
    decisions_.clear();
    read_log(disk);
    for (std::size_t i = 0; graph_survives && i < was_in_graph.size(); ++i) {
        if (!was_in_graph[i]) continue;
        require(i < log_.size(), "only what is durable is applied", describe(i + 1));
        in_graph_[i] = true;
    }
    check_log();
}

void Ledger::recovery_begins(bool maybe_restored)
{
    is_recovering_ = true;
    is_restored_ = maybe_restored;
    refused_in_fold_.clear();
    store_failures_.clear();
    unsettled_ = 0;
    for (std::size_t i = 0; i < settled_.size(); ++i) settled_[i] = decisions_.contains(i + 1);
    while (unsettled_ < settled_.size() && settled_[unsettled_]) ++unsettled_;
    for (auto& [did, lane] : lanes_) lane.unsettled = 0;
}

void Ledger::recovery_ends(engine::EngineState const& state, graph::GraphStore const& graph)
{
    is_recovering_ = false;
    check_graph(graph);
    for (std::size_t i = 0; is_restored_ && i < log_.size(); ++i) {
        settled_[i] = true;
        in_graph_[i] = !decisions_.contains(i + 1);
    }
    if (is_restored_) unsettled_ = log_.size();
    for (auto const sequence : refused_in_fold_)
        require(decisions_.contains(sequence), "recovery decides what it cannot apply", describe(sequence));
    check(state);
    require(unsettled_ == log_.size(), "recovery settles every event", describe(unsettled_ + 1));
    require(state.watermark == last(), "after recovery the watermark stands at the end");
}

void Ledger::read_log(log::MemoryLog::Disk const& disk)
{
    for (auto it = disk.blocks.lower_bound(Sequence{log_.size() + 1}); it != disk.blocks.end(); ++it) {
        auto const block = log::StoredBlock::parse(it->second, it->first);
        require(block.has_value(), "blocks are whole");
        require(block->first() == next(last()), "sequences are dense");
        require(block->received_at() >= received_at_, "received_at never goes backwards");
        received_at_ = block->received_at();
        for (std::size_t i = 0; i < block->size(); ++i) add(block->record(i), block->sequence(i));
    }
    read_decisions(disk);
}

void Ledger::read_decisions(log::MemoryLog::Disk const& disk)
{
    if (disk.decisions.size() == decisions_.size()) return;
    for (auto const& [key, bytes] : disk.decisions) {
        require(key.second == 0, "an event is decided once", describe(number(key.first)));
        auto const decision = log::decode_decision(key.first, bytes);
        require(decision.has_value(), "decisions are whole");
        decisions_.emplace(number(key.first), *decision);
    }
}

void Ledger::add(log::LoggedRecord const& record, Sequence sequence)
{
    auto const found = by_payload_.find(record.payload());
    require(found != by_payload_.end(), "the log holds only what was sent, byte for byte");
    auto const& event = events_[found->second];
    log_.push_back(found->second);
    require(record.type() == event.type && record.did() == event.did, "type and DID are what was sent");
    require(record.stored_id() == event.id, "the id is what was sent, or derived");
    require(Revision{record.header().rev} == event.rev, "the revision is what was sent");
    require(record.tier() == event.tier, "the tier is what was asked for, or the type's");
    bool const is_new = places_.emplace(found->second, number(sequence)).second;
    require(is_new, "an event is stored once", describe(number(sequence)));
    lanes_[event.did].sequences.push_back(number(sequence));
    in_graph_.push_back(false);
    settled_.push_back(false);
}

void Ledger::acknowledged(std::size_t event, Sequence sequence)
{
    auto const& [at, fresh] = acknowledged_.emplace(event, sequence);
    require(fresh || at->second == sequence, "every answer names the same sequence", describe(number(sequence)));
}

bool Ledger::is_through(std::uint64_t sequence) const
{
    return settled_[sequence - 1] || refused_in_fold_.contains(sequence);
}

void Ledger::advance(Lane& lane) const
{
    while (lane.unsettled < lane.sequences.size() && is_through(lane.sequences[lane.unsettled])) ++lane.unsettled;
}

void Ledger::applying(std::span<Event const> events)
{
    auto& lane = lanes_[std::string(events.front().did)];
    advance(lane);
    // What a checkpoint held is not applied again.
    while (is_recovering_ && is_restored_ && lane.unsettled < lane.sequences.size() &&
           lane.sequences[lane.unsettled] < number(events.front().sequence))
        ++lane.unsettled;
    for (std::size_t i = 0; i < events.size(); ++i) {
        auto const sequence = number(events[i].sequence);
        require(sequence <= log_.size(), "only what is durable is applied", describe(sequence));
        require(events[i].did == events_[log_[sequence - 1]].did, "a batch is of one repository", describe(sequence));
        auto const at = lane.unsettled + i;
        require(at < lane.sequences.size() && lane.sequences[at] == sequence,
                "a lane is applied in log order, nothing twice and nothing left out", describe(sequence));
    }
}

void Ledger::applied(Event const& event)
{
    auto const sequence = number(event.sequence);
    auto const fate = events_[log_[sequence - 1]].fate;
    bool const is_possible = fate != Fate::invalid && fate != Fate::parked;
    require(is_possible, "what cannot be processed is not applied", describe(sequence));
    require(!decisions_.contains(sequence), "what was decided is not applied", describe(sequence));
    in_graph_[sequence - 1] = true;
}

void Ledger::settled(std::span<Event const> events)
{
    for (auto const& event : events) settled_[number(event.sequence) - 1] = true;
    while (unsettled_ < settled_.size() && settled_[unsettled_]) ++unsettled_;
}

void Ledger::failed_by_store(Event const& event, Errc error)
{
    if (error != Errc::unavailable) ++store_failures_[number(event.sequence)];
}

void Ledger::refused_by_processor(Event const& event)
{
    if (is_recovering_) refused_in_fold_.insert(number(event.sequence));
}

void Ledger::decided(log::Decision const& decision, log::MemoryLog::Disk const& disk)
{
    auto const sequence = number(decision.sequence);
    read_decisions(disk);
    require(decisions_.contains(sequence), "a verdict is durable before its lane goes on", describe(sequence));
    require(!in_graph_[sequence - 1], "an event that is in the graph is not given up", describe(sequence));
    require(!settled_[sequence - 1], "an event is settled once", describe(sequence));
    auto const fate = events_[log_[sequence - 1]].fate;
    if (decision.reason == "crash_loop")
        require(killer && log_[sequence - 1] == *killer && decision.verdict == log::Verdict::dead_letter,
                "only an event that kills is given up for it", describe(sequence));
    else if (decision.reason.starts_with("store_"))
        require(decision.verdict == log::Verdict::dead_letter && store_failures_[sequence] > retry.attempts_max,
                "a store must fail several times, and answer, before an event is given up", describe(sequence));
    else
        require(fate == (decision.verdict == log::Verdict::parked ? Fate::parked : Fate::invalid),
                "what cannot be processed is a dead letter, or parked if its type is unknown", describe(sequence));
    settled_[sequence - 1] = true;
    while (unsettled_ < settled_.size() && settled_[unsettled_]) ++unsettled_;
}

void Ledger::check(engine::EngineState const& state) const
{
    auto const& p = state.pending;
    require(state.accepted == state.applied + state.dead_lettered + state.parked + p[0] + p[1] + p[2] + p[3],
            "the numbers add up");
    bool const is_behind = number(state.watermark) <= unsettled_;
    require(is_behind, "nothing below the watermark is unsettled", describe(unsettled_ + 1));
}

std::size_t Ledger::decisions(log::Verdict verdict) const
{
    std::size_t count = 0;
    for (auto const& [sequence, decision] : decisions_) count += decision.verdict == verdict;
    return count;
}

void Ledger::check_log() const
{
    for (auto const& [event, sequence] : acknowledged_) {
        auto const at = places_.find(event);
        require(at != places_.end(), "what was acknowledged is in the log", events_[event].json);
        require(at->second == number(sequence), "an event stands where the answer said", describe(number(sequence)));
    }
    for (auto const event : refused_)
        require(!places_.contains(event), "what was refused is not in the log", events_[event].json);
}

void Ledger::check_end(engine::EngineState const& state) const
{
    check(state);
    for (auto const& [event, sequence] : places_)
        require(acknowledged_.contains(event) || open_.contains(event), "nothing is stored without an answer",
                describe(sequence));
    std::set<std::string_view> ids;
    for (auto const event : log_) {
        auto const& id = events_[event].id;
        require(id.empty() || ids.insert(id).second, "an id is stored once", id);
    }
    for (auto const event : refused_)
        require(ids.contains(events_[event].id), "a conflict has somebody to conflict with", events_[event].json);
    require(unsettled_ == log_.size(), "every event is settled in the end", describe(unsettled_ + 1));
    require(state.watermark == last(), "the watermark reaches the end");
    require(state.last_sequence == last() && state.accepted == log_.size(), "what is in the log was accepted");
    require(state.dead_lettered == decisions(log::Verdict::dead_letter), "dead letters are counted");
    require(state.parked == decisions(log::Verdict::parked), "parked events are counted");
    if (killer && places_.contains(*killer))
        require(decisions_.contains(places_.at(*killer)), "an event that kills is given up", events_[*killer].json);
    for (std::size_t i = 0; i < log_.size(); ++i) {
        auto const fate = events_[log_[i]].fate;
        require((fate != Fate::invalid && fate != Fate::parked) || decisions_.contains(i + 1),
                "what cannot be processed has a verdict", describe(i + 1));
        require(in_graph_[i] != decisions_.contains(i + 1), "an event is either applied or decided", describe(i + 1));
    }
}

void Ledger::check_fold(engine::Folded const& folded) const
{
    require(folded.undecided.empty(), "a replay has nothing left to decide");
    require(folded.last == last() && folded.events == log_.size(), "a replay reads the whole log");
    require(folded.dead_lettered == decisions(log::Verdict::dead_letter), "a replay skips the dead letters");
    require(folded.parked == decisions(log::Verdict::parked), "a replay skips what is parked");
    require(folded.applied + folded.dead_lettered + folded.parked == folded.events, "the numbers of a replay add up");
    Reference reference;
    for (std::size_t i = 0; i < log_.size(); ++i)
        if (!decisions_.contains(i + 1)) reference.apply(events_[log_[i]], Sequence{i + 1});
    require(folded.stale == reference.stale(), "a replay finds as many stale events as the plain fold");
}

void Ledger::check_graph(graph::GraphStore const& graph) const
{
    Reference reference;
    for (std::size_t i = 0; i < log_.size(); ++i)
        if (!decisions_.contains(i + 1)) reference.apply(events_[log_[i]], Sequence{i + 1});
    auto const difference = reference.difference(graph);
    require(difference.empty(), "the graph is the fold of the log without what was given up", difference);
}

}  // namespace sluice::sim
