#include "cache/answers.hpp"

#include "base/bytes.hpp"
#include "graph/record_layout.hpp"

#include <set>

namespace sluice::cache {
namespace {

// Passes reads on and notes the stamps they depend on, each before its read.
class TracedReader final : public graph::GraphReader {
public:
    explicit TracedReader(graph::GraphReader const& graph) : graph_(graph) {}

    Result<std::optional<graph::OwnedRecord>> find(Kind kind, std::string_view uri) const override
    {
        note(graph::authority(uri));
        return graph_.find(kind, uri);
    }
    Result<std::vector<graph::OwnedRecord>> relationships_of(std::string_view did) const override
    {
        note(did);
        return graph_.relationships_of(did);
    }
    Result<std::vector<graph::OwnedRecord>> attestations_of(std::string_view target) const override
    {
        note(target);
        return graph_.attestations_of(target);
    }
    graph::Stamp stamp(std::string_view name) const override { return note(name); }

    // name size u32, name, stamp u64, for each name that was read.
    std::string const& stamps() const noexcept { return stamps_; }

private:
    graph::Stamp note(std::string_view name) const
    {
        auto const stamp = graph_.stamp(name);
        if (!seen_.emplace(name).second) return stamp;  // the first read is the oldest
        append_number<std::uint32_t>(stamps_, static_cast<std::uint32_t>(name.size()));
        stamps_ += name;
        append_number<graph::Stamp>(stamps_, stamp);
        return stamp;
    }

    graph::GraphReader const&     graph_;
    mutable std::set<std::string> seen_;
    mutable std::string           stamps_;
};

}  // namespace

// A value: size of the stamps u32, the stamps, the answer.
Result<std::string> Answers::get(std::string const& key, bool fresh, Compute const& compute)
{
    if (cache_ == nullptr) return compute(graph_);
    if (!fresh)
        if (auto const value = cache_->get(key))
            if (auto answer = still_true(*value)) {
                hits_.fetch_add(1, relaxed);
                return std::move(*answer);
            }
    misses_.fetch_add(1, relaxed);
    TracedReader const reader(graph_);
    auto               answer = compute(reader);
    if (!answer) return answer;
    std::string value;
    append_number<std::uint32_t>(value, static_cast<std::uint32_t>(reader.stamps().size()));
    value += reader.stamps();
    value += *answer;
    cache_->put(key, std::move(value));
    return answer;
}

std::optional<std::string> Answers::still_true(std::string_view value) const
{
    auto const size = take_number<std::uint32_t>(value);
    if (!size || *size > value.size()) return std::nullopt;
    auto stamps = value.substr(0, *size);
    while (!stamps.empty()) {
        auto const name_size = take_number<std::uint32_t>(stamps);
        if (!name_size || *name_size > stamps.size()) return std::nullopt;
        auto const name = stamps.substr(0, *name_size);
        stamps.remove_prefix(name.size());
        auto const stamp = take_number<graph::Stamp>(stamps);
        if (!stamp || graph_.stamp(name) != *stamp) return std::nullopt;
    }
    return std::string(value.substr(*size));
}

}  // namespace sluice::cache
