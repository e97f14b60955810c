#include "engine/runner.hpp"

#include "base/fault_stack.hpp"

#include <algorithm>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

namespace sluice::engine {

Runner::Runner(Engine& engine, Clock const& clock, Fatal fatal, Trouble trouble)
    : engine_(engine), clock_(clock), fatal_(std::move(fatal)), trouble_(std::move(trouble))
{
}

Runner::~Runner() { stop(); }

void Runner::start()
{
    appender_ = std::thread([this] { append_loop(); });
    checkpointer_ = std::thread([this] { checkpoint_loop(); });
    start_workers();
    jobs_ = std::thread([this] { jobs_loop(); });
    ids_ = std::thread([this] { ids_loop(); });
}

void Runner::submit(BlockRef block)
{
    engine_.submit(std::move(block));
    submitted_.raise();
}

// Workers first: a verdict of theirs is still appended.
void Runner::stop()
{
    stop_working_ = true;
    pushed_.raise();
    wanted_.raise();
    stopped_.raise();
    if (jobs_.joinable()) jobs_.join();
    if (checkpointer_.joinable()) checkpointer_.join();
    for (auto& worker : workers_)
        if (worker.joinable()) worker.join();
    stop_appending_ = true;
    submitted_.raise();
    if (appender_.joinable()) {
        appender_.join();
        engine_.save_position();
    }
    stop_ids_.raise();
    if (ids_.joinable()) ids_.join();
}

namespace {

// For people who look at a profile or at top -H.
void name_thread(char const* name) { pthread_setname_np(pthread_self(), name); }

// On Linux a thread has a nice value of its own: requests come first where processors are few.
void yield_to_others() { ::setpriority(PRIO_PROCESS, static_cast<::id_t>(::gettid()), 10); }

}  // namespace

void Runner::append_loop()
{
    name_thread("appender");
    for (;;) {
        auto const seen = submitted_.look();
        if (engine_.append_step()) {
            pushed_.raise();
            if (engine_.log_failed()) fail(engine_.log_failure());
            continue;
        }
        if (stop_appending_) return;
        submitted_.wait(seen, std::chrono::seconds(1));
    }
}

void Runner::work_loop(std::size_t worker)
{
    name_thread("worker");
    FaultStack const stack;
    while (!stop_working_) {
        if (worker >= engine_.workers()) {
            auto const before = wanted_.look();
            if (worker >= engine_.workers() && !stop_working_) wanted_.wait(before, std::chrono::seconds(1));
            continue;
        }
        auto const seen = pushed_.look();
        bool const was_away = !engine_.graph_answers();
        auto const worked = engine_.work_step(worker);
        if (!worked) return fail(worked.error());
        if (engine_.append_waits()) submitted_.raise();
        if (was_away && engine_.graph_answers()) pushed_.raise();  // for the workers that wait
        if (*worked) continue;
        auto limit = std::chrono::nanoseconds(std::chrono::seconds(1));
        if (auto const due = engine_.next_due()) limit = std::clamp(*due - clock_.now(), {}, limit);
        pushed_.wait(seen, limit);
    }
}

// One that is not wanted any more rests.
void Runner::start_workers()
{
    for (auto i = workers_.size(); i < engine_.workers(); ++i) workers_.emplace_back([this, i] { work_loop(i); });
}

void Runner::jobs_loop()
{
    name_thread("jobs");
    constexpr auto pause = std::chrono::milliseconds(20);
    auto const     seen = stopped_.look();
    for (std::size_t workers = 0; !stop_working_;) {
        if (workers != engine_.workers()) {
            workers = engine_.workers();
            start_workers();
            wanted_.raise();
        }
        bool const worked = engine_.jobs_step();
        if (engine_.append_waits()) submitted_.raise();
        if (!worked) stopped_.wait(seen, pause);
    }
}

// A checkpoint that is not complete when the engine stops is left behind.
void Runner::checkpoint_loop()
{
    name_thread("checkpoint");
    yield_to_others();
    auto const seen = stopped_.look();
    bool       is_failing = false;
    while (!stop_working_) {
        auto const worked = engine_.checkpoint_step();
        if (!worked) return fail(worked.error());
        tell("checkpoints", is_failing, engine_.checkpoints().failure);
        stopped_.wait(seen, *worked ? engine_.checkpoint_pause() : std::chrono::seconds(1));
    }
}

// Looks for work now and then: a generation fills in seconds, and what waits to be written is bounded.
void Runner::ids_loop()
{
    name_thread("ids");
    bool is_failing = false;
    while (stop_ids_.look() == 0) {
        auto const worked = engine_.maintain_ids_step();
        if (!worked && worked.error().code == Errc::corrupt) return fail(worked.error());
        if (worked && *worked) continue;  // a part is written; the whole may still fail
        tell("ids", is_failing, worked ? std::nullopt : std::optional(worked.error()));
        stop_ids_.wait(0, worked ? std::chrono::milliseconds(10) : std::chrono::milliseconds(1000));
    }
}

// Changes only.
void Runner::tell(char const* what, bool& is_failing, std::optional<Error> const& failure) const
{
    if (is_failing == failure.has_value()) return;
    is_failing = failure.has_value();
    if (trouble_) trouble_(what, failure ? &*failure : nullptr);
}

void Runner::fail(Error const& error)
{
    std::call_once(failed_, [&] { fatal_(error); });
}

}  // namespace sluice::engine
