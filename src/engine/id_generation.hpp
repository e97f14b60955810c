// The ids of a range of sequences in memory: a table of 12 bytes a slot, at most 90 % full.
#pragma once

#include <sluice/event.hpp>
#include <sluice/result.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

namespace sluice::engine {

// An id by half of its key, and its sequence as a distance from the first of a range.
struct IdEntry {
    std::uint64_t hash;
    std::uint32_t place;

    friend auto operator<=>(IdEntry const&, IdEntry const&) = default;
};

// A range of sequences and the chain value of its last record, which binds it to one log.
struct IdRange {
    Sequence      first{1}, last{};
    std::uint64_t chain{0};

    std::uint64_t size() const noexcept { return number(last) + 1 - number(first); }
};

// One thread; any, once nobody changes it.
class IdGeneration {
public:
    // Room for `expected` ids; more are a matter of time, not of correctness.
    IdGeneration(Sequence first, std::uint32_t expected)
        : first_(first), capacity_(std::max<std::uint32_t>(16, expected + expected / 3)), slots_(allocate(capacity_))
    {
    }

    Sequence      first() const noexcept { return first_; }
    std::uint32_t size() const noexcept { return size_; }
    std::uint64_t bytes() const noexcept { return std::uint64_t{capacity_} * sizeof(Slot); }

    void insert(std::uint64_t hash, Sequence sequence)
    {
        if (size_ >= capacity_ - capacity_ / 10) grow();
        put(hash, static_cast<std::uint32_t>(number(sequence) - number(first_)) + 1);
        ++size_;
    }

    void erase(std::uint64_t hash, Sequence sequence)
    {
        auto const place = static_cast<std::uint32_t>(number(sequence) - number(first_)) + 1;
        auto       at = home(hash);
        while (slots_[at].place != 0 && slots_[at].place != place) at = after(at);
        if (slots_[at].place == 0) return;
        // Whoever stands behind the gap and belongs before it moves up.
        for (auto next = after(at); slots_[next].place != 0; next = after(next)) {
            auto const from_home = distance(home(slots_[next].hash()), next);
            if (from_home < distance(at, next)) continue;
            slots_[at] = slots_[next];
            at = next;
        }
        slots_[at] = {};
        --size_;
    }

    // Calls `confirm(sequence)` for every id with this hash until it returns true or an error.
    template <class Confirm>
    Result<bool> find(std::uint64_t hash, Confirm const& confirm) const
    {
        for (auto at = home(hash); slots_[at].place != 0; at = after(at)) {
            if (slots_[at].hash() != hash) continue;
            auto const confirmed = confirm(Sequence{number(first_) + slots_[at].place - 1});
            if (!confirmed || *confirmed) return confirmed;
        }
        return false;
    }

    void prefetch(std::uint64_t hash) const noexcept { __builtin_prefetch(&slots_[home(hash)]); }

    std::vector<IdEntry> sorted() const
    {
        std::vector<IdEntry> entries;
        entries.reserve(size_);
        for (std::uint32_t i = 0; i < capacity_; ++i)
            if (slots_[i].place != 0) entries.push_back({slots_[i].hash(), slots_[i].place - 1});
        std::sort(entries.begin(), entries.end());
        return entries;
    }

private:
    struct Slot {
        std::uint32_t low, high, place;  // place counts from 1; 0: empty

        std::uint64_t hash() const noexcept { return std::uint64_t{high} << 32 | low; }
    };
    static_assert(sizeof(Slot) == 12);
    struct Free {
        void operator()(Slot* slots) const noexcept { std::free(slots); }
    };
    using Slots = std::unique_ptr<Slot[], Free>;

    // Zeroed by the system page by page when it is touched: a new generation does not hold up the appender.
    static Slots allocate(std::uint32_t capacity)
    {
        auto* const slots = static_cast<Slot*>(std::calloc(capacity, sizeof(Slot)));
        if (slots == nullptr) throw std::bad_alloc();
        return Slots(slots);
    }

    std::uint32_t home(std::uint64_t hash) const noexcept
    {
        return static_cast<std::uint32_t>((hash >> 32) * capacity_ >> 32);
    }
    std::uint32_t after(std::uint32_t at) const noexcept { return at + 1 == capacity_ ? 0 : at + 1; }
    std::uint32_t distance(std::uint32_t from, std::uint32_t to) const noexcept
    {
        return to >= from ? to - from : to + capacity_ - from;
    }

    void put(std::uint64_t hash, std::uint32_t place) noexcept
    {
        auto at = home(hash);
        while (slots_[at].place != 0) at = after(at);
        slots_[at] = {static_cast<std::uint32_t>(hash), static_cast<std::uint32_t>(hash >> 32), place};
    }

    void grow()
    {
        auto const before = capacity_;
        auto const old = std::move(slots_);
        capacity_ *= 2;
        slots_ = allocate(capacity_);
        for (std::uint32_t i = 0; i < before; ++i)
            if (old[i].place != 0) put(old[i].hash(), old[i].place);
    }

    Sequence const first_;
    std::uint32_t  capacity_;
    std::uint32_t  size_{0};
    Slots          slots_;
};

}  // namespace sluice::engine
