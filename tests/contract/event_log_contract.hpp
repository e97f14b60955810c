// What every EventLog does. Included by one file of each executable that has one to offer.
#pragma once

#include "contract/log_writer.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

namespace sluice::test {

// Storage that outlives the logs opened on it.
class LogStorage {
public:
    virtual ~LogStorage() = default;
    virtual std::unique_ptr<log::EventLog> open() = 0;
};

struct LogKind {
    std::string                                  name;
    std::function<std::unique_ptr<LogStorage>()> make_storage;

    friend void PrintTo(LogKind const& kind, std::ostream* out) { *out << kind.name; }
};

class EventLogContract : public testing::TestWithParam<LogKind> {
protected:
    void reopen()
    {
        log.reset();
        log = storage->open();
    }
    Result<> append(std::size_t events, std::vector<log::Decision> decisions = {})
    {
        return LogWriter(*log, history, ++seed).append(events, std::move(decisions));
    }
    void expect_decisions()
    {
        auto const found = log->decisions();
        ASSERT_TRUE(found);
        auto const expected = history.sorted_decisions(history.decisions.size());
        ASSERT_EQ(found->size(), expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ((*found)[i], expected[i]) << i;
    }

    std::unique_ptr<LogStorage>    storage = GetParam().make_storage();
    std::unique_ptr<log::EventLog> log = storage->open();
    History                        history;
    std::uint64_t                  seed{0};
};

TEST_P(EventLogContract, IsEmptyAtFirst)
{
    EXPECT_EQ(log->first(), Sequence::none);
    EXPECT_EQ(log->last(), Sequence::none);
    EXPECT_EQ(log->last_chain(), 0u);
    EXPECT_EQ(log->check_space().level, log::Space::Level::ok);
    auto const block = log->read(Sequence{1});
    ASSERT_TRUE(block);
    EXPECT_EQ(*block, nullptr);
    EXPECT_TRUE(read_records(*log).value().empty());
    EXPECT_TRUE(log->decisions().value().empty());
}

TEST_P(EventLogContract, ReturnsEveryRecordByteForByteAlsoAfterReopening)
{
    for (std::size_t const events : {1u, 16u, 3u, 200u, 1u}) ASSERT_TRUE(append(events));
    EXPECT_EQ(read_records(*log).value(), history.records);

    reopen();
    EXPECT_EQ(read_records(*log).value(), history.records);
}

TEST_P(EventLogContract, ContinuesWhereItEnded)
{
    ASSERT_TRUE(append(5));
    auto const last = log->last();
    auto const chain = log->last_chain();
    auto const received_at = log->last_received_at();
    EXPECT_EQ(last, Sequence{5});
    EXPECT_EQ(log->first(), Sequence{1});

    reopen();
    EXPECT_EQ(log->first(), Sequence{1});
    EXPECT_EQ(log->last(), last);
    EXPECT_EQ(log->last_chain(), chain);
    EXPECT_EQ(log->last_received_at(), received_at);

    ASSERT_TRUE(append(2));
    EXPECT_EQ(log->last(), Sequence{7});
    EXPECT_EQ(read_records(*log).value(), history.records);  // the cursor checks sequences and chain between blocks
}

TEST_P(EventLogContract, CursorStartsWithTheBlockThatHoldsTheSequence)
{
    for (std::size_t const events : {2u, 1u, 4u}) ASSERT_TRUE(append(events));
    std::size_t const skipped[] = {0, 0, 0, 2, 3, 3, 3, 3, 7, 7};  // records, by sequence
    for (std::uint64_t from = 0; from < std::size(skipped); ++from) {
        auto const expected = std::vector<std::string>(
            history.records.begin() + static_cast<std::ptrdiff_t>(skipped[from]), history.records.end());
        EXPECT_EQ(read_records(*log, Sequence{from}).value(), expected) << from;
    }
}

TEST_P(EventLogContract, CursorSeesWhatWasDurableWhenItWasMade)
{
    ASSERT_TRUE(append(2));
    auto const cursor = log->blocks(Sequence{1});
    ASSERT_TRUE(append(2));
    EXPECT_TRUE(cursor->next().value().has_value());
    EXPECT_FALSE(cursor->next().value().has_value());
}

TEST_P(EventLogContract, ReadsTheBlockOfAnySequenceAndNothingBeyond)
{
    for (std::size_t const events : {2u, 1u, 30u}) ASSERT_TRUE(append(events));
    for (int pass = 0; pass < 2; ++pass) {
        for (std::uint64_t sequence = 1; sequence <= 33; ++sequence) {
            auto const block = log->read(Sequence{sequence}).value();
            ASSERT_NE(block, nullptr) << sequence;
            EXPECT_EQ(block->record(sequence - number(block->first())).bytes(), history.records[sequence - 1]);
        }
        EXPECT_EQ(log->read(Sequence{0}).value(), nullptr);
        EXPECT_EQ(log->read(Sequence{34}).value(), nullptr);
        reopen();
    }
}

TEST_P(EventLogContract, ListsDecisionsBySequenceThenAge)
{
    ASSERT_TRUE(
        append(3, {decision_of(Sequence{2}, "a"), decision_of(Sequence{1}, "b"), decision_of(Sequence{2}, "c")}));
    ASSERT_TRUE(append(1, {decision_of(Sequence{2}, "d"), decision_of(Sequence{300}, "e")}));
    expect_decisions();

    reopen();
    ASSERT_TRUE(append(0, {decision_of(Sequence{300}, "f"), decision_of(Sequence{2}, "g")}));
    expect_decisions();
}

TEST_P(EventLogContract, ACommitOfDecisionsMovesNothingElse)
{
    ASSERT_TRUE(append(3));
    auto const chain = log->last_chain();
    ASSERT_TRUE(append(0, {decision_of(Sequence{1}, "x")}));

    reopen();
    EXPECT_EQ(log->last(), Sequence{3});
    EXPECT_EQ(log->last_chain(), chain);
    expect_decisions();
}

TEST_P(EventLogContract, IsReadWhileItGrows)
{
    ASSERT_TRUE(append(1));
    std::atomic<bool> done{false};
    std::size_t       damaged = 0, shrunk = 0, passes = 0;
    std::thread       reader([&] {
        std::size_t before = 0;
        do {
            auto const records = read_records(*log);
            auto const block = log->read(Sequence{1 + before / 2});
            damaged += !records || !block || !*block;
            shrunk += records && records->size() < before;
            before = records ? records->size() : before;
            ++passes;
        } while (!done);
    });
    bool              appended = true;
    for (int i = 0; i < 100; ++i) appended = append(4) && appended;
    done = true;
    reader.join();
    EXPECT_TRUE(appended);
    EXPECT_EQ(damaged, 0u);
    EXPECT_EQ(shrunk, 0u);
    EXPECT_GT(passes, 0u);
}

}  // namespace sluice::test
