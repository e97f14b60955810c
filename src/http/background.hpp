// Threads for reads that may wait for a disk or another server, so that the io thread never does. How many wait is
// bounded.
#pragma once

#include "http/server.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::http {

class Background {
public:
    // Runs on one of the threads; everything it refers to outlives the Background or its stop().
    using Work = std::function<Response()>;

    struct Options {
        std::size_t threads{1};
        std::size_t waiting_max{64};
    };

    // The context outlives it.
    Background(boost::asio::io_context& io, Options options);
    ~Background();
    Background(Background const&) = delete;

    // Gives the reply, from the io thread, what `work` returns; one that throws is answered as one without an answer.
    // 503 overload, at once, while as many wait as may. On the io thread.
    void run(Reply reply, Work work);

    // Returns when the work in hand has ended. What still waits is not done, and not answered. Idempotent; on the io
    // thread, or when that has ended.
    void stop();

    std::size_t waiting() const;  // beside those in hand; any thread

private:
    struct Job {
        Reply reply;
        Work  work;
    };

    void loop();

    boost::asio::io_context& io_;
    Options const            options_;
    mutable std::mutex       mutex_;
    std::condition_variable  changed_;
    std::deque<Job>          jobs_;            // guarded by mutex_
    bool                     stopped_{false};  // guarded by mutex_
    std::vector<std::thread> threads_;
};

}  // namespace sluice::http
