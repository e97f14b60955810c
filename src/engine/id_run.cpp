#include "engine/id_run.hpp"

#include "base/hash.hpp"

#include <charconv>

namespace sluice::engine {
namespace {

struct DataBlock {
    std::uint64_t hashes[id_block_ids];
    std::uint32_t places[id_block_ids];
    std::uint32_t count;
    std::uint32_t reserved;
    std::uint64_t checksum;  // of all before it
};
static_assert(sizeof(DataBlock) == id_block_bytes);

struct Footer {
    std::uint64_t magic;
    std::uint64_t first, last, chain;
    std::uint64_t ids;
    std::uint64_t filter_bytes, blocks;
    std::uint64_t filter_checksum, fences_checksum;
    std::uint64_t checksum;  // of all before it
};
constexpr std::uint64_t footer_magic = 0x31534449'43554C53;  // "SLUCIDS1"
constexpr std::size_t   write_bytes = 256u << 10;
constexpr std::size_t   digits = 20;  // of a sequence in a name

template <class T>
std::string_view bytes_of(T const& value)
{
    return {reinterpret_cast<char const*>(&value), sizeof value};
}

template <class T>
std::uint64_t checksum(T const& value, std::uint64_t seed)
{
    static_assert(sizeof(T) == offsetof(T, checksum) + sizeof(value.checksum));
    return hash64(bytes_of(value).substr(0, offsetof(T, checksum)), seed);
}

// So that a block in another place, or of another run, is not taken for this one.
std::uint64_t block_seed(IdRange const& range, std::uint64_t block)
{
    return range.chain ^ number(range.first) * 0x9E3779B97F4A7C15 ^ block;
}

std::string_view bytes_of(std::vector<std::uint64_t> const& values)
{
    return {reinterpret_cast<char const*>(values.data()), values.size() * sizeof(std::uint64_t)};
}

std::string padded(Sequence sequence)
{
    auto const text = std::to_string(number(sequence));
    return std::string(digits - text.size(), '0') + text;
}

std::optional<Sequence> parse_sequence(std::string_view text)
{
    std::uint64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value == 0) return std::nullopt;
    return Sequence{value};
}

}  // namespace

std::string run_name(IdRange const& range) { return padded(range.first) + '-' + padded(range.last) + ".ids"; }

std::optional<IdRange> parse_run_name(std::string_view name)
{
    if (name.size() != 2 * digits + 5 || name[digits] != '-' || !name.ends_with(".ids")) return std::nullopt;
    auto const first = parse_sequence(name.substr(0, digits)), last = parse_sequence(name.substr(digits + 1, digits));
    if (!first || !last || *last < *first) return std::nullopt;
    return IdRange{*first, *last, 0};
}

// ---- reading

Error IdRun::damaged(std::string const& what) const { return {Errc::corrupt, "damaged_ids", name_ + ": " + what}; }

Result<std::shared_ptr<IdRun const>> IdRun::open(files::Directory const& directory, std::string const& name)
{
    std::shared_ptr<IdRun> run(new IdRun);
    run->name_ = name;
    auto file = directory.open(name);
    if (!file) return file.error();
    run->file_ = std::move(*file);

    Footer     footer;
    auto const size = run->file_->size();
    if (size < sizeof footer) return run->damaged("too short");
    auto const end = run->file_->read(size - sizeof footer, sizeof footer);
    if (!end) return end.error();
    if (end->size() != sizeof footer) return run->damaged("too short");
    std::memcpy(&footer, end->data(), sizeof footer);
    if (footer.magic != footer_magic || footer.checksum != checksum(footer, 0)) return run->damaged("footer");
    run->range_ = {Sequence{footer.first}, Sequence{footer.last}, footer.chain};
    run->ids_ = footer.ids;
    if (run_name(run->range_) != name) return run->damaged("written under another name");
    auto const fences_bytes = footer.blocks * sizeof(std::uint64_t);
    if (footer.blocks != (footer.ids + id_block_ids - 1) / id_block_ids ||
        footer.filter_bytes != IdFilter::bytes_for(footer.ids) ||
        size != footer.blocks * id_block_bytes + footer.filter_bytes + fences_bytes + sizeof footer)
        return run->damaged("size");

    auto filter = run->file_->read(footer.blocks * id_block_bytes, footer.filter_bytes);
    if (!filter) return filter.error();
    if (filter->size() != footer.filter_bytes || hash64(*filter) != footer.filter_checksum)
        return run->damaged("filter");
    run->filter_ = IdFilter(std::move(*filter));
    auto const fences = run->file_->read(footer.blocks * id_block_bytes + footer.filter_bytes, fences_bytes);
    if (!fences) return fences.error();
    if (fences->size() != fences_bytes || hash64(*fences) != footer.fences_checksum) return run->damaged("fences");
    run->fences_.resize(footer.blocks);
    if (!fences->empty()) std::memcpy(run->fences_.data(), fences->data(), fences->size());
    return std::shared_ptr<IdRun const>(std::move(run));
}

