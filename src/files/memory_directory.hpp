// Files in memory, for tests and the simulator. What was committed outlives the writer, as on a disk.
#pragma once

#include "files/directory.hpp"

#include <map>
#include <mutex>

namespace sluice::files {

class MemoryDirectory final : public Directory {
public:
    Result<std::unique_ptr<Writer>>  create(std::string const& name) override;
    Result<std::unique_ptr<Reader>>  open(std::string const& name) const override;
    Result<std::vector<std::string>> list() const override;
    Result<>                         remove(std::string const& name) override;

    // The bytes of a committed file, to look at or to damage.
    std::string& content(std::string const& name) { return files_.at(name); }

private:
    class File;

    mutable std::mutex                 mutex_;  // guards all below
    std::map<std::string, std::string> files_;
};

}  // namespace sluice::files
