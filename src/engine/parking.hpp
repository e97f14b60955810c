// The records that wait: what is parked, and what must therefore wait behind it.
//
// While an event of a record is parked, later events of the record are parked too. An event's place among them is its
// version: its own sequence, or that of the event it is a copy of. Copies of parked events, appended when they are
// released, pass in that order; one that came after the last of them passes when all have. An event waits only for what
// was parked before its own turn came: a fold, which knows all verdicts from the start, decides as was decided live.
#pragma once

#include "log/event_log.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <atomic>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace sluice::engine {

// The names of an event's record. Hashes: two records that share one wait for each other, and that is all.
struct RecordKey {
    std::uint64_t repository{0};
    std::uint64_t record{0};  // 0: the event is about none that is known; it waits for nobody
};

// Any thread. Bounded: room is reserved before a verdict is made; what a fold finds is added all the same.
class Parking {
public:
    struct Waiting {
        std::uint64_t events{0};
        WallTime      oldest{};  // received_at
    };

    explicit Parking(std::size_t events_max) : events_max_(events_max) {}
    virtual ~Parking() = default;

    // Takes room for one more verdict, which is given up when it is durable; false if there is none.
    bool reserve();
    bool has_room() const noexcept { return parked_.load(std::memory_order_relaxed) < events_max_; }

    // Nobody waits.
    bool is_empty() const noexcept { return records_.load(std::memory_order_acquire) == 0; }

    // Whether an event must be parked because an earlier one of its record waits. `sequence` is its own, or its copy's.
    virtual bool follows(RecordKey key, Sequence version, Sequence sequence) const;

    // A verdict `parked` is durable; `is_reserved`: room was taken for it.
    void parked(log::Decision const& decision, bool is_reserved = false);
    // A parked event was released: it counts no longer, but waits until its copy is settled.
    virtual void released(log::Decision::Subject const& subject);
    // At a start: it was parked, and released before, and its copy is not settled yet.
    virtual void expect_copy(Sequence parked, std::uint64_t record, Sequence version);
    // It was dropped instead: what waits behind it goes on.
    void dropped(log::Decision::Subject const& subject);
    // The copy of this version came to an end, or became a dead letter.
    void settled(RecordKey key, Sequence version);

    // By event type; what has no place in the list is summed up under "other".
    std::map<std::string, Waiting> by_type() const;
    std::uint64_t                  events() const noexcept { return parked_.load(std::memory_order_relaxed); }

private:
    static constexpr std::size_t types_max = 256;
    using Versions = std::map<Sequence, Sequence>;  // by version: the sequence it was parked at first

    void     leave_type(log::Decision::Subject const& subject);
    Waiting& of_type(std::string const& type);
    void     wait(Sequence parked, std::uint64_t record, Sequence version);
    bool     waits(std::uint64_t name, Sequence version, Sequence sequence) const;

    std::size_t const        events_max_;
    std::atomic<std::size_t> parked_{0};   // events whose verdict is `parked`
    std::atomic<std::size_t> records_{0};  // entries of waiting_, to answer without the lock when there are none

    mutable std::mutex                                  mutex_;  // guards what is below
    std::size_t                                         reserved_{0};  // room for verdicts that are not durable yet
    boost::unordered_flat_map<std::uint64_t, Versions>  waiting_;  // by record: parked, or released and not settled
    std::map<std::string, Waiting>                      types_;
};

}  // namespace sluice::engine
