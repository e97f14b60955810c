#include "adapters/rocksdb/disk_space.hpp"

#include "durability/temp_directory.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <sys/stat.h>

namespace sluice::test {
namespace {

using adapters::DiskSpace;
using adapters::ReserveFile;
using Level = log::Space::Level;

constexpr std::uint64_t mib = 1u << 20;

// A disk of 1000 MiB, of which others take what they like. The reserve file is real, and counts.
class DiskSpaceTest : public testing::Test {
protected:
    DiskSpaceTest() { start(); }

    void start()
    {
        space = std::make_unique<DiskSpace>(limits, path, [this]() -> Result<DiskSpace::Room> {
            if (is_unreadable) return Error{Errc::unavailable, "space_unknown", ""};
            auto const used = others + reserve_size();
            return DiskSpace::Room{.free = used < total ? total - used : 0, .total = total};
        });
    }
    std::uint64_t reserve_size() const
    {
        struct stat info {};
        return ::stat(path.c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
    }
    // With so much free beside the reserve file, if that is there.
    log::Space look(std::uint64_t free)
    {
        others = total - free - (space_has_reserve ? limits.reserve_file_bytes : 0);
        auto const seen = space->look();
        space_has_reserve = seen.has_reserve;
        return seen;
    }

    TempDirectory const        place;
    std::string const          path = (place.path() / "reserve").string();
    DiskSpace::Limits          limits{
                 .reserve_bytes = 80 * mib, .low_water_bytes = 160 * mib, .reserve_file_bytes = 4 * mib};
    std::uint64_t              total{1000 * mib}, others{0};
    bool                       is_unreadable{false}, space_has_reserve{false};
    std::unique_ptr<DiskSpace> space;
};

TEST_F(DiskSpaceTest, IsLowAndFullBelowItsMarksAndAnEighthAboveThemAgain)
{
    EXPECT_EQ(look(500 * mib).level, Level::ok);
    EXPECT_EQ(look(160 * mib).level, Level::ok);
    EXPECT_EQ(look(160 * mib - 1).level, Level::low);
    EXPECT_EQ(look(170 * mib).level, Level::low);
    EXPECT_EQ(look(180 * mib).level, Level::ok);
    EXPECT_EQ(look(80 * mib).level, Level::low);
    EXPECT_EQ(look(80 * mib - 1).level, Level::full);
    EXPECT_EQ(look(85 * mib).level, Level::full);
    EXPECT_EQ(look(90 * mib).level, Level::low);
    EXPECT_EQ(look(180 * mib).level, Level::ok);
}

TEST_F(DiskSpaceTest, LowIsATenthOfTheDiskButAtMostAGibibyte)
{
    limits.low_water_bytes = 0;
    start();
    look(500 * mib);
    EXPECT_EQ(look(100 * mib).level, Level::ok);
    EXPECT_EQ(look(100 * mib - 1).level, Level::low);
    total = 1'000'000 * mib;
    EXPECT_EQ(look(1152 * mib).level, Level::ok);
    EXPECT_EQ(look(1024 * mib - 1).level, Level::low);
}

TEST_F(DiskSpaceTest, SpaceThatCannotBeReadCountsAsNone)
{
    is_unreadable = true;
    EXPECT_EQ(space->look().level, Level::full);
    EXPECT_EQ(space->look().free_bytes, 0u);
    is_unreadable = false;
    EXPECT_EQ(space->look().level, Level::ok);
}

TEST_F(DiskSpaceTest, TheReserveFileIsGivenUpWhenOthersTookTheRestAndMadeAgainWhenThereIsTwiceAsMuch)
{
    EXPECT_TRUE(look(500 * mib).has_reserve);
    EXPECT_EQ(reserve_size(), 4 * mib);
    EXPECT_TRUE(look(4 * mib).has_reserve);
    auto const without = look(4 * mib - 1);
    EXPECT_FALSE(without.has_reserve);
    EXPECT_EQ(without.free_bytes, 8 * mib - 1);
    EXPECT_EQ(reserve_size(), 0u);
    EXPECT_FALSE(look(88 * mib).has_reserve);
    EXPECT_TRUE(look(88 * mib + 1).has_reserve);
    EXPECT_EQ(reserve_size(), 4 * mib);
}

TEST_F(DiskSpaceTest, TheReserveFileIsGivenUpForAWriteThatWouldNotFit)
{
    look(70 * mib);
    space->make_room(70 * mib);
    EXPECT_EQ(reserve_size(), 0u) << "it was never made";
    look(500 * mib);
    look(70 * mib);
    space->make_room(70 * mib);
    EXPECT_EQ(reserve_size(), 4 * mib);
    space->make_room(70 * mib + 1);
    EXPECT_EQ(reserve_size(), 0u);
    look(500 * mib);
    space->make_room(1000 * mib);
    EXPECT_EQ(reserve_size(), 4 * mib) << "more than the reserve is free";
}

TEST_F(DiskSpaceTest, AReserveFileOfAnotherSizeIsNone)
{
    look(500 * mib);
    EXPECT_TRUE(ReserveFile(path, 4 * mib).is_whole());
    EXPECT_FALSE(ReserveFile(path, 8 * mib).is_whole());
    EXPECT_EQ(reserve_size(), 0u);
    std::filesystem::resize_file(path, 4 * mib);
    EXPECT_FALSE(ReserveFile(path, 4 * mib).is_whole()) << "a hole is no room";
}

TEST_F(DiskSpaceTest, WithoutAReserveFileNothingIsMissing)
{
    limits.reserve_file_bytes = 0;
    start();
    EXPECT_TRUE(look(500 * mib).has_reserve);
    EXPECT_TRUE(look(0).has_reserve);
    EXPECT_EQ(reserve_size(), 0u);
}

}  // namespace
}  // namespace sluice::test
