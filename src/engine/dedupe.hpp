// Which ids the log holds, and where. Derived from the log: lost, it is rebuilt by reading it.
#pragma once

#include <sluice/event.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

#include <optional>

namespace sluice::engine {

// The appender's thread only.
class DedupeIndex {
public:
    virtual ~DedupeIndex() = default;
    // A candidate: two ids may share a key, so a hit is confirmed by reading the record.
    virtual std::optional<Sequence> find(Hash128 id) const = 0;
    virtual void                    insert(Hash128 id, Sequence sequence) = 0;
    virtual void                    erase(Hash128 id) = 0;
    virtual std::size_t             size() const noexcept = 0;
};

// Every id in memory: about 40 bytes each.
class MemoryDedupe final : public DedupeIndex {
public:
    std::optional<Sequence> find(Hash128 id) const override
    {
        auto const it = sequences_.find(id);
        if (it == sequences_.end()) return std::nullopt;
        return it->second;
    }
    void        insert(Hash128 id, Sequence sequence) override { sequences_.emplace(id, sequence); }
    void        erase(Hash128 id) override { sequences_.erase(id); }
    std::size_t size() const noexcept override { return sequences_.size(); }

private:
    struct Hash {
        using is_avalanching = void;
        std::size_t operator()(Hash128 const& h) const noexcept { return h.low; }
    };
    boost::unordered_flat_map<Hash128, Sequence, Hash> sequences_;
};

}  // namespace sluice::engine
