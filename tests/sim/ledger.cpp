#include "sim/ledger.hpp"

#include <algorithm>

namespace sluice::sim {

void require(bool kept, std::string_view promise, std::string const& detail)
{
    if (!kept) throw Violation(std::string(promise) + (detail.empty() ? "" : ": " + detail));
}

Ledger::Ledger(std::vector<SimEvent> const& events, engine::ParkedTypes const& parked)
    : events_(events), parked_types_(parked)
{
    for (auto const& event : events) by_payload_.emplace(event.payload, &event);
}

std::string_view Ledger::edited(Sequence sequence, std::string nonce, bool is_refused)
{
    auto const& event = edits_.emplace_back(sim::edited(event_at(number(sequence)), std::move(nonce), is_refused));
    by_payload_.emplace(event.payload, &event);
    return event.payload;
}

std::string Ledger::describe(std::uint64_t sequence) const
{
    auto text = "sequence " + std::to_string(sequence);
    if (sequence == 0 || sequence > log_.size()) return text;
    auto const& entry = at(sequence);
    if (entry.event == nullptr) return text + " (a control)";
    if (entry.cause != Sequence::none) text += " made from " + std::to_string(number(entry.cause));
    return text + ' ' + entry.event->type + ' ' + entry.event->cid + " of " + entry.event->key();
}

void Ledger::restart(log::MemoryLog::Disk const& disk, bool graph_survives)
{
    auto const was_in_graph = in_graph_;
    log_.clear();
    places_.clear();
    lanes_.clear();
    received_at_ = {};
    unsettled_ = 0;
    in_graph_.clear();
    settled_.clear();
    decisions_.clear();
    parked_.clear();
    copies_.clear();
    verdicts_ = controls_ = accepted_ = applied_ = dead_ = open_dead_letters_ = 0;
    paused_tiers_ = {};
    paused_types_.clear();
    paused_lanes_.clear();
    workers_.reset();
    capacity_.reset();
    job_ = 0;
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
    given_up_in_fold_.clear();
    parked_in_fold_.clear();
    store_failures_.clear();
    for (std::size_t i = 0; i < settled_.size(); ++i)
        settled_[i] = log_[i].event == nullptr || decisions_.contains(i + 1);
    recount();
    for (auto& [did, lane] : lanes_) lane.unsettled = 0;
}

// After settled_ was set.
void Ledger::recount()
{
    applied_ = 0;
    copies_.clear();
    for (std::size_t i = 0; i < settled_.size(); ++i) {
        bool const is_applied = settled_[i] && log_[i].event != nullptr && !decisions_.contains(i + 1);
        applied_ += is_applied;
        if (!settled_[i] && log_[i].kind == log::RecordKind::release) copies_.insert(i + 1);
    }
    unsettled_ = 0;
    while (unsettled_ < settled_.size() && settled_[unsettled_]) ++unsettled_;
}

void Ledger::recovery_ends(engine::EngineState const& state, graph::GraphStore const& graph)
{
    is_recovering_ = false;
    parked_in_fold_.clear();
    check_graph(graph);
    for (std::size_t i = 0; is_restored_ && i < log_.size(); ++i) {
        settled_[i] = true;
        in_graph_[i] = log_[i].event != nullptr && !decisions_.contains(i + 1);
    }
    recount();
    for (auto const sequence : given_up_in_fold_)
        require(decisions_.contains(sequence), "recovery decides what it cannot apply", describe(sequence));
    require(unsettled_ == log_.size(), "recovery settles every event", describe(unsettled_ + 1));
    check(state);
    require(state.watermark == last(), "after recovery the watermark stands at the end");
}

// Of a graph that says itself how far it is.
void Ledger::recovery_ends(engine::EngineState const& state, std::function<bool(Sequence)> const& is_unsettled)
{
    is_recovering_ = false;
    parked_in_fold_.clear();
    for (std::size_t i = 0; i < log_.size(); ++i) {
        settled_[i] = !is_unsettled(Sequence{i + 1});
        bool const is_so = log_[i].event == nullptr || decisions_.contains(i + 1) || in_graph_[i];
        require(!settled_[i] || is_so, "a position claims nothing that was not applied", describe(i + 1));
    }
    recount();
    check(state);
}

void Ledger::read_log(log::MemoryLog::Disk const& disk)
{
    auto const before = number(last());
    for (auto it = disk.blocks.lower_bound(Sequence{log_.size() + 1}); it != disk.blocks.end(); ++it) {
        auto const block = log::StoredBlock::parse(it->second, it->first);
        require(block.has_value(), "blocks are whole");
        require(block->first() == next(last()), "sequences are dense");
        require(block->received_at() >= received_at_, "received_at never goes backwards");
        received_at_ = block->received_at();
        for (std::size_t i = 0; i < block->size(); ++i) add(block->record(i), block->sequence(i));
    }
    bool const has_new = number(last()) != before || disk.decisions.size() != verdicts_;
    read_decisions(disk);
    if (has_new) check_successors();
}

void Ledger::read_decisions(log::MemoryLog::Disk const& disk)
{
    if (disk.decisions.size() == verdicts_) return;
    for (auto const& [key, bytes] : disk.decisions) {
        auto const known = decisions_.find(number(key.first));
        auto const count = known == decisions_.end() ? 0 : known->second.count;
        if (key.second < count) continue;
        require(key.second == count, "verdicts are numbered", describe(number(key.first)));
        auto decision = log::decode_decision(key.first, bytes);
        require(decision.has_value(), "decisions are whole");
        add_decision(std::move(*decision));
    }
}

// An event is decided, then maybe taken up again, and that is all.
void Ledger::add_decision(log::Decision decision)
{
    using log::Verdict;
    auto const sequence = number(decision.sequence);
    auto const verdict = decision.verdict;
    auto const what = describe(sequence);
    require(sequence <= log_.size() && at(sequence).event != nullptr, "only events are decided", what);
    auto& decided = decisions_[sequence];
    if (decided.count == 0) {
        require(verdict == Verdict::dead_letter || verdict == Verdict::parked, "what is open can be taken up", what);
    } else {
        require(decided.count == 1, "nothing is taken up twice", what);
        auto const before = decided.newest.verdict;
        bool const is_right = verdict == Verdict::dropped ||
                              (before == Verdict::dead_letter && verdict == Verdict::redriven) ||
                              (before == Verdict::parked && verdict == Verdict::released);
        require(is_right, "a dead letter is redriven, a parked event released, or either dropped", what);
        dead_ -= before == Verdict::dead_letter;
        open_dead_letters_ -= before == Verdict::dead_letter;
        parked_.erase(decision.sequence);
    }
    bool const has_successor = verdict == Verdict::redriven || verdict == Verdict::released;
    require((decision.successor != Sequence::none) == has_successor, "what is taken up has a successor", what);
    ++verdicts_;
    dead_ += log::is_dead(verdict);
    open_dead_letters_ += verdict == Verdict::dead_letter;
    if (verdict == Verdict::parked) parked_.insert(decision.sequence);
    ++decided.count;
    decided.newest = std::move(decision);
}

// Both are durable, or neither is.
void Ledger::check_successors() const
{
    for (auto const& [sequence, decided] : decisions_) {
        auto const successor = number(decided.newest.successor);
        if (successor == 0) continue;
        require(successor <= log_.size() && at(successor).cause == Sequence{sequence},
                "a successor and the verdict that names it become durable together", describe(sequence));
    }
    for (std::size_t i = 0; i < log_.size(); ++i) {
        auto const cause = number(log_[i].cause);
        if (cause == 0) continue;
        auto const decided = decisions_.find(cause);
        require(decided != decisions_.end() && decided->second.newest.successor == Sequence{i + 1},
                "a successor and the verdict that names it become durable together", describe(i + 1));
    }
}

void Ledger::add(log::LoggedRecord const& record, Sequence sequence)
{
    in_graph_.push_back(false);
    settled_.push_back(record.kind() == log::RecordKind::control);
    if (record.kind() == log::RecordKind::control) return add_control(record, sequence);
    auto const found = by_payload_.find(record.payload());
    require(found != by_payload_.end(), "the log holds only what was sent, byte for byte");
    auto const& event = *found->second;
    require(record.type() == event.type && record.did() == event.did, "type and DID are what was sent");
    require(Revision{record.header().rev} == event.rev, "the revision is what was sent");
    require(record.tier() == event.tier, "the tier is what was asked for, or the type's");
    accepted_ += log::is_accepted(record.kind());
    if (record.kind() == log::RecordKind::event)
        add_event(record, sequence, event);
    else
        add_successor(record, event);
    if (record.kind() == log::RecordKind::release) copies_.insert(number(sequence));
    lanes_[event.did].sequences.push_back(number(sequence));
}

void Ledger::add_event(log::LoggedRecord const& record, Sequence sequence, SimEvent const& event)
{
    log_.push_back({.event = &event, .kind = record.kind(), .cause = {}, .version = {}, .received_at = received_at_});
    require(record.stored_id() == event.id, "the id is what was sent, or derived");
    auto const number_of_it = static_cast<std::size_t>(&event - events_.data());
    require(number_of_it < events_.size(), "only producers send events", describe(number(sequence)));
    bool const is_new = places_.emplace(number_of_it, number(sequence)).second;
    require(is_new, "an event is stored once", describe(number(sequence)));
}

void Ledger::add_successor(log::LoggedRecord const& record, SimEvent const& event)
{
    auto const origin = record.origin();
    auto const cause = number(origin.cause);
    require(cause > 0 && cause <= log_.size() && at(cause).event != nullptr, "a successor is made from an event");
    bool const is_redrive = record.kind() == log::RecordKind::redrive;
    bool const keeps_place = origin.version == place(cause) || (is_redrive && origin.version == Sequence::none);
    require(keeps_place, "a successor keeps the place of its cause", describe(cause));
    require(origin.received_at == at(cause).received_at, "a successor keeps the time of its cause", describe(cause));
    require(event.key() == event_at(cause).key() && event.rev == event_at(cause).rev, "a successor is about the same");
    require(is_redrive || event.payload == event_at(cause).payload, "what is released is what was parked");
    require(record.stored_id().empty(), "a successor has an id of its own");
    log_.push_back({.event = &event, .kind = record.kind(), .cause = origin.cause, .version = origin.version,
                    .received_at = origin.version == Sequence::none ? received_at_ : origin.received_at});
}

// As operators understand it: what was checked against an older state may change nothing any more.
void Ledger::add_control(log::LoggedRecord const& record, Sequence sequence)
{
    namespace control = engine::control;
    log_.push_back({.event = nullptr, .kind = record.kind(), .cause = {}, .version = {}, .received_at = received_at_});
    if (unsettled_ + 1 == log_.size()) ++unsettled_;
    ++controls_;
    auto const type = record.type();
    if (type == control::job_finished) {
        // One that was stopped and replaced while it ended changes nothing.
        if (record.payload().starts_with("{\"job\":" + std::to_string(job_) + ',')) job_ = 0;
        return;
    }
    auto const found = controls_sent_.find(record.payload());
    require(found != controls_sent_.end() && found->second.type == type, "controls are what the operator said");
    auto const& sent = found->second;
    bool const  is_pause = type.ends_with("_paused");
    auto const  pause = [&](std::set<std::string>& paused) {
        if (is_pause) paused.insert(sent.name);
        else paused.erase(sent.name);
    };
    if (type == control::tier_paused || type == control::tier_resumed) {
        for (std::size_t t = 0; t < tier_count; ++t)
            if (tier_names[t] == sent.name) paused_tiers_[t] = is_pause;
    } else if (type == control::type_paused || type == control::type_resumed) {
        pause(paused_types_);
    } else if (type == control::lane_paused || type == control::lane_resumed) {
        pause(paused_lanes_);
    } else if (type == control::workers_set) {
        workers_ = sent.workers;
    } else if (type == control::limits_set) {
        capacity_ = sent.capacity;
    } else if (type == control::job_started) {
        if (job_ != 0 && !is_job_stopped_) return;
        job_ = number(sequence);
        is_job_stopped_ = false;
    } else if (sent.job == job_ && job_ != 0) {
        if (type == control::job_stopped) is_job_stopped_ = true;
        if (type == control::job_resumed) is_job_stopped_ = false;
    }
}

void Ledger::check_controls(engine::Controls::State const& state) const
{
    auto const same = [](auto const& a, auto const& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); };
    require(state.count == controls_, "every control is counted");
    require(state.tiers == paused_tiers_ && same(state.types, paused_types_) && same(state.lanes, paused_lanes_),
            "what is paused is what the log says");
    require(state.workers == workers_, "there are as many workers as the log says");
    require(state.limits.has_value() == capacity_.has_value() && (!capacity_ || state.limits->events == capacity_),
            "limits are what the log says");
    require((state.job ? number(state.job->id) : 0) == job_ && (!state.job || state.job->is_stopped == is_job_stopped_),
            "the job under way is the one of the log");
}

