#include "adapters/rocksdb/env_directory.hpp"

#include "contract/directory_contract.hpp"
#include "durability/fault_file_system.hpp"
#include "durability/temp_directory.hpp"

namespace sluice::test {
namespace {

TEST(EnvDirectory, KeepsTheContract)
{
    TempDirectory const place;
    keeps_the_directory_contract([&] { return adapters::open_directory((place.path() / "files").string()); });
}

TEST(EnvDirectory, RemovesWhatAnInterruptedWriterLeft)
{
    TempDirectory const place;
    auto const          path = (place.path() / "files").string();
    write_file(*adapters::open_directory(path), "whole", "bytes");
    write_file(*adapters::open_directory(path), "torn", "bytes");
    std::filesystem::rename(path + "/torn", path + "/torn.new");

    auto const directory = adapters::open_directory(path);
    EXPECT_EQ(*directory->list(), (std::vector<std::string>{"whole"}));
    write_file(*directory, "next", "bytes");
    EXPECT_FALSE(std::filesystem::exists(path + "/torn.new"));
}

TEST(EnvDirectory, ServesOnceItsPlaceIsThere)
{
    TempDirectory const place;
    auto const          parent = place.path() / "later";
    auto const          directory = adapters::open_directory((parent / "files").string());
    EXPECT_FALSE(directory->create("a"));
    EXPECT_FALSE(directory->create("a")) << "still not there";
    std::filesystem::create_directory(parent);
    write_file(*directory, "a", "bytes");
    EXPECT_EQ(content(*directory, "a"), "bytes");
}

TEST(EnvDirectory, IsForItsOwnerOnly)
{
    TempDirectory const place;
    auto const          path = place.path() / "files";
    write_file(*adapters::open_directory(path.string()), "a", "bytes");
    EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms::owner_all);
}

// Whatever the disk shows of what was not synced, a committed file is whole.
TEST(EnvDirectory, ACommittedFileSurvivesAPowerCut)
{
    for (auto const kept : {Kept::nothing, Kept::torn, Kept::everything}) {
        TempDirectory const place;
        auto const          disk = std::make_shared<FaultFileSystem>();
        auto const          env = rocksdb::NewCompositeEnv(disk);
        auto const          path = (place.path() / "files").string();
        {
            auto const directory = adapters::open_directory(path, *env);
            write_file(*directory, "a", "first");
            write_file(*directory, "a", "second");
            auto unfinished = directory->create("b");
            ASSERT_TRUE((*unfinished)->append(std::string(10'000, 'x')));
            disk->cut_power();
        }
        disk->restart(kept);
        auto const directory = adapters::open_directory(path, *env);
        EXPECT_EQ(content(*directory, "a"), "second");
        EXPECT_EQ(*directory->list(), (std::vector<std::string>{"a"}));
    }
}

TEST(EnvDirectory, AFullDiskIsNamedAndLeavesNothing)
{
    TempDirectory const place;
    auto const          disk = std::make_shared<FaultFileSystem>(Faults{.full_at_append = 1});
    auto const          env = rocksdb::NewCompositeEnv(disk);
    auto const          directory = adapters::open_directory((place.path() / "files").string(), *env);
    auto const          writer = directory->create("a");
    ASSERT_TRUE(writer) << writer.error().detail;
    auto result = (*writer)->append(std::string(100'000, 'x'));
    if (result) result = (*writer)->commit();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().reason, "disk_full");
    EXPECT_TRUE(directory->list()->empty());
}

}  // namespace
}  // namespace sluice::test
