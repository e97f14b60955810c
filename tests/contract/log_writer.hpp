// Made-up events, written through the port as the appender writes them.
#pragma once

#include "log/event_log.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace sluice::test {

// Everything that was handed to a log, whether or not it was stored.
struct History {
    std::vector<std::string>   records;  // of sequence 1 and on
    std::vector<log::Decision> decisions;

    // As a log lists its first `count`.
    std::vector<log::Decision> sorted_decisions(std::size_t count) const
    {
        std::vector<log::Decision> sorted(decisions.begin(), decisions.begin() + static_cast<std::ptrdiff_t>(count));
        std::stable_sort(
            sorted.begin(), sorted.end(), [](auto const& a, auto const& b) { return a.sequence < b.sequence; });
        return sorted;
    }
};

inline log::Decision decision_of(Sequence sequence, std::string detail)
{
    return {
        .sequence = sequence,
        .verdict = log::Verdict::parked,
        .attempts = 2,
        .at = WallTime(std::chrono::microseconds(77)),
        .reason = "test_reason",
        .detail = std::move(detail),
        .successor = Sequence{number(sequence) + 1},
        .subject = {
            .type = "test.type",
            .did = "did:plc:tests",
            .tier = Tier::high,
            .received_at = WallTime(std::chrono::microseconds(76)),
            .bytes = 100,
            .record = 0x123456789abcdef0,
            .version = sequence}};
}

class LogWriter {
public:
    // `log` holds exactly the history's records.
    LogWriter(log::EventLog& log, History& history, std::uint64_t seed = 1)
        : log_(log), history_(history), random_(seed)
    {
    }

    Result<> append(std::size_t events, std::vector<log::Decision> decisions = {})
    {
        log::Commit commit{
            .first = next(log_.last()),
            .count = static_cast<std::uint32_t>(events),
            .chain_after = log_.last_chain(),
            .received_at = log_.last_received_at(),
            .parts = {},
            .decisions = decisions};
        log::BlockHeader              header{};
        std::vector<std::string_view> parts;
        auto const                    before = history_.records.size();
        if (events > 0) {
            commit.received_at += std::chrono::milliseconds(7);
            header = {
                log::block_magic, commit.count, number(commit.first), commit.received_at.time_since_epoch().count(),
                commit.chain_after};
            commit.chain_after = header.chain_seed();
            for (std::size_t i = 0; i < events; ++i) history_.records.push_back(make_record(commit.chain_after));
            parts.emplace_back(reinterpret_cast<char const*>(&header), sizeof header);
            for (std::size_t i = before; i < history_.records.size(); ++i) parts.emplace_back(history_.records[i]);
        }
        commit.parts = parts;
        history_.decisions.insert(history_.decisions.end(), decisions.begin(), decisions.end());
        return log_.append(commit);
    }

private:
    std::string make_record(std::uint64_t& chain)
    {
        auto const  unique = std::to_string(random_());
        std::string payload = R"({"uri":"at://did:plc:)" + unique + R"(/c/1","text":")";
        for (auto length = random_() % 800; length > 0; --length) payload += static_cast<char>('a' + random_() % 26);
        payload += "\"}";
        log::RecordDraft draft;
        std::string      bytes;
        draft.type = "relationship.created";
        draft.did = "did:plc:author";
        draft.id = unique;
        draft.payload = payload;
        draft.tier = static_cast<Tier>(random_() % tier_count);
        draft.slot_count = 2;
        draft.integers[0] = random_();
        draft.texts[1] = std::string_view(payload).substr(8, 9);
        log::write_record(draft, bytes);
        chain = log::LoggedRecord(bytes.data()).chain_after(chain);
        log::set_chain(bytes.data(), chain);
        return bytes;
    }

    log::EventLog&  log_;
    History&        history_;
    std::mt19937_64 random_;
};

// The records of all blocks from the one that holds `from`.
inline Result<std::vector<std::string>> read_records(log::EventLog const& log, Sequence from = Sequence{1})
{
    std::vector<std::string> records;
    auto const               cursor = log.blocks(from);
    for (;;) {
        auto const block = cursor->next();
        if (!block) return block.error();
        if (!*block) return records;
        for (std::size_t i = 0; i < (*block)->size(); ++i) records.emplace_back((*block)->record(i).bytes());
    }
}

}  // namespace sluice::test
