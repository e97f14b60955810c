#include "adapters/rocksdb/head_file.hpp"

#include "adapters/rocksdb/status.hpp"
#include "base/hash.hpp"

#include <optional>

namespace sluice::adapters {
namespace {

struct Slot {
    std::uint64_t magic;
    std::uint64_t counter;
    std::uint64_t sequence;
    std::uint64_t chain;
    std::uint64_t decisions;
    std::uint64_t reserved[2];
    std::uint64_t checksum;  // of what precedes
};
static_assert(sizeof(Slot) == 64);
constexpr std::uint64_t slot_magic = 0x3144414548434C53;  // "SLCHEAD1"
constexpr std::size_t   slot_distance = 4096;

std::string_view bytes_of(Slot const& slot) { return {reinterpret_cast<char const*>(&slot), sizeof slot}; }

std::uint64_t checksum_of(Slot const& slot) { return hash64(bytes_of(slot).substr(0, offsetof(Slot, checksum))); }

Slot slot_of(Head const& head, std::uint64_t counter)
{
    Slot slot{slot_magic, counter, number(head.sequence), head.chain, head.decisions, {}, 0};
    slot.checksum = checksum_of(slot);
    return slot;
}

std::optional<Slot> slot_at(std::string_view content, std::size_t offset)
{
    if (content.size() < offset + sizeof(Slot)) return std::nullopt;
    Slot slot;
    std::memcpy(&slot, content.data() + offset, sizeof slot);
    if (slot.magic != slot_magic || slot.checksum != checksum_of(slot)) return std::nullopt;
    return slot;
}

}  // namespace

std::string HeadFile::initial_content()
{
    std::string content(bytes_of(slot_of({}, 0)));
    content.resize(2 * slot_distance);
    return content;
}

Result<HeadFile> HeadFile::open(std::string const& path, rocksdb::Env& env, bool read_only)
{
    std::string content;
    auto const  status = rocksdb::ReadFileToString(&env, path, &content);
    if (status.IsNotFound() || status.IsPathNotFound())
        return Error{Errc::corrupt, "head_missing", path + " is missing"};
    if (!status.ok()) return io_failure(status);

    auto       newest = slot_at(content, 0);
    auto const other = slot_at(content, slot_distance);
    if (!newest || (other && other->counter > newest->counter)) newest = other;
    if (!newest) return Error{Errc::corrupt, "head_damaged", path + " is not readable"};

    HeadFile head;
    head.head_ = {Sequence{newest->sequence}, newest->chain, newest->decisions};
    head.counter_ = newest->counter;
    if (!read_only)
        if (auto const opened = env.NewRandomRWFile(path, &head.file_, rocksdb::EnvOptions()); !opened.ok())
            return io_failure(opened);
    return head;
}

Result<> HeadFile::write(Head const& head)
{
    auto const slot = slot_of(head, ++counter_);
    auto const bytes = bytes_of(slot);
    auto const status = file_->Write(counter_ % 2 * slot_distance, rocksdb::Slice(bytes.data(), bytes.size()));
    if (!status.ok()) return io_failure(status);
    head_ = head;
    return {};
}

Result<> HeadFile::sync()
{
    if (auto const status = file_->Sync(); !status.ok()) return io_failure(status);
    return {};
}

}  // namespace sluice::adapters
