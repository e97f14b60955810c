// Numbered places for values of one type, in chunks: growing moves nothing, and the memory goes when the last value
// does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::engine {

// One thread. A value keeps its number and its address until it is freed. T is default constructible and assignable,
// and its member `next` is free to use while it is not allocated.
template <class T>
class Slab {
public:
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    T&          operator[](std::uint32_t i) noexcept { return chunks_[i / chunk_size][i % chunk_size]; }
    T const&    operator[](std::uint32_t i) const noexcept { return chunks_[i / chunk_size][i % chunk_size]; }
    std::size_t size() const noexcept { return size_; }
    std::size_t bytes() const noexcept { return chunks_.size() * chunk_size * sizeof(T); }

    std::uint32_t add(T value)
    {
        auto i = free_;
        if (i == none) {
            if (used_ == chunks_.size() * chunk_size) chunks_.push_back(std::make_unique<T[]>(chunk_size));
            i = used_++;
        } else {
            free_ = (*this)[i].next;
        }
        (*this)[i] = std::move(value);
        ++size_;
        return i;
    }
    void remove(std::uint32_t i)
    {
        (*this)[i].next = free_;
        free_ = i;
        if (--size_ != 0) return;
        free_ = none;
        used_ = 0;
        chunks_.resize(chunks_.empty() ? 0 : 1);
    }

private:
    static constexpr std::uint32_t chunk_size = 4096;

    std::vector<std::unique_ptr<T[]>> chunks_;
    std::uint32_t                     free_{none};
    std::uint32_t                     used_{0};  // places that were ever given out
    std::size_t                       size_{0};
};

}  // namespace sluice::engine
