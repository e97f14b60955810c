#include "adapters/posix/reserve_file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace sluice::adapters {

ReserveFile::ReserveFile(std::string path, std::uint64_t bytes) : path_(std::move(path)), bytes_(bytes)
{
    struct stat info {};
    if (::stat(path_.c_str(), &info) != 0) return;
    auto const size = static_cast<std::uint64_t>(info.st_size);
    auto const taken = static_cast<std::uint64_t>(info.st_blocks) * 512;
    is_whole_ = bytes_ != 0 && size == bytes_ && taken >= bytes_;
    if (!is_whole_) give_up();
}

Result<> ReserveFile::make()
{
    if (bytes_ == 0 || is_whole_) return {};
    int const fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int       error = fd < 0 ? errno : ::posix_fallocate(fd, 0, static_cast<::off_t>(bytes_));
    if (fd >= 0) ::close(fd);
    is_whole_ = error == 0;
    if (is_whole_) return {};
    give_up();
    return Error{Errc::full, "disk_full", path_ + ": " + std::generic_category().message(error)};
}

// The empty file stays: removing a name can need room where shortening does not.
void ReserveFile::give_up()
{
    is_whole_ = false;
    (void)!::truncate(path_.c_str(), 0);
}

}  // namespace sluice::adapters
