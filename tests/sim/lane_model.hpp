// What a scheduler promises, as a slow and obvious judge: it is told everything that happens and remembers the first
// promise that was broken.
#pragma once

#include "engine/scheduler.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <string>

namespace sluice::sim {

class LaneModel {
public:
    explicit LaneModel(engine::SchedulerOptions options) : options_(options) {}

    std::string const& violation() const noexcept { return violation_; }  // empty: none
    std::size_t        aged_turns() const noexcept { return aged_turns_; }
    std::size_t        tiers_in_one_lane() const noexcept { return tiers_in_one_lane_; }  // at most, so far

    void pushed(std::span<engine::Pending const> events, Clock::Mono now)
    {
        for (auto const& event : events) {
            auto& lane = lanes_[event.lane_key];
            lane.items.push_back({event.sequence, event.tier, now});
            std::array<bool, tier_count> seen{};
            for (auto const& item : lane.items) seen[index(item.tier)] = true;
            auto const tiers = static_cast<std::size_t>(std::count(seen.begin(), seen.end(), true));
            tiers_in_one_lane_ = std::max(tiers_in_one_lane_, tiers);
        }
    }

    void taken(engine::Batch const& batch, bool is_any, Clock::Mono now)
    {
        for (auto& [key, lane] : lanes_)
            if (lane.state == State::retrying && lane.due <= now) lane.state = State::ready;
        expect(is_any == !batch.events.empty(), "take() says whether it took something");
        expect(batch.events.size() <= options_.batch_max, "a batch has at most batch_max events");
        for (auto const& run : batch.runs) judge(batch, run, now);
        bool const is_work_left = std::any_of(lanes_.begin(), lanes_.end(), [](auto const& entry) {
            return entry.second.state == State::ready && !entry.second.items.empty();
        });
        bool const has_room = batch.events.size() < options_.batch_max;
        expect(!has_room || !is_work_left, "a batch leaves no ready lane while it has room");
    }

    void finished(engine::Run const& run, std::uint32_t settled, engine::NextStep const& next)
    {
        auto& lane = *running_.at(run.lane);
        for (std::uint32_t i = 0; i < settled; ++i) settle(lane);
        if (lane.items.empty()) {
            lane.state = State::ready;
            running_.erase(run.lane);
            return;
        }
        using Kind = engine::NextStep::Kind;
        lane.state = next.kind == Kind::ready ? State::ready : next.kind == Kind::retry ? State::retrying : State::held;
        if (next.kind == Kind::retry) {
            lane.due = next.at;
            lane.attempts = next.attempts;
        }
        if (next.kind != Kind::held) running_.erase(run.lane);
    }

    void released(engine::LaneId id)
    {
        auto& lane = *running_.at(id);
        settle(lane);
        lane.state = State::ready;
        running_.erase(id);
    }

private:
    enum class State : std::uint8_t { ready, running, retrying, held };
    struct Item {
        Sequence    sequence;
        Tier        tier;
        Clock::Mono since;
    };
    struct Lane {
        std::deque<Item> items;
        State            state{State::ready};
        Clock::Mono      due{};
        std::uint32_t    attempts{0};
    };

    void expect(bool kept, char const* promise)
    {
        if (!kept && violation_.empty()) violation_ = promise;
    }

    static void settle(Lane& lane)
    {
        lane.items.pop_front();
        lane.attempts = 0;
    }

    void judge(engine::Batch const& batch, engine::Run const& run, Clock::Mono now)
    {
        expect(run.count > 0 && run.first + run.count <= batch.events.size(), "a run lies inside its batch");
        expect(run.count <= options_.lane_batch_max, "a run has at most lane_batch_max events");
        if (!violation_.empty()) return;
        auto& lane = lanes_[batch.events[run.first].lane_key];
        expect(lane.state == State::ready, "only a lane that is ready is served, and in one batch at a time");
        expect(run.attempts == lane.attempts, "a lane remembers the attempts of its head");
        expect(run.count <= lane.items.size(), "a run has no more events than its lane");
        for (std::uint32_t i = 0; i < run.count && violation_.empty(); ++i) {
            expect(batch.events[run.first + i].sequence == lane.items[i].sequence, "a lane is served in its order");
            judge_turn(lane, i, now);
        }
        lane.state = State::running;
        running_[run.lane] = &lane;
    }

    static Tier top(Lane const& lane, std::size_t from)
    {
        auto const begin = lane.items.begin() + static_cast<std::ptrdiff_t>(from);
        return std::max_element(begin, lane.items.end(), [](auto& a, auto& b) { return a.tier < b.tier; })->tier;
    }

    // One event of a lane that is still marked ready.
    void judge_turn(Lane const& mine, std::size_t at, Clock::Mono now)
    {
        Lane const* oldest = nullptr;  // overdue
        bool        is_highest = true;
        for (auto const& [key, lane] : lanes_) {
            if (lane.state != State::ready || lane.items.empty()) continue;
            if (&lane != &mine && top(lane, 0) > top(mine, at)) is_highest = false;
            auto const& head = lane.items.front();
            auto const  limit = options_.max_wait[index(head.tier)];
            bool const  is_overdue = limit != std::chrono::milliseconds::max() && now - head.since > limit;
            if (is_overdue && (!oldest || head.sequence < oldest->items.front().sequence)) oldest = &lane;
        }
        bool const is_oldest = oldest == &mine;
        expect(is_highest || is_oldest, "strict priority, except for the lane that is overdue longest");
        if (!is_highest && is_oldest) {
            ++aged_turns_;
            expect(since_aged_ + 1 >= options_.aged_share, "overdue lanes get their share and no more");
        }
        since_aged_ = is_oldest ? 0 : since_aged_ + 1;
        passed_over_ = !oldest || is_oldest ? 0 : passed_over_ + 1;
        expect(passed_over_ < options_.aged_share, "of every aged_share events one comes from an overdue lane");
    }

    engine::SchedulerOptions const      options_;
    std::map<std::uint64_t, Lane>       lanes_;
    std::map<engine::LaneId, Lane*>     running_;  // and held
    std::size_t                         since_aged_{0};   // events since one of the lane overdue longest
    std::size_t                         passed_over_{0};  // the same, counted while a lane is overdue
    std::size_t                         aged_turns_{0};
    std::size_t                         tiers_in_one_lane_{0};
    std::string                         violation_;
};

}  // namespace sluice::sim
