// Answers that were computed before and are still true.
//
// An answer is kept with the stamps of every name that was read to compute it. It is given again only while each of
// them is what it was, so nobody has to delete anything: a crash or a write that nobody announced cannot make it wrong.
#pragma once

#include "cache/cache.hpp"
#include "graph/graph_store.hpp"

#include <atomic>
#include <functional>
#include <future>
#include <mutex>
#include <unordered_map>

namespace sluice::cache {

// Any thread.
class Answers {
public:
    using Compute = std::function<Result<std::string>(graph::GraphReader const&)>;

    struct Counts {
        std::uint64_t hits{0};
        std::uint64_t misses{0};  // computed; an answer that was no longer true is a miss
        std::uint64_t shared{0};  // waited for somebody who was computing the same

        // 0 when nobody asked.
        double hit_rate() const noexcept
        {
            auto const asked = hits + misses + shared;
            return asked == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(asked);
        }
    };

    // `cache` may be null: nothing is kept. Both outlive the answers. `lifetime`: of kinds that have none of their own.
    Answers(graph::GraphReader const& graph, Cache* cache, std::chrono::seconds lifetime = std::chrono::hours(1))
        : graph_(graph), cache_(cache), lifetime_(lifetime)
    {
    }

    // `compute` is a pure function of what it reads and of what `key` says; of those who ask for the same at the same
    // time one computes it. `fresh`: compute it in any case. Its errors are passed on to all who asked, and nothing is
    // kept of them; if it throws, those who waited are thrown std::future_error.
    Result<std::string> get(std::string const& key, bool fresh, Compute const& compute);

    Counts counts() const noexcept { return {hits_.load(relaxed), misses_.load(relaxed), shared_.load(relaxed)}; }
    CacheStats stats() const { return cache_ != nullptr ? cache_->stats() : CacheStats{}; }
    Cache*     cache() const noexcept { return cache_; }

private:
    static constexpr auto relaxed = std::memory_order_relaxed;

    using Value = Result<std::string>;  // an answer and its stamps, as they are kept

    Value                      value_of(Compute const& compute);
    Value                      kept(std::string const& key, Value value);
    std::optional<std::string> still_true(std::string_view value) const;

    graph::GraphReader const&  graph_;
    Cache* const               cache_;
    std::chrono::seconds const lifetime_;
    std::atomic<std::uint64_t> hits_{0}, misses_{0}, shared_{0};

    std::mutex                                                 mutex_;
    std::unordered_map<std::string, std::shared_future<Value>> under_way_;  // guarded; one a thread at most
};

}  // namespace sluice::cache
