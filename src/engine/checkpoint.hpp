// Checkpoints: the graph at a position, so that a restart folds only the end of the log.
//
// They come in chains. A *base* holds every record, a *delta* those written since the checkpoint before; a chain is a
// base and the deltas with the numbers that follow. What it has of a repository is as it was at one moment while the
// checkpoint was written, at the position or later: whoever folds on skips what a repository already has in it.
//
//   <number>.base, <number>.delta = frames, each: size u32, kind u32, XXH3-64 of its bytes seeded with the check of the
//   frame before u64, bytes.   First a header, then repositories, at last an empty end.            little-endian
#pragma once

#include "engine/checkpoint_header.hpp"
#include "engine/controls.hpp"
#include "files/directory.hpp"
#include "graph/graph_store.hpp"
#include "log/event_log.hpp"
#include "schema/decoder.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace sluice::engine {

struct CheckpointOptions {
    std::uint64_t        events{1'000'000};  // a checkpoint is due once so many events came after the last one,
    std::chrono::seconds interval{60};       // or any, for so long
    std::uint64_t        bytes_per_second{64u << 20};
    std::size_t          frame_bytes{256u << 10};
    std::size_t          frame_bytes_max{1u << 30};  // a repository is in one frame; readers take none that is larger
    std::size_t          visits{256};                // of a step to the graph, at most
};

// What a fold continues from.
struct Checkpoint {
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
    };

    Position position;
    // Repositories that were taken after events the fold has yet to see: what they have up to here is in them.
    std::unordered_map<std::string, Sequence, Hash, std::equal_to<>> ahead;
    Controls::State controls;  // at the position, or after it: a control record that is in it is not applied again
    std::uint32_t number{0};  // of the newest file that was used
    std::uint32_t base{0};
    // Why files were not used: `corrupt` (damaged_checkpoint, missing_checkpoint), `invalid` (other_processors: they
    // are whole; no_file: gone since they were listed; unfit_checkpoint), or what the directory says.
    std::vector<Error> refused;
};

// Restores the newest chain that is whole, of this log and of these processors. When there is none, the graph is empty
// and the position 0: the log has everything. Changes no file.
Checkpoint load_checkpoint(
    files::Directory const& directory, log::EventLog const& log, schema::SchemaSet const& schemas,
    graph::Snapshots& snapshots);

// Writes checkpoints when they are due. One thread; status() any.
class Checkpointer {
public:
    struct Deps {  // outlive the checkpointer
        files::Directory&        directory;
        log::EventLog const&     log;
        graph::Snapshots&        snapshots;
        Watermark const&         watermark;
        Controls const&          controls;
        schema::SchemaSet const& schemas;
        Clock const&             clock;
    };

    struct Status {
        std::uint64_t        written{0}, failed{0};  // since the start
        std::uint64_t        bytes{0};               // of the last one
        std::uint64_t        nanoseconds{0};         // from its beginning to its end
        Sequence             position{};             // of the last one
        std::optional<Error> failure{};              // of the last attempt, if it failed
    };

    // `loaded`: what the graph was restored from.
    Checkpointer(Deps deps, CheckpointOptions options, Checkpoint const& loaded);

    // Begins, continues or completes a checkpoint: at most one frame, and so many visits. False if none is due. What
    // fails is given up, and a base is due after the interval; the files of the chain before stay.
    bool   step();
    // How long to rest after the last step, for others' syncs to have the disk. The thread of step().
    std::chrono::nanoseconds pause() const noexcept { return pause_; }
    Status status() const;

private:
    bool     is_due(Sequence last) const;
    Result<> begin();
    Result<> proceed();
    Result<> complete();
    Result<> write(std::uint32_t kind, std::string_view bytes);
    void     prune() const;

    Deps const              deps_;
    CheckpointOptions const options_;

    // The checkpoint being written.
    std::unique_ptr<files::Writer> writer_;
    graph::Snapshots::Capture      capture_;
    Position                       position_;
    std::string                    frame_;
    std::uint64_t                  check_{0};
    std::uint64_t                  bytes_{0};
    std::chrono::nanoseconds       pause_{0};
    Clock::Mono                    began_{};

    // The chain so far.
    std::uint32_t number_{0};  // the highest ever used
    std::uint32_t base_{0};    // of the chain; 0: the next checkpoint is a base
    std::uint64_t base_bytes_{0}, delta_bytes_{0};
    std::uint32_t whole_base_{0}, whole_last_{0};  // the newest chain that is whole: its numbers; 0: there is none
    Sequence      last_position_{};
    Sequence      last_watermark_{};  // at that position
    Clock::Mono   last_time_{};

    std::atomic<std::uint64_t> written_{0}, failed_{0}, last_bytes_{0}, last_ns_{0}, last_sequence_{0};
    mutable std::mutex         mutex_;  // guards what is below
    std::optional<Error>       failure_;
};

}  // namespace sluice::engine
