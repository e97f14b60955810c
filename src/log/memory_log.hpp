// An event log in memory, for tests, benchmarks and the simulator.
#pragma once

#include "log/event_log.hpp"

#include <map>
#include <mutex>

namespace sluice::log {

class MemoryLog final : public EventLog {
public:
    // What a crash leaves. Owned by the test: a new log over the same disk is what a restart sees.
    struct Disk {
        std::map<Sequence, std::string>                           blocks;    // by first sequence
        std::map<std::pair<Sequence, std::uint32_t>, std::string> decisions;  // by sequence and number
    };

    // `disk` outlives the log, is changed by nobody else meanwhile, and holds what a log wrote, undamaged at its end.
    explicit MemoryLog(Disk& disk);

    Result<>                                   append(Commit const& commit) override;
    Space                                      check_space() override { return {}; }
    Result<std::shared_ptr<StoredBlock const>> read(Sequence sequence) const override;
    std::unique_ptr<Cursor>                    blocks(Sequence from) const override;
    Result<> visit_decisions(Sequence from, std::function<bool(Decision const&)> const& visit) const override;
    Sequence                                   first() const noexcept override;

    Sequence      last() const noexcept override { return last_; }
    std::uint64_t last_chain() const noexcept override { return last_chain_; }
    WallTime      last_received_at() const noexcept override { return last_received_at_; }

private:
    class BlockCursor;

    // The bytes of the last block that starts at or before `sequence`.
    std::optional<std::pair<Sequence, std::string>> block_at(Sequence sequence) const;

    mutable std::mutex mutex_;
    Disk&              disk_;  // guarded by mutex_

    // The appender's thread only.
    Sequence      last_{};
    std::uint64_t last_chain_{0};
    WallTime      last_received_at_{};
};

}  // namespace sluice::log
