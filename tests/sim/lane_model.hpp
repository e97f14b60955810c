// What a scheduler promises, as a slow and obvious judge: it is told everything that happens and remembers the first
// promise that was broken.
#pragma once

#include "engine/scheduler.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <vector>

namespace sluice::sim {

class LaneModel {
public:
    explicit LaneModel(engine::SchedulerOptions options) : options_(options), budget_(options.budget) {}

    std::string const& violation() const noexcept { return violation_; }  // empty: none
    std::size_t        aged_turns() const noexcept { return aged_turns_; }
    std::size_t        tiers_in_one_lane() const noexcept { return tiers_in_one_lane_; }  // at most, so far

    void pushed(std::span<engine::Pending const> events, Clock::Mono now)
    {
        for (auto const& event : events) {
            auto& lane = lanes_[event.lane_key];
            lane.items.push_back({event.sequence, event.tier, engine::LaneScheduler::coarse(now)});
            if (lane.state == State::paused && event.tier > lane.listed_in) unpause(event.lane_key);
            std::array<bool, tier_count> seen{};
            for (auto const& item : lane.items) seen[index(item.tier)] = true;
            auto const tiers = static_cast<std::size_t>(std::count(seen.begin(), seen.end(), true));
            tiers_in_one_lane_ = std::max(tiers_in_one_lane_, tiers);
        }
    }

    void taken(engine::Batch const& batch, bool is_any, Clock::Mono now, std::size_t limit)
    {
        wake(now);
        limit = std::min(limit, options_.batch_max);
        expect(is_any == !batch.events.empty(), "take() says whether it took something");
        expect(batch.events.size() <= limit, "a batch has at most batch_max events, and no more than asked for");
        for (auto const& run : batch.runs) judge(batch, run, now);
        bool const is_work_left = std::any_of(lanes_.begin(), lanes_.end(), [](auto const& entry) {
            return entry.second.state == State::ready && !entry.second.items.empty();
        });
        bool const has_room = batch.events.size() < limit;
        expect(!has_room || !is_work_left, "a batch leaves no ready lane while it has room");
    }

    void finished(engine::Run const& run, std::uint32_t settled, engine::NextStep const& next)
    {
        if (!violation_.empty()) return;
        auto const key = running_.at(run.lane);
        auto&      lane = lanes_.at(key);
        for (std::uint32_t i = 0; i < settled; ++i) settle(lane);
        if (settled > 0) budget_.settled(settled - run.is_retry);
        if (lane.items.empty()) {
            lane.state = State::ready;
            lane.is_retry = false;
            running_.erase(run.lane);
            return;
        }
        using Kind = engine::NextStep::Kind;
        bool const goes_on = run.resumes != resumes_ || top(lane, 0) > run.tier;
        auto const kind = next.kind == Kind::paused && goes_on ? Kind::ready : next.kind;
        lane.is_retry = run.is_retry && settled == 0 && (kind == Kind::ready || kind == Kind::paused);
        switch (kind) {
        case Kind::ready:
            lane.state = State::ready;
            if (lane.is_retry) budget_.not_used();
            break;
        case Kind::retry:
            lane.state = State::retrying;
            lane.attempts = next.attempts;
            retries_.push_back({std::max<Clock::Mono>(std::chrono::ceil<std::chrono::milliseconds>(next.at),
                                                      std::chrono::floor<std::chrono::milliseconds>(advanced_to_)),
                                key});
            break;
        case Kind::held: lane.state = State::held; break;
        case Kind::paused:
            lane.state = State::paused;
            paused_.push_back(key);
            break;
        }
        if (kind != Kind::held) running_.erase(run.lane);
    }

    void released(engine::LaneId id)
    {
        if (!violation_.empty()) return;
        auto& lane = lanes_.at(running_.at(id));
        settle(lane);
        lane.state = State::ready;
        running_.erase(id);
    }

    void resumed()
    {
        ++resumes_;
        to_resume_ = paused_.size();
    }

private:
    using State = engine::LaneState;
    struct Item {
        Sequence    sequence;
        Tier        tier;
        Clock::Mono since;
    };
    struct Lane {
        std::deque<Item> items;
        State            state{State::ready};
        std::uint32_t    attempts{0};
        Tier             listed_in{};
        bool             is_retry{false};
    };
    struct Retry {
        Clock::Mono   at;
        std::uint64_t key;
    };

    void unpause(std::uint64_t key)
    {
        std::erase(paused_, key);
        auto& lane = lanes_.at(key);
        lane.state = lane.is_retry ? State::retrying : State::ready;
        if (lane.is_retry) wait_for_budget(key);
    }

    void wait_for_budget(std::uint64_t key) { without_budget_[index(top(lanes_.at(key), 0))].push_back(key); }

    // Retries by tier, then in the order they are due, as far as the budget goes.
    void wake(Clock::Mono now)
    {
        for (auto left = options_.slice_max; left > 0 && to_resume_ > 0 && !paused_.empty(); --left, --to_resume_)
            unpause(std::uint64_t{paused_.front()});
        advanced_to_ = now;
        std::ranges::stable_sort(retries_, {}, &Retry::at);
        auto const later = std::ranges::upper_bound(retries_, now, {}, &Retry::at);
        for (auto retry = retries_.begin(); retry != later; ++retry) wait_for_budget(retry->key);
        retries_.erase(retries_.begin(), later);
        for (;;) {
            auto const first = std::ranges::find_if(
                without_budget_.rbegin(), without_budget_.rend(), [](auto const& keys) { return !keys.empty(); });
            if (first == without_budget_.rend() || !budget_.reserve(now)) return;
            auto& lane = lanes_.at(first->front());
            first->pop_front();
            lane.state = State::ready;
            lane.is_retry = true;
        }
    }

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
        expect(run.is_retry == lane.is_retry, "a retry is called one, and waits for its time and its budget");
        expect(run.tier == top(lane, 0), "a run tells the tier its lane was served for");
        if (run.is_retry) budget_.used();
        expect(run.count <= lane.items.size(), "a run has no more events than its lane");
        for (std::uint32_t i = 0; i < run.count && violation_.empty(); ++i) {
            expect(batch.events[run.first + i].sequence == lane.items[i].sequence, "a lane is served in its order");
            judge_turn(lane, i, now);
        }
        lane.state = State::running;
        lane.listed_in = run.tier;
        running_[run.lane] = batch.events[run.first].lane_key;
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
    std::map<engine::LaneId, std::uint64_t> running_;  // and held
    std::vector<Retry>                  retries_;
    std::array<std::deque<std::uint64_t>, tier_count> without_budget_;
    engine::RetryBudget                 budget_;
    std::vector<std::uint64_t>          paused_;
    std::size_t                         to_resume_{0};
    std::uint32_t                       resumes_{0};
    Clock::Mono                         advanced_to_{};
    std::size_t                         since_aged_{0};   // events since one of the lane overdue longest
    std::size_t                         passed_over_{0};  // the same, counted while a lane is overdue
    std::size_t                         aged_turns_{0};
    std::size_t                         tiers_in_one_lane_{0};
    std::string                         violation_;
};

}  // namespace sluice::sim
