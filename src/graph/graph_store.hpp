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

// How a store that keeps its state itself says how far in the log that state is.
class Positions {
public:
    virtual ~Positions() = default;

    // Makes this process the only one that applies to the store, and gives what save() was given last: empty if the
    // store is new. May be called again. `unavailable`; `invalid`: the store is not one this program can use.
    virtual Result<std::string> begin() = 0;

    // After begin(), once its answer is found good: events may be applied. Until then apply() is `unavailable`.
    virtual void open() = 0;

    // Keeps `position` durably: everything it calls settled was applied before. `corrupt` once another process has
    // begun.
    virtual Result<> save(std::string_view position, Sequence through) = 0;

    // Forgets every record and the position. After begin(), before the first event is applied.
    virtual Result<> clear() = 0;
};

// Reads. Any thread; each sees whole records. Removed records are not returned. `unavailable` if the store does not
// answer; one in memory always does.
class GraphReader {
public:
    virtual ~GraphReader() = default;
    virtual Result<std::optional<OwnedRecord>> find(Kind kind, std::string_view uri) const = 0;
    virtual Result<std::vector<OwnedRecord>>   relationships_of(std::string_view did) const = 0;    // sorted by uri
    virtual Result<std::vector<OwnedRecord>>   attestations_of(std::string_view target) const = 0;  // sorted by uri

    // What an answer depends on: the stamp of the name asked for, or of the repository of the record to be found. Read
    // it before the answer: then that is at least as new.
    virtual Stamp stamp(std::string_view name) const = 0;
};

// What a store tells of the server behind it.
struct StoreStatus {
    std::string_view     backend{"embedded"};
    bool                 is_up{true};        // its last answer was one
    std::optional<Error> last_error{};       // since it was up last
    std::uint64_t        connections{0}, connections_max{0}, connections_in_use{0};
    std::uint64_t        connected{0}, lost{0};  // connections, since the start
    std::uint64_t        queries{0}, slow_queries{0}, query_ns{0};
    std::uint64_t        transactions{0}, unknown_commits{0};
};

class GraphStore : public GraphReader {
public:
    // Null unless the store is in memory and needs checkpoints.
    virtual Snapshots* snapshots() noexcept { return nullptr; }
    // Null unless the store keeps its state itself.
    virtual Positions* positions() noexcept { return nullptr; }

    // Applies events of ONE repository in their order, each seeing the ones before it, and stops at the first that
    // `decide` refuses, which may be asked more than once about an event. The outcomes returned are in the state
    // together (see from_store for errors); applying the same events again is always safe. One thread per repository;
    // any number of repositories at once.
    virtual ApplyResult apply(std::span<Event const> events, Decide const& decide) = 0;

    // The same for several repositories, none twice: a result each, in their order. After one that is `unavailable`
    // others may be untried: no outcomes, no error.
    using Runs = std::span<std::span<Event const> const>;
    virtual std::vector<ApplyResult> apply_all(Runs runs, Decide const& decide);
    // How many repositories are worth one call: more than one where a call costs more than its events.
    virtual std::size_t repositories_at_once() const noexcept { return 1; }

    // Sum modulo 2^128 of every record's hash, tombstones included. Comparable while nothing is being applied, and, of
    // a store behind a server, while that answers.
    virtual Hash128     digest() const = 0;
    virtual Counts      counts() const = 0;
    virtual StoreStatus status() const { return {}; }
};

}  // namespace sluice::graph
