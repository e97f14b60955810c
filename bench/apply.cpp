// New records into the resident graph, one event at a time, as a worker does with lanes of one event.
#include "stage.hpp"
#include "support.hpp"

#include "engine/decide.hpp"
#include "graph/resident_store.hpp"

namespace sluice::bench {

namespace {

class Apply final : public Stage {
public:
    Apply()
    {
        for (int i = 0; i < 20; ++i) {
            prepare();
            run();
        }
    }
    void prepare() override { block_ = source_.block(events()); }
    void run() override
    {
        for (std::size_t i = 0; i < events(); ++i) {
            auto const event = decider_.read(block_->record(i), sequence_, {});
            sequence_ = next(sequence_);
            if (auto const result = graph_->apply({&event, 1}, decide_); result.error) give_up(result.error->detail);
        }
        decider_.clear();
    }
    std::size_t events() const override { return 1000; }

private:
    Source                             source_;
    std::unique_ptr<graph::GraphStore> graph_{graph::make_resident_store()};
    engine::Decider                    decider_{source_.schemas()};
    graph::Decide                      decide_{
        [this](Event const& event, RecordView const& view) { return decider_(event, view); }};
    engine::BlockRef block_;
    Sequence         sequence_{1};
};

}  // namespace

std::span<NamedStage const> apply_stages()
{
    static constexpr NamedStage stages[] = {{"apply", make_stage<Apply>}};
    return stages;
}

}  // namespace sluice::bench
