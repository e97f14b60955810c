// A cached answer is the one that would be computed now.
#include "cache/answers.hpp"

#include "cache/memory_cache.hpp"
#include "graph/queries.hpp"
#include "graph/resident_store.hpp"
#include "unit/graph/support.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>
#include <utility>

namespace sluice::cache {
namespace {

using namespace graph::test;

class StillClock final : public Clock {
public:
    Mono     now() const noexcept override { return {}; }
    WallTime wall() const noexcept override { return {}; }
};

std::string did(std::size_t i) { return "did:plc:" + std::string(1, static_cast<char>('a' + i)); }

WallTime const at{std::chrono::hours(24 * 365 * 40)};

std::string neighbors_text(graph::GraphReader const& graph, std::string const& of)
{
    std::string text;
    for (auto const& n : graph::neighbors(graph, of, 0, 100, at).value())
        text += n.uri + ' ' + std::to_string(n.strength) + ' ' + std::to_string(n.effective_strength) + '\n';
    return text;
}

std::string conviction_text(graph::GraphReader const& graph, std::string const& of)
{
    auto const c = graph::conviction(graph, of, at).value();
    return std::to_string(c.score) + ' ' + std::to_string(c.attestation_count) + ' ' + std::to_string(c.verify_count);
}

class CachedAnswers : public testing::Test {
protected:
    std::string cached_neighbors(std::string const& of)
    {
        return answers_.get("n:" + of, false, [&](auto const& graph) { return neighbors_text(graph, of); }).value();
    }
    std::string cached_conviction(std::string const& of)
    {
        return answers_.get("c:" + of, false, [&](auto const& graph) { return conviction_text(graph, of); }).value();
    }

    StillClock const     clock_;
    graph::ResidentStore store_;
    MemoryCache          cache_{{}, clock_};
    Answers              answers_{store_, &cache_};
};

TEST_F(CachedAnswers, AreNotComputedTwice)
{
    int        computed = 0;
    auto const compute = [&](graph::GraphReader const& graph) {
        ++computed;
        return neighbors_text(graph, did(0));
    };
    run(store_, {relate(1, 1, did(0), "r", {.other = did(1)})});
    auto const first = answers_.get("k", false, compute).value();
    EXPECT_EQ(answers_.get("k", false, compute).value(), first);
    EXPECT_EQ(computed, 1);
    EXPECT_EQ(answers_.get("k", true, compute).value(), first) << "asked to be fresh";
    EXPECT_EQ(computed, 2);
    run(store_, {relate(2, 1, did(2), "r", {.other = did(3)})});
    (void)answers_.get("k", false, compute).value();
    EXPECT_EQ(computed, 2) << "others' records do not matter";
    run(store_, {relate(3, 1, did(1), "r", {.other = did(0)})});
    (void)answers_.get("k", false, compute).value();
    EXPECT_EQ(computed, 3) << "another repository's record that names the DID does";
    EXPECT_EQ(answers_.counts().hits, 2u);
    EXPECT_EQ(answers_.counts().misses, 3u);
}

// A computation that is held until it is let go.
class Gate {
public:
    void open() { opened_.set_value(); }
    void wait() { is_open_.wait(); }

private:
    std::promise<void>       opened_;
    std::shared_future<void> is_open_{opened_.get_future().share()};
};

// Asks for the same on many threads; returns once all but one of them wait for that one.
class Crowd {
public:
    using Ask = std::function<Result<std::string>()>;

