#include "engine/watermark.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <bit>

namespace sluice::engine {

std::uint64_t Position::unsettled_events() const noexcept
{
    std::uint64_t sum = 0;
    for (auto const& range : unsettled) sum += range.count;
    return sum;
}

bool Position::is_unsettled(Sequence sequence) const noexcept
{
    auto const after = std::ranges::upper_bound(unsettled, sequence, {}, &SequenceRange::first);
    return after != unsettled.begin() && sequence <= std::prev(after)->last();
}

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
    last_ = Sequence{number(last_) + count};
    for (auto n = number(first); n <= number(last_);) {
        auto&      part = stretches_.try_emplace(stretches_.end(), n / stretch)->second;
        auto const end = std::min(number(last_) + 1, (n / stretch + 1) * stretch);
        part.count += static_cast<std::uint32_t>(end - n);
        for (; n < end; ++n) part.unsettled[n % stretch / 64] |= std::uint64_t{1} << n % 64;
    }
}

void DenseWatermark::settled(std::span<Sequence const> sequences, std::uint64_t stale)
{
    std::lock_guard lock(mutex_);
    stale_ += stale;
    for (auto const sequence : sequences) {
        auto const n = number(sequence);
        auto const part = stretches_.find(n / stretch);
        SLUICE_ASSERT(part != stretches_.end());
        auto&      word = part->second.unsettled[n % stretch / 64];
        auto const bit = std::uint64_t{1} << n % 64;
        SLUICE_ASSERT((word & bit) != 0);
        word &= ~bit;
        if (--part->second.count == 0) stretches_.erase(part);
    }
}

Sequence DenseWatermark::low() const
{
    std::lock_guard lock(mutex_);
    if (stretches_.empty()) return last_;
    auto const& [number_of, part] = *stretches_.begin();
    std::uint64_t word = 0;
    while (part.unsettled[word] == 0) ++word;
    auto const oldest = number_of * stretch + word * 64 + static_cast<unsigned>(std::countr_zero(part.unsettled[word]));
    return Sequence{oldest - 1};
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
    for (auto const& [number_of, part] : stretches_)
        for (std::uint64_t word = 0; word < part.unsettled.size(); ++word)
            for (auto bits = part.unsettled[word]; bits != 0;) {
                auto const from = static_cast<unsigned>(std::countr_zero(bits));
                auto const count = static_cast<unsigned>(std::countr_one(bits >> from));
                Sequence const first{number_of * stretch + word * 64 + from};
                auto&          ranges = position.unsettled;
                if (!ranges.empty() && next(ranges.back().last()) == first)
                    ranges.back().count += count;
                else
                    ranges.push_back({first, count});
                bits = count == 64 ? 0 : bits & ~(((std::uint64_t{1} << count) - 1) << from);
            }
    return position;
}

bool DenseWatermark::is_unsettled(Sequence sequence) const
{
    std::lock_guard lock(mutex_);
    auto const      found = stretches_.find(number(sequence) / stretch);
    if (found == stretches_.end()) return false;
    auto const bit = number(sequence) % stretch;
    return (found->second.unsettled[bit / 64] >> (bit % 64) & 1) != 0;
}

}  // namespace sluice::engine
