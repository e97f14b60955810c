// An immutable file of the ids of a range of sequences, sorted by hash.
//
//   blocks of 4 KiB | filter | first hash of each block | footer          little-endian
//
// A block holds up to 340 ids and its checksum; the footer holds the checksums of the rest, and with the chain value
// of the last record what log the run belongs to. The name is the range. Filter and first hashes stay in memory: a
// lookup that passes the filter reads one block, rarely two.
#pragma once

#include "engine/id_filter.hpp"
#include "engine/id_generation.hpp"
#include "files/directory.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sluice::engine {

inline constexpr std::size_t id_block_bytes = 4096;
inline constexpr std::size_t id_block_ids = 340;

std::string run_name(IdRange const& range);
// The range without its chain value; nullopt: not the name of a run.
std::optional<IdRange> parse_run_name(std::string_view name);

// Any thread.
class IdRun {
public:
    // Reads and checks everything but the blocks. `corrupt` (damaged_ids): not what was written under this name.
    static Result<std::shared_ptr<IdRun const>> open(files::Directory const& directory, std::string const& name);

    IdRange const&     range() const noexcept { return range_; }
    std::string const& name() const noexcept { return name_; }
    std::uint64_t      ids() const noexcept { return ids_; }
    std::uint64_t      file_bytes() const noexcept { return file_->size(); }
    std::uint64_t      memory_bytes() const noexcept { return filter_.bytes().size() + fences_.size() * 8; }
    std::uint64_t      blocks() const noexcept { return fences_.size(); }

    bool may_have(std::uint64_t hash) const noexcept { return filter_.may_have(hash); }
    void prefetch(std::uint64_t hash) const noexcept { filter_.prefetch(hash); }

    // Reads. The entries with this hash, mostly none or one; `corrupt` (damaged_ids) if a block is not what was
    // written.
    Result<std::vector<IdEntry>> find(std::uint64_t hash) const;

    // All entries of these blocks, checked; fewer blocks only at the end.
    Result<std::vector<IdEntry>> read(std::uint64_t first_block, std::size_t count) const;

private:
    IdRun() = default;
    Error damaged(std::string const& what) const;

    std::string                    name_;
    std::unique_ptr<files::Reader> file_;
    IdRange                        range_;
    std::uint64_t                  ids_{0};
    IdFilter                       filter_;
    std::vector<std::uint64_t>     fences_;  // the first hash of each block; sorted
};

// Writes a run. One thread.
class IdRunWriter {
public:
    static Result<std::unique_ptr<IdRunWriter>> create(
        files::Directory& directory, IdRange const& range, std::uint64_t ids);

    // In the order of the hashes, as many as announced.
    Result<> add(IdEntry entry);
    // Durable, and there under run_name().
    Result<> commit();

private:
    IdRunWriter(std::unique_ptr<files::Writer> file, IdRange const& range, std::uint64_t ids);
    void     seal_block();
    Result<> flush(std::size_t from);

    std::unique_ptr<files::Writer> file_;
    IdRange const                  range_;
    std::uint64_t const            ids_;
    IdFilter                       filter_;
    std::vector<std::uint64_t>     fences_;
    std::vector<IdEntry>           block_;   // being filled
    std::string                    buffer_;  // to be written
};

}  // namespace sluice::engine
