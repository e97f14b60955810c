#include "engine/watermark.hpp"

#include "base/assert.hpp"

#include <algorithm>

namespace sluice::engine {

void DenseWatermark::start(Sequence settled_through, std::uint64_t stale)
{
    std::lock_guard lock(mutex_);
    last_ = settled_through;
    stale_ = stale;
}

void DenseWatermark::logged(Sequence first, std::size_t count)
{
    std::lock_guard lock(mutex_);
    SLUICE_ASSERT(first == next(last_));
    for (std::size_t i = 0; i < count; ++i) entries_.push_back({Sequence{number(first) + i}, false});
    last_ = Sequence{number(last_) + count};
}

void DenseWatermark::settled(std::span<Sequence const> sequences, std::uint64_t stale)
{
    std::lock_guard lock(mutex_);
    stale_ += stale;
    for (auto const sequence : sequences) {
        auto const at = std::lower_bound(
            entries_.begin(), entries_.end(), sequence, [](Entry const& e, Sequence s) { return e.sequence < s; });
        SLUICE_ASSERT(at != entries_.end() && at->sequence == sequence && !at->settled);
        at->settled = true;
        ++settled_;
    }
    while (!entries_.empty() && entries_.front().settled) {
        entries_.pop_front();
        --settled_;
    }
    if (settled_ > 1024 && settled_ > entries_.size() / 2) compact();
}

void DenseWatermark::compact()
{
    std::erase_if(entries_, [](Entry const& e) { return e.settled; });
    settled_ = 0;
}

Sequence DenseWatermark::low() const
{
    std::lock_guard lock(mutex_);
    return entries_.empty() ? last_ : Sequence{number(entries_.front().sequence) - 1};
}

Sequence DenseWatermark::last() const
{
    std::lock_guard lock(mutex_);
    return last_;
}

Position DenseWatermark::position() const
{
    std::lock_guard lock(mutex_);
    Position        position{.last = last_, .stale = stale_, .unsettled = {}};
    position.unsettled.reserve(entries_.size() - settled_);
    for (auto const& entry : entries_)
        if (!entry.settled) position.unsettled.push_back(entry.sequence);
    return position;
}

}  // namespace sluice::engine
