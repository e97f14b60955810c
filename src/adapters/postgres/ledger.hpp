// What the rows of the table `writer` say: who may write at once, and what all that was committed adds up to.
#pragma once

#include "adapters/postgres/batch.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace sluice::adapters::postgres {

// Each writer is one thread's at a time, so that no two transactions change the same row. A writer whose last
// transaction may or may not have happened is in doubt: until that is settled nobody writes, for the events of that
// transaction may come again to any of them. Any thread.
class Ledger {
public:
    struct Writer {
        std::uint64_t era{0};
        std::uint64_t commits{0};
        Totals        totals{};
    };

    // A writer of one's own.
    struct Taken {
        std::size_t number{0};
        Writer      writer{};
        bool        in_doubt{false};  // settle it, and only that
    };

    // Only the first `usable` are taken; the others were in use under another configuration.
    void reset(std::vector<Writer> writers, std::size_t usable);

    // Waits for one; none if that takes longer than `limit`.
    std::optional<Taken> take(std::chrono::milliseconds limit);

    // The writer as it now is, or nothing if that is not known.
    void give_back(Taken const& taken, std::optional<Writer> const& now);

    Totals totals() const;

private:
    enum class State : std::uint8_t { free, taken, in_doubt };

    struct Entry {
        Writer writer;
        State  state{State::free};
    };

    std::optional<std::size_t> next() const;

    mutable std::mutex      mutex_;  // guards all below
    std::condition_variable changed_;
    std::vector<Entry>      entries_;
    std::size_t             usable_{0};
    std::size_t             doubts_{0};  // also those being settled
};

}  // namespace sluice::adapters::postgres
