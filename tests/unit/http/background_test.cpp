#include "http/background.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <future>
#include <stdexcept>
#include <vector>

namespace sluice::http {
namespace {

class Answers final : public Responder {
public:
    std::vector<int>             statuses;
    std::vector<std::thread::id> threads;
    int                          abandoned{0};

    void respond(std::uint64_t, Response response) override
    {
        statuses.push_back(response.status);
        threads.push_back(std::this_thread::get_id());
    }
    void abandon(std::uint64_t) noexcept override { ++abandoned; }
};

// The test's thread is the io thread.
class BackgroundReads : public testing::Test {
protected:
    Reply reply() { return {answers_, 0}; }
    // Until so many answers have been given.
    void serve(std::size_t count)
    {
        auto const given = [&] { return answers_->statuses.size() + static_cast<std::size_t>(answers_->abandoned); };
        for (int turns = 0; given() < count; ++turns) {
            ASSERT_LT(turns, 2000);
            io_.restart();
            io_.run_for(std::chrono::milliseconds(10));
            std::this_thread::yield();
        }
    }
    // Keeps the thread busy until open() is called.
    void close()
    {
        background_.run(reply(), [this] {
            entered_.set_value();
            gate_.get_future().wait();
            return Response{.status = 299};
        });
        entered_.get_future().wait();
    }
    void open() { gate_.set_value(); }

    std::shared_ptr<Answers> answers_ = std::make_shared<Answers>();
    std::promise<void>       entered_, gate_;
    boost::asio::io_context  io_{1};
    Background               background_{io_, {.threads = 1, .waiting_max = 2}};
};

TEST_F(BackgroundReads, DoTheWorkElsewhereAndAnswerOnTheIoThread)
{
    std::thread::id worked;
    background_.run(reply(), [&] {
        worked = std::this_thread::get_id();
        return Response{.status = 200};
    });
    serve(1);

    EXPECT_EQ(answers_->statuses, std::vector{200});
    EXPECT_NE(worked, std::this_thread::get_id());
    EXPECT_EQ(answers_->threads.at(0), std::this_thread::get_id());
}

TEST_F(BackgroundReads, AreRefusedAtOnceWhileTooManyWait)
{
    close();
    for (int i = 0; i < 3; ++i) background_.run(reply(), [] { return Response{.status = 200}; });
    EXPECT_EQ(answers_->statuses, std::vector{503});
    EXPECT_EQ(background_.waiting(), 2u);

    open();
    serve(4);
    EXPECT_EQ(answers_->statuses, (std::vector{503, 299, 200, 200}));
}

TEST_F(BackgroundReads, OfWorkThatThrowsAreGivenUp)
{
    background_.run(reply(), []() -> Response { throw std::runtime_error("no"); });
    background_.run(reply(), [] { return Response{.status = 200}; });
    serve(2);

    EXPECT_EQ(answers_->abandoned, 1);
    EXPECT_EQ(answers_->statuses, std::vector{200});
}

TEST_F(BackgroundReads, ThatWaitAreGivenUpAtAStop)
{
    close();
    bool was_done = false;
    background_.run(reply(), [&] {
        was_done = true;
        return Response{};
    });
    std::thread opener([this] {
        for (int i = 0; i < 2000 && background_.waiting() != 0; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        open();
    });
    background_.stop();
    opener.join();
    background_.run(reply(), [] { return Response{}; });
    serve(3);

    EXPECT_FALSE(was_done);
    EXPECT_EQ(answers_->abandoned, 1);
    EXPECT_EQ(answers_->statuses, (std::vector{503, 299}));
}

}  // namespace
}  // namespace sluice::http
