// Answers that were computed before and are still true.
//
// An answer is kept with the stamps of every name that was read to compute it. It is given again only while each of
// them is what it was, so nobody has to delete anything: a crash or a write that nobody announced cannot make it wrong.
#pragma once

#include "cache/cache.hpp"
#include "graph/graph_store.hpp"

#include <atomic>
#include <functional>

namespace sluice::cache {

// Any thread.
class Answers {
public:
    using Compute = std::function<Result<std::string>(graph::GraphReader const&)>;

    struct Counts {
        std::uint64_t hits{0}, misses{0};  // an answer that was no longer true is a miss
    };

    // `cache` may be null: nothing is kept. Both outlive the answers.
    Answers(graph::GraphReader const& graph, Cache* cache) : graph_(graph), cache_(cache) {}

    // `compute` is a pure function of what it reads and of what `key` says. `fresh`: compute it in any case.
    // Its errors are passed on, and nothing is kept of them.
    Result<std::string> get(std::string const& key, bool fresh, Compute const& compute);

    Counts     counts() const noexcept { return {hits_.load(relaxed), misses_.load(relaxed)}; }
    CacheStats stats() const { return cache_ != nullptr ? cache_->stats() : CacheStats{}; }
    bool       keeps() const noexcept { return cache_ != nullptr; }

private:
    static constexpr auto relaxed = std::memory_order_relaxed;

    std::optional<std::string> still_true(std::string_view value) const;

    graph::GraphReader const&  graph_;
    Cache* const               cache_;
    std::atomic<std::uint64_t> hits_{0}, misses_{0};
};

}  // namespace sluice::cache
