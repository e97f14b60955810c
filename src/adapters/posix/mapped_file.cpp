#include "adapters/posix/mapped_file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

namespace sluice::adapters {
namespace {

Error failure(std::string const& path, int error)
{
    return {Errc::unavailable, "mapped_file", path + ": " + std::generic_category().message(error)};
}

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::open(std::string const& path, std::size_t size)
{
    int const fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return failure(path, errno);
    auto const bytes = static_cast<::off_t>(size);
    int        error = ::ftruncate(fd, bytes) != 0 ? errno : ::posix_fallocate(fd, 0, bytes);
    void*      memory = MAP_FAILED;
    if (error == 0) {
        memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) error = errno;
    }
    ::close(fd);
    if (error != 0) return failure(path, error);
    return std::unique_ptr<MappedFile>(new MappedFile({static_cast<std::byte*>(memory), size}));
}

MappedFile::~MappedFile() { ::munmap(bytes_.data(), bytes_.size()); }

}  // namespace sluice::adapters
