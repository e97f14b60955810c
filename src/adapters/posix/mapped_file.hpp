// A file that is written by storing into memory, and survives the process that does.
#pragma once

#include <sluice/result.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace sluice::adapters {

// What is stored is there for the next process as soon as it is stored, however this one ends; when the machine ends
// it may be lost, all or in part.
class MappedFile {
public:
    // Of this size, all of it on the disk, so that no store finds the disk full; new bytes are zero. Created with mode
    // 0600. unavailable: cannot be made.
    static Result<std::unique_ptr<MappedFile>> open(std::string const& path, std::size_t size);

    ~MappedFile();
    MappedFile(MappedFile const&) = delete;
    MappedFile& operator=(MappedFile const&) = delete;

    std::span<std::byte> bytes() const noexcept { return bytes_; }

private:
    explicit MappedFile(std::span<std::byte> bytes) : bytes_(bytes) {}

    std::span<std::byte> const bytes_;
};

}  // namespace sluice::adapters
