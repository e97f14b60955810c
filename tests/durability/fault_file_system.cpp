#include "durability/fault_file_system.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace sluice::test {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

std::string directory_of(std::string const& path) { return std::filesystem::path(path).parent_path().string(); }

std::optional<std::string> content_of(std::string const& path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(file), {});
}

void replace(std::string const& path, std::string const& content)
{
    std::ofstream(path, std::ios::binary | std::ios::trunc).write(content.data(), std::ssize(content));
}

class ImpatientClock final : public rocksdb::SystemClockWrapper {
public:
    using SystemClockWrapper::SystemClockWrapper;
    char const* Name() const override { return "ImpatientClock"; }
    void        SleepForMicroseconds(int) override {}
};

}  // namespace

class FaultFileSystem::WritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
public:
    WritableFile(std::unique_ptr<rocksdb::FSWritableFile> file, FaultFileSystem& disk, FilePtr state)
        : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk), state_(std::move(state))
    {
    }

    IOStatus Append(Slice const& data, IOOptions const& options, IODebugContext* debug) override
    {
        Slice      part = data;
        auto const status = disk_.append(*state_, part);
        if (!status.ok() && part.empty()) return status;
        auto const written = target()->Append(part, options, debug);
        return status.ok() ? written : status;
    }
    IOStatus Append(
        Slice const& data, IOOptions const& options, rocksdb::DataVerificationInfo const&,
        IODebugContext* debug) override
    {
        return Append(data, options, debug);
    }
    IOStatus Sync(IOOptions const&, IODebugContext*) override { return disk_.sync(*state_); }
    IOStatus Fsync(IOOptions const&, IODebugContext*) override { return disk_.sync(*state_); }
    IOStatus RangeSync(std::uint64_t, std::uint64_t, IOOptions const&, IODebugContext*) override
    {
        return IOStatus::OK();
    }

private:
    FaultFileSystem& disk_;
    FilePtr const    state_;
};

class FaultFileSystem::RandomRWFile final : public rocksdb::FSRandomRWFileOwnerWrapper {
public:
    RandomRWFile(std::unique_ptr<rocksdb::FSRandomRWFile> file, FaultFileSystem& disk, FilePtr state)
        : FSRandomRWFileOwnerWrapper(std::move(file)), disk_(disk), state_(std::move(state))
    {
    }

    IOStatus Write(std::uint64_t offset, Slice const& data, IOOptions const& options, IODebugContext* debug) override
    {
        {
            std::lock_guard lock(disk_.mutex_);
            if (auto const status = disk_.alive(); !status.ok()) return status;
            state_->unsynced.push_back({offset, data.ToString()});
        }
        return target()->Write(offset, data, options, debug);
    }
    IOStatus Sync(IOOptions const&, IODebugContext*) override { return disk_.sync(*state_); }
    IOStatus Fsync(IOOptions const&, IODebugContext*) override { return disk_.sync(*state_); }

private:
    FaultFileSystem& disk_;
    FilePtr const    state_;
};

class FaultFileSystem::Directory final : public rocksdb::FSDirectoryWrapper {
public:
    Directory(std::unique_ptr<rocksdb::FSDirectory> directory, FaultFileSystem& disk, std::string path)
        : FSDirectoryWrapper(std::move(directory)), disk_(disk), path_(std::move(path))
    {
    }

    IOStatus Fsync(IOOptions const&, IODebugContext*) override { return disk_.sync_directory(path_); }
    IOStatus FsyncWithDirOptions(IOOptions const&, IODebugContext*, rocksdb::DirFsyncOptions const&) override
    {
        return disk_.sync_directory(path_);
    }

private:
    FaultFileSystem&  disk_;
    std::string const path_;
};

FaultFileSystem::FaultFileSystem(Faults faults) : FileSystemWrapper(rocksdb::FileSystem::Default()), faults_(faults) {}

void FaultFileSystem::cut_power()
{
    std::lock_guard lock(mutex_);
    power_ = false;
}

void FaultFileSystem::restart(Kept kept)
{
    std::lock_guard lock(mutex_);
    power_ = false;
    if (kept == Kept::everything) return;
    for (auto const& [path, file] : files_) {
        if (file->unsynced.empty() || !std::filesystem::exists(path)) continue;
        auto content = file->durable;
        if (kept == Kept::torn) file->unsynced.back().bytes.resize(file->unsynced.back().bytes.size() / 2);
        if (kept == Kept::nothing) file->unsynced.clear();
        for (auto const& [offset, bytes] : file->unsynced) {
            content.resize(std::max<std::size_t>(content.size(), offset + bytes.size()));
            content.replace(offset, bytes.size(), bytes);
        }
        replace(path, content);
    }
    if (kept == Kept::torn) return;
    for (auto change = name_changes_.rbegin(); change != name_changes_.rend(); ++change) {
        if (change->before)
            replace(change->path, *change->before);
        else
            std::filesystem::remove(change->path);
    }
}

std::uint64_t FaultFileSystem::syncs() const
{
    std::lock_guard lock(mutex_);
    return syncs_;
}

std::uint64_t FaultFileSystem::appends() const
{
    std::lock_guard lock(mutex_);
    return appends_;
}

bool FaultFileSystem::failure_injected() const
{
    std::lock_guard lock(mutex_);
    return failure_injected_;
}

bool FaultFileSystem::failed_sync_was_repeated() const
{
    std::lock_guard lock(mutex_);
    return sync_repeated_;
}