bool Ledger::is_paused(Sequence sequence) const
{
    auto const& event = event_at(number(sequence));
    return paused_types_.contains(event.type) || paused_lanes_.contains(event.did);
}

Sequence Ledger::place(std::uint64_t sequence) const
{
    auto const version = at(sequence).version;
    return version == Sequence::none ? Sequence{sequence} : version;
}

bool Ledger::is_parked_type(SimEvent const& event) const
{
    return (event.fate == Fate::parked && !is_upgraded_) || parked_types_.contains(event.type);
}

bool Ledger::is_processable(SimEvent const& event) const
{
    return event.fate != Fate::invalid && (is_upgraded_ || (event.fate != Fate::parked && !event.is_refused));
}

// Nobody waits for an event of a type that was unknown: nobody knows what it is about.
bool Ledger::waits_for(std::uint64_t sequence, std::uint64_t elder) const
{
    auto const& event = event_at(sequence);
    auto const& other = event_at(elder);
    if (other.fate == Fate::parked || (event.fate == Fate::parked && !is_upgraded_)) return false;
    return (other.key() == event.key() || other.key() == event.did) && place(elder) < place(sequence);
}

std::uint64_t Ledger::elder(std::uint64_t sequence) const
{
    for (auto const parked : parked_)
        if (waits_for(sequence, number(parked))) return number(parked);
    for (auto const parked : parked_in_fold_)
        if (waits_for(sequence, parked)) return parked;
    for (auto const copy : copies_)
        if (waits_for(sequence, copy)) return copy;
    return 0;
}

