// The only bound on pending events: places and bytes of resident ones, taken before anything is stored, and backlog
// entries.
#pragma once

#include <sluice/event.hpp>

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

namespace sluice::engine {

// Any thread. A tier closes when the TOTAL in use reaches its limit and reopens `reopen_points` lower, so that what is
// important can use the places that the rest no longer gets. Events that cannot be worked on now give their places back
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
    };

    // Events by tier and the bytes they take together.
    struct Demand {
        std::array<std::uint32_t, tier_count> events{};
        std::uint64_t                         bytes{0};

        std::uint32_t total() const noexcept { return events[0] + events[1] + events[2] + events[3]; }
    };

    // Places and bytes of one request. Gives back what is left when destroyed. Must not outlive the Admission.
    class Ticket {
    public:
        Ticket() = default;
        Ticket(Ticket&& other) noexcept
            : from_(std::exchange(other.from_, nullptr)), events_(std::exchange(other.events_, 0)),
              bytes_(std::exchange(other.bytes_, 0))
        {
        }
        Ticket& operator=(Ticket&& other) noexcept
        {
            std::swap(from_, other.from_);
            std::swap(events_, other.events_);
            std::swap(bytes_, other.bytes_);
            return *this;
        }
        ~Ticket()
        {
            if (from_ != nullptr) from_->release(events_, bytes_);
        }

        // Takes over what the other holds. Both of one Admission, or empty.
        void absorb(Ticket&& other) noexcept
        {
            if (from_ == nullptr) from_ = other.from_;
            events_ += std::exchange(other.events_, 0);
            bytes_ += std::exchange(other.bytes_, 0);
        }

        // Moves `events` places out of the ticket: whoever settles the events releases them.
        void hand_over(std::uint32_t events) noexcept { events_ -= events; }

        // Gives places back and keeps the bytes.
        void release_places() noexcept
        {
            if (from_ != nullptr) from_->release(std::exchange(events_, 0), 0);
        }

    private:
        friend class Admission;
        Ticket(Admission& from, std::uint32_t events, std::uint64_t bytes)
            : from_(&from), events_(events), bytes_(bytes)
        {
        }
        Admission*    from_{nullptr};
        std::uint32_t events_{0};
        std::uint64_t bytes_{0};
    };

    struct Refusal {
        Tier tier{};       // the lowest tier that is closed, or whose limit the request would pass
        bool never_fits{}; // not even with nothing in use
        bool disk_is_low{};
    };

    struct Use {
        std::uint32_t                events{0};
        std::uint64_t                bytes{0};
        std::uint64_t                backlog{0};  // entries
        std::array<bool, tier_count> closed{};
    };

    explicit Admission(Limits limits);

    // All of the demand or nothing.
    std::optional<Refusal> admit(Demand const& demand, Ticket& ticket);

    void release(std::uint32_t events, std::uint64_t bytes) noexcept;

    // Events give `places` back and stay as entries; entries go when what they stand for is settled.
    void backlog_grew(std::uint32_t places, std::uint64_t entries) noexcept;
    void backlog_shrank(std::uint64_t entries) noexcept;

    // LOW and NORMAL are refused while the disk is low.
    void close_for_disk(bool is_low) noexcept;

    Use           use() const;
    Limits const& limits() const noexcept { return limits_; }

    // Events that must be settled, or leave, before the tier reopens.
    std::uint32_t excess(Tier tier) const;

private:
    std::uint64_t backlog_excess(std::uint64_t more) const noexcept;
    std::uint64_t scaled(std::uint64_t capacity, std::uint32_t percent) const noexcept;
    void          update_gates() noexcept;

    Limits const       limits_;
    mutable std::mutex mutex_;
    Use                use_;  // guarded by mutex_
    bool               disk_is_low_{false};  // guarded by mutex_
};

}  // namespace sluice::engine
