// Keeps a store behind a server in step with the log: where it stands at a start, and from time to time since.
//
// The position a store keeps is a claim about what was committed before it: being behind costs only looking at some
// events twice. A copy of it is kept here, so that a start needs no answer from the store to know what it may lack.
#pragma once

#include "engine/checkpoint.hpp"

namespace sluice::engine {

struct PositionOptions {
    std::chrono::milliseconds interval{1'000};  // between positions saved in the store
    std::chrono::seconds      copy_interval{10};
    std::size_t               unsettled_max{4'096};  // stretches; a position with more of them is cut short
};

// One thread; status() any.
class PositionKeeper {
public:
    struct Deps {  // outlive the keeper
        graph::Positions&        positions;
        files::Directory*        directory;  // for the copy; null: there is none
        log::EventLog const&     log;
        Watermark const&         watermark;
        Controls const&          controls;
        schema::SchemaSet const& schemas;
        Clock const&             clock;
    };

    PositionKeeper(Deps deps, PositionOptions options) : deps_(deps), options_(options) {}

    // Where the store stands, as it says, and events may be applied from here on. If it does not answer: as it said
    // last, else nowhere, and step() asks again. State made by other processors, or without a position, is cleared.
    // Once, before step().
    // `invalid`: the store is another log's or none for this program.
    Result<Checkpoint> load();

    // Whether the store answered and takes events.
    bool is_open() const noexcept { return is_open_; }

    // Opens the store if it does not take events yet, and saves a position if one is due. False: there is nothing to
    // do for a while. An error is `corrupt`: the store has gone back behind what was applied, or is another's now; stop
    // the process, the next start continues from what the store says.
    Result<bool> step();

    // Saves where a fold stands.
    Result<> save(Position position);

    Checkpointer::Status status() const;

private:
    Result<Checkpoint> judge(std::string_view bytes) const;
    Checkpoint         load_copy();
    Result<>           open();
    void               note(Result<> const& done);

    Deps const            deps_;
    PositionOptions const options_;
    bool                  is_open_{false};
    Position              assumed_;  // at least so far is the store
    Sequence              saved_{};
    Sequence              saved_low_{};
    Clock::Mono           next_save_{}, next_copy_{};

    mutable std::mutex   mutex_;
    Checkpointer::Status status_;  // guarded by mutex_
};

}  // namespace sluice::engine
