#include "engine/scheduler.hpp"

#include "base/assert.hpp"

#include <algorithm>

namespace sluice::engine {

LaneScheduler::LaneScheduler(SchedulerOptions options) : options_(options) {}

LaneScheduler::~LaneScheduler()
{
    for (auto const& [key, id] : lane_by_key_)
        for (auto e = lanes_[id].head; e != none; e = entries_[e].next) intrusive_ptr_release(entries_[e].event.block);
}

Tier LaneScheduler::top_tier(Lane const& lane) noexcept
{
    for (std::size_t t = tier_count; t-- > 1;)
        if (lane.pending[t] != 0) return Tier{static_cast<std::uint8_t>(t)};
    return Tier::low;
}

void LaneScheduler::push(std::span<Pending const> events, Clock::Mono now)
{
    std::lock_guard lock(mutex_);
    for (auto const& event : events) {
        intrusive_ptr_add_ref(event.block);
        append(lane_for(event.lane_key), event, now);
    }
}

LaneId LaneScheduler::lane_for(std::uint64_t key)
{
    auto const [it, fresh] = lane_by_key_.try_emplace(key, none);
    if (!fresh) return it->second;
    if (free_lanes_.empty()) {
        it->second = static_cast<LaneId>(lanes_.size());
        lanes_.emplace_back();
    } else {
        it->second = free_lanes_.back();
        free_lanes_.pop_back();
        lanes_[it->second] = Lane{};
    }
    lanes_[it->second].key = key;
    return it->second;
}

void LaneScheduler::append(LaneId id, Pending const& event, Clock::Mono now)
{
    std::uint32_t slot;
    if (free_entries_.empty()) {
        slot = static_cast<std::uint32_t>(entries_.size());
        entries_.emplace_back();
    } else {
        slot = free_entries_.back();
        free_entries_.pop_back();
    }
    entries_[slot] = Entry{event, none};
    entries_[slot].event.since = now;

    auto&      lane = lanes_[id];
    bool const was_empty = lane.head == none;
    if (was_empty)
        lane.head = slot;
    else
        entries_[lane.tail].next = slot;
    lane.tail = slot;
    ++lane.pending[index(event.tier)];
    ++pending_[index(event.tier)];

    if (was_empty)
        make_ready(id);
    else if (lane.state == LaneState::ready && event.tier > lane.listed_in)
        relist(id);
}

// A lane that has events and nothing to wait for.
void LaneScheduler::make_ready(LaneId id)
{
    lanes_[id].state = LaneState::ready;
    lanes_[id].listed_in = top_tier(lanes_[id]);
    auto& lane = lanes_[id];
    auto& list = ready_[index(lane.listed_in)];
    lane.previous = list.last;
    lane.next = none;
    (list.last == none ? list.first : lanes_[list.last].next) = id;
    list.last = id;
    age_insert(id);
}

void LaneScheduler::unlist(LaneId id)
{
    auto& lane = lanes_[id];
    auto& list = ready_[index(lane.listed_in)];
    (lane.previous == none ? list.first : lanes_[lane.previous].next) = lane.next;
    (lane.next == none ? list.last : lanes_[lane.next].previous) = lane.previous;
    age_erase(id);
}

void LaneScheduler::relist(LaneId id)
{
    unlist(id);
    make_ready(id);
}

void LaneScheduler::free_lane(LaneId id)
{
    lane_by_key_.erase(lanes_[id].key);
    free_lanes_.push_back(id);
}

bool LaneScheduler::take(Clock::Mono now, Batch& batch)
{
    batch.runs.clear();
    batch.events.clear();
    std::lock_guard lock(mutex_);
    wake_due(now);
    while (batch.events.size() < options_.batch_max) {
        auto const room = options_.batch_max - batch.events.size();
        auto const aged = overdue(now);
        if (aged != none && since_aged_ + 1 >= options_.aged_share) {
            dispatch(aged, 1, batch);
            since_aged_ = 0;
            continue;
        }
        auto t = tier_count;
        while (t > 0 && ready_[t - 1].first == none) --t;
        if (t == 0) break;
        auto const id = ready_[t - 1].first;
        auto limit = std::min(room, options_.lane_batch_max);
        if (aged != none) limit = std::min<std::size_t>(limit, options_.aged_share - 1 - since_aged_);
        auto const served_aged = id == aged;
        auto const count = dispatch(id, limit, batch);
        since_aged_ = served_aged ? 0 : std::min(since_aged_ + count, options_.aged_share - 1);
    }
    return !batch.events.empty();
}

// Takes events from the head while the lane keeps the tier it is served for. One that failed goes alone: it must not
// pay for the failure of another, nor another for its own.
std::uint32_t LaneScheduler::dispatch(LaneId id, std::size_t limit, Batch& batch)
{
    unlist(id);
    auto& lane = lanes_[id];
    lane.state = LaneState::running;
    auto      left = lane.pending;
    Run       run{id, static_cast<std::uint32_t>(batch.events.size()), 0, lane.attempts, lane.doubt};
    auto      e = lane.head;
    if (lane.attempts != 0 || head(lane).event.sequence <= lane.doubt) limit = 1;
    do {
        batch.events.push_back(entries_[e].event);
        --left[index(entries_[e].event.tier)];
        e = entries_[e].next;
        ++run.count;
    } while (e != none && run.count < limit && left[index(lane.listed_in)] != 0);
    batch.runs.push_back(run);
    return run.count;
}

// The block goes to the caller, who lets go of it outside the lock: the last reference frees it.
BlockRef LaneScheduler::settle_head(Lane& lane)
{
    auto const slot = lane.head;
    auto&      entry = entries_[slot];
    lane.head = entry.next;
    lane.attempts = 0;
    --lane.pending[index(entry.event.tier)];
    --pending_[index(entry.event.tier)];
    BlockRef block(entry.event.block, false);
    free_entries_.push_back(slot);
    return block;
}

void LaneScheduler::finish(Run const& run, std::uint32_t settled, NextStep step)
{
    std::vector<BlockRef> settled_blocks;  // let go of after the lock
    settled_blocks.reserve(settled);
    std::lock_guard lock(mutex_);
    auto& lane = lanes_[run.lane];
    SLUICE_ASSERT(lane.state == LaneState::running && settled <= run.count);
    for (std::uint32_t i = 0; i < settled; ++i) settled_blocks.push_back(settle_head(lane));
    if (lane.head == none) return free_lane(run.lane);
    switch (step.kind) {
    case NextStep::Kind::ready: return make_ready(run.lane);
    case NextStep::Kind::retry:
        lane.state = LaneState::retrying;
        lane.attempts = step.attempts;
        lane.doubt = std::max(lane.doubt, step.doubt);
        retries_.push({step.at, run.lane});
        break;
    case NextStep::Kind::held: lane.state = LaneState::held; break;
    }
    ++blocked_;
}

void LaneScheduler::released(LaneId id)
{
    BlockRef        block;  // let go of after the lock
    std::lock_guard lock(mutex_);
    SLUICE_ASSERT(lanes_[id].state == LaneState::held);
    --blocked_;
    block = settle_head(lanes_[id]);
    if (lanes_[id].head == none)
        free_lane(id);
    else
        make_ready(id);
}

void LaneScheduler::wake_due(Clock::Mono now)
{
    while (!retries_.empty() && retries_.top().at <= now) {
        --blocked_;
        make_ready(retries_.top().lane);
        retries_.pop();
    }
}

std::optional<Clock::Mono> LaneScheduler::next_due() const
{
    std::lock_guard lock(mutex_);
    if (retries_.empty()) return std::nullopt;
    return retries_.top().at;
}

// The ready lane with the oldest head among those that have waited too long.
LaneId LaneScheduler::overdue(Clock::Mono now) const
{
    LaneId oldest = none;
    for (std::size_t t = 0; t < tier_count; ++t) {
        if (by_age_[t].empty() || options_.max_wait[t] == std::chrono::milliseconds::max()) continue;
        auto const id = by_age_[t].front();
        if (now - head(lanes_[id]).event.since <= options_.max_wait[t]) continue;
        if (oldest == none || older(id, oldest)) oldest = id;
    }
    return oldest;
}

bool LaneScheduler::older(LaneId a, LaneId b) const
{
    return head(lanes_[a]).event.sequence < head(lanes_[b]).event.sequence;
}

void LaneScheduler::age_insert(LaneId id)
{
    auto& heap = by_age_[index(head(lanes_[id]).event.tier)];
    heap.push_back(id);
    lanes_[id].age_slot = static_cast<std::uint32_t>(heap.size() - 1);
    age_sift(heap, heap.size() - 1);
}

void LaneScheduler::age_erase(LaneId id)
{
    auto&      heap = by_age_[index(head(lanes_[id]).event.tier)];
    auto const slot = lanes_[id].age_slot;
    auto const moved = heap.back();
    heap.pop_back();
    if (slot == heap.size()) return;
    heap[slot] = moved;
    lanes_[moved].age_slot = slot;
    age_sift(heap, slot);
}

// Restores the heap around one slot, upwards or downwards.
void LaneScheduler::age_sift(std::vector<LaneId>& heap, std::size_t slot)
{
    auto const swap = [&](std::size_t a, std::size_t b) {
        std::swap(heap[a], heap[b]);
        lanes_[heap[a]].age_slot = static_cast<std::uint32_t>(a);
        lanes_[heap[b]].age_slot = static_cast<std::uint32_t>(b);
    };
    for (auto up = slot; up > 0 && older(heap[up], heap[(up - 1) / 2]); up = (up - 1) / 2) swap(up, (up - 1) / 2);
    for (;;) {
        auto least = slot;
        for (auto const child : {2 * slot + 1, 2 * slot + 2})
            if (child < heap.size() && older(heap[child], heap[least])) least = child;
        if (least == slot) return;
        swap(slot, least);
        slot = least;
    }
}

LaneStats LaneScheduler::stats(Clock::Mono now) const
{
    std::lock_guard lock(mutex_);
    LaneStats stats{.pending = pending_, .oldest_age = {}, .lanes = lane_by_key_.size(), .blocked = blocked_};
    for (std::size_t t = 0; t < tier_count; ++t)
        if (!by_age_[t].empty()) stats.oldest_age[t] = now - head(lanes_[by_age_[t].front()]).event.since;
    return stats;
}

}  // namespace sluice::engine
