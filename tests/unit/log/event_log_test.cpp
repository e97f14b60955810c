#include "log/event_log.hpp"

#include "contract/log_writer.hpp"
#include "log/memory_log.hpp"

#include <gtest/gtest.h>

namespace sluice::log {
namespace {

constexpr Sequence first{5};

std::string block_of_three()
{
    MemoryLog::Disk disk;
    test::History   history;
    MemoryLog       log(disk);
    test::LogWriter writer(log, history);
    EXPECT_TRUE(writer.append(4));
    EXPECT_TRUE(writer.append(3));
    return disk.blocks.at(first);
}

TEST(StoredBlock, ShowsWhatWasWritten)
{
    auto const bytes = block_of_three();
    auto const block = StoredBlock::parse(bytes, first);
    ASSERT_TRUE(block);
    EXPECT_EQ(block->size(), 3u);
    EXPECT_EQ(block->first(), first);
    EXPECT_EQ(block->sequence(2), Sequence{7});
    EXPECT_EQ(block->bytes(), bytes);
    EXPECT_EQ(block->received_at(), WallTime(std::chrono::milliseconds(14)));
    EXPECT_EQ(block->chain_after(), block->record(2).header().chain);
    EXPECT_EQ(block->event(1).sequence, Sequence{6});
    EXPECT_EQ(block->event(1).received_at, block->received_at());
}

TEST(StoredBlock, EveryFlippedBitIsFound)
{
    auto const bytes = block_of_three();
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            auto damaged = bytes;
            damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
            auto const block = StoredBlock::parse(std::move(damaged), first);
            ASSERT_FALSE(block) << "byte " << at << " bit " << bit;
            ASSERT_EQ(block.error().code, Errc::corrupt);
            ASSERT_EQ(block.error().reason, "damaged_block");
        }
    }
}

TEST(StoredBlock, EveryOtherLengthIsFound)
{
    auto const bytes = block_of_three();
    for (std::size_t size = 0; size < bytes.size(); ++size)
        ASSERT_FALSE(StoredBlock::parse(bytes.substr(0, size), first)) << size;
    EXPECT_FALSE(StoredBlock::parse(bytes + std::string(8, '\0'), first));
}

TEST(StoredBlock, AnotherKeyIsFound)
{
    EXPECT_FALSE(StoredBlock::parse(block_of_three(), Sequence{4}));
    EXPECT_FALSE(StoredBlock::parse(block_of_three(), Sequence::none));
}

Decision example()
{
    auto decision = test::decision_of(Sequence{9}, "the owner is neither");
    decision.verdict = Verdict::dead_letter;
    decision.at = WallTime(std::chrono::microseconds(-5));
    return decision;
}

TEST(Decision, SurvivesEncoding)
{
    for (auto const verdict :
         {Verdict::dead_letter, Verdict::parked, Verdict::released, Verdict::dropped, Verdict::redriven}) {
        auto decision = example();
        decision.verdict = verdict;
        auto const decoded = decode_decision(Sequence{9}, encode_decision(decision));
        ASSERT_TRUE(decoded);
        EXPECT_EQ(*decoded, decision);
    }
}

TEST(Decision, LongTextsAreCutBetweenCharacters)
{
    auto decision = example();
    decision.reason = std::string(decision_reason_max + 1, 'r');
    decision.detail = std::string(decision_detail_max - 1, 'd') + "\u20ac";
    auto const decoded = decode_decision(Sequence{9}, encode_decision(decision));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->reason, std::string(decision_reason_max, 'r'));
    EXPECT_EQ(decoded->detail, std::string(decision_detail_max - 1, 'd'));
}

TEST(Decision, OtherBytesAreRefused)
{
    auto const bytes = encode_decision(example());
    for (std::size_t size = 0; size < bytes.size(); ++size)
        EXPECT_FALSE(decode_decision(Sequence{9}, std::string_view(bytes).substr(0, size))) << size;
    EXPECT_FALSE(decode_decision(Sequence{9}, bytes + "x"));
    auto const with = [&](std::size_t at, char value) {
        auto changed = bytes;
        changed[at] = value;
        return changed;
    };
    for (auto const& changed : {with(0, 0), with(0, 1), with(1, 0), with(1, 6)}) {
        auto const decoded = decode_decision(Sequence{9}, changed);
        ASSERT_FALSE(decoded);
        EXPECT_EQ(decoded.error().reason, "damaged_decision");
    }
}

}  // namespace
}  // namespace sluice::log
