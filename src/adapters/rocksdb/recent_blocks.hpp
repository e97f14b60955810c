// The last few blocks that were read, parsed: duplicates come in runs. Any thread.
#pragma once

#include "log/event_log.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

namespace sluice::adapters {

class RecentBlocks {
public:
    using BlockPtr = std::shared_ptr<log::StoredBlock const>;

    BlockPtr find(Sequence sequence)
    {
        std::lock_guard lock(mutex_);
        auto const      it = std::find_if(blocks_.begin(), blocks_.end(), [&](BlockPtr const& block) {
            return sequence >= block->first() && sequence < block->sequence(block->size());
        });
        if (it == blocks_.end()) return nullptr;
        std::rotate(blocks_.begin(), it, it + 1);
        return blocks_.front();
    }

    void insert(BlockPtr block)
    {
        std::lock_guard lock(mutex_);
        blocks_.insert(blocks_.begin(), std::move(block));
        while (blocks_.size() > count_max || (blocks_.size() > 1 && bytes() > bytes_max)) blocks_.pop_back();
    }

private:
    static constexpr std::size_t count_max = 4;
    static constexpr std::size_t bytes_max = 8u << 20;  // or one

    std::size_t bytes() const
    {
        std::size_t sum = 0;
        for (auto const& block : blocks_) sum += block->bytes().size();
        return sum;
    }

    std::mutex            mutex_;
    std::vector<BlockPtr> blocks_;  // guarded by mutex_; newest use first
};

}  // namespace sluice::adapters
