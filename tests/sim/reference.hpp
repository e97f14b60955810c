// The graph as the design describes it, in the plainest way: what every store must come to.
#pragma once

#include "graph/graph_store.hpp"
#include "sim/events.hpp"

#include <map>
#include <string>

namespace sluice::sim {

class Reference {
public:
    // `version`: whose place in the order an event that comes late keeps; else none.
    void apply(SimEvent const& event, Sequence sequence, Sequence version);

    std::uint64_t stale() const noexcept { return stale_; }

    // What `graph` has different; empty: nothing.
    std::string difference(graph::GraphStore const& graph) const;

private:
    struct Entry {
        Revision                    rev{};
        Sequence                    sequence{};
        Sequence                    version{};  // whose place in the order it has
        SimEvent const*             event{nullptr};  // null: a tombstone
        std::optional<std::int64_t> created_at;
    };
    struct Repository {
        std::optional<Entry>                             tombstone;
        std::map<std::pair<Kind, std::string>, Entry> records;
    };

    void        write(Repository& repository, SimEvent const& event, Entry entry);
    void        remove_repository(Repository& repository, SimEvent const& event, Entry tombstone);
    std::string difference(Kind kind, std::string const& uri, Entry const& entry, graph::GraphStore const& graph) const;

    std::map<std::string, Repository> repositories_;
    std::uint64_t                     stale_{0};
};

}  // namespace sluice::sim