// It may be gone by the time that the verdict on what follows it is durable.
bool Ledger::had_elder(std::uint64_t sequence) const
{
    return std::ranges::any_of(decisions_, [&](auto const& entry) {
        auto const verdict = entry.second.newest.verdict;
        bool const was_parked = verdict == log::Verdict::parked || verdict == log::Verdict::released ||
                                verdict == log::Verdict::dropped;
        return was_parked && waits_for(sequence, entry.first);
    });
}

bool Ledger::is_releasable(Sequence sequence) const
{
    return is_processable(event_at(number(sequence))) && elder(number(sequence)) == 0;
}

std::optional<log::Verdict> Ledger::verdict(Sequence sequence) const
{
    auto const found = decisions_.find(number(sequence));
    if (found == decisions_.end()) return std::nullopt;
    return found->second.newest.verdict;
}

void Ledger::acknowledged(std::size_t event, Sequence sequence)
{
    auto const& [at, fresh] = acknowledged_.emplace(event, sequence);
    require(fresh || at->second == sequence, "every answer names the same sequence", describe(number(sequence)));
}

bool Ledger::is_through(std::uint64_t sequence) const
{
    return settled_[sequence - 1] || given_up_in_fold_.contains(sequence);
}

void Ledger::advance(Lane& lane)
{
    while (lane.unsettled < lane.sequences.size()) {
        auto const sequence = lane.sequences[lane.unsettled];
        // A fold asks nobody about an event that must wait.
        if (is_recovering_ && !is_restored_ && !is_through(sequence) && elder(sequence) != 0) {
            given_up_in_fold_.insert(sequence);
            parked_in_fold_.insert(sequence);
        }
        if (!is_through(sequence)) return;
        ++lane.unsettled;
    }
}

