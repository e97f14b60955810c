#include "log/memory_log.hpp"

#include "base/assert.hpp"

#include <limits>

namespace sluice::log {

class MemoryLog::BlockCursor final : public Cursor {
public:
    BlockCursor(MemoryLog const& log, Sequence from) : log_(log)
    {
        std::lock_guard lock(log.mutex_);
        auto const&     blocks = log.disk_.blocks;
        auto            it = blocks.upper_bound(from);
        if (it != blocks.begin()) --it;
        if (it == blocks.end()) return;
        at_ = it->first;
        from_ = from;
        end_ = blocks.rbegin()->first;
    }

    Result<std::optional<StoredBlock>> next() override
    {
        if (failed_) return *failed_;
        while (at_ != Sequence::none) {
            auto block = take();
            if (!block) return *(failed_ = block.error());
            if (number(block->first()) + block->size() > number(from_)) return std::optional(std::move(*block));
        }
        return std::nullopt;
    }

private:
    Result<StoredBlock> take()
    {
        std::string    bytes;
        Sequence const first = at_;
        {
            std::lock_guard lock(log_.mutex_);
            auto const      it = log_.disk_.blocks.find(first);
            bytes = it->second;
            at_ = first == end_ ? Sequence::none : std::next(it)->first;
        }
        auto block = StoredBlock::parse(std::move(bytes), first);
        if (!block) return block;
        if (auto const continues = continuity_.check(*block); !continues) return continues.error();
        return block;
    }

    MemoryLog const&     log_;
    Sequence             at_{};  // of the next block, none at the end
    Sequence             from_{};
    Sequence             end_{};  // the last block
    Continuity           continuity_;
    std::optional<Error> failed_;
};

MemoryLog::MemoryLog(Disk& disk) : disk_(disk)
{
    if (disk.blocks.empty()) return;
    auto const& [first, bytes] = *disk.blocks.rbegin();
    auto const block = StoredBlock::parse(bytes, first);
    SLUICE_ASSERT(block);
    last_ = block->sequence(block->size() - 1);
    last_chain_ = block->chain_after();
    last_received_at_ = block->received_at();
}

Result<> MemoryLog::append(Commit const& commit)
{
    SLUICE_ASSERT(commit.parts.empty() == (commit.count == 0));
    SLUICE_ASSERT(commit.count == 0 || commit.first == next(last_));
    std::lock_guard lock(mutex_);
    if (commit.count != 0) {
        std::string bytes;
        for (auto const part : commit.parts) bytes.append(part);
        disk_.blocks.emplace(commit.first, std::move(bytes));
        last_ = Sequence{number(last_) + commit.count};
        last_chain_ = commit.chain_after;
        last_received_at_ = commit.received_at;
    }
    for (auto const& decision : commit.decisions) {
        auto const after = disk_.decisions.upper_bound({decision.sequence, std::numeric_limits<std::uint32_t>::max()});
        std::uint32_t number_in_sequence = 0;
        if (after != disk_.decisions.begin() && std::prev(after)->first.first == decision.sequence)
            number_in_sequence = std::prev(after)->first.second + 1;
        disk_.decisions.emplace_hint(
            after, std::pair(decision.sequence, number_in_sequence), encode_decision(decision));
    }
    return {};
}

std::optional<std::pair<Sequence, std::string>> MemoryLog::block_at(Sequence sequence) const
{
    std::lock_guard lock(mutex_);
    auto const      it = disk_.blocks.upper_bound(sequence);
    if (it == disk_.blocks.begin()) return std::nullopt;
    return *std::prev(it);
}

Result<std::shared_ptr<StoredBlock const>> MemoryLog::read(Sequence sequence) const
{
    auto stored = block_at(sequence);
    if (!stored) return nullptr;
    auto block = StoredBlock::parse(std::move(stored->second), stored->first);
    if (!block) return block.error();
    if (number(block->first()) + block->size() <= number(sequence)) return nullptr;
    return std::make_shared<StoredBlock const>(std::move(*block));
}

std::unique_ptr<EventLog::Cursor> MemoryLog::blocks(Sequence from) const
{
    return std::make_unique<BlockCursor>(*this, from);
}

Sequence MemoryLog::first() const noexcept
{
    std::lock_guard lock(mutex_);
    return disk_.blocks.empty() ? Sequence::none : disk_.blocks.begin()->first;
}

Result<> MemoryLog::visit_decisions(Sequence from, std::function<bool(Decision const&)> const& visit) const
{
    std::vector<Decision> seen;
    {
        std::lock_guard lock(mutex_);
        for (auto it = disk_.decisions.lower_bound({from, 0}); it != disk_.decisions.end(); ++it) {
            auto decision = decode_decision(it->first.first, it->second);
            if (!decision) return decision.error();
            seen.push_back(std::move(*decision));
        }
    }
    for (auto const& decision : seen)
        if (!visit(decision)) break;
    return {};
}

}  // namespace sluice::log
