#include "adapters/rocksdb/env_directory.hpp"

#include "adapters/rocksdb/status.hpp"

#include <rocksdb/env.h>

#include <algorithm>
#include <mutex>
#include <sys/stat.h>

namespace sluice::adapters {
namespace {

constexpr std::string_view unfinished = ".new";
constexpr ::mode_t         directory_mode = 0700;
constexpr std::uint64_t    write_back = 1u << 20;  // in small pieces, so that nobody's sync waits for a large one

class EnvWriter final : public files::Writer {
public:
    EnvWriter(rocksdb::Env& env, std::string directory, std::string path, std::unique_ptr<rocksdb::WritableFile> file)
        : env_(env), directory_(std::move(directory)), path_(std::move(path)), file_(std::move(file))
    {
    }
    ~EnvWriter() override
    {
        if (!file_) return;
        file_.reset();
        env_.DeleteFile(path_ + std::string(unfinished)).PermitUncheckedError();
    }

    Result<> append(std::string_view bytes) override
    {
        if (auto const status = file_->Append({bytes.data(), bytes.size()}); !status.ok()) return io_failure(status);
        size_ += bytes.size();
        if (size_ - written_back_ < write_back) return {};
        auto const status = file_->RangeSync(written_back_, size_ - written_back_);
        written_back_ = size_;
        if (!status.ok()) return io_failure(status);
        return {};
    }

    Result<> commit() override
    {
        auto status = file_->Sync();
        if (status.ok()) status = file_->Close();
        if (status.ok()) status = env_.RenameFile(path_ + std::string(unfinished), path_);
        if (!status.ok()) return io_failure(status);
        file_.reset();
        std::unique_ptr<rocksdb::Directory> directory;
        status = env_.NewDirectory(directory_, &directory);
        if (status.ok()) status = directory->Fsync();
        if (!status.ok()) return io_failure(status);
        return {};
    }

private:
    rocksdb::Env&                          env_;
    std::string const                      directory_, path_;
    std::unique_ptr<rocksdb::WritableFile> file_;
    std::uint64_t                          size_{0}, written_back_{0};
};

class EnvReader final : public files::Reader {
public:
    EnvReader(std::unique_ptr<rocksdb::RandomAccessFile> file, std::uint64_t size) : file_(std::move(file)), size_(size)
    {
    }

    std::uint64_t       size() const noexcept override { return size_; }
    Result<std::string> read(std::uint64_t offset, std::size_t size) const override
    {
        std::string    bytes(offset < size_ ? std::min<std::uint64_t>(size, size_ - offset) : 0, '\0');
        rocksdb::Slice found;
        if (bytes.empty()) return bytes;  // RocksDB 7.8 takes reading nothing for an error
        if (auto const status = file_->Read(offset, bytes.size(), &found, bytes.data()); !status.ok())
            return io_failure(status);
        if (found.data() != bytes.data()) bytes.assign(found.data(), found.size());
        bytes.resize(found.size());
        return bytes;
    }

private:
    std::unique_ptr<rocksdb::RandomAccessFile> file_;
    std::uint64_t const                        size_;
};

class EnvDirectory final : public files::Directory {
public:
    EnvDirectory(std::string path, rocksdb::Env& env) : path_(std::move(path)), env_(env) {}

    Result<std::unique_ptr<files::Writer>> create(std::string const& name) override
    {
        if (auto const prepared = prepare(); !prepared) return prepared.error();
        auto const                             path = path_of(name);
        std::unique_ptr<rocksdb::WritableFile> file;
        if (auto const status = env_.NewWritableFile(path + std::string(unfinished), &file, {}); !status.ok())
            return io_failure(status);
        return std::unique_ptr<files::Writer>(std::make_unique<EnvWriter>(env_, path_, path, std::move(file)));
    }

    Result<std::unique_ptr<files::Reader>> open(std::string const& name) const override
    {
        auto const                                 path = path_of(name);
        std::unique_ptr<rocksdb::RandomAccessFile> file;
        std::uint64_t                              size = 0;
        auto                                       status = env_.NewRandomAccessFile(path, &file, {});
        if (status.ok()) status = env_.GetFileSize(path, &size);
        if (status.IsNotFound() || status.IsPathNotFound()) return Error{Errc::invalid, "no_file", path};
        if (!status.ok()) return io_failure(status);
        return std::unique_ptr<files::Reader>(std::make_unique<EnvReader>(std::move(file), size));
    }

    Result<std::vector<std::string>> list() const override
    {
        std::vector<std::string> names;
        auto const               status = env_.GetChildren(path_, &names);
        if (status.IsNotFound() || status.IsPathNotFound()) return std::vector<std::string>();
        if (!status.ok()) return io_failure(status);
        std::erase_if(names, [](auto const& name) { return name.starts_with('.') || name.ends_with(unfinished); });
        std::sort(names.begin(), names.end());
        return names;
    }

    Result<> remove(std::string const& name) override
    {
        auto const status = env_.DeleteFile(path_of(name));
        if (!status.ok() && !status.IsNotFound() && !status.IsPathNotFound()) return io_failure(status);
        return {};
    }

private:
    std::string path_of(std::string const& name) const { return path_ + "/" + name; }

    Result<> prepare()
    {
        std::lock_guard const lock(mutex_);
        if (is_prepared_) return {};
        ::mkdir(path_.c_str(), directory_mode);  // RocksDB's has another mode, and says why this one failed
        if (auto const status = env_.CreateDirIfMissing(path_); !status.ok()) return io_failure(status);
        std::vector<std::string> names;
        if (auto const status = env_.GetChildren(path_, &names); !status.ok()) return io_failure(status);
        for (auto const& name : names)
            if (name.ends_with(unfinished)) env_.DeleteFile(path_of(name)).PermitUncheckedError();
        is_prepared_ = true;
        return {};
    }

    std::string const path_;
    rocksdb::Env&     env_;
    std::mutex        mutex_;  // guards what is below
    bool              is_prepared_{false};
};

}  // namespace

std::unique_ptr<files::Directory> open_directory(std::string path, rocksdb::Env& env)
{
    return std::make_unique<EnvDirectory>(std::move(path), env);
}

std::unique_ptr<files::Directory> open_directory(std::string path)
{
    return open_directory(std::move(path), *rocksdb::Env::Default());
}

}  // namespace sluice::adapters
