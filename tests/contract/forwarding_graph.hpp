// A graph store that passes everything on: what test doubles change a part of.
#pragma once

#include "graph/graph_store.hpp"

namespace sluice::test {

class ForwardingGraph : public graph::GraphStore {
public:
    explicit ForwardingGraph(graph::GraphStore& inner) : inner_(inner) {}

    graph::ApplyResult apply(std::span<Event const> events, graph::Decide const& decide) override
    {
        return inner_.apply(events, decide);
    }
    Result<std::optional<graph::OwnedRecord>> find(Kind kind, std::string_view uri) const override
    {
        return inner_.find(kind, uri);
    }
    Result<std::vector<graph::OwnedRecord>> relationships_of(std::string_view did) const override
    {
        return inner_.relationships_of(did);
    }
    Result<std::vector<graph::OwnedRecord>> attestations_of(std::string_view target) const override
    {
        return inner_.attestations_of(target);
    }
    graph::Stamp      stamp(std::string_view name) const override { return inner_.stamp(name); }
    Hash128           digest() const override { return inner_.digest(); }
    graph::Counts     counts() const override { return inner_.counts(); }
    graph::Snapshots* snapshots() noexcept override { return inner_.snapshots(); }
    graph::Positions* positions() noexcept override { return inner_.positions(); }
    std::size_t       repositories_at_once() const noexcept override { return inner_.repositories_at_once(); }

protected:
    graph::GraphStore& inner_;
};

}  // namespace sluice::test
