// The engine's threads: one appends, one writes checkpoints, one writes ids away, one does jobs, the others work. Loops
// around step(), waiting when a step finds nothing.
#pragma once

#include "engine/engine.hpp"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace sluice::engine {

// Counts wake-ups, so that one between a look and a wait is not missed.
class Signal {
public:
    std::uint64_t look() const
    {
        std::lock_guard lock(mutex_);
        return count_;
    }
    void raise()
    {
        {
            std::lock_guard lock(mutex_);
            ++count_;
        }
        raised_.notify_all();
    }
    // Returns when raised after `seen` was looked at, or after `limit`.
    void wait(std::uint64_t seen, std::chrono::nanoseconds limit)
    {
        std::unique_lock lock(mutex_);
        raised_.wait_for(lock, limit, [&] { return count_ != seen; });
    }

private:
    mutable std::mutex      mutex_;
    std::condition_variable raised_;
    std::uint64_t           count_{0};
};

class Runner {
public:
    // `fatal` is called once, on some thread, when the log fails or stored bytes are not what was written.
    using Fatal = std::function<void(Error const&)>;

    // `trouble` is called when checkpoints or ids begin to fail, and with null when they are written again. Nothing is
    // lost by it, but restarts take longer, or events are refused in the end. On the thread that writes them.
    using Trouble = std::function<void(char const* what, Error const* error)>;

    Runner(Engine& engine, Clock const& clock, Fatal fatal, Trouble trouble = {});
    ~Runner();

    void start();
    void submit(BlockRef block);  // any thread
    void wake_appender() { submitted_.raise(); }  // any thread: something other than a block waits for it

    // Everything submitted is appended and answered; workers finish what they have in hand. Idempotent.
    void stop();

private:
    void append_loop();
    void work_loop(std::size_t worker);
    void checkpoint_loop();
    void ids_loop();
    void jobs_loop();
    void start_workers();
    void fail(Error const& error);
    void tell(char const* what, bool& is_failing, std::optional<Error> const& failure) const;

    Engine&                  engine_;
    Clock const&             clock_;
    Fatal const              fatal_;
    Trouble const            trouble_;
    std::once_flag           failed_;
    Signal                   submitted_;
    Signal                   pushed_;
    std::atomic<bool>        stop_appending_{false};
    std::atomic<bool>        stop_working_{false};
    Signal                   stopped_;
    std::thread              appender_;
    std::thread              checkpointer_;
    std::thread              jobs_;
    std::vector<std::thread> workers_;  // the jobs thread's, once it runs
    Signal                   wanted_;   // another number of workers is
    Signal                   stop_ids_;
    std::thread              ids_;
};

}  // namespace sluice::engine
