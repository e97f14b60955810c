#include "adapters/postgres/ledger.hpp"

#include <algorithm>

namespace sluice::adapters::postgres {

void Ledger::reset(std::vector<Writer> writers, std::size_t usable)
{
    std::lock_guard const lock(mutex_);
    entries_.clear();
    for (auto const& writer : writers) entries_.push_back({.writer = writer});
    usable_ = usable;
    doubts_ = 0;
}

std::optional<std::size_t> Ledger::next() const
{
    auto const end = entries_.begin() + static_cast<std::ptrdiff_t>(usable_);
    auto const wanted = doubts_ != 0 ? State::in_doubt : State::free;
    auto const found = std::find_if(entries_.begin(), end, [&](Entry const& entry) { return entry.state == wanted; });
    return found == end ? std::nullopt : std::optional(static_cast<std::size_t>(found - entries_.begin()));
}

std::optional<Ledger::Taken> Ledger::take(std::chrono::milliseconds limit)
{
    std::unique_lock           lock(mutex_);
    std::optional<std::size_t> number;
    if (!changed_.wait_for(lock, limit, [&] { return (number = next()).has_value(); })) return std::nullopt;
    auto& entry = entries_[*number];
    Taken taken{*number, entry.writer, entry.state == State::in_doubt};
    entry.state = State::taken;
    return taken;
}

void Ledger::give_back(Taken const& taken, std::optional<Writer> const& now)
{
    {
        std::lock_guard const lock(mutex_);
        auto&                 entry = entries_[taken.number];
        if (now) entry.writer = *now;
        entry.state = now ? State::free : State::in_doubt;
        if (now && taken.in_doubt) --doubts_;
        if (!now && !taken.in_doubt) ++doubts_;
    }
    changed_.notify_all();
}

Totals Ledger::totals() const
{
    Totals                sum;
    std::lock_guard const lock(mutex_);
    for (auto const& entry : entries_) sum.add(entry.writer.totals);
    return sum;
}

}  // namespace sluice::adapters::postgres