IOStatus FaultFileSystem::NewWritableFile(
    std::string const& path, rocksdb::FileOptions const& options, std::unique_ptr<rocksdb::FSWritableFile>* result,
    IODebugContext* debug)
{
    std::lock_guard lock(mutex_);
    if (auto const status = alive(); !status.ok()) return status;
    auto                                     before = content_of(path);
    std::unique_ptr<rocksdb::FSWritableFile> file;
    if (auto const status = target()->NewWritableFile(path, options, &file, debug); !status.ok()) return status;
    auto const state = files_[path] = std::make_shared<FileState>();
    name_changes_.push_back({directory_of(path), path, std::move(before)});
    *result = std::make_unique<WritableFile>(std::move(file), *this, state);
    return IOStatus::OK();
}

IOStatus FaultFileSystem::NewRandomRWFile(
    std::string const& path, rocksdb::FileOptions const& options, std::unique_ptr<rocksdb::FSRandomRWFile>* result,
    IODebugContext* debug)
{
    std::lock_guard lock(mutex_);
    if (auto const status = alive(); !status.ok()) return status;
    std::unique_ptr<rocksdb::FSRandomRWFile> file;
    if (auto const status = target()->NewRandomRWFile(path, options, &file, debug); !status.ok()) return status;
    auto& state = files_[path];
    if (!state) {
        state = std::make_shared<FileState>();
        state->durable = content_of(path).value_or("");
    }
    *result = std::make_unique<RandomRWFile>(std::move(file), *this, state);
    return IOStatus::OK();
}

IOStatus FaultFileSystem::NewDirectory(
    std::string const& path, IOOptions const& options, std::unique_ptr<rocksdb::FSDirectory>* result,
    IODebugContext* debug)
{
    std::unique_ptr<rocksdb::FSDirectory> directory;
    if (auto const status = target()->NewDirectory(path, options, &directory, debug); !status.ok()) return status;
    *result = std::make_unique<Directory>(std::move(directory), *this, path);
    return IOStatus::OK();
}

IOStatus FaultFileSystem::RenameFile(
    std::string const& from, std::string const& to, IOOptions const& options, IODebugContext* debug)
{
    std::lock_guard lock(mutex_);
    if (auto const status = alive(); !status.ok()) return status;
    auto before = content_of(to);
    if (auto const status = target()->RenameFile(from, to, options, debug); !status.ok()) return status;
    name_changes_.push_back({directory_of(to), to, std::move(before)});
    if (auto moved = files_.extract(from)) {
        files_.erase(to);
        moved.key() = to;
        files_.insert(std::move(moved));
    }
    return IOStatus::OK();
}

IOStatus FaultFileSystem::DeleteFile(std::string const& path, IOOptions const& options, IODebugContext* debug)
{
    std::lock_guard lock(mutex_);
    if (auto const status = alive(); !status.ok()) return status;
    files_.erase(path);
    return target()->DeleteFile(path, options, debug);
}

IOStatus FaultFileSystem::alive() const { return power_ ? IOStatus::OK() : IOStatus::IOError("no power"); }

// Shortens `bytes` to what reaches the file.
IOStatus FaultFileSystem::append(FileState& file, Slice& bytes)
{
    std::lock_guard lock(mutex_);
    auto            status = alive();
    if (!status.ok()) bytes.clear();
    if (status.ok() && ++appends_ >= faults_.full_at_append && faults_.full_at_append != 0) {
        bytes = Slice(bytes.data(), appends_ == faults_.full_at_append ? bytes.size() / 2 : 0);
        failure_injected_ = true;
        status = IOStatus::NoSpace("injected");
    }
    if (!bytes.empty()) file.unsynced.push_back({file.size, bytes.ToString()});
    file.size += bytes.size();
    return status;
}

template <class Commit>
IOStatus FaultFileSystem::sync_point(Commit commit)
{
    if (auto const status = alive(); !status.ok()) return status;
    ++syncs_;
    if (syncs_ == faults_.fail_sync) {
        failure_injected_ = true;
        return IOStatus::IOError("injected");
    }
    bool const cut = syncs_ == faults_.cut_at_sync;
    if (cut) power_ = false;
    if (!cut || faults_.cut_after) commit();
    return alive();
}

IOStatus FaultFileSystem::sync(FileState& file)
{
    std::lock_guard lock(mutex_);
    if (file.sync_failed) sync_repeated_ = true;
    auto const status = sync_point([&] {
        for (auto const& [offset, bytes] : file.unsynced) {
            file.durable.resize(std::max<std::size_t>(file.durable.size(), offset + bytes.size()));
            file.durable.replace(offset, bytes.size(), bytes);
        }
        file.unsynced.clear();
    });
    file.sync_failed = file.sync_failed || (power_ && !status.ok());
    return status;
}

IOStatus FaultFileSystem::sync_directory(std::string const& path)
{
    std::lock_guard lock(mutex_);
    auto const      wanted = directory_of(path.ends_with('/') ? path : path + '/');
    return sync_point(
        [&] { std::erase_if(name_changes_, [&](NameChange const& change) { return change.directory == wanted; }); });
}

FaultEnv::FaultEnv(std::shared_ptr<FaultFileSystem> const& files) : FaultEnv(rocksdb::NewCompositeEnv(files)) {}

FaultEnv::FaultEnv(std::unique_ptr<rocksdb::Env> env) : EnvWrapper(env.get()), env_(std::move(env))
{
    system_clock_ = std::make_shared<ImpatientClock>(rocksdb::SystemClock::Default());
}

}  // namespace sluice::test
