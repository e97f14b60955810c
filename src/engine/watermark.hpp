// The sequence up to which everything is settled. It may lag, it never leads.
#pragma once

#include <sluice/event.hpp>

#include <array>
#include <cstddef>
#include <map>
#include <mutex>
#include <span>
#include <vector>

namespace sluice::engine {

// Neighbours in the log.
struct SequenceRange {
    Sequence      first{};
    std::uint64_t count{0};

    Sequence last() const noexcept { return Sequence{number(first) + count - 1}; }
    friend bool operator==(SequenceRange const&, SequenceRange const&) = default;
};

// What is settled at one moment.
struct Position {
    Sequence                   last{};     // the highest logged
    std::uint64_t              stale{0};   // settled events that were stale
    std::vector<SequenceRange> unsettled;  // up to `last`, ascending, with gaps between them; none is empty

    std::uint64_t unsettled_events() const noexcept;
    bool          is_unsettled(Sequence sequence) const noexcept;
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
    virtual bool     is_unsettled(Sequence sequence) const = 0;  // false for what was never logged
};

// A bit for each event of those stretches of the log that have an unsettled one; of the others nothing.
class DenseWatermark final : public Watermark {
public:
    void     start(Sequence settled_through, std::uint64_t stale) override;
    void     logged(Sequence first, std::size_t count) override;
    void     settled(std::span<Sequence const> sequences, std::uint64_t stale) override;
    Sequence low() const override;
    Sequence last() const override;
    Position position() const override;
    bool     is_unsettled(Sequence sequence) const override;

private:
    static constexpr std::uint64_t stretch = 1'024;

    struct Stretch {
        std::array<std::uint64_t, stretch / 64> unsettled{};
        std::uint32_t                           count{0};  // of them
    };

    mutable std::mutex               mutex_;
    std::map<std::uint64_t, Stretch> stretches_;  // by their first sequence / stretch
    Sequence                         last_{};     // highest logged
    std::uint64_t                    stale_{0};
};

}  // namespace sluice::engine
