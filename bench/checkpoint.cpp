// A graph to bytes, and back.
#include "stage.hpp"
#include "support.hpp"

#include "engine/decide.hpp"
#include "graph/resident_store.hpp"

namespace sluice::bench {

namespace {

class Captured : public Stage {
public:
    Captured()
    {
        engine::Decider decider(source_.schemas());
        for (std::size_t i = 0; i < events(); ++i) {
            auto const event = block_->record(i).event(Sequence{i + 1}, {});
            auto const result = graph_.apply(
                {&event, 1}, [&](Event const& e, RecordView const& view) { return decider(e, view); });
            if (result.error) give_up("checkpoint: " + result.error->reason);
        }
    }
    std::size_t events() const override { return 10'000; }

protected:
    std::string capture()
    {
        std::string               bytes;
        graph::Snapshots::Capture all{.number = ++number_};
        while (graph_.capture(all, bytes)) {}
        return bytes;
    }

private:
    Source               source_;
    engine::BlockRef     block_{source_.block(10'000)};
    graph::ResidentStore graph_;
    std::uint32_t        number_{0};
};

class Capture final : public Captured {
public:
    void run() override
    {
        if (capture().empty()) give_up("checkpoint: empty");
    }
};

class Restore final : public Captured {
public:
    void prepare() override { graph_ = std::make_unique<graph::ResidentStore>(); }
    void run() override
    {
        if (!graph_->restore(bytes_, 1, [](auto const&) {})) give_up("checkpoint: not restored");
    }

private:
    std::string const                     bytes_{capture()};
    std::unique_ptr<graph::ResidentStore> graph_;
};

}  // namespace

std::span<NamedStage const> checkpoint_stages()
{
    static constexpr NamedStage stages[] = {
        {"checkpoint/capture", make_stage<Capture>}, {"checkpoint/restore", make_stage<Restore>}};
    return stages;
}

}  // namespace sluice::bench
