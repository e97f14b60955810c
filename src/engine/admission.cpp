#include "engine/admission.hpp"

#include <algorithm>

namespace sluice::engine {

Admission::Admission(Limits limits) : limits_(std::move(limits)), held_(limits_.shares.size()) {}

std::uint64_t Admission::scaled(std::uint64_t capacity, std::uint32_t percent) noexcept
{
    return capacity * percent / 100;
}

std::optional<Admission::Refusal> Admission::admit(Demand const& demand, Ticket& ticket)
{
    std::lock_guard lock(mutex_);
    if (auto const refused = refusal(demand)) return refused;
    auto& held = held_[demand.producer];
    use_.events += demand.total();
    use_.bytes += demand.bytes;
    held.events += demand.total();
    held.bytes += demand.bytes;
    update_gates();
    ticket = Ticket(*this, demand);
    return std::nullopt;
}

// The producer's own limit first: a client that is told of it can do something about it.
std::optional<Admission::Refusal> Admission::refusal(Demand const& demand) const noexcept
{
    auto const  events = demand.total();
    auto const& held = held_[demand.producer];
    auto const  share = limits_.shares[demand.producer];
    for (std::size_t t = 0; t < tier_count; ++t) {
        if (demand.events[t] == 0) continue;
        auto const tier = Tier{static_cast<std::uint8_t>(t)};
        auto const events_max = scaled(limits_.events, limits_.percent[t]);
        auto const bytes_max = scaled(limits_.bytes, limits_.percent[t]);
        auto const events_share = std::max<std::uint64_t>(1, scaled(events_max, share));
        auto const bytes_share = scaled(bytes_max, share);
        if (events > events_max || demand.bytes > bytes_max) return Refusal{.tier = tier, .never_fits = true};
        if (events > events_share || demand.bytes > bytes_share)
            return Refusal{.tier = tier, .never_fits = true, .by_share = true};
        if (share < 100 && (held.events + events > events_share || held.bytes + demand.bytes > bytes_share)) {
            auto const over = held.events + events > events_share ? held.events + events - events_share : 1;
            return Refusal{.tier = tier, .by_share = true, .excess = static_cast<std::uint32_t>(over)};
        }
        if (disk_is_low_ && tier <= Tier::normal) return Refusal{.tier = tier, .disk_is_low = true};
        bool const is_over = use_.events + events > events_max || use_.bytes + demand.bytes > bytes_max;
        if (use_.closed[t] || is_over || backlog_excess(events) > 0) return Refusal{.tier = tier};
    }
    return std::nullopt;
}

std::optional<Admission::Refusal> Admission::would_refuse(Demand const& demand) const
{
    std::lock_guard lock(mutex_);
    return refusal(demand);
}

void Admission::give_back(Producer producer, std::uint32_t events, std::uint64_t bytes) noexcept
{
    auto& held = held_[producer];
    use_.events -= events;
    use_.bytes -= bytes;
    held.events -= events;
    held.bytes -= bytes;
    held.released += events;
}

void Admission::release(Producer producer, std::uint32_t events, std::uint64_t bytes) noexcept
{
    std::lock_guard lock(mutex_);
    give_back(producer, events, bytes);
    released();
}

void Admission::release(std::span<std::uint32_t const> events) noexcept
{
    std::lock_guard lock(mutex_);
    for (std::size_t producer = 0; producer < events.size(); ++producer)
        give_back(static_cast<Producer>(producer), events[producer], 0);
    released();
}

void Admission::released() noexcept
{
    update_gates();
    if (!expected_ || refusal(*expected_)) return;
    expected_.reset();
    if (tell_) tell_();
}

void Admission::on_room(std::function<void()> tell)
{
    std::lock_guard lock(mutex_);
    tell_ = std::move(tell);
    expected_.reset();
}

bool Admission::expect(Demand const& demand)
{
    std::lock_guard lock(mutex_);
    expected_.reset();
    auto const refused = refusal(demand);
    if (!refused || refused->never_fits) return false;
    expected_ = demand;
    return true;
}

void Admission::backlog_grew(std::span<std::uint32_t const> places, std::uint64_t entries) noexcept
{
    std::lock_guard lock(mutex_);
    for (std::size_t producer = 0; producer < places.size(); ++producer)
        give_back(static_cast<Producer>(producer), places[producer], 0);
    use_.backlog += entries;
    released();
}

void Admission::backlog_shrank(std::uint64_t entries) noexcept
{
    std::lock_guard lock(mutex_);
    use_.backlog -= entries;
    released();
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
    released();
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
    bool const is_closed = std::all_of(use_.closed.begin(), use_.closed.end(), [](bool closed) { return closed; });
    if (is_closed != is_closed_.load(std::memory_order_relaxed)) is_closed_.store(is_closed, std::memory_order_relaxed);
}

Admission::Limits Admission::limits() const
{
    std::lock_guard lock(mutex_);
    return limits_;
}

void Admission::set_limits(Limits limits)
{
    std::lock_guard lock(mutex_);
    limits_ = std::move(limits);
    released();
}

Admission::Use Admission::use() const
{
    std::lock_guard lock(mutex_);
    return use_;
}

Admission::Held Admission::held(Producer producer) const
{
    std::lock_guard lock(mutex_);
    return held_[producer];
}

std::uint32_t Admission::excess(Tier tier) const
{
    std::lock_guard lock(mutex_);
    auto const close = limits_.percent[index(tier)];
    auto const reopen = close - std::min(close, limits_.reopen_points);
    auto const events_reopen = scaled(limits_.events, reopen), bytes_reopen = scaled(limits_.bytes, reopen);
    auto const by_places = use_.events > events_reopen ? use_.events - events_reopen : 0;
    auto const by_events = std::max<std::uint64_t>(by_places, backlog_excess(1));
    if (use_.bytes <= bytes_reopen || use_.events == 0) return static_cast<std::uint32_t>(by_events);
    auto const mean_bytes = std::max<std::uint64_t>(1, use_.bytes / use_.events);
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(by_events, (use_.bytes - bytes_reopen) / mean_bytes));
}

}  // namespace sluice::engine
