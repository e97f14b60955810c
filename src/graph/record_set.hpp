// The records of one repository, tombstones included, found by kind and key. Not thread safe.
#pragma once

#include "graph/stored_record.hpp"

#include <bit>
#include <memory>
#include <utility>

namespace sluice::graph {

// Open addressing without single removal: a record is replaced by its tombstone, and only whole repositories shrink.
class RecordSet {
public:
    RecordSet() = default;
    RecordSet(RecordSet&& other) noexcept
        : slots_(std::move(other.slots_)), capacity_(std::exchange(other.capacity_, 0)),
          size_(std::exchange(other.size_, 0))
    {
    }
    RecordSet& operator=(RecordSet&& other) noexcept
    {
        std::swap(slots_, other.slots_);
        std::swap(capacity_, other.capacity_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~RecordSet()
    {
        for_each([](StoredRecord const& record) { intrusive_ptr_release(&record); });
    }

    bool empty() const noexcept { return size_ == 0; }

    void prefetch() const noexcept { __builtin_prefetch(slots_.get(), 1); }

    // `hash` is any 32 bits that depend only on the key. Null if there is none.
    StoredRecord const* find(std::uint32_t hash, Kind kind, std::string_view key) const noexcept
    {
        auto const* slot = locate(hash, kind, key);
        return slot ? slot->get() : nullptr;
    }

    // Adds the record, or replaces the one with its kind and key.
    void put(std::uint32_t hash, RecordRef record)
    {
        auto* slot = locate(hash, record->kind(), record->key());
        if (!slot || !slot->get()) {
            if (!slot || is_crowded()) {
                grow();
                slot = locate(hash, record->kind(), record->key());
            }
            ++size_;
        }
        if (auto const* before = slot->get()) intrusive_ptr_release(before);
        slot->set(hash, record.detach());
    }

    template <class Visit>
    void for_each(Visit visit) const
    {
        for (std::uint32_t i = 0; i < capacity_; ++i)
            if (auto const* record = slots_[i].get()) visit(*record);
    }

    // Takes out the records that `leaves` chooses and hands each to `taken`.
    template <class Leaves, class Taken>
    void take_if(Leaves leaves, Taken taken)
    {
        RecordSet kept;
        for (std::uint32_t i = 0; i < capacity_; ++i) {
            auto const* record = slots_[i].get();
            if (!record) continue;
            auto const hash = slots_[i].hash;
            slots_[i].set(0, nullptr);
            RecordRef ref(record, false);
            if (leaves(*record)) taken(std::move(ref));
            else kept.put(hash, std::move(ref));
        }
        *this = std::move(kept);
    }

private:
    // Twelve bytes, not sixteen.
    struct Slot {
        std::uint32_t hash;
        std::uint32_t pointer[2];

        StoredRecord const* get() const noexcept { return std::bit_cast<StoredRecord const*>(pointer); }
        void                set(std::uint32_t new_hash, StoredRecord const* record) noexcept
        {
            hash = new_hash;
            std::memcpy(pointer, &record, sizeof record);
        }
    };
    static_assert(sizeof(Slot) == 12);

    // Small sets may be full, as probing them is cheap; large ones keep a quarter free.
    bool is_crowded() const noexcept { return capacity_ > 8 && size_ + 1 > capacity_ - capacity_ / 4; }

    // The slot of the record, else the free one it would take, else null.
    Slot* locate(std::uint32_t hash, Kind kind, std::string_view key) const noexcept
    {
        for (std::uint32_t step = 0; step < capacity_; ++step) {
            auto&       slot = slots_[(hash + step) & (capacity_ - 1)];
            auto const* record = slot.get();
            if (!record || (slot.hash == hash && record->kind() == kind && record->key() == key)) return &slot;
        }
        return nullptr;
    }

    void grow()
    {
        auto const        old_capacity = capacity_;
        auto const        old = std::move(slots_);
        capacity_ = old_capacity == 0 ? 2 : old_capacity * 2;
        slots_ = std::make_unique<Slot[]>(capacity_);
        for (std::uint32_t i = 0; i < old_capacity; ++i) {
            if (!old[i].get()) continue;
            auto at = old[i].hash & (capacity_ - 1);
            while (slots_[at].get()) at = (at + 1) & (capacity_ - 1);
            slots_[at] = old[i];
        }
    }

    std::unique_ptr<Slot[]> slots_;
    std::uint32_t           capacity_{0};  // a power of two
    std::uint32_t           size_{0};
};

}  // namespace sluice::graph
