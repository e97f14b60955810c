// Names and what is known under each: the hash table of one shard. Guarded by the shard's lock but for prefetch().
#pragma once

#include "base/hash.hpp"
#include "graph/graph_store.hpp"
#include "graph/record_set.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <span>

namespace sluice::graph {

// A name looked for, hashed once.
struct Name {
    Name() = default;
    explicit Name(std::string_view name) noexcept : text(name), bits(hash64(name)) {}

    // Never 0; the high bits are left for choosing a shard.
    std::uint32_t hash() const noexcept { return std::max(static_cast<std::uint32_t>(bits), std::uint32_t{1}); }

    std::string_view text;
    std::uint64_t    bits{0};
};

// The live records that mention a name; each knows its position here.
class MentionList {
public:
    bool                       empty() const noexcept { return size_ == 0; }
    std::span<RecordRef const> records() const noexcept { return {records_.get(), size_}; }
    void                       prefetch_end() const noexcept { __builtin_prefetch(records_.get() + size_, 1); }

    RecordRef& operator[](std::uint32_t at) noexcept { return records_[at]; }

    // Returns its position.
    std::uint32_t push(RecordRef record)
    {
        if (size_ == capacity_) grow();
        records_[size_] = std::move(record);
        return size_++;
    }
    RecordRef pop() noexcept { return std::move(records_[--size_]); }

private:
    void grow()
    {
        capacity_ = capacity_ == 0 ? 3 : capacity_ * 2;  // three fill the smallest block malloc gives
        auto larger = std::make_unique<RecordRef[]>(capacity_);
        std::move(records_.get(), records_.get() + size_, larger.get());
        records_ = std::move(larger);
    }

    std::unique_ptr<RecordRef[]> records_;
    std::uint32_t                size_{0}, capacity_{0};
};

// Everything known under one name. Exists while it holds anything.
class alignas(64) Node {
public:
    Node() = default;
    explicit Node(std::string_view name)
        : name_size_(static_cast<std::uint32_t>(name.size())),
          name_(std::make_unique_for_overwrite<char[]>(name.size()))
    {
        std::copy(name.begin(), name.end(), name_.get());
    }

    std::string_view name() const noexcept { return {name_.get(), name_size_}; }
    bool             is_repository() const noexcept { return tombstone || !records.empty(); }
    bool             empty() const noexcept { return !is_repository() && mentions_.empty(); }

    std::span<RecordRef const> mentions() const noexcept { return mentions_.records(); }

    // Adds `after`, whose mention i this name is, in the place of `before` if that mentions it too.
    void mention(StoredRecord const* before, RecordRef after, std::size_t i)
    {
        stamp = Stamp{2 * number(after->sequence())};
        if (auto const old = before ? before->mention(name()) : std::nullopt) {
            auto const at = before->position(*old);
            after->position(i) = at;
            mentions_[at] = std::move(after);
        } else {
            auto& position = after->position(i);
            position = mentions_.push(std::move(after));
        }
    }

    // The last mention takes the place of the one that goes, by the event `by`: mention i of `before`.
    void forget(StoredRecord const& before, std::size_t i, Sequence by)
    {
        stamp = Stamp{2 * number(by) + 1};
        auto const at = before.position(i);
        auto       last = mentions_.pop();
        if (last.get() == &before) return;
        last->position(*last->mention(name())) = at;
        mentions_[at] = std::move(last);
    }

    void prefetch() const noexcept
    {
        __builtin_prefetch(name_.get());
        mentions_.prefetch_end();
        records.prefetch();
    }

    RecordRef tombstone;  // of the repository, once its account was deleted
    RecordSet records;    // of the repository
    // Twice the sequence of the last event that put something here, or one more if its event took something away: one
    // event may do both, one after the other.
    Stamp stamp{};
    // For checkpoints: the capture that took the repository last, and whether it was written since.
    mutable std::uint32_t captured : 31 {0};
    mutable std::uint32_t written : 1 {0};

private:
    std::uint32_t           name_size_{0};
    MentionList             mentions_;
    std::unique_ptr<char[]> name_;
};
static_assert(sizeof(Node) == 64, "one cache line");

// Open addressing with linear probing over the hashes, which stand apart from the nodes.
class NodeTable {
public:
    NodeTable() = default;
    ~NodeTable() { release(hashes(), nodes()); }
    NodeTable(NodeTable const&) = delete;
    NodeTable& operator=(NodeTable const&) = delete;

    // Brings the name's lines closer. Any thread, without the lock: a table that has just moved costs a useless hint.
    void prefetch(Name const& name) const noexcept
    {
        auto const at = name.hash() & mask_.load(std::memory_order_relaxed);
        hint(hashes_.load(std::memory_order_relaxed), at * sizeof(std::uint32_t));
        hint(nodes_.load(std::memory_order_relaxed), at * sizeof(Node));
    }

