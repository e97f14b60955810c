// Durable events into lanes, and out in micro-batches until none is left.
#include "stage.hpp"
#include "support.hpp"

#include "engine/delays.hpp"
#include "engine/scheduler.hpp"

namespace sluice::bench {

namespace {

class Lanes final : public Stage {
public:
    Lanes()
    {
        for (std::uint32_t i = 0; i < events(); ++i) {
            auto const record = block_->record(i);
            pending_.push_back({.lane_key = log::lane_key(record.header().tenant, record.did()), .block = block_.get(),
                                .item = i, .tier = record.tier(), .sequence = Sequence{i + 1}});
        }
    }
    void run() override
    {
        scheduler_.push(pending_, clock_.now());
        std::size_t taken = 0;
        while (scheduler_.take(clock_.now(), batch_, events())) {
            taken += batch_.events.size();
            for (auto const& run : batch_.runs) scheduler_.finish(run, run.count, {}, clock_.now());
        }
        if (taken != events()) give_up("lanes: events were lost");
    }
    std::size_t events() const override { return 1000; }

private:
    Source                       source_;
    FixedClock                   clock_;
    engine::BlockRef             block_{source_.block(events())};
    std::vector<engine::Pending> pending_;
    engine::LaneScheduler        scheduler_{engine::SchedulerOptions{}};
    engine::Batch                batch_;
};

// What measuring an event's delay costs when no neighbour shares it.
class Delay final : public Stage {
public:
    void run() override
    {
        Random random(1);
        for (std::size_t i = 0; i < events(); ++i) {
            std::chrono::nanoseconds const delay(random.below(20'000'000));
            delays_.add(engine::Delays::bucket(delay), 1, delay);
        }
    }
    std::size_t events() const override { return 1000; }

private:
    engine::Delays delays_;
};

}  // namespace

std::span<NamedStage const> lanes_stages()
{
    static constexpr NamedStage stages[] = {{"lanes", make_stage<Lanes>}, {"lanes/delay", make_stage<Delay>}};
    return stages;
}

}  // namespace sluice::bench
