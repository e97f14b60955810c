// The only bound on pending events: places and bytes of resident ones, taken before anything is stored, and backlog
// entries.
#pragma once

#include <sluice/event.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace sluice::engine {

// Whose events they are: the position of a key among the configured ones.
using Producer = std::uint8_t;

// Any thread. A tier closes when the TOTAL in use reaches its limit and reopens `reopen_points` lower, so that what is
// important can use the places that the rest no longer gets. A producer holds at most its share of what a tier may use,
// so that one source cannot take every place of any tier. Events that cannot be worked on now give their places back
// and stay as backlog entries; when there are too many of those, everything is refused, while places that are
// taken already may still become entries.
class Admission {
public:
    struct Limits {
        std::uint32_t                          events{65'536};
        std::uint64_t                          bytes{256u << 20};
        std::uint64_t                          backlog{4u << 20};  // entries
        std::array<std::uint32_t, tier_count>  percent{70, 80, 90, 100};  // LOW, NORMAL, HIGH, CRITICAL
        std::uint32_t                          reopen_points{10};
        std::vector<std::uint32_t>             shares{100};  // per cent, by producer
    };

    // Events by tier and the bytes they take together.
    struct Demand {
        std::array<std::uint32_t, tier_count> events{};
        std::uint64_t                         bytes{0};
        Producer                              producer{0};

        std::uint32_t total() const noexcept { return events[0] + events[1] + events[2] + events[3]; }
        // Of its events, which is the first to be refused. LOW when there are none.
        Tier lowest() const noexcept
        {
            std::uint8_t t = 0;
            while (t + 1u < tier_count && events[t] == 0) ++t;
            return total() == 0 ? Tier::low : Tier{t};
        }
    };

    // Places and bytes of one request. Gives back what is left when destroyed. Must not outlive the Admission.
    class Ticket {
    public:
        Ticket() = default;
        Ticket(Ticket&& other) noexcept
            : from_(std::exchange(other.from_, nullptr)), events_(std::exchange(other.events_, 0)),
              bytes_(std::exchange(other.bytes_, 0)), producer_(other.producer_)
        {
        }
        Ticket& operator=(Ticket&& other) noexcept
        {
            std::swap(from_, other.from_);
            std::swap(events_, other.events_);
            std::swap(bytes_, other.bytes_);
            std::swap(producer_, other.producer_);
            return *this;
        }
        ~Ticket()
        {
            if (from_ != nullptr) from_->release(producer_, events_, bytes_);
        }

        // Takes over what the other holds. Both of one Admission and producer, or empty.
        void absorb(Ticket&& other) noexcept
        {
            if (from_ == nullptr) {
                from_ = other.from_;
                producer_ = other.producer_;
            }
            events_ += std::exchange(other.events_, 0);
            bytes_ += std::exchange(other.bytes_, 0);
        }

        // Moves `events` places out of the ticket: whoever settles the events releases them.
        void hand_over(std::uint32_t events) noexcept { events_ -= events; }

        // Gives places back and keeps the bytes.
        void release_places() noexcept
        {
            if (from_ != nullptr) from_->release(producer_, std::exchange(events_, 0), 0);
        }

    private:
        friend class Admission;
        Ticket(Admission& from, Demand const& demand)
            : from_(&from), events_(demand.total()), bytes_(demand.bytes), producer_(demand.producer)
        {
        }
        Admission*    from_{nullptr};
        std::uint32_t events_{0};
        std::uint64_t bytes_{0};
        Producer      producer_{0};
    };

    struct Refusal {
        Tier          tier{};         // the lowest tier that is closed, or whose limit the request would pass
        bool          never_fits{};   // not even with nothing in use
        bool          by_share{};     // it is the producer's share of the tier that is used up
        bool          disk_is_low{};  // it is the disk
        std::uint32_t excess{0};      // by_share: events of the producer that must leave before it fits
    };

    struct Use {
        std::uint32_t                events{0};
        std::uint64_t                bytes{0};
        std::uint64_t                backlog{0};  // entries
        std::array<bool, tier_count> closed{};
    };

    // What a producer holds, and how many of its events have given their places back since the start.
    struct Held {
        std::uint32_t events{0};
        std::uint64_t bytes{0};
        std::uint64_t released{0};
    };

    explicit Admission(Limits limits);

    // All of the demand or nothing.
    std::optional<Refusal> admit(Demand const& demand, Ticket& ticket);

    // What admit() would answer now.
    std::optional<Refusal> would_refuse(Demand const& demand) const;

    void release(Producer producer, std::uint32_t events, std::uint64_t bytes) noexcept;
    void release(std::span<std::uint32_t const> events) noexcept;  // places, by producer

    // Called once by the release after which the expected demand fits, on that thread and under the lock: it may only
    // pass the word on. Null: nobody any more.
    void on_room(std::function<void()> tell);
    // Replaces the demand expected before. False: it is admitted already, or never fits, and nothing is expected.
    bool expect(Demand const& demand);

    // Whether every tier is closed; without the lock.
    bool is_closed() const noexcept { return is_closed_.load(std::memory_order_relaxed); }
    // Events give `places` back and stay as entries; entries go when what they stand for is settled.
    void backlog_grew(std::span<std::uint32_t const> places, std::uint64_t entries) noexcept;  // places by producer
    void backlog_shrank(std::uint64_t entries) noexcept;

    // LOW and NORMAL are refused while the disk is low.
    void close_for_disk(bool is_low) noexcept;

    Use         use() const;
    Held        held(Producer producer) const;
    std::size_t producers() const noexcept { return held_.size(); }
    Limits      limits() const;

    // From now on; what is in use beyond them stays. As many shares as before.
    void set_limits(Limits limits);

    // Events that must be settled, or leave, before the tier reopens.
    std::uint32_t excess(Tier tier) const;

private:
    static std::uint64_t   scaled(std::uint64_t capacity, std::uint32_t percent) noexcept;
    std::optional<Refusal> refusal(Demand const& demand) const noexcept;
    void                   give_back(Producer producer, std::uint32_t events, std::uint64_t bytes) noexcept;
    std::uint64_t          backlog_excess(std::uint64_t more) const noexcept;
    void                   update_gates() noexcept;
    void                   released() noexcept;

    mutable std::mutex    mutex_;  // guards what follows
    Limits                limits_;
    Use                   use_;
    bool                  disk_is_low_{false};
    std::vector<Held>     held_;  // by producer; as many as there were shares at first
    std::optional<Demand> expected_;
    std::function<void()> tell_;
    std::atomic<bool>     is_closed_{false};  // written under the lock
};

}  // namespace sluice::engine
