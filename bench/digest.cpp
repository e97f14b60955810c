// A record's share of the digest.
#include "stage.hpp"
#include "support.hpp"

#include "graph/record_digest.hpp"
#include "base/hash.hpp"

namespace sluice::bench {

namespace {

class Digest final : public Stage {
public:
    Digest()
    {
        for (std::size_t i = 0; i < events(); ++i) {
            auto const event = block_->record(i).event(Sequence{i + 1}, {});
            records_.push_back({.kind = Kind::relationship, .did = event.did, .key = *event.fields.text(0),
                                .rev = event.rev, .sequence = event.sequence, .payload_hash = event.payload_hash,
                                .fields = event.fields});
        }
    }
    void run() override
    {
        Hash128 sum;
        for (auto const& record : records_) sum += graph::record_digest(record, scratch_);
        if (sum == Hash128{}) give_up("digest: empty");
    }
    std::size_t events() const override { return 1000; }

private:
    Source              source_;
    engine::BlockRef    block_{source_.block(events())};
    std::vector<Record> records_;
    std::string         scratch_;
};

}  // namespace

std::span<NamedStage const> digest_stages()
{
    static constexpr NamedStage stages[] = {{"digest", make_stage<Digest>}};
    return stages;
}

}  // namespace sluice::bench
