// Which ids the log holds, and where. Derived from the log: lost, it is rebuilt by reading it.
#pragma once

#include "log/event_log.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <atomic>
#include <functional>

namespace sluice::engine {

struct DedupeStats {
    std::uint64_t memory_ids{0}, memory_bytes{0};  // in tables
    std::uint64_t runs{0}, run_ids{0}, disk_bytes{0}, filter_bytes{0};
    std::uint64_t disk_lookups{0};    // lookups that read a run
    std::uint64_t write_failures{0};  // of runs; they are tried again
};

// The appender's thread only, but for has_room(), maintain() and stats().
class DedupeIndex {
public:
    // Whether the record of this sequence is the one looked for: an index knows hashes only.
    using Confirm = std::function<Result<bool>(Sequence)>;

    virtual ~DedupeIndex() = default;

    // Brings the index to the end of the log, which outlives it. Once, before everything else. What a full disk leaves
    // no room for is left to maintain(); until then there is no room.
    virtual Result<> recover(log::EventLog const& log) = 0;

    // Asks about every sequence the id may have, until one is confirmed; false: the log does not have the id. After
    // an error nothing is known, and the process should end; a damaged index heals at the next start.
    virtual Result<bool> find(Hash128 id, Confirm const& confirm) = 0;

    virtual void insert(Hash128 id, Sequence sequence) = 0;
    // Takes back what was inserted since the last committed().
    virtual void erase(Hash128 id, Sequence sequence) = 0;
    // What was inserted is in the log, which ends at `last` with this chain value.
    virtual void committed(Sequence last, std::uint64_t chain) = 0;
    // False while too much waits to be written or the index is not complete: nothing may be looked up or inserted
    // until maintain() has caught up. Only committed() takes room away. Any thread.
    virtual bool has_room() const = 0;

    // One bounded piece of background work; false if there was none. One thread, any. `full` and `unavailable`: try
    // again later; `corrupt`: the process should end.
    virtual Result<bool> maintain() = 0;
    virtual DedupeStats  stats() const = 0;  // any thread
};

// Calls `visit(key, sequence, chain, has_id)` for the records from `from` to the end of the log, in order, until it
// returns false.
template <class Visit>
Result<> visit_ids(log::EventLog const& log, Sequence from, Visit const& visit)
{
    auto const cursor = log.blocks(from);
    for (;;) {
        auto const block = cursor->next();
        if (!block) return block.error();
        if (!*block) return {};
        for (std::size_t i = 0; i < (*block)->size(); ++i) {
            auto const sequence = (*block)->sequence(i);
            if (sequence < from) continue;
            auto const  record = (*block)->record(i);
            auto const& header = record.header();
            bool const  has_id = header.id_size != 0;
            auto const  key = has_id ? log::id_key(header.tenant, record.stored_id()) : Hash128{};
            if (!visit(key, sequence, header.chain, has_id)) return {};
        }
    }
}

// Every id in memory, about 40 bytes each: for tests, and as the model of what is more clever.
class MemoryDedupe : public DedupeIndex {
public:
    Result<> recover(log::EventLog const& log) override
    {
        return visit_ids(log, Sequence{1}, [this](Hash128 key, Sequence sequence, std::uint64_t, bool has_id) {
            if (has_id) insert(key, sequence);
            return true;
        });
    }
    Result<bool> find(Hash128 id, Confirm const& confirm) override
    {
        auto const it = sequences_.find(id);
        if (it == sequences_.end()) return false;
        return confirm(it->second);
    }
    void         insert(Hash128 id, Sequence sequence) override { sequences_.emplace(id, sequence); }
    void         erase(Hash128 id, Sequence) override { sequences_.erase(id); }
    void         committed(Sequence, std::uint64_t) override { size_ = sequences_.size(); }
    bool         has_room() const override { return true; }
    Result<bool> maintain() override { return false; }
    DedupeStats  stats() const override { return {.memory_ids = size_, .memory_bytes = size_ * 40}; }
    std::size_t  size() const noexcept { return sequences_.size(); }

private:
    struct Hash {
        using is_avalanching = void;
        std::size_t operator()(Hash128 const& h) const noexcept { return h.low; }
    };
    boost::unordered_flat_map<Hash128, Sequence, Hash> sequences_;
    std::atomic<std::uint64_t>                         size_{0};
};

}  // namespace sluice::engine
