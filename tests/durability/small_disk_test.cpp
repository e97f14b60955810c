// Somebody else fills the disk faster than anybody can look. A write may then fail, which ends a server; but what was
// acknowledged is there, and with a reserve file it starts and decides on the full disk.
#include "adapters/rocksdb/rocksdb_log.hpp"
#include "contract/log_writer.hpp"
#include "contract/small_disk.hpp"
#include "durability/temp_directory.hpp"

namespace sluice::test {
namespace {

constexpr std::uint64_t mib = 1u << 20;

using Level = log::Space::Level;

struct Fate {
    std::size_t acknowledged{0}, refused{0}, verdicts_while_full{0}, writes_failed{0}, starts_refused{0};
};

// A log that is appended to while somebody fills its disk, and frees it again.
class Life {
public:
    Life(std::filesystem::path const& disk, std::uint64_t reserve_file_bytes)
        : options_{.directory = disk / "data", .reserve_bytes = 4 * mib, .low_water_bytes = 1,
                   .reserve_file_bytes = reserve_file_bytes, .write_buffer_bytes = 128u << 10},
          filler_(disk)
    {
        open();
    }

    Fate run(int rounds)
    {
        for (int round = 0; round < rounds; ++round) {
            append_some(static_cast<std::uint64_t>(round) + 1);
            filler_.fill(0);  // while tables are written
            append_some(static_cast<std::uint64_t>(round) + 100);
            log_.reset();
            open();  // while it is full
            if (!log_) ++fate_.starts_refused;
            filler_.remove();
            if (!log_) open();
            EXPECT_TRUE(log_);
            if (!log_) break;
            check();
        }
        return fate_;
    }

private:
    void open()
    {
        if (auto log = adapters::open_rocksdb_log(options_)) log_ = std::move(*log);
        if (log_) log_->check_space();
    }

    // An event is refused while the disk is full; a verdict is not.
    void append_some(std::uint64_t seed)
    {
        LogWriter writer(*log_, history_, seed);
        for (int i = 0; i < 150; ++i) {
            bool const is_full = log_->check_space().level == Level::full;
            auto const before = history_.records.size();
            if (is_full && (i % 10 != 0 || log_->last() == Sequence::none)) {
                ++fate_.refused;
                continue;
            }
            auto const done = is_full ? writer.append(0, {decision_of(log_->last(), "while it is full")})
                                      : writer.append(20);
            if (!done) {
                ++fate_.writes_failed;
                return;
            }
            decisions_ += is_full;
            fate_.verdicts_while_full += is_full;
            fate_.acknowledged += history_.records.size() - before;
        }
    }

    // What an append that failed has left is there or not.
    void check()
    {
        auto const records = read_records(*log_);
        ASSERT_TRUE(records) << records.error().detail;
        ASSERT_GE(records->size(), fate_.acknowledged) << "an acknowledged event is lost";
        ASSERT_LE(records->size(), history_.records.size());
        history_.records.resize(records->size());
        fate_.acknowledged = records->size();
        EXPECT_EQ(*records, history_.records);
        auto const decisions = log_->decisions();
        ASSERT_TRUE(decisions);
        EXPECT_GE(decisions->size(), decisions_) << "a verdict is lost";
        decisions_ = decisions->size();
    }

    adapters::RocksdbLogOptions const options_;
    Filler const                      filler_;
    std::unique_ptr<log::EventLog>    log_;
    History                           history_;
    Fate                              fate_;
    std::size_t                       decisions_{0};
};

TEST(SmallDisk, WithAReserveFileVerdictsAndStartsHaveRoomWhenSomebodyTookAll)
{
    TempDirectory const place;
    auto const          disk = place.path() / "disk";
    std::filesystem::create_directory(disk);
    auto const test = [&] {
        for (auto const reserve_file : {4 * mib, std::uint64_t{0}}) {
            auto const fate = Life(disk, reserve_file).run(6);
            std::cout << "reserve file of " << reserve_file / mib << " MiB: acknowledged=" << fate.acknowledged
                      << " lost=0 refused=" << fate.refused << " verdicts_while_full=" << fate.verdicts_while_full
                      << " writes_failed=" << fate.writes_failed << " starts_refused=" << fate.starts_refused << '\n';
            EXPECT_GT(fate.acknowledged, 1'000u);
            EXPECT_GT(fate.refused, 100u);
            if (reserve_file == 0) {
                EXPECT_GT(fate.writes_failed + fate.starts_refused, 0u) << "then the file is of no use";
                return;
            }
            EXPECT_GT(fate.verdicts_while_full, 10u);
            EXPECT_EQ(fate.starts_refused, 0u);
            std::filesystem::remove_all(disk / "data");
        }
    };
    EXPECT_TRUE(on_a_small_disk(disk, 48 * mib, test)) << "neither root's mount nor a user namespace is allowed here";
}

}  // namespace
}  // namespace sluice::test
