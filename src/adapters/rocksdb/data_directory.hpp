// The directory a log lives in: its lock, its format, its free space.
#pragma once

#include "adapters/rocksdb/disk_space.hpp"

#include <sluice/result.hpp>

#include <rocksdb/env.h>

#include <memory>
#include <string>

namespace sluice::adapters {

class DataDirectory {
public:
    // Creates and locks it unless `read_only`. The lock ends with the object.
    static Result<std::unique_ptr<DataDirectory>> open(std::string path, rocksdb::Env& env, bool read_only);

    ~DataDirectory();
    DataDirectory(DataDirectory const&) = delete;
    DataDirectory& operator=(DataDirectory const&) = delete;

    std::string           log_path() const { return path_ + "/log"; }
    std::string           head_path() const { return path_ + "/HEAD"; }
    std::string           reserve_path() const { return path_ + "/reserve"; }
    Result<>              make_log_directory() const;
    Result<DiskSpace::Room> room() const;

private:
    DataDirectory(std::string path, rocksdb::Env& env, int fd) : path_(std::move(path)), env_(env), fd_(fd) {}

    std::string format_path() const { return path_ + "/FORMAT"; }
    Result<>    check_format(bool read_only) const;
    Result<>    initialise() const;
    Result<>    write_file(std::string const& path, std::string const& content) const;
    Result<>    sync() const;

    std::string const path_;
    rocksdb::Env&     env_;
    int const         fd_;
};

}  // namespace sluice::adapters
