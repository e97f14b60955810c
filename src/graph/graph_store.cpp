#include "graph/graph_store.hpp"

#include "graph/record_layout.hpp"

#include <algorithm>

namespace sluice::graph {
namespace {

// Appends texts to a block.
class Appender {
public:
    Appender(char* block, std::size_t offset) : block_(block), end_(offset) {}

    std::string_view text(std::string_view text) noexcept
    {
        auto* const copy = block_ + end_;
        std::copy(text.begin(), text.end(), copy);
        end_ += text.size();
        return {copy, text.size()};
    }
    std::uint64_t slot(std::string_view copied) const noexcept
    {
        return static_cast<std::uint64_t>(copied.data() - block_) << 32 | copied.size();
    }

private:
    char*       block_;
    std::size_t end_;
};

}  // namespace

// The copy is the slots, then the texts they point to, the DID and the key.
OwnedRecord::OwnedRecord(Record const& record) : record_(record)
{
    auto const  layout = record_layout(record.kind);
    auto const  count = record.fields.size();
    auto const  is_text = [&](std::size_t i) { return layout.is_text(i) && record.fields.slot(i) != Fields::absent; };
    std::size_t text_size = record.did.size() + record.key.size();
    for (std::size_t i = 0; i < count; ++i)
        if (is_text(i)) text_size += record.fields.text(i)->size();

    bytes_ = std::make_unique_for_overwrite<char[]>(8 * count + text_size);
    Appender append(bytes_.get(), 8 * count);
    for (std::size_t i = 0; i < count; ++i) {
        auto const slot = is_text(i) ? append.slot(append.text(*record.fields.text(i))) : record.fields.slot(i);
        std::memcpy(bytes_.get() + 8 * i, &slot, sizeof slot);
    }
    record_.did = append.text(record.did);
    record_.key = append.text(record.key);
    record_.fields = Fields(bytes_.get(), bytes_.get(), count);
}

std::vector<ApplyResult> GraphStore::apply_all(Runs runs, Decide const& decide)
{
    std::vector<ApplyResult> results;
    results.reserve(runs.size());
    for (auto const& run : runs) {
        results.push_back(apply(run, decide));
        auto const& error = results.back().error;
        if (error && results.back().from_store && error->code == Errc::unavailable) break;
    }
    results.resize(runs.size());
    return results;
}

}  // namespace sluice::graph