    // The same for what the node points to.
    void prefetch_parts(Name const& name) const noexcept
    {
        for (auto at = name.hash() & mask(); capacity() != 0 && hashes()[at] != 0; at = (at + 1) & mask())
            if (hashes()[at] == name.hash()) return nodes()[at].prefetch();
    }

    Node* find(Name const& name) const noexcept
    {
        if (capacity() == 0) return nullptr;
        auto const hash = name.hash();
        for (auto at = hash & mask(); hashes()[at] != 0; at = (at + 1) & mask())
            if (hashes()[at] == hash && nodes()[at].name() == name.text) return &nodes()[at];
        return nullptr;
    }

    // The name must not be there. Other nodes may move.
    Node& create(Name const& name)
    {
        if (size_ + 1 > capacity() - capacity() / 8) grow();
        ++size_;
        return insert(name.hash(), Node(name.text));
    }

    // Other nodes may move.
    void erase(Node& node) noexcept
    {
        auto hole = static_cast<std::uint32_t>(&node - nodes());
        for (auto at = (hole + 1) & mask(); hashes()[at] != 0; at = (at + 1) & mask()) {
            auto const home = hashes()[at] & mask();
            if (((at - home) & mask()) < ((at - hole) & mask())) continue;  // the hole is before its home
            hashes()[hole] = hashes()[at];
            nodes()[hole] = std::move(nodes()[at]);
            hole = at;
        }
        hashes()[hole] = 0;
        nodes()[hole] = Node();
        --size_;
    }

    template <class Visit>
    void for_each(Visit visit) const
    {
        for (std::size_t i = 0; i < capacity(); ++i)
            if (hashes()[i] != 0) visit(nodes()[i]);
    }

    // Visits some nodes and says where to go on; begins at 0 and is 0 again at the end. A node that is there throughout
    // is visited even if others come, go and move meanwhile, maybe twice after growth. The cursor counts in reversed
    // binary, as the SCAN of Redis does.
    template <class Visit>
    std::uint32_t scan(std::uint32_t cursor, std::size_t homes, Visit visit) const
    {
        if (capacity() == 0) return 0;
        for (; homes > 0; --homes) {
            auto const home = cursor & mask();
            for (auto at = home; hashes()[at] != 0; at = (at + 1) & mask())
                if ((hashes()[at] & mask()) == home) visit(nodes()[at]);
            cursor = reversed(reversed(cursor | ~mask()) + 1);
            if (cursor == 0) return 0;
        }
        return cursor;
    }

private:
    static constexpr auto relaxed = std::memory_order_relaxed;

    static std::uint32_t reversed(std::uint32_t bits) noexcept
    {
        bits = (bits & 0x55555555) << 1 | (bits >> 1 & 0x55555555);
        bits = (bits & 0x33333333) << 2 | (bits >> 2 & 0x33333333);
        bits = (bits & 0x0f0f0f0f) << 4 | (bits >> 4 & 0x0f0f0f0f);
        return __builtin_bswap32(bits);
    }

    std::uint32_t* hashes() const noexcept { return hashes_.load(relaxed); }
    Node*          nodes() const noexcept { return nodes_.load(relaxed); }
    std::uint32_t  mask() const noexcept { return mask_.load(relaxed); }
    std::size_t    capacity() const noexcept { return hashes() ? std::size_t{mask()} + 1 : 0; }

    static void release(std::uint32_t* hashes, Node* nodes) noexcept
    {
        delete[] hashes;
        delete[] nodes;
    }

    static void hint(void const* base, std::size_t offset) noexcept
    {
        __builtin_prefetch(reinterpret_cast<void const*>(reinterpret_cast<std::uintptr_t>(base) + offset));
    }

    Node& insert(std::uint32_t hash, Node node) noexcept
    {
        auto at = hash & mask();
        while (hashes()[at] != 0) at = (at + 1) & mask();
        hashes()[at] = hash;
        return nodes()[at] = std::move(node);
    }

    void grow()
    {
        auto* const old_hashes = hashes();
        auto* const old_nodes = nodes();
        auto const  old_capacity = capacity();
        auto const  new_capacity = std::max<std::size_t>(16, old_capacity * 2);
        auto        new_hashes = std::make_unique<std::uint32_t[]>(new_capacity);
        nodes_.store(std::make_unique<Node[]>(new_capacity).release(), relaxed);
        hashes_.store(new_hashes.release(), relaxed);
        mask_.store(static_cast<std::uint32_t>(new_capacity - 1), relaxed);
        for (std::size_t i = 0; i < old_capacity; ++i)
            if (old_hashes[i] != 0) insert(old_hashes[i], std::move(old_nodes[i]));
        release(old_hashes, old_nodes);
    }

    // Atomic only for prefetch().
    std::atomic<std::uint32_t*> hashes_{nullptr};  // 0: free
    std::atomic<Node*>          nodes_{nullptr};
    std::atomic<std::uint32_t>  mask_{0};
    std::size_t                 size_{0};
};

}  // namespace sluice::graph
