// Bytes from storage, as they are and with the hashes of a block set right so that its insides are reached. Nothing is
// read outside them, and what is accepted is written again the same.
#include "base/assert.hpp"
#include "base/hash.hpp"
#include "log/event_log.hpp"

#include <cstring>
#include <memory>
#include <string>

namespace {

using namespace sluice;
using namespace sluice::log;

// Nothing readable stands behind it.
class Exact {
public:
    explicit Exact(std::string_view bytes) : size_(bytes.size()), bytes_(new char[bytes.size()])
    {
        std::memcpy(bytes_.get(), bytes.data(), size_);
    }
    std::string_view view() const { return {bytes_.get(), size_}; }

private:
    std::size_t             size_;
    std::unique_ptr<char[]> bytes_;
};

bool same(LoggedRecord const& a, LoggedRecord const& b)
{
    auto const& x = a.header();
    auto const& y = b.header();
    return a.type() == b.type() && a.did() == b.did() && a.stored_id() == b.stored_id() && a.payload() == b.payload() &&
           a.tier() == b.tier() && x.rev == y.rev && x.schema_version == y.schema_version &&
           a.id(Sequence{7}) == b.id(Sequence{7});
}

void read_record(std::string_view bytes)
{
    Exact const exact(bytes);
    if (!LoggedRecord::check(exact.view())) return;
    LoggedRecord const record(exact.view().data());
    auto const         event = record.event(Sequence{1}, {});
    SLUICE_ASSERT(record.bytes().size() <= bytes.size() && event.fields.size() <= Fields::max);

    RecordDraft draft{.type = record.type(), .did = record.did(), .id = record.stored_id(),
                      .payload = record.payload(), .tier = record.tier(), .rev = Revision{record.header().rev},
                      .schema_version = record.header().schema_version, .slot_count = event.fields.size()};
    for (std::size_t i = 0; i < draft.slot_count; ++i) draft.integers[i] = event.fields.slot(i);
    std::string out;
    write_record(draft, out);
    SLUICE_ASSERT(LoggedRecord::check(out));
    LoggedRecord const written(out.data());
    SLUICE_ASSERT(same(record, written) && written.payload_intact());
    if (record.payload_intact()) SLUICE_ASSERT(record.content_hash() == written.content_hash());
    for (std::size_t i = 0; i < draft.slot_count; ++i)
        SLUICE_ASSERT(written.event(Sequence{1}, {}).fields.slot(i) == event.fields.slot(i));
}

// What nobody could write but the appender: magic, payload hashes and the chain, as far as there are records.
std::string with_hashes(std::string_view bytes)
{
    std::string out(bytes);
    BlockHeader header;
    if (out.size() < sizeof header) return out;
    std::memcpy(&header, out.data(), sizeof header);
    header.magic = block_magic;
    std::memcpy(out.data(), &header, sizeof header);
    auto chain = header.chain_seed();
    for (auto at = sizeof header; LoggedRecord::check(std::string_view(out).substr(at));) {
        auto* const  record = out.data() + at;
        RecordHeader head = LoggedRecord(record).header();
        head.payload_hash = hash128(LoggedRecord(record).payload());
        std::memcpy(record, &head, sizeof head);
        chain = LoggedRecord(record).chain_after(chain);
        set_chain(record, chain);
        at += head.size;
    }
    return out;
}

void read_block(std::string const& bytes)
{
    BlockHeader header;
    if (bytes.size() < sizeof header) return;
    std::memcpy(&header, bytes.data(), sizeof header);
    auto const block = StoredBlock::parse(bytes, Sequence{header.first});
    if (!block) {
        SLUICE_ASSERT(block.error().code == Errc::corrupt && block.error().reason == "damaged_block");
        return;
    }
    SLUICE_ASSERT(block->bytes() == bytes && block->size() == header.count && number(block->first()) == header.first);
    std::string again(bytes.substr(0, sizeof header));
    auto        chain = header.chain_seed();
    for (std::size_t i = 0; i < block->size(); ++i) {
        auto const record = block->record(i);
        SLUICE_ASSERT(record.payload_intact() && record.chain_after(chain) == record.header().chain);
        SLUICE_ASSERT(block->event(i).sequence == Sequence{header.first + i});
        chain = record.header().chain;
        again += record.bytes();
    }
    SLUICE_ASSERT(again == bytes && chain == block->chain_after());
    SLUICE_ASSERT(!StoredBlock::parse(bytes, Sequence{header.first + 1}));

    auto const at = hash64(bytes) % bytes.size();
    again[at] = static_cast<char>(again[at] ^ (1 << (hash64(bytes) >> 61)));
    SLUICE_ASSERT(!StoredBlock::parse(again, Sequence{header.first}));
}

void read_decision(std::string_view bytes)
{
    Exact const exact(bytes);
    if (auto const decision = decode_decision(Sequence{1}, exact.view()))
        SLUICE_ASSERT(encode_decision(*decision) == bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    std::string_view const bytes(reinterpret_cast<char const*>(data), size);
    read_record(bytes);
    read_decision(bytes);
    read_block(std::string(bytes));
    read_block(with_hashes(bytes));
    return 0;
}
