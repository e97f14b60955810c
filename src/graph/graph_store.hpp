// The projection (port): records of all repositories, folded from the log.
#pragma once

#include <sluice/processor.hpp>
#include <sluice/records.hpp>
#include <sluice/result.hpp>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sluice::graph {

enum class Outcome : std::uint8_t {
    applied,  // changed the state, now or before (applying again changes nothing)
    stale,    // its rev is not above the record's, or it came late and the record was written since: changes nothing
};

// Runs the event's processor against the state in hand.
using Decide = std::function<Result<Effects>(Event const&, RecordView const&)>;

struct ApplyResult {
    std::vector<Outcome> outcomes;  // of the events before the first error, in order
    std::optional<Error> error;     // of the event after them: the processor's, or the store's
    // The error is the store's: after `unavailable` it is unknown what the batch did, after any other it did nothing.
    bool from_store{false};
};

// Changes whenever what is known under a name (a DID, or the URI of a record that is a target) changes; none while
// nothing is. The same state has the same stamp in one process only.
enum class Stamp : std::uint64_t { none = 0 };

struct Counts {
    std::array<std::uint64_t, kind_count> live{};  // by kind
    std::uint64_t                         tombstones{0};  // of records and repositories
};

// A copy of a stored record that outlives any lock.
class OwnedRecord {
public:
    explicit OwnedRecord(Record const& record);
    Record const& operator*() const noexcept { return record_; }
    Record const* operator->() const noexcept { return &record_; }
    OwnedRecord(OwnedRecord const&) = delete;
    OwnedRecord(OwnedRecord&&) = default;
    OwnedRecord& operator=(OwnedRecord&&) = default;

private:
    std::unique_ptr<char[]> bytes_;
    Record                  record_;
};

// How a store in memory gives its repositories to checkpoints and takes them back.
class Snapshots {
public:
    // Where a capture stands.
    struct Capture {
        std::uint32_t number{1};  // above every earlier one's
        bool          all{true};  // else only repositories that were written since a capture took them, and of those
        Sequence      after{};    // only the records of later events: the watermark when the capture before began
        std::uint32_t shard{0}, cursor{0};
    };
    struct Restored {
        std::string_view did;
        Sequence         last{};  // the newest of its records: every event of the repository up to it is in them
    };

    virtual ~Snapshots() = default;

    // Appends the next repositories to `bytes`: each once, as it was at one moment, tombstones included. False once all
    // that were there at the beginning have been taken. One thread; appliers and readers wait microseconds.
    virtual bool capture(Capture& capture, std::string& bytes) = 0;

    // Takes records from such bytes, except those that are there or were removed since: restore the newest capture
    // first, back to the one of all. `invalid` if the bytes are none; then clear() before anything else. Before the
    // first event is applied.
    virtual Result<> restore(
        std::string_view bytes, std::uint32_t number, std::function<void(Restored const&)> const& restored) = 0;
    virtual void clear() = 0;
};

// Reads. Any thread; each sees whole records. Removed records are not returned.
class GraphReader {
public:
    virtual ~GraphReader() = default;
    virtual std::optional<OwnedRecord> find(Kind kind, std::string_view uri) const = 0;
    virtual std::vector<OwnedRecord>   relationships_of(std::string_view did) const = 0;    // sorted by uri
    virtual std::vector<OwnedRecord>   attestations_of(std::string_view target) const = 0;  // sorted by uri

    // What an answer depends on: the stamp of the name asked for, or of the repository of the record to be found. Read
    // it before the answer: then that is at least as new.
    virtual Stamp stamp(std::string_view name) const = 0;
};

class GraphStore : public GraphReader {
public:
    // Null: the store keeps its state itself.
    virtual Snapshots* snapshots() noexcept { return nullptr; }

    // Applies events of ONE repository in their order, each seeing the ones before it, and stops at the first that
    // `decide` refuses. The outcomes returned are in the state together (see from_store for errors); applying the same
    // events again is always safe. One thread per repository; any number of repositories at once.
    virtual ApplyResult apply(std::span<Event const> events, Decide const& decide) = 0;

    // Sum modulo 2^128 of every record's hash, tombstones included. Comparable while nothing is being applied.
    virtual Hash128 digest() const = 0;
    virtual Counts  counts() const = 0;
};

}  // namespace sluice::graph
