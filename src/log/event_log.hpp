// The durable order of events (port), and the block format every adapter stores.
//
// A block is what one commit made durable: a header and its records. Its key is the sequence of its first record.
#pragma once

#include "log/record.hpp"

#include <sluice/result.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sluice::log {

struct BlockHeader {
    std::uint32_t magic;  // block_magic
    std::uint32_t count;  // of records
    std::uint64_t first;  // sequence of the first
    std::int64_t  received_at;
    std::uint64_t chain_before;  // chain of the record before the first, 0 at the start of the log

    // What the chain of the first record continues: the record before, and the time, which no record holds.
    std::uint64_t chain_seed() const noexcept;
};
static_assert(sizeof(BlockHeader) == 32);
inline constexpr std::uint32_t block_magic = 0x314B4C53;  // "SLK1"

// A durable verdict about a logged event. The newest of an event counts; an event with any is not applied itself.
enum class Verdict : std::uint8_t {
    dead_letter = 1,
    parked = 2,    // waits for a processor, or behind an event of its record that was parked
    released = 3,  // was parked; its copy, the successor, is applied instead
    dropped = 4,   // an operator gave it up
    redriven = 5,  // was a dead letter; its successor takes its place
};

// Whether an event of which this is the newest verdict counts as dead-lettered.
constexpr bool is_dead(Verdict verdict)
{
    return verdict == Verdict::dead_letter || verdict == Verdict::dropped || verdict == Verdict::redriven;
}

struct Decision {
    Sequence      sequence{};  // of the event
    Verdict       verdict{};
    std::uint32_t attempts{0};
    WallTime      at{};
    std::string   reason;  // the error's reason
    std::string   detail;
    Sequence      successor{};  // of released and redriven events

    // The event, so that lists and searches need not read it.
    struct Subject {
        std::string   type, did;
        Tier          tier{};
        WallTime      received_at{};
        std::uint32_t bytes{0};   // of its record in the log
        std::uint64_t record{0};  // hash of its record's key; 0: unknown
        Sequence      version{};  // whose place in the order of its record it has; its own, or its origin's

        friend bool operator==(Subject const&, Subject const&) = default;
    };
    Subject subject{};

    friend bool operator==(Decision const&, Decision const&) = default;
};

// A block read back. Owns its bytes; record views point into them.
class StoredBlock {
public:
    // Checks the header, every record's bounds, the chain and every payload hash: `corrupt` if anything differs.
    static Result<StoredBlock> parse(std::string bytes, Sequence first);

    std::string_view bytes() const noexcept { return bytes_; }
    Sequence    first() const noexcept { return first_; }
    std::size_t size() const noexcept { return offsets_.size(); }
    WallTime    received_at() const noexcept { return received_at_; }
    std::uint64_t chain_before() const noexcept { return chain_before_; }
    std::uint64_t chain_after() const noexcept { return chain_after_; }
    Sequence    sequence(std::size_t i) const noexcept { return Sequence{number(first_) + i}; }
    LoggedRecord  record(std::size_t i) const noexcept { return LoggedRecord(bytes_.data() + offsets_[i]); }
    bool          holds(Sequence s) const noexcept { return s >= first_ && number(s) - number(first_) < size(); }
    LoggedRecord  record_at(Sequence s) const noexcept { return record(number(s) - number(first_)); }  // that it holds
    Event       event(std::size_t i) const noexcept { return record(i).event(sequence(i), received_at_); }

private:
    std::string                bytes_;
    std::vector<std::uint32_t> offsets_;
    Sequence                   first_{};
    WallTime                   received_at_{};
    std::uint64_t              chain_before_{0}, chain_after_{0};
};

// What a reader of neighbouring blocks checks: that each continues the one before.
class Continuity {
public:
    // `corrupt` ("gap") unless `block` starts where the last one ended, or is the first that is looked at.
    Result<> check(StoredBlock const& block);

private:
    Sequence      next_{};  // none: no block was seen yet
    std::uint64_t chain_{0};
};

// One commit. The records carry their chain values already.
struct Commit {
    Sequence                          first{};
    std::uint32_t                     count{0};
    std::uint64_t                     chain_after{0};  // of the last record, or of the log's last when there are none
    WallTime                          received_at{};   // of the last record
    std::span<std::string_view const> parts;           // block header and records, in order; empty when count is 0
    std::span<Decision const>         decisions;
};

// How much room a log has.
struct Space {
    enum class Level : std::uint8_t {
        ok,
        low,   // what is less important waits
        full,  // no event may be appended; decisions still may
    };
    Level         level{Level::ok};
    std::uint64_t free_bytes{0};
    bool          has_reserve{true};  // what is kept for the worst is still there
};

// What append returned OK for survives a crash; nothing else is promised.
class EventLog {
public:
    // Sees the blocks that were durable when it was made. Must not outlive the log.
    class Cursor {
    public:
        virtual ~Cursor() = default;
        // The next block, or nullopt at the end. An error is final for this cursor.
        virtual Result<std::optional<StoredBlock>> next() = 0;
    };

    virtual ~EventLog() = default;

    // Makes all of the commit durable, or none of it. The appender's thread only. After an error the outcome is
    // unknown, every later call fails too, and the process should end.
    virtual Result<> append(Commit const& commit) = 0;

    // Looks at the disk now. Space that cannot be read counts as none. The appender's thread only.
    virtual Space check_space() = 0;

    // The block that holds this sequence, or null. Shared because adapters keep the last few parsed. Any thread.
    virtual Result<std::shared_ptr<StoredBlock const>> read(Sequence sequence) const = 0;

    // Blocks in order, starting with the one that holds `from`. Any thread; a cursor belongs to one.
    virtual std::unique_ptr<Cursor> blocks(Sequence from) const = 0;

    // The first record stored, none while there is none: not 1 in a log that has dropped its oldest. Any thread.
    virtual Sequence first() const noexcept = 0;

    // Shows `visit` the decisions about `from` and later events, ordered by sequence, then by age, until it returns
    // false. Any thread; sees what was durable when called.
    virtual Result<> visit_decisions(Sequence from, std::function<bool(Decision const&)> const& visit) const = 0;
    // All of them.
    Result<std::vector<Decision>> decisions() const;

    // The last durable record. The appender's thread, or before it starts.
    virtual Sequence      last() const noexcept = 0;
    virtual std::uint64_t last_chain() const noexcept = 0;
    virtual WallTime      last_received_at() const noexcept = 0;
};

// What counts about an event; none: nothing was decided.
Result<std::optional<Verdict>> newest_verdict(EventLog const& log, Sequence sequence);

// What adapters store for a decision, and back. Longer texts are cut off.
inline constexpr std::size_t decision_reason_max = 128;
inline constexpr std::size_t decision_detail_max = 1024;
std::string                  encode_decision(Decision const& decision);
Result<Decision>             decode_decision(Sequence sequence, std::string_view bytes);

}  // namespace sluice::log
