// The sequence up to which everything is settled. It may lag, it never leads.
#pragma once

#include <sluice/event.hpp>

#include <cstddef>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

namespace sluice::engine {

// What is settled at one moment.
struct Position {
    Sequence              last{};     // the highest logged
    std::uint64_t         stale{0};   // settled events that were stale
    std::vector<Sequence> unsettled;  // up to `last`, ascending
};

// Any thread.
class Watermark {
public:
    virtual ~Watermark() = default;
    virtual void     start(Sequence settled_through, std::uint64_t stale) = 0;  // before anything else
    virtual void     logged(Sequence first, std::size_t count) = 0;             // in log order
    virtual void     settled(std::span<Sequence const> sequences, std::uint64_t stale) = 0;
    virtual Sequence low() const = 0;
    virtual Sequence last() const = 0;
    virtual Position position() const = 0;
};

// Remembers the unsettled and, between them, some of the settled: at most twice the unsettled and a constant.
class DenseWatermark final : public Watermark {
public:
    void     start(Sequence settled_through, std::uint64_t stale) override;
    void     logged(Sequence first, std::size_t count) override;
    void     settled(std::span<Sequence const> sequences, std::uint64_t stale) override;
    Sequence low() const override;
    Sequence last() const override;
    Position position() const override;

private:
    struct Entry {
        Sequence sequence;
        bool     settled;
    };
    void compact();

    mutable std::mutex mutex_;
    std::deque<Entry>  entries_;        // sorted by sequence; the first is unsettled
    std::size_t        settled_{0};     // entries that are settled
    Sequence           last_{};         // highest logged
    std::uint64_t      stale_{0};
};

}  // namespace sluice::engine
