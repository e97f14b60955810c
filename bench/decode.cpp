// JSON -> records.
#include "stage.hpp"
#include "support.hpp"

namespace sluice::bench {

namespace {

class Decode final : public Stage {
public:
    Decode()
    {
        for (std::size_t i = 0; i < events(); ++i) {
            texts_.push_back(source_.json());
            sizes_.push_back(texts_.back().size());
            texts_.back().resize(sizes_.back() + schema::Decoder::padding);
        }
    }
    void run() override
    {
        records_.clear();
        schema::Decoded decoded;
        for (std::size_t i = 0; i < events(); ++i)
            if (auto const error =
                    decoder_.decode(std::string_view(texts_[i]).substr(0, sizes_[i]), records_, decoded))
                give_up(error->detail);
    }
    std::size_t events() const override { return 1000; }

private:
    Source                   source_;
    schema::Decoder          decoder_{source_.schemas()};
    std::vector<std::string> texts_;
    std::vector<std::size_t> sizes_;
    std::string              records_;
};

}  // namespace

std::span<NamedStage const> decode_stages()
{
    static constexpr NamedStage stages[] = {{"decode", make_stage<Decode>}};
    return stages;
}

}  // namespace sluice::bench
