// HEAD: a witness of how far the log reached. RocksDB cannot tell a log that ends from one that lost its end.
//
// Two slots, a sector each, are written alternately, so a torn write leaves the one before.
#pragma once

#include <sluice/event.hpp>
#include <sluice/result.hpp>

#include <rocksdb/env.h>

#include <memory>
#include <string>

namespace sluice::adapters {

struct Head {
    Sequence      sequence{};
    std::uint64_t chain{0};     // of that record
    std::uint64_t decisions{0};  // how many the log held
    friend bool   operator==(Head const&, Head const&) = default;
};

// The appender's thread only.
class HeadFile {
public:
    static std::string initial_content();

    // corrupt: head_missing, or head_damaged when neither slot is readable.
    static Result<HeadFile> open(std::string const& path, rocksdb::Env& env, bool read_only);

    Head const& head() const noexcept { return head_; }

    // Survives the end of this process; sync() makes it survive a power cut.
    Result<> write(Head const& head);
    Result<> sync();

private:
    HeadFile() = default;

    Head                                   head_;
    std::uint64_t                          counter_{0};
    std::unique_ptr<rocksdb::RandomRWFile> file_;
};

}  // namespace sluice::adapters
