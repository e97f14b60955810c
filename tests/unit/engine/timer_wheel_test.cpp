#include "engine/timer_wheel.hpp"

#include "base/random.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;

constexpr Clock::Mono at(std::chrono::nanoseconds time) { return Clock::Mono(time); }

std::vector<int> due_by(TimerWheel<int>& wheel, std::chrono::nanoseconds time)
{
    std::vector<int> out;
    wheel.advance(at(time), out);
    return out;
}

TEST(TimerWheel, HandsOutNothingEarlyAndEverythingOnce)
{
    TimerWheel<int> wheel;
    wheel.add(at(5ms + 1ns), 1);
    EXPECT_EQ(wheel.next_due(), at(6ms)) << "to the next tick";
    EXPECT_TRUE(due_by(wheel, 5ms + 999us).empty());
    EXPECT_EQ(due_by(wheel, 6ms), std::vector{1});
    EXPECT_TRUE(due_by(wheel, 1h).empty());
    EXPECT_EQ(wheel.next_due(), std::nullopt);
}

TEST(TimerWheel, HandsOutEachOnceAfterALongPauseInOrder)
{
    TimerWheel<int>  wheel;
    std::vector<int> expected;
    due_by(wheel, 1h);
    for (int i = 0; i < 60'000; ++i) wheel.add(at(1h + 1ms * ((i * 7919) % 60'000)), (i * 7919) % 60'000);
    for (int i = 0; i < 60'000; ++i) expected.push_back(i);
    EXPECT_EQ(due_by(wheel, 1h + 60s), expected);
    EXPECT_TRUE(wheel.empty());
}

TEST(TimerWheel, KeepsWhatIsFarAway)
{
    TimerWheel<int> wheel;
    auto const      far = std::chrono::hours(24 * 365 * 200);
    wheel.add(at(far), 1);
    wheel.add(Clock::Mono::max(), 2);
    EXPECT_TRUE(due_by(wheel, far - 1ms).empty());
    EXPECT_EQ(wheel.next_due(), at(far));
    EXPECT_EQ(due_by(wheel, far), std::vector{1});
    EXPECT_EQ(wheel.size(), 1u);
}

TEST(TimerWheel, AgreesWithASortedList)
{
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
        Random          random(seed);
        TimerWheel<int> wheel;
        std::multimap<Clock::Mono, int> model;  // equal keys in the order they came
        auto const  digits = 4 + random.below(36);
        Clock::Mono now = at(std::chrono::hours(random.below(1'000)));
        std::vector<int> out, expected;
        wheel.advance(now, out);
        auto const draw = [&] {
            return std::chrono::microseconds(random.below(std::uint64_t{1} << random.below(digits)));
        };
        for (int i = 0; i < 400; ++i) {
            for (auto n = random.below(4); n > 0; --n) {
                auto const due = random.chance(0.1) ? now - draw() : now + draw();
                auto const ticks = std::chrono::ceil<std::chrono::milliseconds>(std::max(due, at({})));
                auto const whole = std::chrono::floor<std::chrono::milliseconds>(now);
                model.emplace(std::max<Clock::Mono>(ticks, whole), i);
                wheel.add(due, i);
            }
            ASSERT_EQ(wheel.size(), model.size());
            ASSERT_EQ(wheel.next_due(), model.empty() ? std::nullopt : std::optional(model.begin()->first));
            if (random.chance(0.3)) continue;
            now += draw();
            out.clear();
            expected.clear();
            while (!model.empty() && model.begin()->first <= now) {
                expected.push_back(model.begin()->second);
                model.erase(model.begin());
            }
            wheel.advance(now, out);
            ASSERT_EQ(out, expected);
        }
    }
}

}  // namespace
}  // namespace sluice::engine
