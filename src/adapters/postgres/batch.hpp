// What events do to the rows of their records: decided here, read and written by others.
#pragma once

#include "adapters/postgres/tables.hpp"

#include "graph/graph_store.hpp"
#include "graph/stored_record.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sluice::adapters::postgres {

// The sums a store keeps, and what a batch adds to them.
struct Totals {
    Hash128       digest{};
    graph::Counts counts{};

    void enter(Kind kind, bool removed, Hash128 record);
    void leave(Kind kind, bool removed, Hash128 record);
    void add(Totals const& other);
};

// A row as it is stored, without what it says.
struct RowGuard {
    Revision                   rev{};
    Sequence                   sequence{};
    Sequence                   version{};
    bool                       removed{};
    Hash128                    digest{};
    std::array<std::string, 2> mentions{};  // empty: none
};

struct Row {
    bool                              is_loaded{false};
    bool                              wants_record{false};  // somebody looked at what it says
    std::optional<RowGuard>           before;  // none: there is no such row
    std::optional<graph::OwnedRecord> record;  // if wanted, and not removed
    graph::RecordRef                  after;   // what the batch makes of it; null: nothing
    Hash128                           digest{};  // of that
    std::string_view                  payload;  // of the event that did

    // Whether it has to be loaded, for what is asked of it.
    bool lacks() const { return !is_loaded || (wants_record && before && !before->removed && !record); }
};

// Events of several repositories, none twice. First fold() only says which rows it needs; once those are loaded it
// says what becomes of them. A pure function of events and rows.
class Batch {
public:
    // What became of one repository's events.
    struct Run {
        std::span<Event const>      events;
        std::vector<graph::Outcome> outcomes{};
        std::optional<Error>        error{};  // of the event after them: the processor's
        bool                        stops_at_removal{false};  // of the whole repository: by the event after them
    };
    // Of tombstones of repositories the key is the DID.
    using Key = std::pair<Kind, std::string>;
    using Rows = std::map<Key, Row>;

    explicit Batch(std::vector<std::span<Event const>> const& runs);

    // False: rows that are not loaded, or whose record is wanted and not there, have to be.
    bool fold(graph::Decide const& decide);

    std::vector<Run>& runs() noexcept { return runs_; }
    Rows&             rows() noexcept { return rows_; }

    bool   writes() const;
    Totals change() const;  // what it adds to the sums

private:
    class View;

    void                   fold(Run& run, graph::Decide const& decide);
    Result<graph::Outcome> execute(Event const& event, Effects const& effects);
    Row*                   need(Kind kind, std::string_view key, bool record);

    std::vector<Run> runs_;
    std::string      scratch_;
    Rows             rows_;
    bool             is_complete_{false};
};

}  // namespace sluice::adapters::postgres
