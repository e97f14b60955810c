#include "cache/fallback_cache.hpp"
#include "contract/cache_contract.hpp"
#include "unit/cache/support.hpp"

namespace sluice::test {
namespace {

using cache::test::ManualClock;

class InMemory final : public CacheSetup {
public:
    cache::Cache& cache() override { return cache_; }
    void          wait(std::chrono::milliseconds time) override { clock_.at += time; }

private:
    ManualClock        clock_;
    cache::MemoryCache cache_{{}, clock_};
};

class WithFallback final : public CacheSetup {
public:
    WithFallback() { cache_.tend(); }
    cache::Cache& cache() override { return cache_; }
    void          wait(std::chrono::milliseconds time) override { clock_.at += time; }

private:
    ManualClock          clock_;
    cache::test::Server  server_{clock_};
    cache::MemoryCache   memory_{{}, clock_};
    cache::FallbackCache cache_{server_, memory_, clock_};
};

INSTANTIATE_TEST_SUITE_P(
    Every, CacheContract,
    testing::Values(
        CacheKind{"memory", [] { return std::make_unique<InMemory>(); }},
        CacheKind{"fallback", [] { return std::make_unique<WithFallback>(); }}),
    [](auto const& kind) { return kind.param.name; });

}  // namespace
}  // namespace sluice::test
