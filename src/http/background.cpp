#include "http/background.hpp"

#include "http/problem.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <exception>

namespace sluice::http {

Background::Background(boost::asio::io_context& io, Options options) : io_(io), options_(options)
{
    for (std::size_t i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { loop(); });
}

Background::~Background() { stop(); }

void Background::run(Reply reply, Work work)
{
    {
        std::lock_guard lock(mutex_);
        if (!stopped_ && jobs_.size() < options_.waiting_max) {
            jobs_.push_back({std::move(reply), std::move(work)});
            changed_.notify_one();
            return;
        }
    }
    reply(to_response(
        {.status = 503, .error = "overload", .detail = "too many reads are waiting", .retry_after = 1}));
}

void Background::stop()
{
    std::deque<Job> undone;  // replies must not die under the lock, nor on the thread
    {
        std::lock_guard lock(mutex_);
        stopped_ = true;
        undone.swap(jobs_);
        changed_.notify_all();
    }
    for (auto& thread : threads_)
        if (thread.joinable()) thread.join();
}

std::size_t Background::waiting() const
{
    std::lock_guard lock(mutex_);
    return jobs_.size();
}

void Background::loop()
{
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return stopped_ || !jobs_.empty(); });
        if (stopped_) return;
        auto job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        std::optional<Response> response;
        try {
            response = job.work();
        } catch (std::exception const&) {  // the reply, as it dies, answers
        }
        boost::asio::post(io_, [reply = std::move(job.reply), response = std::move(response)]() mutable {
            if (response) reply(std::move(*response));
        });
        job.work = nullptr;
        lock.lock();
    }
}

}  // namespace sluice::http
