// A file that does nothing but take up room, to be given up when there is no other.
#pragma once

#include <sluice/result.hpp>

#include <cstdint>
#include <string>

namespace sluice::adapters {

// One thread at a time.
class ReserveFile {
public:
    // Changes nothing. 0 bytes: there is none, and what an earlier setting left is given up.
    ReserveFile(std::string path, std::uint64_t bytes);

    std::uint64_t bytes() const noexcept { return bytes_; }
    bool          is_whole() const noexcept { return is_whole_; }

    // Takes the room, of which there should be twice as much.
    Result<> make();
    void     give_up();

private:
    std::string const   path_;
    std::uint64_t const bytes_;
    bool                is_whole_{false};
};

}  // namespace sluice::adapters
