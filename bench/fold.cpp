// A log in memory into an empty graph: reading blocks, checking them, applying. What a start does, without the disk.
#include "stage.hpp"
#include "support.hpp"

#include "engine/engine.hpp"
#include "graph/resident_store.hpp"
#include "log/memory_log.hpp"

namespace sluice::bench {

namespace {

class Fold final : public Stage {
public:
    Fold()
    {
        auto const     graph = graph::make_resident_store();
        engine::Engine engine({log_, *graph, source_.schemas(), clock_}, {.workers = 1}, [](auto const&) {});
        for (std::size_t i = 0; i < events() / 1000; ++i) {
            engine.submit(source_.block(1000));
            engine.append_step();
        }
    }
    void prepare() override { graph_ = graph::make_resident_store(); }
    void run() override
    {
        engine::ParkedTypes const none;
        engine::DeadLetters       dead_letters({});
        engine::Parking           parking(1);
        engine::Controls          controls;
        auto const                folded = engine::fold({log_, source_.schemas(), *graph_, clock_, none, dead_letters,
                                                          parking, controls, &suspects_});
        if (!folded || folded->applied != events()) give_up("fold: not every event was applied");
    }
    std::size_t events() const override { return 10'000; }

private:
    Source                             source_;
    FixedClock                         clock_;
    log::MemoryLog::Disk               disk_;
    log::MemoryLog                     log_{disk_};
    std::unique_ptr<graph::GraphStore> graph_;
    std::vector<std::byte>             in_hand_ = std::vector<std::byte>(engine::Suspects::bytes);
    engine::Suspects const             suspects_{in_hand_};
};

}  // namespace

std::span<NamedStage const> fold_stages()
{
    static constexpr NamedStage stages[] = {{"fold", make_stage<Fold>}};
    return stages;
}

}  // namespace sluice::bench