Result<std::vector<IdEntry>> IdRun::read(std::uint64_t first_block, std::size_t count) const
{
    std::vector<IdEntry> entries;
    if (first_block >= blocks()) return entries;
    count = std::min<std::uint64_t>(count, blocks() - first_block);
    auto const bytes = file_->read(first_block * id_block_bytes, count * id_block_bytes);
    if (!bytes) return bytes.error();
    if (bytes->size() != count * id_block_bytes) return damaged("shorter than it was");
    entries.reserve(count * id_block_ids);
    for (std::size_t i = 0; i < count; ++i) {
        DataBlock block;
        std::memcpy(&block, bytes->data() + i * id_block_bytes, sizeof block);
        auto const at = first_block + i;
        if (block.checksum != checksum(block, block_seed(range_, at)) || block.count > id_block_ids)
            return damaged("block " + std::to_string(at));
        for (std::uint32_t j = 0; j < block.count; ++j) entries.push_back({block.hashes[j], block.places[j]});
    }
    return entries;
}

Result<std::vector<IdEntry>> IdRun::find(std::uint64_t hash) const
{
    std::vector<IdEntry> found;
    // The last block that begins below the hash may end with it; those that begin with it follow.
    auto const above = std::lower_bound(fences_.begin(), fences_.end(), hash);
    auto       at = static_cast<std::uint64_t>(above - fences_.begin());
    if (at > 0) --at;
    for (; at < fences_.size() && fences_[at] <= hash; ++at) {
        auto const entries = read(at, 1);
        if (!entries) return entries.error();
        auto it = std::lower_bound(entries->begin(), entries->end(), IdEntry{hash, 0});
        for (; it != entries->end() && it->hash == hash; ++it) found.push_back(*it);
        if (it != entries->end()) break;
    }
    return found;
}

// ---- writing

IdRunWriter::IdRunWriter(std::unique_ptr<files::Writer> file, IdRange const& range, std::uint64_t ids)
    : file_(std::move(file)), range_(range), ids_(ids), filter_(std::string(IdFilter::bytes_for(ids), '\0'))
{
    fences_.reserve(ids / id_block_ids + 1);
    block_.reserve(id_block_ids);
}

Result<std::unique_ptr<IdRunWriter>> IdRunWriter::create(
    files::Directory& directory, IdRange const& range, std::uint64_t ids)
{
    auto file = directory.create(run_name(range));
    if (!file) return file.error();
    return std::unique_ptr<IdRunWriter>(new IdRunWriter(std::move(*file), range, ids));
}

Result<> IdRunWriter::add(IdEntry entry)
{
    filter_.add(entry.hash);
    block_.push_back(entry);
    if (block_.size() < id_block_ids) return {};
    seal_block();
    return flush(write_bytes);
}

void IdRunWriter::seal_block()
{
    DataBlock block{};
    block.count = static_cast<std::uint32_t>(block_.size());
    for (std::size_t i = 0; i < block_.size(); ++i) {
        block.hashes[i] = block_[i].hash;
        block.places[i] = block_[i].place;
    }
    block.checksum = checksum(block, block_seed(range_, fences_.size()));
    fences_.push_back(block_.front().hash);
    buffer_ += bytes_of(block);
    block_.clear();
}

// Writes what waits, once it is at least `from` bytes.
Result<> IdRunWriter::flush(std::size_t from)
{
    if (buffer_.size() < from) return {};
    auto const written = file_->append(buffer_);
    buffer_.clear();
    return written;
}

Result<> IdRunWriter::commit()
{
    if (!block_.empty()) seal_block();
    Footer footer{
        .magic = footer_magic, .first = number(range_.first), .last = number(range_.last), .chain = range_.chain,
        .ids = ids_, .filter_bytes = filter_.bytes().size(), .blocks = fences_.size(),
        .filter_checksum = hash64(filter_.bytes()), .fences_checksum = hash64(bytes_of(fences_)), .checksum = 0};
    footer.checksum = checksum(footer, 0);
    if (auto const done = flush(0); !done) return done.error();
    for (std::string_view rest = filter_.bytes(); !rest.empty(); rest.remove_prefix(std::min(rest.size(), write_bytes)))
        if (auto const done = file_->append(rest.substr(0, write_bytes)); !done) return done.error();
    buffer_.append(bytes_of(fences_)).append(bytes_of(footer));
    if (auto const done = flush(0); !done) return done.error();
    return file_->commit();
}

}  // namespace sluice::engine
