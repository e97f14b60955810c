// How often what is known under a name may have changed. Names share counters: then an answer is computed again that
// was still true, never the other way round.
#pragma once

#include "base/hash.hpp"
#include "graph/graph_store.hpp"

#include <atomic>
#include <memory>

namespace sluice::adapters::postgres {

// Any thread. Stamps of one process; never Stamp::none.
class Stamps {
public:
    // After what changed can be read.
    void change(std::string_view name) noexcept { counters_[place(name)].fetch_add(1, std::memory_order_release); }
    void change_all() noexcept { all_.fetch_add(1, std::memory_order_release); }

    graph::Stamp of(std::string_view name) const noexcept
    {
        return graph::Stamp{
            1 + counters_[place(name)].load(std::memory_order_acquire) + all_.load(std::memory_order_acquire)};
    }

    static constexpr std::size_t count = std::size_t{1} << 20;
    static std::size_t place(std::string_view name) noexcept { return hash64(name) % count; }
    void change_place(std::size_t place) noexcept { counters_[place].fetch_add(1, std::memory_order_release); }

private:
    std::unique_ptr<std::atomic<std::uint64_t>[]> counters_{new std::atomic<std::uint64_t>[count]()};
    std::atomic<std::uint64_t>                    all_{0};
};

}  // namespace sluice::adapters::postgres
