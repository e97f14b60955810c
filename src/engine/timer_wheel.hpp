// When things are due, in milliseconds: a hierarchical timer wheel. Pure: it knows no clock.
#pragma once

#include "engine/slab.hpp"

#include <sluice/clock.hpp>

#include <array>
#include <bit>
#include <optional>
#include <vector>

namespace sluice::engine {

// One thread. A value is handed out once, never before its time and less than one tick after it, if advance() is called
// then; however late that is, values come ordered by their ticks and within one tick in the order they were added. What
// is due already counts as due now.
// add() takes constant time. advance() takes time for what is due, and each value moves at most once per level while it
// waits.
template <class T>
class TimerWheel {
public:
    static constexpr std::chrono::nanoseconds tick = std::chrono::milliseconds(1);

    bool        empty() const noexcept { return nodes_.size() == 0; }
    std::size_t size() const noexcept { return nodes_.size(); }

    void add(Clock::Mono at, T value)
    {
        auto const whole = at.time_since_epoch() / tick;
        auto const due = whole * tick < at.time_since_epoch() ? whole + 1 : whole;
        place(nodes_.add({std::max<std::int64_t>(due, now_), std::move(value), none}));
    }

    // Appends to `out` what is due. Time that goes backwards counts as standing still.
    void advance(Clock::Mono now, std::vector<T>& out)
    {
        auto const until = now.time_since_epoch() / tick;
        if (due_.first != none) hand_out(std::exchange(due_, {}), out);
        for (auto level = lowest(); level < levels; level = lowest()) {
            auto const slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
            auto const start = start_of(level, slot);
            if (start > until) break;
            now_ = start;
            occupied_[level] &= occupied_[level] - 1;
            auto list = std::exchange(slots_[level][slot], {});
            // Of a slot above the lowest level only what is due at its first tick; the rest moves down.
            for (auto n = list.first; n != none;) {
                auto const next = nodes_[n].next;
                place(n);
                n = next;
            }
            if (due_.first != none) hand_out(std::exchange(due_, {}), out);
        }
        now_ = std::max(now_, until);
    }

    // When advance() has something to hand out, if ever.
    std::optional<Clock::Mono> next_due() const noexcept
    {
        if (due_.first != none) return time_of(due_.earliest);
        auto const level = lowest();
        if (level == levels) return std::nullopt;
        return time_of(slots_[level][static_cast<unsigned>(std::countr_zero(occupied_[level]))].earliest);
    }

private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    static constexpr unsigned      bits = 6;
    static constexpr unsigned      levels = (63 + bits - 1) / bits;

    struct Node {
        std::int64_t  due{0};  // ticks
        T             value{};
        std::uint32_t next{none};
    };
    struct List {
        std::uint32_t first{none}, last{none};
        std::int64_t  earliest{0};
    };

    static Clock::Mono time_of(std::int64_t ticks) noexcept { return Clock::Mono(ticks * tick); }

    // A level holds what shares all higher digits with now_ and has a larger digit there: lower levels are due first.
    void place(std::uint32_t n)
    {
        auto const due = nodes_[n].due;
        if (due <= now_) return append(due_, n);
        auto const differs = static_cast<std::uint64_t>(due ^ now_);
        auto const level = (63 - static_cast<unsigned>(std::countl_zero(differs))) / bits;
        auto const slot = static_cast<unsigned>(due >> (level * bits)) & 63u;
        occupied_[level] |= std::uint64_t{1} << slot;
        append(slots_[level][slot], n);
    }
    void append(List& list, std::uint32_t n)
    {
        nodes_[n].next = none;
        if (list.first == none) {
            list = {n, n, nodes_[n].due};
            return;
        }
        nodes_[list.last].next = n;
        list.last = n;
        list.earliest = std::min(list.earliest, nodes_[n].due);
    }
    void hand_out(List list, std::vector<T>& out)
    {
        for (auto n = list.first; n != none;) {
            auto const next = nodes_[n].next;
            out.push_back(std::move(nodes_[n].value));
            nodes_.remove(n);
            n = next;
        }
    }
    unsigned lowest() const noexcept
    {
        unsigned level = 0;
        while (level < levels && occupied_[level] == 0) ++level;
        return level;
    }
    std::int64_t start_of(unsigned level, unsigned slot) const noexcept
    {
        auto const digits = (level + 1) * bits;
        auto const above = digits >= 63 ? 0 : now_ >> digits << digits;
        return above | (static_cast<std::int64_t>(slot) << (level * bits));
    }

    Slab<Node>                               nodes_;
    std::array<std::array<List, 64>, levels> slots_{};
    std::array<std::uint64_t, levels>        occupied_{};  // which slots hold something
    List                                     due_;         // added when it was due already
    std::int64_t                             now_{0};      // ticks
};

}  // namespace sluice::engine
