#include "engine/admission.hpp"

#include <algorithm>

namespace sluice::engine {

Admission::Admission(Limits limits) : limits_(limits) {}

std::uint64_t Admission::scaled(std::uint64_t capacity, std::uint32_t percent) const noexcept
{
    return capacity * percent / 100;
}

std::optional<Admission::Refusal> Admission::admit(Demand const& demand, Ticket& ticket)
{
    auto const events = demand.total();
    std::lock_guard lock(mutex_);
    for (std::size_t t = 0; t < tier_count; ++t) {
        if (demand.events[t] == 0) continue;
        auto const events_max = scaled(limits_.events, limits_.percent[t]);
        auto const bytes_max = scaled(limits_.bytes, limits_.percent[t]);
        bool const never = events > events_max || demand.bytes > bytes_max;
        if (disk_is_low_ && !never && t <= index(Tier::normal))
            return Refusal{.tier = Tier{static_cast<std::uint8_t>(t)}, .never_fits = false, .disk_is_low = true};
        bool const over = use_.events + events > events_max || use_.bytes + demand.bytes > bytes_max;
        if (never || over || use_.closed[t] || backlog_excess(events) > 0)
            return Refusal{.tier = Tier{static_cast<std::uint8_t>(t)}, .never_fits = never, .disk_is_low = false};
    }
    use_.events += events;
    use_.bytes += demand.bytes;
    update_gates();
    ticket = Ticket(*this, events, demand.bytes);
    return std::nullopt;
}

void Admission::release(std::uint32_t events, std::uint64_t bytes) noexcept
{
    std::lock_guard lock(mutex_);
    use_.events -= events;
    use_.bytes -= bytes;
    update_gates();
}

void Admission::backlog_grew(std::uint32_t places, std::uint64_t entries) noexcept
{
    std::lock_guard lock(mutex_);
    use_.events -= places;
    use_.backlog += entries;
    update_gates();
}

void Admission::backlog_shrank(std::uint64_t entries) noexcept
{
    std::lock_guard lock(mutex_);
    use_.backlog -= entries;
}

// Entries and what may become one, above what there may be.
std::uint64_t Admission::backlog_excess(std::uint64_t more) const noexcept
{
    auto const sum = use_.backlog + use_.events + more, most = limits_.backlog + limits_.events;
    return sum > most ? sum - most : 0;
}

void Admission::close_for_disk(bool is_low) noexcept
{
    std::lock_guard lock(mutex_);
    disk_is_low_ = is_low;
}

void Admission::update_gates() noexcept
{
    for (std::size_t t = 0; t < tier_count; ++t) {
        auto const close = limits_.percent[t];
        auto const reopen = close - std::min(close, limits_.reopen_points);
        if (use_.events >= scaled(limits_.events, close) || use_.bytes >= scaled(limits_.bytes, close))
            use_.closed[t] = true;
        else if (use_.events <= scaled(limits_.events, reopen) && use_.bytes <= scaled(limits_.bytes, reopen))
            use_.closed[t] = false;
    }
}

Admission::Use Admission::use() const
{
    std::lock_guard lock(mutex_);
    return use_;
}

std::uint32_t Admission::excess(Tier tier) const
{
    auto const close = limits_.percent[index(tier)];
    auto const reopen = close - std::min(close, limits_.reopen_points);
    auto const events_reopen = scaled(limits_.events, reopen), bytes_reopen = scaled(limits_.bytes, reopen);
    std::lock_guard lock(mutex_);
    auto const by_places = use_.events > events_reopen ? use_.events - events_reopen : 0;
    auto const by_events = std::max<std::uint64_t>(by_places, backlog_excess(1));
    if (use_.bytes <= bytes_reopen || use_.events == 0) return static_cast<std::uint32_t>(by_events);
    auto const mean_bytes = std::max<std::uint64_t>(1, use_.bytes / use_.events);
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(by_events, (use_.bytes - bytes_reopen) / mean_bytes));
}

}  // namespace sluice::engine