void Ledger::applying(std::span<Event const> events)
{
    auto& lane = lanes_[std::string(events.front().did)];
    advance(lane);
    // What a checkpoint held is not applied again.
    while (is_recovering_ && is_restored_ && lane.unsettled < lane.sequences.size() &&
           lane.sequences[lane.unsettled] < number(events.front().sequence))
        ++lane.unsettled;
    auto next_in_lane = lane.unsettled;
    for (std::size_t i = 0; i < events.size(); ++i) {
        auto const sequence = number(events[i].sequence);
        require(sequence <= log_.size() && at(sequence).event != nullptr, "only what is durable is applied",
                describe(sequence));
        require(events[i].did == event_at(sequence).did, "a batch is of one repository", describe(sequence));
        require(events[i].version == at(sequence).version, "an event comes with its place", describe(sequence));
        // What was decided does not come, nor what a graph said it has.
        auto const& all = lane.sequences;
        while (next_in_lane < all.size() && all[next_in_lane] < sequence &&
               (is_through(all[next_in_lane]) || (is_recovering_ && is_restored_)))
            ++next_in_lane;
        require(next_in_lane < all.size() && all[next_in_lane++] == sequence,
                "a lane is applied in log order, nothing twice and nothing left out", describe(sequence));
    }
    if (!is_recovering_ && log_works_) check_pauses(lane, events);
}

