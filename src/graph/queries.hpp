// What is asked of the graph. Functions of the store's records and a time; private relationships do not exist here.
// Errors are the store's.
#pragma once

#include "graph/conviction.hpp"
#include "graph/graph_store.hpp"

namespace sluice::graph {

// An unknown relationship may have attestations already; then only its repository's owner is known as a participant.
Result<Conviction> conviction(
    GraphReader const& store, std::string_view uri, WallTime at,
    ConvictionFormula formula = ConvictionFormula::shrinkage);

struct Neighbor {
    std::string  did;
    std::string  uri;  // of the relationship
    std::size_t  type{0};  // position in relationship_types
    std::int64_t strength{0};  // as stated, 0-100
    double       effective_strength{0};

    friend bool operator==(Neighbor const&, Neighbor const&) = default;
};

// The `limit` strongest relationships of `did` whose effective strength is at least `min_strength`: one entry each,
// strongest first, then by uri.
Result<std::vector<Neighbor>> neighbors(
    GraphReader const& store, std::string_view did, double min_strength, std::size_t limit, WallTime at);

}  // namespace sluice::graph
