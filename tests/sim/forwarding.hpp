// Ports that pass everything on: what faulty ones and wrong twins change a part of.
#pragma once

#include "contract/forwarding_graph.hpp"
#include "engine/scheduler.hpp"
#include "log/event_log.hpp"

namespace sluice::sim {

class ForwardingLog : public log::EventLog {
public:
    explicit ForwardingLog(log::EventLog& inner) : inner_(inner) {}

    Result<> append(log::Commit const& commit) override { return inner_.append(commit); }
    log::Space check_space() override { return inner_.check_space(); }
    Result<std::shared_ptr<log::StoredBlock const>> read(Sequence s) const override { return inner_.read(s); }
    Sequence                           first() const noexcept override { return inner_.first(); }
    std::unique_ptr<Cursor>            blocks(Sequence from) const override { return inner_.blocks(from); }
    Result<> visit_decisions(
        Sequence from, std::function<bool(log::Decision const&)> const& visit) const override
    {
        return inner_.visit_decisions(from, visit);
    }
    Sequence                           last() const noexcept override { return inner_.last(); }
    std::uint64_t                      last_chain() const noexcept override { return inner_.last_chain(); }
    WallTime                           last_received_at() const noexcept override { return inner_.last_received_at(); }

protected:
    log::EventLog& inner_;
};

class ForwardingScheduler : public engine::Scheduler {
public:
    explicit ForwardingScheduler(std::unique_ptr<engine::Scheduler> inner) : inner_(std::move(inner)) {}

    void bind(engine::Admission& admission, engine::Breaker const& breaker) override
    {
        inner_->bind(admission, breaker);
    }
    void push(std::span<engine::Pending const> events, Clock::Mono now) override { inner_->push(events, now); }
    bool take(Clock::Mono now, engine::Batch& batch, std::size_t limit) override
    {
        return inner_->take(now, batch, limit);
    }
    void finish(engine::Run const& run, std::uint32_t settled, engine::NextStep next, Clock::Mono now) override
    {
        inner_->finish(run, settled, std::move(next), now);
    }
    bool released(engine::LaneId lane, Clock::Mono now) override { return inner_->released(lane, now); }
    void resume() override { inner_->resume(); }
    bool spill() override { return inner_->spill(); }
    bool is_ready() const override { return inner_->is_ready(); }
    std::optional<Clock::Mono> next_due() const override { return inner_->next_due(); }
    engine::LaneStats          stats(Clock::Mono now) const override { return inner_->stats(now); }
    engine::Delays const&      waits(Tier tier) const override { return inner_->waits(tier); }
    std::optional<engine::LaneInfo> lane(std::uint64_t key, Clock::Mono now) const override
    {
        return inner_->lane(key, now);
    }
    std::vector<engine::LaneInfo> blocked(
        std::size_t limit, std::optional<std::uint64_t> lane, Clock::Mono since, Clock::Mono now) const override
    {
        return inner_->blocked(limit, lane, since, now);
    }

protected:
    std::unique_ptr<engine::Scheduler> const inner_;
};

using test::ForwardingGraph;

}  // namespace sluice::sim