// A lane is served for the highest tier of what is pending in it.
void Ledger::check_pauses(Lane const& lane, std::span<Event const> events)
{
    auto const [served, is_first] = served_for_.emplace(std::string(events.front().did), Tier::low);
    for (auto i = lane.unsettled; is_first && i < lane.sequences.size(); ++i)
        if (!settled_[lane.sequences[i] - 1])
            served->second = std::max(served->second, event_at(lane.sequences[i]).tier);
    require(!paused_tiers_[index(served->second)], "nothing of a tier is applied while it is paused",
            describe(number(events.front().sequence)));
    for (auto const& event : events)
        require(!is_paused(event.sequence), "nothing of a type or lane is applied while it is paused",
                describe(number(event.sequence)));
}

void Ledger::applied(Event const& event)
{
    auto const sequence = number(event.sequence);
    require(is_processable(event_at(sequence)), "what cannot be processed is not applied", describe(sequence));
    require(!decisions_.contains(sequence), "what was decided is not applied", describe(sequence));
    if (!is_restored_ || !is_recovering_) {
        auto const before = elder(sequence);
        require(before == 0, "nothing passes an earlier event of its record that is parked",
                describe(sequence) + " passes " + describe(before));
    }
    in_graph_[sequence - 1] = true;
}

void Ledger::settle(std::uint64_t sequence)
{
    settled_[sequence - 1] = true;
    copies_.erase(sequence);
    while (unsettled_ < settled_.size() && settled_[unsettled_]) ++unsettled_;
}

void Ledger::settled(std::span<Event const> events)
{
    for (auto const& event : events) settle(number(event.sequence));
    applied_ += events.size();
}

void Ledger::failed_by_store(Event const& event, Errc error)
{
    if (error != Errc::unavailable) ++store_failures_[number(event.sequence)];
}

void Ledger::refused_by_processor(Event const& event)
{
    if (!is_recovering_) return;
    auto const sequence = number(event.sequence);
    given_up_in_fold_.insert(sequence);
    copies_.erase(sequence);
    if (is_parked_type(event_at(sequence))) parked_in_fold_.insert(sequence);
}

