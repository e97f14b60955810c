// A directory of files that are written once, made durable, and then only read (port): checkpoints, runs of ids.
// What it holds can be lost: it is derived from the log.
#pragma once

#include <sluice/result.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::files {

// A file being written. One thread. Without commit() nothing of it stays.
class Writer {
public:
    virtual ~Writer() = default;
    virtual Result<> append(std::string_view bytes) = 0;
    // Whole and durable, and only now there under its name. Once; afterwards the writer is of no use.
    virtual Result<> commit() = 0;
};

// Any thread.
class Reader {
public:
    virtual ~Reader() = default;
    virtual std::uint64_t size() const noexcept = 0;
    // Up to `size` bytes from `offset`; fewer only at the end of the file.
    virtual Result<std::string> read(std::uint64_t offset, std::size_t size) const = 0;
};

// Any thread, but one at a time for each name. Errors: `full`, `unavailable`, and `invalid` (no_file) from open().
class Directory {
public:
    virtual ~Directory() = default;
    virtual Result<std::unique_ptr<Writer>>  create(std::string const& name) = 0;  // replaces, when committed
    virtual Result<std::unique_ptr<Reader>>  open(std::string const& name) const = 0;
    virtual Result<std::vector<std::string>> list() const = 0;  // sorted; committed files only
    virtual Result<>                         remove(std::string const& name) = 0;
};

}  // namespace sluice::files
