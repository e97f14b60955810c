#include "files/memory_directory.hpp"

namespace sluice::files {
namespace {

class MemoryReader final : public Reader {
public:
    explicit MemoryReader(std::string bytes) : bytes_(std::move(bytes)) {}

    std::uint64_t       size() const noexcept override { return bytes_.size(); }
    Result<std::string> read(std::uint64_t offset, std::size_t size) const override
    {
        return offset < bytes_.size() ? bytes_.substr(offset, size) : std::string();
    }

private:
    std::string const bytes_;
};

}  // namespace

class MemoryDirectory::File final : public Writer {
public:
    File(MemoryDirectory& directory, std::string name) : directory_(directory), name_(std::move(name)) {}

    Result<> append(std::string_view bytes) override
    {
        bytes_ += bytes;
        return {};
    }
    Result<> commit() override
    {
        std::lock_guard const lock(directory_.mutex_);
        directory_.files_[name_] = std::move(bytes_);
        return {};
    }

private:
    MemoryDirectory&  directory_;
    std::string const name_;
    std::string       bytes_;
};

Result<std::unique_ptr<Writer>> MemoryDirectory::create(std::string const& name)
{
    return std::unique_ptr<Writer>(std::make_unique<File>(*this, name));
}

Result<std::unique_ptr<Reader>> MemoryDirectory::open(std::string const& name) const
{
    std::lock_guard const lock(mutex_);
    auto const            it = files_.find(name);
    if (it == files_.end()) return Error{Errc::invalid, "no_file", name};
    return std::unique_ptr<Reader>(std::make_unique<MemoryReader>(it->second));
}

Result<std::vector<std::string>> MemoryDirectory::list() const
{
    std::lock_guard const    lock(mutex_);
    std::vector<std::string> names;
    for (auto const& [name, bytes] : files_) names.push_back(name);
    return names;
}

Result<> MemoryDirectory::remove(std::string const& name)
{
    std::lock_guard const lock(mutex_);
    files_.erase(name);
    return {};
}

}  // namespace sluice::files
