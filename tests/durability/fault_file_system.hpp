// A disk that keeps what was synced, and loses the rest when the power goes.
//
// Bytes become durable by a sync of their file, names by a sync of their directory. Nothing is really synced, so
// thousands of power cuts are cheap. What existed before is taken to be durable.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/system_clock.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace sluice::test {

struct Faults {
    // Counted from 1; 0: never.
    std::uint64_t cut_at_sync{0};    // the power goes at this sync
    bool          cut_after{false};  // ... once it has reached the disk
    std::uint64_t fail_sync{0};      // this sync reports EIO, and what it should have written is lost
    std::uint64_t full_at_append{0};  // this append is torn and reports ENOSPC, as do all later ones
};

// What the disk shows of un-synced changes after a power cut: a real one may show any of these.
enum class Kept { nothing, torn, everything };

// Any thread.
class FaultFileSystem final : public rocksdb::FileSystemWrapper {
public:
    explicit FaultFileSystem(Faults faults = {});

    char const* Name() const override { return "FaultFileSystem"; }

    // From now on every change fails, as for a process that no longer exists.
    void cut_power();

    // Brings the files into the state after a power cut. Everything that was opened on this file system is closed.
    void restart(Kept kept);

    std::uint64_t syncs() const;
    std::uint64_t appends() const;
    bool          failure_injected() const;
    bool          failed_sync_was_repeated() const;

    rocksdb::IOStatus NewWritableFile(
        std::string const& path, rocksdb::FileOptions const& options, std::unique_ptr<rocksdb::FSWritableFile>* result,
        rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus NewRandomRWFile(
        std::string const& path, rocksdb::FileOptions const& options, std::unique_ptr<rocksdb::FSRandomRWFile>* result,
        rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus NewDirectory(
        std::string const& path, rocksdb::IOOptions const& options, std::unique_ptr<rocksdb::FSDirectory>* result,
        rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus RenameFile(
        std::string const& from, std::string const& to, rocksdb::IOOptions const& options,
        rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus
    DeleteFile(std::string const& path, rocksdb::IOOptions const& options, rocksdb::IODebugContext* debug) override;

private:
    struct Write {
        std::uint64_t offset;
        std::string   bytes;
    };
    struct FileState {
        std::string        durable;
        std::vector<Write> unsynced;
        std::uint64_t      size{0};
        bool               sync_failed{false};
    };
    struct NameChange {
        std::string                directory, path;
        std::optional<std::string> before;  // content of the file it replaced
    };
    using FilePtr = std::shared_ptr<FileState>;

    class WritableFile;
    class RandomRWFile;
    class Directory;

    rocksdb::IOStatus alive() const;
    rocksdb::IOStatus append(FileState& file, rocksdb::Slice& bytes);
    rocksdb::IOStatus sync(FileState& file);
    rocksdb::IOStatus sync_directory(std::string const& path);
    template <class Commit>
    rocksdb::IOStatus sync_point(Commit commit);

    Faults const                   faults_;
    mutable std::mutex             mutex_;
    std::map<std::string, FilePtr> files_;         // guarded by mutex_, as all that follows
    std::vector<NameChange>        name_changes_;  // un-synced, oldest first
    std::uint64_t                  syncs_{0}, appends_{0};
    bool                           power_{true}, failure_injected_{false}, sync_repeated_{false};
};

// The environment around it, in which RocksDB does not wait a second after each failed background job.
class FaultEnv final : public rocksdb::EnvWrapper {
public:
    explicit FaultEnv(std::shared_ptr<FaultFileSystem> const& files);

private:
    explicit FaultEnv(std::unique_ptr<rocksdb::Env> env);

    std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace sluice::test
