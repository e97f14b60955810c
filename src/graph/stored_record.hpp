// A record as the resident store keeps it: one allocation, immutable once made, shared by counting references.
#pragma once

#include "graph/record_layout.hpp"

#include <sluice/processor.hpp>
#include <sluice/records.hpp>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <span>
#include <string>

namespace sluice::graph {

class StoredRecord;
using RecordRef = boost::intrusive_ptr<StoredRecord const>;

// Followed in memory by its version if that is not its sequence, its slots, its key, and the texts that are not part
// of the key.
class StoredRecord {
public:
    static constexpr std::size_t key_size_max = 0xffff;

    // `identity` gives everything but the fields; its key is at most key_size_max long and, unless it is the DID
    // itself, an AT-URI in the repository. The values must suit the kind's layout.
    static boost::intrusive_ptr<StoredRecord> make(Record const& identity, std::span<Value const> fields);

    // The record as bytes that only read() understands, appended to `out`.
    void write(std::string& out) const;
    // Takes a record off the front of `bytes`; null if there is none a store writes for the repository.
    static boost::intrusive_ptr<StoredRecord const> read(std::string_view& bytes, std::string_view did);

    // Before others see the record: no lower than what was seen before.
    void raise_rev(Revision floor) noexcept { rev_ = std::max(rev_, floor); }

    Kind             kind() const noexcept { return kind_; }
    std::string_view key() const noexcept { return {texts(), key_size_}; }
    Revision         rev() const noexcept { return rev_; }
    Sequence         sequence() const noexcept { return sequence_; }
    Sequence         version() const noexcept;  // sequence(), unless its event came late
    bool             removed() const noexcept { return removed_; }
    Fields           fields() const noexcept { return {texts(), slots(), slot_count_}; }
    Record           view() const noexcept;

    // The names a record is found by besides its key, each once: a relationship's participants, an attestation's
    // target. The rest is empty.
    using Mentions = std::array<std::string_view, 2>;
    static Mentions mentions(Kind kind, std::span<Value const> fields) noexcept;
    Mentions        mentions() const noexcept;
    // Which of them a name is.
    std::optional<std::size_t> mention(std::string_view name) const noexcept;

    // Where this record stands in the list of the name that is mention i. Guarded by the lock of that list.
    std::uint32_t& position(std::size_t i) const noexcept { return positions_[i]; }

private:
    StoredRecord(Record const& identity, std::size_t field_count) noexcept;

    char const* slots() const noexcept { return reinterpret_cast<char const*>(this + 1) + version_size(); }
    std::size_t version_size() const noexcept { return late_ ? sizeof(Sequence) : 0; }
    char const* texts() const noexcept { return slots() + 8u * slot_count_; }

    friend void intrusive_ptr_add_ref(StoredRecord const* record) noexcept
    {
        record->references_.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(StoredRecord const* record) noexcept
    {
        if (record->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy(record);
    }
    static void destroy(StoredRecord const* record) noexcept;

    mutable std::atomic<std::uint32_t>   references_{0};
    mutable std::array<std::uint32_t, 2> positions_{};
    std::uint16_t                        key_size_;
    Kind                                 kind_;
    std::uint8_t                         slot_count_ : 6;
    std::uint8_t                         late_ : 1;  // its version is in front of the slots
    std::uint8_t                         removed_ : 1;
    Revision                             rev_;
    Sequence                             sequence_;
    Hash128                              payload_hash_;
};
static_assert(sizeof(StoredRecord) == 48);

}  // namespace sluice::graph
