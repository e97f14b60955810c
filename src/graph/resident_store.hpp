// The default graph store: everything in memory, rebuilt from the log or a checkpoint.
//
// Names (DIDs, and URIs that are targets of attestations) are spread over shards by hash, each under its own lock. A
// name holds its repository's records and a list of the records that mention it. Records are immutable and counted, so
// readers copy references under the shared lock and look at the records without it. A writer locks the shards of the
// names its record touches, in their order, and none while deciding.
#pragma once

#include "graph/compare.hpp"
#include "graph/graph_store.hpp"
#include "graph/stored_record.hpp"

namespace sluice::graph {

struct Name;

class ResidentStore final : public GraphStore, public Snapshots {
public:
    ResidentStore();
    ~ResidentStore() override;

    // Effects a processor may not have (a key outside the repository, fields that do not suit the kind) are its error,
    // `invalid`. The store itself has none.
    ApplyResult apply(std::span<Event const> events, Decide const& decide) override;

    Result<std::optional<OwnedRecord>> find(Kind kind, std::string_view uri) const override;
    Result<std::vector<OwnedRecord>>   relationships_of(std::string_view did) const override;
    Result<std::vector<OwnedRecord>>   attestations_of(std::string_view target) const override;

    Stamp   stamp(std::string_view name) const override;
    Hash128 digest() const override;
    Counts  counts() const override;

    Snapshots* snapshots() noexcept override { return this; }
    bool       capture(Capture& capture, std::string& bytes) override;
    Result<>   restore(
          std::string_view bytes, std::uint32_t number, std::function<void(Restored const&)> const& restored) override;
    void clear() override;

    // Every record once, tombstones included, in no order. Holds each shard's lock for as long as that takes.
    void visit(RecordVisitor const& visitor) const;
    // The same value as digest(), computed from every record.
    Hash128 digest_by_scan() const;

private:
    struct Shard;
    class Places;
    class View;

    Shard&                   shard_of(Name const& name) const noexcept;
    Result<Outcome>          execute(Name const& repository, Event const& event, Effects const& effects);
    Outcome                  write(Name const& repository, Event const& event, Effects const& effects);
    Outcome                  remove_repository(Name const& repository, Event const& event);
    void                     forget(StoredRecord const& before, StoredRecord const& after);
    void                     forget_all(std::vector<RecordRef> const& records, Sequence by);
    void                     restore_record(Name const& repository, RecordRef record, std::uint32_t number);
    std::vector<OwnedRecord> mentions(Kind kind, std::string_view name) const;

    std::unique_ptr<Shard[]> shards_;
};

std::unique_ptr<GraphStore> make_resident_store();

}  // namespace sluice::graph
