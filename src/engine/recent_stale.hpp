// Which of the events that were settled lately were stale. Nothing else remembers it.
#pragma once

#include <sluice/event.hpp>

#include <boost/unordered/unordered_flat_set.hpp>

#include <cstddef>
#include <deque>
#include <mutex>

namespace sluice::engine {

// Any thread. Bounded: the oldest are forgotten.
class RecentStale {
public:
    explicit RecentStale(std::size_t events_max = 65'536) : events_max_(events_max) {}

    void add(Sequence sequence)
    {
        std::lock_guard lock(mutex_);
        if (!known_.insert(number(sequence)).second) return;
        order_.push_back(number(sequence));
        if (order_.size() <= events_max_) return;
        known_.erase(order_.front());
        order_.pop_front();
    }
    bool contains(Sequence sequence) const
    {
        std::lock_guard lock(mutex_);
        return known_.contains(number(sequence));
    }

private:
    std::size_t const                          events_max_;
    mutable std::mutex                         mutex_;  // guards what is below
    boost::unordered_flat_set<std::uint64_t>   known_;
    std::deque<std::uint64_t>                  order_;
};

}  // namespace sluice::engine
