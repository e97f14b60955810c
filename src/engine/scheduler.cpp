#include "engine/scheduler.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <utility>

namespace sluice::engine {

LaneScheduler::LaneScheduler(SchedulerOptions options) : options_(options), budget_(options.budget) {}

LaneScheduler::~LaneScheduler()
{
    for (auto const& [key, id] : lane_by_key_)
        for (auto e = lanes_[id].head; e != none; e = entries_[e].next) intrusive_ptr_release(entries_[e].event.block);
}

void LaneScheduler::bind(Admission& admission, Breaker const& breaker)
{
    admission_ = &admission;
    spilled_of_.assign(admission.producers(), 0);
    breaker_ = &breaker;
}

// --- events ---

Tier LaneScheduler::top_tier(Lane const& lane) noexcept
{
    for (std::size_t t = tier_count; t-- > 1;)
        if (lane.pending[t] != 0) return Tier{static_cast<std::uint8_t>(t)};
    return Tier::low;
}

std::uint64_t LaneScheduler::events_of(Lane const& lane) noexcept
{
    std::uint64_t sum = 0;
    for (auto const count : lane.pending) sum += count;
    return sum;
}

LaneScheduler::BacklogEntry LaneScheduler::backlog_entry(Pending const& event, Clock::Mono since) noexcept
{
    return {number(event.sequence) | (std::uint64_t{index(event.tier)} << 62), none,
            static_cast<std::uint32_t>(since.time_since_epoch() / tick)};
}

Clock::Mono LaneScheduler::since_of(BacklogEntry const& entry, Clock::Mono now) noexcept
{
    auto const ticks = now.time_since_epoch() / tick;
    auto const age = static_cast<std::uint32_t>(ticks) - entry.since;
    // A thread whose `now` is a little older than the event's.
    auto const back = age > ~std::uint32_t{0} / 2 + ~std::uint32_t{0} / 4 ? 0 : age;
    return Clock::Mono((ticks - back) * tick);
}

void LaneScheduler::note_head(Lane& lane) noexcept
{
    if (lane.head != none) {
        lane.first = entries_[lane.head].event.sequence;
        lane.first_tier = entries_[lane.head].event.tier;
    } else if (lane.backlog_head != none) {
        lane.first = backlog_[lane.backlog_head].sequence();
        lane.first_tier = backlog_[lane.backlog_head].tier();
    }
}

LaneScheduler::Head LaneScheduler::head(Lane const& lane, Clock::Mono now) const noexcept
{
    auto const since = lane.head != none ? coarse(entries_[lane.head].event.since)
                                         : since_of(backlog_[lane.backlog_head], now);
    return {lane.first, lane.first_tier, since};
}

void LaneScheduler::push(std::span<Pending const> events, Clock::Mono now)
{
    std::lock_guard lock(mutex_);
    auto const entries_before = backlog_.size(), lanes_before = backlog_lanes_;
    std::ranges::fill(spilled_of_, 0u);
    for (auto const& event : events) {
        auto const before = backlog_.size();
        append(lane_for(event.lane_key), event, now);
        if (event.block != nullptr && backlog_.size() != before) ++spilled_of_[event.producer];
    }
    auto const entries = backlog_.size() - entries_before + (backlog_lanes_ - lanes_before) * lane_entries;
    if (entries != 0 && admission_ != nullptr) admission_->backlog_grew(spilled_of_, entries);
}

LaneId LaneScheduler::lane_for(std::uint64_t key)
{
    auto const [it, fresh] = lane_by_key_.try_emplace(key, none);
    if (!fresh) return it->second;
    it->second = lanes_.add({});
    lanes_[it->second].key = key;
    ++states_[static_cast<std::size_t>(LaneState::ready)].lanes;
    return it->second;
}

bool LaneScheduler::goes_to_backlog(Lane const& lane, Pending const& event) const noexcept
{
    if (event.block == nullptr || lane.backlog_head != none) return true;
    if (admission_ == nullptr) return false;
    return is_away() || (lane.state != LaneState::ready && lane.state != LaneState::running);
}

void LaneScheduler::append(LaneId id, Pending const& event, Clock::Mono now)
{
    auto&      lane = lanes_[id];
    bool const is_fresh = is_empty(lane);
    if (goes_to_backlog(lane, event))
        append_backlog(lane, event, now);
    else
        append_resident(lane, event, now);
    ++lane.pending[index(event.tier)];
    ++pending_[index(event.tier)];
    ++states_[static_cast<std::size_t>(lane.state)].events;

    if (is_fresh) {
        lane.first = event.sequence;
        lane.first_tier = event.tier;
        return make_ready(id, now);
    }
    if (event.tier <= lane.listed_in) return;
    if (lane.state == LaneState::paused) return leave_paused(id, now);
    if (lane.state != LaneState::ready) return;
    unlist(id);
    lane.listed_in = event.tier;
    enlist(id);
}

void LaneScheduler::append_resident(Lane& lane, Pending const& event, Clock::Mono now)
{
    intrusive_ptr_add_ref(event.block);
    auto const slot = entries_.add({event, lane.tail, none});
    entries_[slot].event.since = now;
    (lane.tail == none ? lane.head : entries_[lane.tail].next) = slot;
    lane.tail = slot;
    ++lane.resident;
}

void LaneScheduler::append_backlog(Lane& lane, Pending const& event, Clock::Mono now)
{
    auto const slot = backlog_.add(backlog_entry(event, now));
    backlog_lanes_ += lane.backlog_head == none;
    (lane.backlog_head == none ? lane.backlog_head : backlog_[lane.backlog_tail].next) = slot;
    lane.backlog_tail = slot;
}

// True if it was resident. Its block goes to the caller, who lets go of it outside the lock: the last one frees it.
bool LaneScheduler::settle_head(Lane& lane, std::vector<BlockRef>& let_go)
{
    auto const tier = lane.first_tier;
    bool const is_resident = lane.head != none;
    if (is_resident) {
        auto const slot = lane.head;
        auto&      entry = entries_[slot];
        let_go.emplace_back(entry.event.block, false);
        lane.head = entry.next;
        (lane.head == none ? lane.tail : entries_[lane.head].previous) = none;
        entries_.remove(slot);
        --lane.resident;
    } else {
        auto const slot = lane.backlog_head;
        lane.backlog_head = backlog_[slot].next;
        if (lane.backlog_head == none) {
            lane.backlog_tail = none;
            --backlog_lanes_;
        }
        backlog_.remove(slot);
    }
    note_head(lane);
    lane.attempts = 0;
    --lane.pending[index(tier)];
    --pending_[index(tier)];
    --states_[static_cast<std::size_t>(lane.state)].events;
    return is_resident;
}

// --- lanes ---

void LaneScheduler::set_state(Lane& lane, LaneState state, Clock::Mono now)
{
    auto const events = events_of(lane);
    auto&      before = states_[static_cast<std::size_t>(lane.state)];
    auto&      after = states_[static_cast<std::size_t>(state)];
    --before.lanes;
    before.events -= events;
    ++after.lanes;
    after.events += events;
    lane.state = state;
    lane.state_at = now;
}

void LaneScheduler::link(List& list, LaneId id)
{
    auto& lane = lanes_[id];
    lane.previous = list.last;
    lane.next = none;
    (list.last == none ? list.first : lanes_[list.last].next) = id;
    list.last = id;
}

void LaneScheduler::unlink(List& list, LaneId id)
{
    auto& lane = lanes_[id];
    (lane.previous == none ? list.first : lanes_[lane.previous].next) = lane.next;
    (lane.next == none ? list.last : lanes_[lane.next].previous) = lane.previous;
    lane.previous = lane.next = none;
}

// Into what lanes of its tier are served from.
void LaneScheduler::enlist(LaneId id)
{
    auto const t = index(lanes_[id].listed_in);
    if (lanes_[id].head != none)
        link(ready_[t], id);
    else
        heap_insert(ready_backlog_[t], &Lane::oldest_slot, id);
}

void LaneScheduler::unlist(LaneId id)
{
    auto const t = index(lanes_[id].listed_in);
    if (lanes_[id].oldest_slot == none)
        unlink(ready_[t], id);
    else
        heap_erase(ready_backlog_[t], &Lane::oldest_slot, id);
}

// A lane that has events and nothing to wait for.
void LaneScheduler::make_ready(LaneId id, Clock::Mono now)
{
    auto& lane = lanes_[id];
    set_state(lane, LaneState::ready, now);
    lane.listed_in = top_tier(lane);
    enlist(id);
    heap_insert(age_heap(lane), &Lane::age_slot, id);
}

void LaneScheduler::leave_ready(LaneId id)
{
    unlist(id);
    heap_erase(age_heap(lanes_[id]), &Lane::age_slot, id);
}

// A lane that has events and waits for something; what it waits for is the caller's.
void LaneScheduler::set_aside(LaneId id, LaneState state, Clock::Mono now)
{
    auto& lane = lanes_[id];
    set_state(lane, state, now);
    heap_insert(age_heap(lane), &Lane::age_slot, id);
    block(id, now);
    queue_spill(id);
}

// Its head may have failed before it was paused: that try still needs its budget.
void LaneScheduler::leave_paused(LaneId id, Clock::Mono now)
{
    auto& lane = lanes_[id];
    unlink(paused_, id);
    heap_erase(age_heap(lane), &Lane::age_slot, id);
    if (lane.is_retry) {
        set_aside(id, LaneState::retrying, now);
        wait_for_budget(id);
        return;
    }
    if (lane.is_blocked) unblock(id);
    make_ready(id, now);
}

void LaneScheduler::free_lane(LaneId id)
{
    if (lanes_[id].is_blocked) unblock(id);
    --states_[static_cast<std::size_t>(lanes_[id].state)].lanes;
    lane_by_key_.erase(lanes_[id].key);
    lanes_.remove(id);
}

// Into the list of lanes that are in trouble, until their head is settled or no longer paused.
void LaneScheduler::block(LaneId id, Clock::Mono now)
{
    auto& lane = lanes_[id];
    if (lane.is_blocked) return;
    lane.is_blocked = true;
    lane.blocked_since = blocked_.last == none ? now : std::max(now, lanes_[blocked_.last].blocked_since);
    lane.blocked_previous = blocked_.last;
    lane.blocked_next = none;
    (blocked_.last == none ? blocked_.first : lanes_[blocked_.last].blocked_next) = id;
    blocked_.last = id;
}

void LaneScheduler::unblock(LaneId id)
{
    auto& lane = lanes_[id];
    lane.is_blocked = false;
    (lane.blocked_previous == none ? blocked_.first : lanes_[lane.blocked_previous].blocked_next) = lane.blocked_next;
    (lane.blocked_next == none ? blocked_.last : lanes_[lane.blocked_next].blocked_previous) = lane.blocked_previous;
    errors_.erase(id);
}

void LaneScheduler::remember(LaneId id, Error const& error, Clock::Mono now)
{
    if (error.reason.empty()) return;
    auto found = errors_.find(id);
    if (found == errors_.end()) {
        if (errors_.size() >= options_.errors_max) return;
        found = errors_.try_emplace(id).first;
    }
    auto& errors = found->second;
    if (errors.size() == errors_of_lane_max) errors.erase(errors.begin());
    errors.push_back({now, error.reason, error.detail.substr(0, error_detail_max)});
}

// --- the backlog ---

void LaneScheduler::queue_spill(LaneId id)
{
    auto& lane = lanes_[id];
    if (admission_ == nullptr || lane.head == none || lane.to_spill) return;
    lane.to_spill = true;
    to_spill_.push_back(lane.key);
}

// From the last resident event on, so that the lane is in order all the time.
std::size_t LaneScheduler::spill_some(LaneId id, std::size_t most, std::vector<BlockRef>& let_go)
{
    auto&         lane = lanes_[id];
    bool const    is_first = lane.backlog_head == none;
    std::uint32_t count = 0;
    std::ranges::fill(spilled_of_, 0u);
    for (; count < most && lane.tail != none; ++count) {
        auto const slot = lane.tail;
        auto&      event = entries_[slot].event;
        auto       entry = backlog_entry(event, event.since);
        entry.next = lane.backlog_head;
        lane.backlog_head = backlog_.add(entry);
        if (lane.backlog_tail == none) lane.backlog_tail = lane.backlog_head;
        ++spilled_of_[event.producer];
        let_go.emplace_back(event.block, false);
        lane.tail = entries_[slot].previous;
        (lane.tail == none ? lane.head : entries_[lane.tail].next) = none;
        entries_.remove(slot);
    }
    lane.resident -= count;
    bool const is_new = is_first && count != 0;
    backlog_lanes_ += is_new;
    if (count != 0) admission_->backlog_grew(spilled_of_, count + is_new * lane_entries);
    return count;
}

bool LaneScheduler::spill_slice(std::vector<BlockRef>& let_go)
{
    if (admission_ == nullptr) return false;
    auto left = options_.slice_max;
    while (left > 0 && !to_spill_.empty()) {
        auto const found = lane_by_key_.find(to_spill_.back());
        bool       is_done = true;
        if (found != lane_by_key_.end()) {
            auto& lane = lanes_[found->second];
            bool const is_aside = lane.state != LaneState::ready && lane.state != LaneState::running;
            if (is_aside) left -= spill_some(found->second, left, let_go);
            is_done = !is_aside || lane.head == none;
            if (is_done) lane.to_spill = false;
        }
        if (is_done) to_spill_.pop_back();
    }
    if (is_away())
        for (auto& list : ready_)
            while (left > 0 && list.first != none) {
                auto const id = list.first;
                unlist(id);
                left -= spill_some(id, left, let_go);
                enlist(id);
            }
    return left == 0;
}

bool LaneScheduler::spill()
{
    std::vector<BlockRef> let_go;  // after the lock
    std::lock_guard       lock(mutex_);
    return spill_slice(let_go);
}

// --- turns ---

void LaneScheduler::resume()
{
    std::lock_guard lock(mutex_);
    ++resumes_;
    resume_left_ = states_[static_cast<std::size_t>(LaneState::paused)].lanes;
}

void LaneScheduler::wait_for_budget(LaneId id)
{
    without_budget_[index(top_tier(lanes_[id]))].push_back(id);
    ++waiting_for_budget_;
}

void LaneScheduler::wake(Clock::Mono now)
{
    for (auto n = options_.slice_max; n > 0 && resume_left_ > 0 && paused_.first != none; --n, --resume_left_)
        leave_paused(paused_.first, now);

    due_.clear();
    retries_.advance(now, due_);
    for (auto const id : due_) wait_for_budget(id);
    while (waiting_for_budget_ != 0 && budget_.reserve(now)) {
        auto t = tier_count - 1;
        while (without_budget_[t].empty()) --t;
        auto const id = without_budget_[t].front();
        without_budget_[t].pop_front();
        --waiting_for_budget_;
        heap_erase(age_heap(lanes_[id]), &Lane::age_slot, id);
        lanes_[id].is_retry = true;
        make_ready(id, now);
    }
}

bool LaneScheduler::take(Clock::Mono now, Batch& batch, std::size_t limit)
{
    batch.runs.clear();
    batch.events.clear();
    std::vector<BlockRef> let_go;  // after the lock
    std::lock_guard       lock(mutex_);
    spill_slice(let_go);
    wake(now);
    limit = std::min(limit, options_.batch_max);
    while (batch.events.size() < limit) {
        auto const room = limit - batch.events.size();
        auto const aged = overdue(now);
        if (aged != none && since_aged_ + 1 >= options_.aged_share) {
            dispatch(aged, 1, batch, now);
            since_aged_ = 0;
            continue;
        }
        auto id = none;
        for (auto t = tier_count; t > 0 && id == none; --t) id = first_ready(t - 1);
        if (id == none) break;
        auto most = std::min(room, options_.lane_batch_max);
        if (aged != none) most = std::min<std::size_t>(most, options_.aged_share - 1 - since_aged_);
        auto const count = dispatch(id, most, batch, now);
        since_aged_ = id == aged ? 0 : std::min(since_aged_ + count, options_.aged_share - 1);
    }
    return !batch.events.empty();
}

// Lanes with a resident head and those whose head is in the log take turns, the latter from the oldest on, so that the
// log is read nearly in its order.
LaneId LaneScheduler::first_ready(std::size_t tier)
{
    auto const  first = ready_[tier].first;
    auto const& heap = ready_backlog_[tier];
    if (first == none) return heap.empty() ? none : heap.front();
    if (heap.empty()) return first;
    backlog_turn_[tier] = !backlog_turn_[tier];
    return backlog_turn_[tier] ? heap.front() : first;
}

// Takes events from the head while the lane keeps the tier it is served for. One that failed goes alone: it must not
// pay for the failure of another, nor another for its own.
std::uint32_t LaneScheduler::dispatch(LaneId id, std::size_t limit, Batch& batch, Clock::Mono now)
{
    auto& lane = lanes_[id];
    leave_ready(id);
    auto const waited = now - lane.state_at;
    waits_[index(lane.listed_in)].add(Delays::bucket(waited), 1, std::max(waited, {}));
    set_state(lane, LaneState::running, now);
    link(running_, id);
    if (lane.is_retry) budget_.used();

    Run  run{id, static_cast<std::uint32_t>(batch.events.size()), 0, lane.attempts, lane.doubt, lane.listed_in,
             lane.is_retry, resumes_};
    auto left = lane.pending;
    auto const head = lane.first;
    if (lane.is_retry || lane.attempts != 0 || head <= lane.doubt) limit = 1;
    auto const is_more = [&](std::uint32_t e) {
        return e != none && run.count < limit && left[index(lane.listed_in)] != 0;
    };
    if (lane.head != none) {
        auto e = lane.head;
        do {
            batch.events.push_back(entries_[e].event);
            --left[index(entries_[e].event.tier)];
            e = entries_[e].next;
            ++run.count;
        } while (is_more(e));
    } else {
        auto e = lane.backlog_head;
        do {
            auto const& entry = backlog_[e];
            batch.events.push_back({.lane_key = lane.key, .block = nullptr, .item = 0, .tier = entry.tier(),
                                    .sequence = entry.sequence(), .received_at = {}, .since = since_of(entry, now)});
            --left[index(entry.tier())];
            e = entry.next;
            ++run.count;
        } while (is_more(e) && number(backlog_[e].sequence()) - number(head) < options_.read_span);
    }
    batch.runs.push_back(run);
    return run.count;
}

void LaneScheduler::finish(Run const& run, std::uint32_t settled, NextStep step, Clock::Mono now)
{
    std::vector<BlockRef> let_go;  // after the lock
    let_go.reserve(settled);
    std::lock_guard lock(mutex_);
    auto& lane = lanes_[run.lane];
    SLUICE_ASSERT(lane.state == LaneState::running && settled <= run.count);
    unlink(running_, run.lane);

    auto const backlog_lanes = backlog_lanes_;
    std::uint64_t entries = 0;
    for (std::uint32_t i = 0; i < settled; ++i) entries += !settle_head(lane, let_go);
    if (entries != 0 && admission_ != nullptr)
        admission_->backlog_shrank(entries + (backlog_lanes - backlog_lanes_) * lane_entries);
    if (settled != 0) {
        budget_.settled(settled - run.is_retry);
        count_settled(settled, now);
        if (lane.is_blocked) unblock(run.lane);
    }
    if (is_empty(lane)) return free_lane(run.lane);

    using Kind = NextStep::Kind;
    // It may have been resumed or lifted while it was in hand.
    if (step.kind == Kind::paused && (run.resumes != resumes_ || top_tier(lane) > run.tier)) step.kind = Kind::ready;
    bool const is_untried = settled == 0 && (step.kind == Kind::ready || step.kind == Kind::paused);
    lane.is_retry = run.is_retry && is_untried;
    lane.doubt = std::max(lane.doubt, step.doubt);
    switch (step.kind) {
    case Kind::ready:
        if (lane.is_retry) budget_.not_used();
        return make_ready(run.lane, now);
    case Kind::paused:
        set_aside(run.lane, LaneState::paused, now);
        return link(paused_, run.lane);
    case Kind::retry:
        lane.attempts = step.attempts;
        set_aside(run.lane, LaneState::retrying, now);
        lane.state_at = step.at;
        retries_.add(step.at, run.lane);
        break;
    case Kind::held: set_aside(run.lane, LaneState::held, now); break;
    }
    remember(run.lane, step.error, now);
}

bool LaneScheduler::released(LaneId id, Clock::Mono now)
{
    std::vector<BlockRef> let_go;  // after the lock
    std::lock_guard       lock(mutex_);
    auto& lane = lanes_[id];
    SLUICE_ASSERT(lane.state == LaneState::held);
    heap_erase(age_heap(lane), &Lane::age_slot, id);
    auto const backlog_lanes = backlog_lanes_;
    bool const is_resident = settle_head(lane, let_go);
    if (!is_resident && admission_ != nullptr)
        admission_->backlog_shrank(1 + (backlog_lanes - backlog_lanes_) * lane_entries);
    count_settled(1, now);
    if (lane.is_blocked) unblock(id);
    if (is_empty(lane))
        free_lane(id);
    else
        make_ready(id, now);
    return is_resident;
}

bool LaneScheduler::is_ready() const
{
    std::lock_guard lock(mutex_);
    return states_[static_cast<std::size_t>(LaneState::ready)].lanes != 0 ||
           (resume_left_ > 0 && paused_.first != none);
}

std::optional<Clock::Mono> LaneScheduler::next_due() const
{
    std::lock_guard lock(mutex_);
    auto due = retries_.next_due();
    if (waiting_for_budget_ == 0) return due;
    return due ? std::min(*due, budget_.next()) : budget_.next();
}

// The ready lane with the oldest head among those that have waited too long.
LaneId LaneScheduler::overdue(Clock::Mono now) const
{
    LaneId oldest = none;
    for (std::size_t t = 0; t < tier_count; ++t) {
        auto const& heap = by_age_[0][t];
        if (heap.empty() || options_.max_wait[t] == std::chrono::milliseconds::max()) continue;
        if (now - head(lanes_[heap.front()], now).since <= options_.max_wait[t]) continue;
        if (oldest == none || older(heap.front(), oldest)) oldest = heap.front();
    }
    return oldest;
}

// --- heaps ---

bool LaneScheduler::older(LaneId a, LaneId b) const { return lanes_[a].first < lanes_[b].first; }

LaneScheduler::Heap& LaneScheduler::age_heap(Lane const& lane)
{
    return by_age_[lane.state != LaneState::ready][index(lane.first_tier)];
}

void LaneScheduler::heap_insert(Heap& heap, std::uint32_t Lane::*slot, LaneId id)
{
    heap.push_back(id);
    lanes_[id].*slot = static_cast<std::uint32_t>(heap.size() - 1);
    heap_sift(heap, slot, heap.size() - 1);
}

void LaneScheduler::heap_erase(Heap& heap, std::uint32_t Lane::*slot, LaneId id)
{
    auto const at = std::exchange(lanes_[id].*slot, none);
    auto const moved = heap.back();
    heap.pop_back();
    if (at == heap.size()) return;
    heap[at] = moved;
    lanes_[moved].*slot = at;
    heap_sift(heap, slot, at);
}

// Restores the heap around one place, upwards or downwards.
void LaneScheduler::heap_sift(Heap& heap, std::uint32_t Lane::*slot, std::size_t at)
{
    auto const id = heap[at];
    auto const mine = lanes_[id].first;
    auto const first = [&](std::size_t place) { return lanes_[heap[place]].first; };
    auto const move = [&](std::size_t from) {
        heap[at] = heap[from];
        lanes_[heap[at]].*slot = static_cast<std::uint32_t>(at);
        at = from;
    };
    while (at > 0 && mine < first((at - 1) / 2)) move((at - 1) / 2);
    for (;;) {
        auto child = 2 * at + 1;
        if (child >= heap.size()) break;
        if (child + 1 < heap.size() && first(child + 1) < first(child)) ++child;
        if (!(first(child) < mine)) break;
        move(child);
    }
    heap[at] = id;
    lanes_[id].*slot = static_cast<std::uint32_t>(at);
}

// --- seeing ---

void LaneScheduler::count_settled(std::uint32_t events, Clock::Mono now)
{
    auto const second = now.time_since_epoch() / std::chrono::seconds(1);
    auto const seconds = static_cast<std::int64_t>(rate_seconds);
    if (settled_second_ == 0) rate_from_ = settled_second_ = second;
    if (second > settled_second_) {
        for (auto s = std::max(settled_second_ + 1, second - seconds + 1); s <= second; ++s)
            settled_[static_cast<std::size_t>(s % seconds)] = 0;
        settled_second_ = second;
    }
    settled_[static_cast<std::size_t>(settled_second_ % seconds)] += events;
}

// Over the last whole seconds, as far back as anything was served.
double LaneScheduler::rate(Clock::Mono now) const
{
    auto const second = now.time_since_epoch() / std::chrono::seconds(1);
    auto const seconds = static_cast<std::int64_t>(rate_seconds);
    if (settled_second_ == 0) return 0;
    auto const    from = std::max(rate_from_, second - seconds + 1);
    std::uint64_t sum = 0;
    for (auto s = from; s < second; ++s)
        if (s <= settled_second_ && s > settled_second_ - seconds)
            sum += settled_[static_cast<std::size_t>(s % seconds)];
    if (from >= second) return static_cast<double>(settled_[static_cast<std::size_t>(settled_second_ % seconds)]);
    return static_cast<double>(sum) / static_cast<double>(second - from);
}

LaneStats LaneScheduler::stats(Clock::Mono now) const
{
    using std::chrono::nanoseconds;
    constexpr double ns_max = 1e18;
    std::lock_guard lock(mutex_);
    LaneStats stats;
    stats.pending = pending_;
    stats.states = states_;
    stats.lanes = lane_by_key_.size();
    stats.is_away = is_away();
    stats.waiting_for_budget = waiting_for_budget_;
    stats.backlog = backlog_.size();
    stats.backlog_lanes = backlog_lanes_;
    stats.rate = rate(now);
    auto const state = [&](LaneState s) -> LaneStats::State const& { return states_[static_cast<std::size_t>(s)]; };
    stats.blocked = state(LaneState::retrying).lanes + state(LaneState::held).lanes + state(LaneState::paused).lanes;

    auto const see = [&](LaneStats::Times& times, LaneId id) {
        auto const h = head(lanes_[id], now);
        auto&      time = times[index(h.tier)];
        time = std::max(time, now - h.since);
    };
    for (std::size_t t = 0; t < tier_count; ++t) {
        for (auto const& heaps : by_age_)
            if (!heaps[t].empty()) see(stats.oldest_age, heaps[t].front());
        if (!stats.is_away && !by_age_[0][t].empty()) see(stats.oldest_wait, by_age_[0][t].front());
    }
    for (auto id = running_.first; id != none; id = lanes_[id].next) see(stats.oldest_age, id);

    auto const time_for = [&](double events, double rate) {
        auto const ns = rate <= 0 ? ns_max : events / rate * 1e9;
        return ns >= ns_max ? nanoseconds::max() : nanoseconds(static_cast<std::int64_t>(ns));
    };
    auto const runnable = static_cast<double>(state(LaneState::ready).events + state(LaneState::running).events);
    double     above = 0;
    for (auto t = tier_count; t-- > 0;) {
        above += static_cast<double>(pending_[t]);
        stats.lag[t] = above == 0 ? nanoseconds(0) : time_for(above, stats.rate);
        bool const is_aged = options_.max_wait[t] != std::chrono::milliseconds::max();
        auto const share = is_aged ? stats.rate / options_.aged_share : stats.rate;
        auto const turn = runnable == 0   ? nanoseconds(0)
                          : stats.is_away ? nanoseconds::max()
                                          : time_for(runnable, share);
        stats.wait_bound[t] =
            turn == nanoseconds::max() || !is_aged ? turn : turn + nanoseconds(options_.max_wait[t]);
    }
    if (stats.is_away) return stats;

    auto const stuck = [&](LaneId id) {
        if (stats.stuck.size() < stuck_max)
            stats.stuck.push_back({lanes_[id].key, lanes_[id].first, lanes_[id].state});
    };
    for (auto id = running_.first; id != none && now - lanes_[id].state_at > options_.stuck_after; id = lanes_[id].next)
        stuck(id);
    for (std::size_t t = 0; t < tier_count; ++t) {
        if (by_age_[0][t].empty()) continue;
        auto const  id = by_age_[0][t].front();
        auto const  waited = now - std::max(lanes_[id].state_at, head(lanes_[id], now).since);
        nanoseconds most = options_.stuck_after;
        if (stats.rate > 0) most = std::max(most, stats.wait_bound[t]);
        if (waited > most) stuck(id);
    }
    return stats;
}

LaneInfo LaneScheduler::info(LaneId id, Clock::Mono now) const
{
    auto const& lane = lanes_[id];
    auto const  h = head(lane, now);
    LaneInfo    info{.lane_key = lane.key, .state = lane.state, .head = h.sequence, .depth = lane.pending,
                     .resident = lane.resident,
                     .backlog = static_cast<std::uint32_t>(events_of(lane)) - lane.resident, .head_since = h.since,
                     .attempts = lane.attempts};
    if (lane.is_blocked) info.blocked_since = lane.blocked_since;
    if (lane.state == LaneState::retrying) info.next_retry = lane.state_at;
    if (auto const found = errors_.find(id); found != errors_.end()) info.errors = found->second;
    return info;
}

std::optional<LaneInfo> LaneScheduler::lane(std::uint64_t lane_key, Clock::Mono now) const
{
    std::lock_guard lock(mutex_);
    auto const      found = lane_by_key_.find(lane_key);
    if (found == lane_by_key_.end()) return std::nullopt;
    return info(found->second, now);
}

std::vector<LaneInfo> LaneScheduler::blocked(
    std::size_t limit, std::optional<std::uint64_t> after_lane, Clock::Mono after_since, Clock::Mono now) const
{
    std::lock_guard       lock(mutex_);
    std::vector<LaneInfo> page;
    auto                  id = blocked_.first;
    if (after_lane) {
        auto const found = lane_by_key_.find(*after_lane);
        auto const at = found == lane_by_key_.end() ? none : found->second;
        if (at != none && lanes_[at].is_blocked && lanes_[at].blocked_since == after_since)
            id = lanes_[at].blocked_next;
        else
            while (id != none && lanes_[id].blocked_since < after_since) id = lanes_[id].blocked_next;
    }
    for (; id != none && page.size() < limit; id = lanes_[id].blocked_next) page.push_back(info(id, now));
    return page;
}

}  // namespace sluice::engine
