// What operators have set: pauses, workers, limits, the job under way. Each change is a control record of the log, so
// that it is audited, survives a restart, and is the same in every replay.
#pragma once

#include "engine/admission.hpp"
#include "engine/dead_letters.hpp"
#include "engine/gate.hpp"

#include <sluice/event.hpp>
#include <sluice/result.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace sluice::engine {

// A change of many dead letters or parked events.
struct Job {
    enum class Kind : std::uint8_t { redrive, drop, release };

    Sequence            id{};  // of the record that started it
    Kind                kind{};
    DeadLetters::Filter filter{};
    double              rate{100};      // events a second
    bool                as_new{false};  // redriven events keep no version
    std::string         by{};           // who asked
    bool                is_stopped{false};
};

inline constexpr std::string_view job_kinds[] = {"redrive", "drop", "release"};

// Types of control records.
namespace control {
inline constexpr std::string_view tier_paused = "admin.tier_paused", tier_resumed = "admin.tier_resumed",
                                  type_paused = "admin.type_paused", type_resumed = "admin.type_resumed",
                                  lane_paused = "admin.lane_paused", lane_resumed = "admin.lane_resumed",
                                  workers_set = "admin.workers_set", limits_set = "admin.limits_set",
                                  job_started = "job.started", job_stopped = "job.stopped",
                                  job_resumed = "job.resumed", job_finished = "job.finished";
inline constexpr std::string_view did = "did:sluice:controls";  // they are in no repository
}  // namespace control

// Any thread; changed by the appender's, and by a fold.
class Controls final : public Gate {
public:
    static constexpr std::size_t types_max = 64;
    static constexpr std::size_t lanes_max = 1'000;
    static constexpr std::size_t workers_max = 256;

    struct State {
        Sequence      last{};    // the newest control record
        std::uint64_t count{0};  // of control records up to it

        std::array<bool, tier_count>       tiers{};  // paused ones
        std::set<std::string, std::less<>> types{};  // likewise
        std::set<std::string, std::less<>> lanes{};  // likewise; DIDs
        std::optional<std::size_t>         workers{};  // none: as configured
        std::optional<Admission::Limits>   limits{};   // likewise
        std::optional<Job>                 job{};      // under way or stopped
    };

    // Whether a record of that type and payload would change anything for the better; `invalid` says why not:
    // bad_control, unchanged, job_running or no_job.
    Result<> check(std::string_view type, std::string_view payload) const;

    // One record, in the log's order; one that was applied before changes nothing.
    void apply(std::string_view type, std::string_view payload, Sequence sequence);

    State state() const;
    void  restore(State state);

    bool pauses(Tier listed_in, Event const& event) const override;
    bool any() const noexcept override { return any_.load(std::memory_order_acquire); }

private:
    Result<> change(State& state, std::string_view type, std::string_view payload, Sequence sequence) const;
    void     set(State state);

    std::atomic<bool>  any_{false};  // something is paused
    mutable std::mutex mutex_;
    State              state_;  // guarded by mutex_
};

// As JSON, for checkpoints.
std::string             to_text(Controls::State const& state);
Result<Controls::State> controls_from_text(std::string_view text);

// The payload that starts a job.
std::string to_payload(Job const& job);

}  // namespace sluice::engine
