// How far 100 attestations are believed. An "event" of this stage is one conviction.
#include "stage.hpp"
#include "support.hpp"

#include "graph/conviction.hpp"

namespace sluice::bench {

namespace {

class ConvictionOf100 final : public Stage {
public:
    ConvictionOf100()
    {
        Random random(1);
        for (std::size_t i = 0; i < 100; ++i) texts_.push_back("did:plc:attester" + std::to_string(1000 + i));
        for (std::size_t i = 0; i < texts_.size(); ++i)
            attestations_.push_back(
                {.uri = texts_[i], .attester = texts_[i],
                 .type = graph::Attestation::Type{static_cast<std::uint8_t>(random.below(4))},
                 .confidence = static_cast<std::int64_t>(random.below(101)), .suggested_strength = {},
                 .created_at = at_ - std::chrono::days(random.below(400)), .rev = {}, .sequence = Sequence{i + 1}});
    }
    void run() override
    {
        for (std::size_t i = 0; i < events(); ++i)
            if (graph::conviction(graph::counted_attestations(attestations_, participants_, at_), at_)
                    .attestation_count != attestations_.size())
                give_up("conviction: not every attestation counted");
    }
    std::size_t events() const override { return 100; }

private:
    WallTime const                  at_{std::chrono::days(20'000)};
    std::string_view const          participants_[2]{"did:plc:someone", "did:plc:another"};
    std::vector<std::string>        texts_;
    std::vector<graph::Attestation> attestations_;
};

}  // namespace

std::span<NamedStage const> conviction_stages()
{
    static constexpr NamedStage stages[] = {{"conviction/100", make_stage<ConvictionOf100>}};
    return stages;
}

}  // namespace sluice::bench
