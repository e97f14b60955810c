#include "adapters/rocksdb/data_directory.hpp"

#include "adapters/rocksdb/head_file.hpp"
#include "adapters/rocksdb/status.hpp"

#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <system_error>
#include <unistd.h>

namespace sluice::adapters {
namespace {

constexpr std::string_view format_name = "sluice ";
constexpr unsigned         format_version = 1;
constexpr ::mode_t         directory_mode = 0700;

Error io_error(std::string const& path)
{
    return {Errc::unavailable, "data_directory", path + ": " + std::generic_category().message(errno)};
}

Result<> make_directory(std::string const& path)
{
    if (::mkdir(path.c_str(), directory_mode) != 0 && errno != EEXIST) return io_error(path);
    return {};
}

}  // namespace

Result<std::unique_ptr<DataDirectory>> DataDirectory::open(std::string path, rocksdb::Env& env, bool read_only)
{
    if (!read_only) {
        std::error_code ignored;  // the next call fails and says why
        std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
        if (auto const made = make_directory(path); !made) return made.error();
    }
    int const fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return Error{Errc::invalid, "no_log", path + " does not exist"};
    if (fd < 0) return io_error(path);

    std::unique_ptr<DataDirectory> directory(new DataDirectory(std::move(path), env, fd));
    if (!read_only && ::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return io_error(directory->path_);
        return Error{Errc::unavailable, "already_running", "another process uses " + directory->path_};
    }
    if (auto const known = directory->check_format(read_only); !known) return known.error();
    return directory;
}

DataDirectory::~DataDirectory() { ::close(fd_); }

Result<> DataDirectory::check_format(bool read_only) const
{
    std::string content;
    auto const  status = rocksdb::ReadFileToString(&env_, format_path(), &content);
    if (status.IsNotFound() || status.IsPathNotFound()) {
        if (env_.FileExists(log_path()).ok())
            return Error{Errc::corrupt, "format_missing", path_ + " holds a log, but no FORMAT"};
        if (read_only) return Error{Errc::invalid, "no_log", path_ + " holds no log"};
        return initialise();
    }
    if (!status.ok()) return io_failure(status);

    unsigned    version = 0;
    auto const* end = content.data() + content.size();
    auto const* digits = content.data() + format_name.size();
    if (content.starts_with(format_name)) {
        auto const parsed = std::from_chars(digits, end, version);
        if (parsed.ptr == end || *parsed.ptr != '\n') version = 0;
    }
    if (version == 0) return Error{Errc::corrupt, "format_damaged", format_path() + " is not readable"};
    if (version > format_version)
        return Error{
            Errc::invalid, "newer_format",
            path_ + " has format " + std::to_string(version) + ", this program knows " +
                std::to_string(format_version)};
    return {};
}

// HEAD is durable before FORMAT, so where there is a FORMAT a missing HEAD was lost.
Result<> DataDirectory::initialise() const
{
    if (!env_.FileExists(head_path()).ok())
        if (auto const written = write_file(head_path(), HeadFile::initial_content()); !written) return written;
    return write_file(format_path(), std::string(format_name) + std::to_string(format_version) + "\n");
}

Result<> DataDirectory::write_file(std::string const& path, std::string const& content) const
{
    auto const unfinished = path + ".new";
    if (auto const status = rocksdb::WriteStringToFile(&env_, content, unfinished, true); !status.ok())
        return io_failure(status);
    if (auto const status = env_.RenameFile(unfinished, path); !status.ok()) return io_failure(status);
    return sync();
}

Result<> DataDirectory::make_log_directory() const
{
    if (auto const made = make_directory(log_path()); !made) return made;
    return sync();
}

Result<> DataDirectory::sync() const
{
    std::unique_ptr<rocksdb::Directory> directory;
    if (auto const status = env_.NewDirectory(path_, &directory); !status.ok()) return io_failure(status);
    if (auto const status = directory->Fsync(); !status.ok()) return io_failure(status);
    return {};
}

Result<DiskSpace::Room> DataDirectory::room() const
{
    struct ::statvfs space;
    if (::fstatvfs(fd_, &space) != 0)
        return Error{Errc::unavailable, "space_unknown", path_ + ": " + std::generic_category().message(errno)};
    return DiskSpace::Room{.free = std::uint64_t{space.f_bavail} * space.f_frsize,
                           .total = std::uint64_t{space.f_blocks} * space.f_frsize};
}

}  // namespace sluice::adapters
