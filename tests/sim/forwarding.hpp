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
    Result<> check_space() override { return inner_.check_space(); }
    Result<std::shared_ptr<log::StoredBlock const>> read(Sequence s) const override { return inner_.read(s); }
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

    void push(std::span<engine::Pending const> events, Clock::Mono now) override { inner_->push(events, now); }
    bool take(Clock::Mono now, engine::Batch& batch) override { return inner_->take(now, batch); }
    void finish(engine::Run const& run, std::uint32_t settled, engine::NextStep next) override
    {
        inner_->finish(run, settled, next);
    }
    void                       released(engine::LaneId lane) override { inner_->released(lane); }
    std::optional<Clock::Mono> next_due() const override { return inner_->next_due(); }
    engine::LaneStats          stats(Clock::Mono now) const override { return inner_->stats(now); }

protected:
    std::unique_ptr<engine::Scheduler> const inner_;
};

using test::ForwardingGraph;

}  // namespace sluice::sim
