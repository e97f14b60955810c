// A disk that is really small, and somebody else who fills it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice::test {

inline bool mount_tmpfs(std::filesystem::path const& path, std::uint64_t bytes)
{
    auto const options = "mode=0700,size=" + std::to_string(bytes);
    return ::mount("sluice-test", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
}

inline bool become_root_of_a_namespace()
{
    auto const uid = std::to_string(::getuid()), gid = std::to_string(::getgid());
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
    return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// Runs the test on a tmpfs, mounted as root or else, in a child, in a user namespace. False: neither is allowed here.
inline bool
on_a_small_disk(std::filesystem::path const& path, std::uint64_t bytes, std::function<void()> const& test)
{
    if (mount_tmpfs(path, bytes)) {
        std::cout << "disk: tmpfs, mounted as root\n";
        test();
        ::umount2(path.c_str(), MNT_DETACH);
        return true;
    }
    std::cout.flush();
    auto const child = ::fork();
    if (child == 0) {
        if (!become_root_of_a_namespace() || !mount_tmpfs(path, bytes)) ::_exit(2);
        std::cout << "disk: tmpfs, mounted in a user namespace\n";
        test();
        std::cout.flush();
        ::_exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != 1) << "see above";
    return !WIFEXITED(status) || WEXITSTATUS(status) != 2;
}

inline std::uint64_t free_bytes(std::filesystem::path const& path)
{
    struct statvfs info {};
    if (::statvfs(path.c_str(), &info) != 0) throw std::runtime_error("statvfs");
    return std::uint64_t{info.f_bavail} * info.f_frsize;
}

// A file of somebody else.
class Filler {
public:
    explicit Filler(std::filesystem::path const& disk) : disk_(disk), path_(disk / "foreign") {}

    // Until so little is free; 0: until there is nothing.
    void fill(std::uint64_t left) const
    {
        auto const fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        std::string const bytes(4096, 'x');
        while (left == 0 || free_bytes(disk_) > left)
            if (::write(fd, bytes.data(), bytes.size()) <= 0) break;
        ::close(fd);
    }
    void remove() const { std::filesystem::remove(path_); }

private:
    std::filesystem::path const disk_, path_;
};

}  // namespace sluice::test
