#include "log/memory_log.hpp"

#include "contract/event_log_contract.hpp"

namespace sluice::test {
namespace {

class MemoryStorage final : public LogStorage {
public:
    std::unique_ptr<log::EventLog> open() override { return std::make_unique<log::MemoryLog>(disk_); }

private:
    log::MemoryLog::Disk disk_;
};

INSTANTIATE_TEST_SUITE_P(
    MemoryLog, EventLogContract, testing::Values(LogKind{"memory", [] { return std::make_unique<MemoryStorage>(); }}),
    [](auto const& kind) { return kind.param.name; });

struct MemoryLogTest : testing::Test {
    MemoryLogTest()
    {
        log::MemoryLog log(disk);
        LogWriter      writer(log, history);
        for (int i = 0; i < 3; ++i) EXPECT_TRUE(writer.append(2));
    }
    log::MemoryLog::Disk disk;
    History              history;
};

TEST_F(MemoryLogTest, AMissingBlockIsAGapAndEndsTheCursor)
{
    disk.blocks.erase(Sequence{3});
    log::MemoryLog log(disk);
    auto const     cursor = log.blocks(Sequence{1});
    ASSERT_TRUE(cursor->next());
    for (int i = 0; i < 2; ++i) {
        auto const block = cursor->next();
        ASSERT_FALSE(block);
        EXPECT_EQ(block.error().code, Errc::corrupt);
        EXPECT_EQ(block.error().reason, "gap");
    }
}

TEST_F(MemoryLogTest, ABlockOfAnotherHistoryIsAGap)
{
    log::MemoryLog::Disk other;
    History              other_history;
    {
        log::MemoryLog log(other);
        LogWriter      writer(log, other_history, 2);
        for (int i = 0; i < 3; ++i) ASSERT_TRUE(writer.append(2));
    }
    disk.blocks[Sequence{3}] = other.blocks[Sequence{3}];
    log::MemoryLog log(disk);
    auto const     records = read_records(log);
    ASSERT_FALSE(records);
    EXPECT_EQ(records.error().reason, "gap");
}

TEST_F(MemoryLogTest, ALogThatDoesNotStartAtItsBeginningIsAGap)
{
    disk.blocks.erase(disk.blocks.upper_bound(Sequence{1}), disk.blocks.end());  // no neighbour that would differ
    disk.blocks[Sequence{1}] = [&] {
        auto bytes = disk.blocks[Sequence{1}];
        bytes[offsetof(log::BlockHeader, chain_before)] ^= 1;
        log::BlockHeader header;
        std::memcpy(&header, bytes.data(), sizeof header);
        auto  chain = header.chain_seed();
        auto* record = bytes.data() + sizeof(log::BlockHeader);
        for (int i = 0; i < 2; ++i) {
            chain = log::LoggedRecord(record).chain_after(chain);
            log::set_chain(record, chain);
            record += log::LoggedRecord(record).header().size;
        }
        return bytes;
    }();
    log::MemoryLog log(disk);
    auto const     records = read_records(log);
    ASSERT_FALSE(records);
    EXPECT_EQ(records.error().reason, "gap");
}

}  // namespace
}  // namespace sluice::test
