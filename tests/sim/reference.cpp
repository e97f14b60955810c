#include "sim/reference.hpp"

#include "base/hash.hpp"

#include <algorithm>

namespace sluice::sim {
namespace {

// Field numbers of what the simulator varies.
struct Varied {
    std::size_t cid, number, created_at;
};
Varied varied(Kind kind)
{
    switch (kind) {
    case Kind::relationship:
        return {relationship_field::cid, relationship_field::strength, relationship_field::created_at};
    case Kind::attestation:
        return {attestation_field::cid, attestation_field::confidence, attestation_field::created_at};
    default: return {entity_field::cid, entity_field::entity_type, entity_field::created_at};
    }
}

}  // namespace

void Reference::apply(SimEvent const& event, Sequence sequence, Sequence version)
{
    auto&       repository = repositories_[event.did];
    Entry const entry{
        .rev = event.rev, .sequence = sequence, .version = version == Sequence::none ? sequence : version,
        .event = nullptr, .created_at = {}};
    switch (event.fate) {
    case Fate::put:
    case Fate::remove: return write(repository, event, entry);
    case Fate::remove_repository: return remove_repository(repository, event, entry);
    default: return;
    }
}

// An event without a rev that comes late gives way to what was written since; one with a rev only to the removal of its
// repository since.
void Reference::write(Repository& repository, SimEvent const& event, Entry entry)
{
    auto const found = repository.records.find({event.kind, event.uri});
    auto const before = found == repository.records.end() ? nullptr : &found->second;
    auto       floor = repository.tombstone ? repository.tombstone->rev : Revision::none;
    auto       written = repository.tombstone ? repository.tombstone->version : Sequence::none;
    if (before) floor = std::max(floor, before->rev);
    if (before && event.rev == Revision::none) written = std::max(written, before->version);
    bool const is_old = event.rev != Revision::none && event.rev <= floor;
    if (is_old || written > entry.version) {
        ++stale_;
        return;
    }
    if (before) entry.rev = std::max(entry.rev, before->rev);
    if (event.fate == Fate::put) {
        entry.event = &event;
        entry.created_at = event.created_at;
        if (!entry.created_at && before && before->event) entry.created_at = before->created_at;
    }
    repository.records[{event.kind, event.uri}] = entry;
}

// One that comes late removes nothing if anything was written since.
void Reference::remove_repository(Repository& repository, SimEvent const& event, Entry tombstone)
{
    auto floor = repository.tombstone ? repository.tombstone->rev : Revision::none;
    auto written = repository.tombstone ? repository.tombstone->version : Sequence::none;
    for (auto const& [key, entry] : repository.records) written = std::max(written, entry.version);
    if ((event.rev != Revision::none && event.rev <= floor) || written > tombstone.version) {
        ++stale_;
        return;
    }
    if (event.rev != Revision::none)
        floor = event.rev;
    else
        for (auto const& [key, entry] : repository.records) floor = std::max(floor, entry.rev);
    std::erase_if(repository.records, [&](auto const& record) { return record.second.rev <= floor; });
    tombstone.rev = floor;
    repository.tombstone = tombstone;
}

std::string Reference::difference(graph::GraphStore const& graph) const
{
    graph::Counts counts;
    for (auto const& [did, repository] : repositories_) {
        counts.tombstones += repository.tombstone.has_value();
        for (auto const& [key, entry] : repository.records) {
            ++(entry.event ? counts.live[static_cast<std::size_t>(key.first)] : counts.tombstones);
            auto different = difference(key.first, key.second, entry, graph);
            if (!different.empty()) return key.second + ": " + different;
        }
    }
    auto const actual = graph.counts();
    if (actual.live != counts.live) return "the number of live records";
    if (actual.tombstones != counts.tombstones)
        return "tombstones: " + std::to_string(actual.tombstones) + " instead of " + std::to_string(counts.tombstones);
    return {};
}

std::string Reference::difference(
    Kind kind, std::string const& uri, Entry const& entry, graph::GraphStore const& graph) const
{
    auto const found = graph.find(kind, uri).value();
    if (found.has_value() != (entry.event != nullptr)) return found ? "exists" : "is missing";
    if (!found) return {};
    auto const& record = **found;
    auto const  field = varied(kind);
    if (record.rev != entry.rev) return "rev";
    if (record.sequence != entry.sequence)
        return "sequence " + std::to_string(number(record.sequence)) + " instead of " +
               std::to_string(number(entry.sequence));
    if ((record.version == Sequence::none ? record.sequence : record.version) != entry.version) return "version";
    if (record.did != entry.event->did || record.key != uri) return "identity";
    if (record.payload_hash != hash128(entry.event->payload)) return "payload hash";
    if (record.fields.text(field.cid) != entry.event->cid) return "cid";
    if (record.fields.integer(field.number) != entry.event->number) return "number";
    // Stated by nobody, it is the time of receipt, which this fold does not know.
    auto const created_at = record.fields.integer(field.created_at);
    if (!created_at || (entry.created_at && created_at != entry.created_at)) return "created_at";
    return {};
}

}  // namespace sluice::sim
