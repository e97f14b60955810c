// One thread for reads that may wait for the disk, so that the io thread never does. What waits for it is bounded.
#pragma once

#include "http/server.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace sluice::http {

class Background {
public:
    // Runs on the thread; everything it refers to outlives the Background or its stop().
    using Work = std::function<Response()>;

    // The context outlives it.
    explicit Background(boost::asio::io_context& io, std::size_t waiting_max = 64);
    ~Background();
    Background(Background const&) = delete;

    // Gives the reply, from the io thread, what `work` returns; one that throws is answered as one without an answer.
    // 503 overload, at once, while as many wait as may. On the io thread.
    void run(Reply reply, Work work);

    // Returns when the work in hand has ended. What still waits is not done, and not answered. Idempotent; on the io
    // thread, or when that has ended.
    void stop();

    std::size_t waiting() const;  // beside the one in hand; any thread

private:
    struct Job {
        Reply reply;
        Work  work;
    };

    void loop();

    boost::asio::io_context& io_;
    std::size_t const        waiting_max_;
    mutable std::mutex       mutex_;
    std::condition_variable  changed_;
    std::deque<Job>          jobs_;            // guarded by mutex_
    bool                     stopped_{false};  // guarded by mutex_
    std::thread              thread_;
};

}  // namespace sluice::http
