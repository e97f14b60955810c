#include "engine/suspects.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace sluice::engine {

namespace {

constexpr std::uint64_t magic = 0x444E'4148'4E49'4C53;  // "SLINHAND"
constexpr std::uint32_t version = 1;

static_assert(std::is_trivially_copyable_v<Suspects::Notes> && alignof(Suspects::Notes) <= 8);

Suspects::Notes* notes_in(std::span<std::byte> kept) noexcept
{
    return kept.size() < Suspects::bytes ? nullptr : reinterpret_cast<Suspects::Notes*>(kept.data());
}

}  // namespace

Suspects::Suspects(std::span<std::byte> kept) : notes_(notes_in(kept))
{
    if (notes_ == nullptr) return;
    if (notes_->magic != magic || notes_->version != version || notes_->count > history) {
        std::memset(notes_, 0, sizeof *notes_);
        notes_->magic = magic;
        notes_->version = version;
    }
    judge();
}

void Suspects::judge()
{
    faults_ = notes_->faults;
    suspects_.assign(notes_->suspects, notes_->suspects + notes_->count);
    if (notes_->fault != 0) {
        ++faults_;
        std::vector<Suspect> now;
        for (auto const& hand : notes_->in_hand)
            for (auto const sequence : hand)
                if (sequence != 0) now.push_back({sequence, 1, 0});
        for (auto& suspect : now) {
            auto const before = std::ranges::find(suspects_, suspect.sequence, &Suspect::sequence);
            if (before != suspects_.end()) suspect.faults = before->faults + 1;
            suspect.is_alone = now.size() == 1;
        }
        // The most suspicious first: if there are too many, the others go.
        std::ranges::stable_sort(now, std::ranges::greater{}, &Suspect::faults);
        if (now.size() > history) now.resize(history);
        suspects_ = std::move(now);
    }
    write();
}

// A kill in the middle of this forgets a fault, and counts none twice.
void Suspects::write() noexcept
{
    notes_->fault = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    notes_->count = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    std::ranges::copy(suspects_, notes_->suspects);
    notes_->faults = faults_;
    std::memset(notes_->in_hand, 0, sizeof notes_->in_hand);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    notes_->count = static_cast<std::uint32_t>(suspects_.size());
}

std::vector<Suspects::Suspect> Suspects::guilty() const
{
    std::vector<Suspect> guilty;
    for (auto const& suspect : suspects_)
        if (suspect.faults >= guilty_from && suspect.is_alone != 0) guilty.push_back(suspect);
    return guilty;
}

Suspects::Hand Suspects::hand(std::size_t i) const noexcept
{
    return notes_ == nullptr || i >= hands ? Hand() : Hand(notes_->in_hand[i]);
}

void Suspects::acquit() noexcept
{
    faults_ = 0;
    suspects_.clear();
    if (notes_ != nullptr) write();
}

void Suspects::note_fault(std::span<std::byte> kept) noexcept
{
    if (auto* const notes = notes_in(kept)) std::atomic_ref(notes->fault).store(1u, std::memory_order_relaxed);
}

}  // namespace sluice::engine