void Ledger::decided(log::Decision const& decision, log::MemoryLog::Disk const& disk)
{
    auto const sequence = number(decision.sequence);
    read_log(disk);
    require(verdict(decision.sequence) == decision.verdict, "a verdict is durable before anybody hears of it",
            describe(sequence));
    if (decisions_.at(sequence).count > 1) return;
    require(!in_graph_[sequence - 1], "an event that is in the graph is not given up", describe(sequence));
    require(!settled_[sequence - 1], "an event is settled once", describe(sequence));
    auto const& event = event_at(sequence);
    auto&       lane = lanes_[event.did];
    if (!is_recovering_) advance(lane);
    require(is_recovering_ || lane.sequences.at(lane.unsettled) == sequence, "a lane is decided in log order",
            describe(sequence));
    bool const is_parked = decision.verdict == log::Verdict::parked;
    if (decision.reason == "crash_loop")
        require(killer && &event == &events_[*killer] && decision.verdict == log::Verdict::dead_letter,
                "only an event that kills is given up for it", describe(sequence));
    else if (decision.reason.starts_with("store_"))
        require(store_failures_[sequence] > retry.attempts_max && is_parked == parked_types_.contains(event.type),
                "a store must fail several times, and answer, before an event is given up", describe(sequence));
    else if (decision.reason == engine::follows_parked)
        require(is_parked && had_elder(sequence), "only what has an elder follows it", describe(sequence));
    else
        require(!is_processable(event) && is_parked == is_parked_type(event),
                "what cannot be processed is a dead letter, or parked if its type is unknown or parks",
                describe(sequence));
    settle(sequence);
}

void Ledger::check(engine::EngineState const& state) const
{
    auto const& p = state.pending;
    require(state.accepted == state.applied + state.dead_lettered + state.parked + p[0] + p[1] + p[2] + p[3],
            "the numbers add up");
    require(state.accepted == accepted_, "what is in the log was accepted");
    require(state.dead_lettered == dead_, "dead letters are counted");
    require(state.parked == parked_.size(), "parked events are counted");
    require(state.applied == applied_, "applied events are counted");
    bool const is_behind = number(state.watermark) <= unsettled_;
    require(is_behind, "nothing below the watermark is unsettled", describe(unsettled_ + 1));
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
    for (auto const& [event, sequence] : places_) {
        auto const& id = events_[event].id;
        require(id.empty() || ids.insert(id).second, "an id is stored once", id);
    }
    for (auto const event : refused_)
        require(ids.contains(events_[event].id), "a conflict has somebody to conflict with", events_[event].json);
    require(unsettled_ == log_.size(), "every event is settled in the end", describe(unsettled_ + 1));
    require(state.watermark == last() && state.last_sequence == last(), "the watermark reaches the end");
    if (killer && places_.contains(*killer))
        require(decisions_.contains(places_.at(*killer)), "an event that kills is given up", events_[*killer].json);
    for (std::size_t i = 0; i < log_.size(); ++i) {
        if (log_[i].event == nullptr) continue;
        require(log_[i].event->fate != Fate::invalid || decisions_.contains(i + 1),
                "what cannot be processed has a verdict", describe(i + 1));
        require(in_graph_[i] != decisions_.contains(i + 1), "an event is either applied or decided", describe(i + 1));
    }
}

void Ledger::check_fold(engine::Folded const& folded) const
{
    auto const undecided = folded.undecided.empty() ? log::Decision{} : folded.undecided.front();
    require(folded.undecided.empty(), "a replay has nothing left to decide",
            describe(number(undecided.sequence)) + ' ' + undecided.reason);
    require(folded.last == last() && folded.events == accepted_, "a replay reads the whole log");
    require(folded.dead_lettered == dead_, "a replay skips the dead letters");
    require(folded.parked == parked_.size(), "a replay skips what is parked");
    require(folded.applied + folded.dead_lettered + folded.parked == folded.events, "the numbers of a replay add up");
    require(folded.stale == reference().stale(), "a replay finds as many stale events as the plain fold");
}

Reference Ledger::reference() const
{
    Reference reference;
    for (std::size_t i = 0; i < log_.size(); ++i)
        if (log_[i].event != nullptr && !decisions_.contains(i + 1))
            reference.apply(*log_[i].event, Sequence{i + 1}, log_[i].version);
    return reference;
}

void Ledger::check_graph(graph::GraphStore const& graph) const
{
    auto const difference = reference().difference(graph);
    require(difference.empty(), "the graph is the fold of the log without what was given up", difference);
}

}  // namespace sluice::sim