    Crowd(Answers const& answers, std::size_t size, Ask const& ask)
    {
        for (std::size_t i = 0; i < size; ++i) answers_.push_back(std::async(std::launch::async, ask));
        while (answers.counts().shared < size - 1) std::this_thread::yield();
    }
    std::vector<std::future<Result<std::string>>>& answers() { return answers_; }

private:
    std::vector<std::future<Result<std::string>>> answers_;
};

TEST_F(CachedAnswers, AreComputedOnceForAllWhoAskAtTheSameTime)
{
    Gate             gate;
    std::atomic<int> computed{0};
    Crowd            crowd(answers_, 8, [&] {
        return answers_.get("k", false, [&](auto const&) -> Result<std::string> {
            gate.wait();
            return std::to_string(++computed);
        });
    });
    EXPECT_EQ(answers_.get("other", false, [](auto const&) { return std::string("at once"); }).value(), "at once");
    gate.open();
    for (auto& answer : crowd.answers()) EXPECT_EQ(answer.get().value(), "1");
    EXPECT_EQ(computed, 1);
    EXPECT_EQ(answers_.counts().misses, 2u);
    EXPECT_EQ(answers_.counts().shared, 7u);
}

TEST_F(CachedAnswers, AreNotSharedWithWhoWantsAFreshOne)
{
    Gate             gate;
    std::atomic<int> computed{0};
    auto const       ask = [&](bool fresh) {
        return answers_.get("k", fresh, [&](auto const&) -> Result<std::string> {
            if (!fresh) gate.wait();
            return std::to_string(++computed);
        });
    };
    Crowd crowd(answers_, 2, [&] { return ask(false); });
    EXPECT_EQ(ask(true).value(), "1");
    gate.open();
    for (auto& answer : crowd.answers()) EXPECT_EQ(answer.get().value(), "2");
}

TEST_F(CachedAnswers, ThatFailedAreErrorsToAllWhoWaitedAndAreComputedAgain)
{
    Gate  gate;
    Crowd crowd(answers_, 4, [&] {
        return answers_.get("k", false, [&](auto const&) -> Result<std::string> {
            gate.wait();
            return Error{Errc::unavailable, "away", ""};
        });
    });
    gate.open();
    for (auto& answer : crowd.answers()) EXPECT_EQ(answer.get().error().reason, "away");
    EXPECT_EQ(answers_.get("k", false, [](auto const&) { return std::string("well"); }).value(), "well");
}

TEST_F(CachedAnswers, WhoseComputationThrowsStrandNobody)
{
    Gate  gate;
    Crowd crowd(answers_, 4, [&] {
        return answers_.get("k", false, [&](auto const&) -> Result<std::string> {
            gate.wait();
            throw std::runtime_error("out of luck");
        });
    });
    gate.open();
    for (auto& answer : crowd.answers()) EXPECT_THROW((void)answer.get(), std::exception);
    EXPECT_EQ(answers_.get("k", false, [](auto const&) { return std::string("well"); }).value(), "well");
}

// The one who computes began before the write; who asks after it must not be given what was before.
TEST_F(CachedAnswers, AreNotSharedWithWhoAskedAfterAWriteTheyDoNotKnow)
{
    run(store_, {relate(1, 1, did(0), "r", {.other = did(1)})});
    Gate               go_on;
    std::atomic<int>   computed{0};
    std::promise<void> has_read;
    auto const         ask = [&] {
        return answers_.get("k", false, [&](graph::GraphReader const& graph) -> Result<std::string> {
            auto text = neighbors_text(graph, did(0));
            if (++computed == 1) {
                has_read.set_value();
                go_on.wait();
            }
            return text;
        });
    };
    auto first = std::async(std::launch::async, ask);
    has_read.get_future().wait();
    run(store_, {relate(2, 2, did(0), "r", {.other = did(1), .strength = 80})});
    auto second = std::async(std::launch::async, ask);
    while (answers_.counts().shared < 1) std::this_thread::yield();
    go_on.open();
    EXPECT_NE(first.get().value(), second.get().value());
    EXPECT_EQ(computed, 2);
    EXPECT_EQ(ask().value(), neighbors_text(store_, did(0)));
}

TEST_F(CachedAnswers, WithoutACacheAreComputed)
{
    Answers none(store_, nullptr);
    int     computed = 0;
    for (int i = 0; i < 2; ++i)
        (void)none.get("k", false, [&](auto const&) { return std::to_string(++computed); });
    EXPECT_EQ(computed, 2);
}

Step random_step(std::mt19937& random, std::uint64_t sequence, std::size_t repositories)
{
    auto const below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    auto const owner = did(below(repositories)), name = "r" + std::to_string(below(4));
    auto const dice = below(100);
    if (dice < 40)
        return relate(sequence, sequence, owner, name, {.other = did(below(repositories)),
                      .strength = std::int64_t(below(101)), .created_at = 1});
    if (dice < 75)
        return attest(sequence, sequence, owner, "a" + name,
                      uri(did(below(repositories)), "r" + std::to_string(below(4))),
                      {.confidence = std::int64_t(below(101))});
    if (dice < 97) return remove(sequence, sequence, owner, name);
    return remove_repository(sequence, sequence, owner);
}

TEST_F(CachedAnswers, EqualTheComputedOnesAfterEveryEvent)
{
    std::mt19937 random(1);
    for (std::uint64_t sequence = 1; sequence <= 4'000; ++sequence) {
        run(store_, {random_step(random, sequence, 6)});
        for (int i = 0; i < 4; ++i) {
            auto const of = did(random() % 6);
            ASSERT_EQ(cached_neighbors(of), neighbors_text(store_, of)) << sequence;
            auto const target = uri(of, "r" + std::to_string(random() % 4));
            ASSERT_EQ(cached_conviction(target), conviction_text(store_, target)) << sequence;
        }
    }
    EXPECT_GT(answers_.counts().hits, 1'000u);
}

// Passes reads on; somebody writes right after the first.
class WrittenMeanwhile final : public graph::GraphReader {
public:
    WrittenMeanwhile(graph::GraphReader const& graph, std::function<void()> write)
        : graph_(graph), write_(std::move(write))
    {
    }
    Result<std::optional<graph::OwnedRecord>> find(Kind kind, std::string_view uri) const override
    {
        return then_written(graph_.find(kind, uri));
    }
    Result<std::vector<graph::OwnedRecord>> relationships_of(std::string_view did) const override
    {
        return then_written(graph_.relationships_of(did));
    }
    Result<std::vector<graph::OwnedRecord>> attestations_of(std::string_view target) const override
    {
        return then_written(graph_.attestations_of(target));
    }
    graph::Stamp stamp(std::string_view name) const override { return graph_.stamp(name); }

private:
    template <class T>
    T then_written(T answer) const
    {
        if (auto const write = std::exchange(write_, nullptr)) write();
        return answer;
    }

    graph::GraphReader const&     graph_;
    mutable std::function<void()> write_;
};

TEST_F(CachedAnswers, AreNotGivenAgainIfSomebodyWroteWhileTheyWereComputed)
{
    auto const relationship = uri(did(0), "r");
    auto const sequences = [](std::vector<graph::OwnedRecord> const& records) {
        std::string text;
        for (auto const& record : records) text += std::to_string(number(record->sequence)) + ' ';
        return text;
    };
    std::map<std::string, std::function<std::string(graph::GraphReader const&)>> const reads{
        {"find",
         [&](auto const& graph) {
             return std::to_string(number((*graph.find(Kind::relationship, relationship).value())->sequence));
         }},
        {"relationships_of", [&](auto const& graph) { return sequences(graph.relationships_of(did(1)).value()); }},
        {"attestations_of", [&](auto const& graph) { return sequences(graph.attestations_of(relationship).value()); }},
        {"the same twice",
         [&](auto const& graph) {
             auto const first = sequences(graph.relationships_of(did(1)).value());
             return first + sequences(graph.relationships_of(did(1)).value());
         }},
    };
    for (auto const& [name, read] : reads) {
        graph::ResidentStore store;
        auto const           write = [&store, &relationship](std::uint64_t sequence) {
            run(store, {relate(sequence, sequence, did(0), "r", {.other = did(1)})});
            run(store, {attest(sequence + 1, sequence + 1, did(2), "a", relationship)});
        };
        write(1);
        WrittenMeanwhile const graph(store, [&] { write(3); });
        Answers                answers(graph, &cache_);
        auto const             first = answers.get(name, false, read).value();
        auto const             now = read(store);
        EXPECT_NE(first, now) << name;
        EXPECT_EQ(answers.get(name, false, read).value(), now) << name;
    }
}

// Computed before and after the cached answer, and twice the same: then nothing had changed in between, for these
// writers only ever replace a record by a newer one.
TEST_F(CachedAnswers, EqualTheComputedOnesWhileOthersWrite)
{
    constexpr std::size_t    repositories = 6;
    std::atomic<bool>        stop{false};
    std::vector<std::thread> writers;
    for (std::size_t writer = 0; writer < 2; ++writer)
        writers.emplace_back([&, writer] {
            std::mt19937 random(static_cast<unsigned>(writer));
            for (std::uint64_t sequence = 1 + writer; !stop; sequence += 2) {
                auto const owner = did(2 * (random() % (repositories / 2)) + writer);
                auto const name = random() % 4;
                run(store_, {relate(sequence, sequence, owner, "r" + std::to_string(name), {.other = did(name)})});
                if (sequence % 64 < 2) std::this_thread::yield();
            }
        });
    auto const text = [](graph::GraphReader const& graph, std::string const& of) {
        std::string all;
        for (auto const& record : graph.relationships_of(of).value())
            all += std::to_string(number(record->sequence)) + ' ';
        return all;
    };
    std::mt19937 random(9);
    std::size_t  compared = 0;
    for (int i = 0; i < 200'000 && compared < 2'000; ++i) {
        auto const of = did(random() % repositories);
        auto const before = text(store_, of);
        auto const cached = answers_.get(of, false, [&](auto const& graph) { return text(graph, of); }).value();
        auto const after = text(store_, of);
        if (before != after) continue;
        ++compared;
        EXPECT_EQ(cached, before);
    }
    stop = true;
    for (auto& writer : writers) writer.join();
    EXPECT_GE(compared, 500u);
}

}  // namespace
}  // namespace sluice::cache
