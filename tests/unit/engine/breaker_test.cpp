#include "engine/breaker.hpp"

#include <gtest/gtest.h>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;
using Permit = Breaker::Permit;
using State = Breaker::State;

class Breaking : public testing::Test {
protected:
    void fail(Permit permit = Permit::all)
    {
        breaker_.failed(permit, {Errc::unavailable, "no_answer", "it is gone"}, now_, random_);
    }
    void open()
    {
        while (breaker_.is_closed()) fail();
    }
    // Until the next probe is due.
    std::chrono::nanoseconds wait()
    {
        auto const pause = *breaker_.next_probe() - now_;
        now_ += pause - 1ns;
        EXPECT_EQ(breaker_.permit(now_), Permit::none) << "not before its time";
        now_ += 1ns;
        return pause;
    }

    Random      random_{1};
    Clock::Mono now_{1h};
    Breaker     breaker_{"graph", {}};
};

TEST_F(Breaking, OpensAfterFiveFailuresInARow)
{
    for (int i = 0; i < 4; ++i) fail();
    breaker_.succeeded(Permit::all, now_);
    for (int i = 0; i < 4; ++i) fail();
    EXPECT_EQ(breaker_.permit(now_), Permit::all);
    fail();
    EXPECT_FALSE(breaker_.is_closed());
    EXPECT_EQ(breaker_.permit(now_), Permit::none);
}

TEST_F(Breaking, OpensWhenHalfOfTheLastTwentyFailed)
{
    int failures = 0;
    for (int i = 0; breaker_.is_closed(); ++i) {
        ASSERT_LT(i, 40);
        if (i % 2 == 0)
            fail(), ++failures;
        else
            breaker_.succeeded(Permit::all, now_);
    }
    EXPECT_EQ(failures, 10);
}

TEST_F(Breaking, StaysClosedWhileFewerFail)
{
    for (int i = 0; i < 1'000; ++i) {
        if (i % 5 < 2)
            fail();
        else
            breaker_.succeeded(Permit::all, now_);
    }
    EXPECT_TRUE(breaker_.is_closed());
}

TEST_F(Breaking, ProbesWithOneEverLessOftenUpToACap)
{
    open();
    std::chrono::nanoseconds most = 1s;
    for (int i = 0; i < 10; ++i) {
        auto const pause = wait();
        EXPECT_GE(pause, most / 2);
        EXPECT_LE(pause, most);
        EXPECT_EQ(breaker_.permit(now_), Permit::probe);
        EXPECT_EQ(breaker_.permit(now_), Permit::none) << "one at a time";
        EXPECT_EQ(breaker_.status().state, State::half_open);
        fail(Permit::probe);
        most = std::min<std::chrono::nanoseconds>(most * 2, 30s);
    }
}

TEST_F(Breaking, ClosesWhenAProbeSucceedsAndForgetsWhatWas)
{
    open();
    wait();
    ASSERT_EQ(breaker_.permit(now_), Permit::probe);
    breaker_.succeeded(Permit::probe, now_);
    EXPECT_EQ(breaker_.permit(now_), Permit::all);
    for (int i = 0; i < 4; ++i) fail();
    EXPECT_TRUE(breaker_.is_closed());
    fail();
    EXPECT_LE(wait(), 1s);
}

TEST_F(Breaking, IgnoresAnswersToWhoAskedBeforeItOpened)
{
    open();
    auto const probe = breaker_.next_probe();
    fail();
    breaker_.succeeded(Permit::all, now_);
    EXPECT_FALSE(breaker_.is_closed());
    EXPECT_EQ(breaker_.next_probe(), probe);
}

TEST_F(Breaking, GivesAProbeThatFoundNothingToAskForToTheNext)
{
    open();
    wait();
    ASSERT_EQ(breaker_.permit(now_), Permit::probe);
    breaker_.not_asked();
    EXPECT_EQ(breaker_.permit(now_), Permit::probe);
}

TEST_F(Breaking, TellsWhatItKnows)
{
    open();
    auto status = breaker_.status();
    EXPECT_EQ(status.name, "graph");
    EXPECT_EQ(status.state, State::open);
    EXPECT_EQ(status.since, now_);
    EXPECT_EQ(status.last_error->detail, "it is gone");
    EXPECT_EQ(status.next_probe, breaker_.next_probe());
    EXPECT_EQ(status.failures, 5u);
    EXPECT_EQ(status.opened, 1u);
    auto const opened = now_;
    wait();
    ASSERT_EQ(breaker_.permit(now_), Permit::probe);
    fail(Permit::probe);
    EXPECT_EQ(breaker_.status().since, opened);
    wait();
    ASSERT_EQ(breaker_.permit(now_), Permit::probe);
    breaker_.succeeded(Permit::probe, now_);
    status = breaker_.status();
    EXPECT_EQ(status.state, State::closed);
    EXPECT_EQ(status.since, now_);
    EXPECT_EQ(status.probes, 2u);
    EXPECT_EQ(status.next_probe, std::nullopt);
}

}  // namespace
}  // namespace sluice::engine
