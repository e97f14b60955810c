// Finds the event that kills the process, by what was in hand whenever it died.
//
// Whoever runs events notes them first, in bytes that outlive the process: a mapped file, which survives its death but
// not that of the machine. The next start judges what is left there:
//
// - Only a *fault* accuses: a death by a signal the process raised itself, as a bad access, a failed assertion or an
//   exception nobody caught does. Its handler calls note_fault(). A process that is killed (kill -9, the OOM killer, a
//   watchdog, the end of the machine) leaves no such note, and its death changes nothing, even if it comes at the same
//   event every time: no event is given up because memory or patience ran out.
// - Suspects are what was in hand at every fault since one that had nothing in common with those before. After two
//   faults in a row the log is folded on one thread, so that one event is in hand at a time.
// - Guilty is who was a suspect at three faults in a row, and alone at the last.
// - A fold that gets through acquits everybody: whatever was in hand has been run, or decided.
//
// So a bystander of a batch, or of another thread, is never given up. An event that ruins memory which a later one
// stumbles over is not found: the later one is given up in its place, as a restart cannot tell them apart.
#pragma once

#include <sluice/event.hpp>

#include <atomic>
#include <cstddef>
#include <span>
#include <vector>

namespace sluice::engine {

class Suspects {
public:
    struct Suspect {
        std::uint64_t sequence;
        std::uint32_t faults;    // in a row that it was in hand at
        std::uint32_t is_alone;  // at the last of them
    };

    static constexpr std::size_t   hands = 256;      // threads that run events
    static constexpr std::size_t   marks = 64;       // of each; of a larger batch the first are noted
    static constexpr std::size_t   history = 1'024;  // suspects that are remembered
    static constexpr std::uint32_t careful_from = 2;  // faults in a row
    static constexpr std::uint32_t guilty_from = 3;

    // What is noted, as the bytes hold it. Of another magic or version: empty.
    struct Notes {
        std::uint64_t magic;
        std::uint32_t version;
        std::uint32_t fault;   // 1: the process that left this died of one
        std::uint32_t faults;  // in a row
        std::uint32_t count;   // of suspects
        Suspect       suspects[history];
        std::uint64_t in_hand[hands][marks];  // sequences; 0: none
    };
    static constexpr std::size_t bytes = sizeof(Notes);

    // What one thread has in hand. Notes nothing if there is nowhere to.
    class Hand {
    public:
        Hand() = default;

        void note(Sequence sequence) noexcept
        {
            if (marks_ == nullptr || count_ == marks) return;
            store(marks_[count_++], number(sequence));
            std::atomic_signal_fence(std::memory_order_seq_cst);  // it stands there before the event is run
        }
        void clear() noexcept
        {
            std::atomic_signal_fence(std::memory_order_seq_cst);
            while (count_ > 0) store(marks_[--count_], 0);
        }

    private:
        friend class Suspects;
        explicit Hand(std::uint64_t* in_hand) : marks_(in_hand) {}
        static void store(std::uint64_t& mark, std::uint64_t value) noexcept
        {
            std::atomic_ref(mark).store(value, std::memory_order_relaxed);
        }

        std::uint64_t* marks_{nullptr};
        std::size_t    count_{0};
    };

    // Judges what the process before has left. `kept` outlives it and is aligned to 8; shorter than `bytes`: nothing is
    // ever noted.
    explicit Suspects(std::span<std::byte> kept);

    bool                     careful() const noexcept { return faults_ >= careful_from; }  // fold on one thread
    std::uint32_t            faults() const noexcept { return faults_; }                   // in a row
    std::span<Suspect const> suspects() const noexcept { return suspects_; }
    std::vector<Suspect>     guilty() const;

    // For one thread at a time.
    Hand hand(std::size_t i) const noexcept;

    // The fold got through.
    void acquit() noexcept;

    // May be called by a signal handler.
    static void note_fault(std::span<std::byte> kept) noexcept;

private:
    void judge();
    void write() noexcept;

    Notes* const         notes_;  // null: nowhere
    std::uint32_t        faults_{0};
    std::vector<Suspect> suspects_;
};

}  // namespace sluice::engine
