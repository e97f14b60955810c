#include "log/event_log.hpp"

#include "base/hash.hpp"

#include <limits>

namespace sluice::log {
namespace {

struct DecisionHeader {
    std::uint8_t  version;
    std::uint8_t  verdict;
    std::uint16_t reason_size;
    std::uint32_t attempts;
    std::int64_t  at;
    std::uint32_t detail_size;
    std::uint16_t did_size;
    std::uint8_t  type_size;
    Tier          tier;
    std::uint64_t successor;
    std::uint64_t version_of;
    std::uint64_t record;
    std::int64_t  received_at;
    std::uint32_t bytes;
    std::uint32_t reserved;
};
static_assert(sizeof(DecisionHeader) == 64);
constexpr std::uint8_t decision_version = 2;

// At most `max` bytes, without half a character at the end.
std::string_view cut(std::string_view text, std::size_t max)
{
    if (text.size() <= max) return text;
    auto const inside_character = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
    std::size_t end = max;
    while (end > 0 && inside_character(end)) --end;
    return text.substr(0, end);
}

Error damaged_block(Sequence first, std::string const& what)
{
    return {Errc::corrupt, "damaged_block", "block " + std::to_string(number(first)) + ": " + what};
}

}  // namespace

std::uint64_t BlockHeader::chain_seed() const noexcept
{
    return hash64({reinterpret_cast<char const*>(&received_at), sizeof received_at}, chain_before);
}

Result<StoredBlock> StoredBlock::parse(std::string bytes, Sequence first)
{
    BlockHeader header;
    if (bytes.size() < sizeof header) return damaged_block(first, "too short");
    if (bytes.size() > std::numeric_limits<std::uint32_t>::max()) return damaged_block(first, "too long");
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.magic != block_magic) return damaged_block(first, "not a block");
    if (first == Sequence::none || header.first != number(first))
        return damaged_block(first, "stored under another key");
    if (header.count == 0 || header.count > bytes.size() / sizeof(RecordHeader) ||
        header.first > std::numeric_limits<std::uint64_t>::max() - header.count)
        return damaged_block(first, "impossible count");

    StoredBlock block;
    block.offsets_.reserve(header.count);
    std::string_view const whole = bytes;
    std::uint64_t          chain = header.chain_seed();
    std::size_t            at = sizeof header;
    for (std::uint32_t i = 0; i < header.count; ++i) {
        auto const rest = whole.substr(at);
        if (!LoggedRecord::check(rest)) return damaged_block(first, "bounds of record " + std::to_string(i));
        LoggedRecord const record(rest.data());
        chain = record.chain_after(chain);
        if (chain != record.header().chain) return damaged_block(first, "chain of record " + std::to_string(i));
        if (!record.payload_intact()) return damaged_block(first, "payload of record " + std::to_string(i));
        block.offsets_.push_back(static_cast<std::uint32_t>(at));
        at += record.header().size;
    }
    if (at != whole.size()) return damaged_block(first, "bytes after the last record");

    block.bytes_ = std::move(bytes);
    block.first_ = first;
    block.received_at_ = WallTime(std::chrono::microseconds(header.received_at));
    block.chain_before_ = header.chain_before;
    block.chain_after_ = chain;
    return block;
}

Result<> Continuity::check(StoredBlock const& block)
{
    bool const starts_log = block.first() == Sequence{1};
    bool const unseen = next_ == Sequence::none;
    if (!unseen && block.first() != next_)
        return Error{
            Errc::corrupt, "gap",
            "expected sequence " + std::to_string(number(next_)) + ", found " + std::to_string(number(block.first()))};
    if (unseen ? starts_log && block.chain_before() != 0 : block.chain_before() != chain_)
        return Error{
            Errc::corrupt, "gap",
            "the block of sequence " + std::to_string(number(block.first())) + " does not continue the one before"};
    next_ = block.sequence(block.size());
    chain_ = block.chain_after();
    return {};
}

Result<std::vector<Decision>> EventLog::decisions() const
{
    std::vector<Decision> all;
    auto const            visited = visit_decisions(Sequence::none, [&](Decision const& decision) {
        all.push_back(decision);
        return true;
    });
    if (!visited) return visited.error();
    return all;
}

Result<std::optional<Verdict>> newest_verdict(EventLog const& log, Sequence sequence)
{
    std::optional<Verdict> newest;
    auto const             visited = log.visit_decisions(sequence, [&](Decision const& decision) {
        if (decision.sequence != sequence) return false;
        newest = decision.verdict;
        return true;
    });
    if (!visited) return visited.error();
    return newest;
}

std::string encode_decision(Decision const& decision)
{
    auto const           reason = cut(decision.reason, decision_reason_max);
    auto const           detail = cut(decision.detail, decision_detail_max);
    auto const&          subject = decision.subject;
    DecisionHeader const header{
        .version = decision_version,
        .verdict = static_cast<std::uint8_t>(decision.verdict),
        .reason_size = static_cast<std::uint16_t>(reason.size()),
        .attempts = decision.attempts,
        .at = decision.at.time_since_epoch().count(),
        .detail_size = static_cast<std::uint32_t>(detail.size()),
        .did_size = static_cast<std::uint16_t>(subject.did.size()),
        .type_size = static_cast<std::uint8_t>(subject.type.size()),
        .tier = subject.tier,
        .successor = number(decision.successor),
        .version_of = number(subject.version),
        .record = subject.record,
        .received_at = subject.received_at.time_since_epoch().count(),
        .bytes = subject.bytes,
        .reserved = 0,
    };
    std::string bytes(reinterpret_cast<char const*>(&header), sizeof header);
    return bytes.append(reason).append(detail).append(subject.type).append(subject.did);
}

Result<Decision> decode_decision(Sequence sequence, std::string_view bytes)
{
    auto const damaged = [&](char const* what) {
        return Error{
            Errc::corrupt, "damaged_decision",
            "decision of sequence " + std::to_string(number(sequence)) + ": " + what};
    };
    DecisionHeader header;
    if (bytes.size() < sizeof header) return damaged("too short");
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.version != decision_version || header.reserved != 0 || index(header.tier) >= tier_count)
        return damaged("unknown version");
    if (header.verdict < static_cast<std::uint8_t>(Verdict::dead_letter) ||
        header.verdict > static_cast<std::uint8_t>(Verdict::redriven))
        return damaged("unknown verdict");
    auto const texts_size =
        header.reason_size + std::size_t{header.detail_size} + header.type_size + header.did_size;
    if (header.reason_size > decision_reason_max || header.detail_size > decision_detail_max ||
        bytes.size() != sizeof header + texts_size)
        return damaged("impossible size");

    auto       texts = bytes.substr(sizeof header);
    auto const take = [&](std::size_t size) {
        std::string text(texts.substr(0, size));
        texts.remove_prefix(size);
        return text;
    };
    Decision decision{
        .sequence = sequence,
        .verdict = Verdict{header.verdict},
        .attempts = header.attempts,
        .at = WallTime(std::chrono::microseconds(header.at)),
        .reason = take(header.reason_size),
        .detail = take(header.detail_size),
        .successor = Sequence{header.successor},
        .subject = {},
    };
    decision.subject = {
        .type = take(header.type_size),
        .did = take(header.did_size),
        .tier = header.tier,
        .received_at = WallTime(std::chrono::microseconds(header.received_at)),
        .bytes = header.bytes,
        .record = header.record,
        .version = Sequence{header.version_of},
    };
    return decision;
}

}  // namespace sluice::log
