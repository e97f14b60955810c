#include "cache/answers.hpp"

#include "base/bytes.hpp"
#include "cache/lifetime.hpp"
#include "graph/record_layout.hpp"

#include <unordered_set>

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

    graph::GraphReader const&               graph_;
    mutable std::unordered_set<std::string> seen_;
    mutable std::string                     stamps_;
};

// A value: size of the stamps u32, the stamps, the answer.
Result<std::string> answer_of(Result<std::string> const& value)
{
    if (!value) return value.error();
    std::string_view rest = *value;
    auto const       size = take_number<std::uint32_t>(rest);
    return std::string(rest.substr(*size));
}

}  // namespace

Result<std::string> Answers::get(std::string const& key, bool fresh, Compute const& compute)
{
    if (cache_ == nullptr) return compute(graph_);
    if (fresh) return answer_of(kept(key, value_of(compute)));
    if (auto const value = cache_->get(key); value && *value)
        if (auto answer = still_true(**value)) {
            hits_.fetch_add(1, relaxed);
            return std::move(*answer);
        }

    std::promise<Value>       computed;
    std::shared_future<Value> earlier;
    {
        std::lock_guard const lock(mutex_);
        auto const [found, is_ours] = under_way_.try_emplace(key, computed.get_future());
        if (!is_ours) earlier = found->second;
    }
    if (earlier.valid()) {
        shared_.fetch_add(1, relaxed);
        auto const& value = earlier.get();
        if (!value) return value.error();
        // It was begun before this was asked: it need not have seen what was written in between.
        if (auto answer = still_true(*value)) return std::move(*answer);
        return answer_of(kept(key, value_of(compute)));
    }
    struct Leave {
        ~Leave()
        {
            std::lock_guard const lock(answers.mutex_);
            answers.under_way_.erase(key);
        }
        Answers&           answers;
        std::string const& key;
    } const leave{*this, key};
    auto value = value_of(compute);
    computed.set_value(value);
    return answer_of(kept(key, std::move(value)));
}

Answers::Value Answers::kept(std::string const& key, Value value)
{
    if (value) (void)cache_->put(key, *value, lifetime(key, lifetime_));
    return value;
}

Answers::Value Answers::value_of(Compute const& compute)
{
    misses_.fetch_add(1, relaxed);
    TracedReader const reader(graph_);
    auto const         answer = compute(reader);
    if (!answer) return answer.error();
    std::string value;
    append_number<std::uint32_t>(value, static_cast<std::uint32_t>(reader.stamps().size()));
    value += reader.stamps();
    value += *answer;
    return value;
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
