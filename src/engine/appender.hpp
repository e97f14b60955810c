// The one writer of the log: everything that waits becomes one commit, then is answered and handed to the lanes.
#pragma once

#include "engine/block.hpp"
#include "engine/counters.hpp"
#include "engine/dedupe.hpp"
#include "engine/scheduler.hpp"
#include "engine/watermark.hpp"
#include "log/event_log.hpp"

#include <functional>
#include <mutex>
#include <optional>
#include <vector>

namespace sluice::engine {

struct AppenderOptions {
    std::size_t commit_bytes_max{8u << 20};  // a commit takes blocks until it has this many bytes
};

class Appender {
public:
    // Told after a commit, on the appender's thread. Blocks are answered in the order they were submitted; those with
    // an `answered` of their own are left out, so that there may be none.
    struct Listener {
        std::function<void(std::vector<BlockRef>)>                  answered;
        std::function<void(log::Decision const&, LaneId, Producer)> decided;
        std::function<void(Block::Order const&)>                    ordered{};     // before its successor is in a lane
        std::function<void(log::LoggedRecord const&, Sequence)>     controlled{};  // a control record
        std::function<void(log::Space const&)>                      looked{};      // at the disk; may be empty
    };

    struct Deps {  // outlive the appender
        log::EventLog& log;
        DedupeIndex&   dedupe;
        Scheduler&     scheduler;
        Watermark&     watermark;
        Counters&      counters;
        Clock const&   clock;
    };

    Appender(Deps deps, AppenderOptions options, Listener listener);

    // Any thread.
    void submit(BlockRef block);
    void submit(log::Decision decision, LaneId lane, Producer producer = 0);
    // Where the event of that id is; none if there is none. Told on the appender's thread, which alone looks ids up, at
    // its next step. Askers bound how many wait.
    void find(std::string id, std::function<void(Result<Sequence>)> found);
    bool idle() const;  // nothing waits

    // One commit; false if nothing waited. Looks at the disk before it, and once a second. After a failure every
    // request is answered as the one it happened to: read_failed or log_failed.
    bool step();
    bool  failed() const noexcept { return failed_.load(std::memory_order_acquire); }
    Error failure() const { return failure_; }  // why, once failed()

private:
    struct Verdict {
        log::Decision decision;
        LaneId        lane;
        Producer      producer;  // of the event
    };
    struct Search {
        std::string                           id;
        std::function<void(Result<Sequence>)> found;
    };
    struct Group {
        std::vector<BlockRef>         blocks;
        std::vector<Verdict>          verdicts;
        std::vector<std::string_view> parts;
        std::vector<log::Decision>    decisions;
        std::vector<Pending>          pending;  // one per new record, in sequence order
    };
    enum class Match : std::uint8_t { fresh, duplicate, conflict };

    bool     search();
    bool     collect();
    bool     look_at_disk();
    void     answer_all(RequestOutcome outcome);
    void     tell();
    Result<> check_orders(Block& block);
    Result<> dedupe_block(Block& block);
    Result<> dedupe_request(Block& block, Block::Request& request);
    Result<Match> match(Block& block, Block::Item& item);
    void     forget(Block& block, Block::Request const& request);
    void     seal_block(Block& block);
    Result<> prepare(WallTime received_at);
    Result<> write(WallTime received_at);
    void     fail(Error error, RequestOutcome outcome);
    void     publish();
    void     settle_controls();

    Deps const            deps_;
    AppenderOptions const options_;
    Listener const        listener_;

    mutable std::mutex    mutex_;
    std::vector<BlockRef> waiting_blocks_;    // guarded by mutex_; bounded by tickets
    std::vector<Verdict>  waiting_verdicts_;  // guarded by mutex_; one per held lane
    std::vector<Search>   waiting_searches_;  // guarded by mutex_

    // The appender's thread only.
    Group            group_;
    log::BlockHeader header_{};
    Sequence         last_;
    std::uint64_t    chain_;
    std::uint32_t    count_{0};  // records of the group
    std::uint64_t    bytes_{0};
    std::optional<Clock::Mono> looked_at_{};
    Error            failure_{};  // set before failed_
    RequestOutcome   failed_outcome_{RequestOutcome::log_failed};
    std::atomic<bool> failed_{false};
};

}  // namespace sluice::engine
