// What every store asks before it writes.
#pragma once

#include <sluice/processor.hpp>
#include <sluice/records.hpp>
#include <sluice/result.hpp>

#include "graph/graph_store.hpp"

#include <algorithm>

namespace sluice::graph {

// Effects a processor may not have are its error, `invalid`: a key outside the event's repository, fields that do not
// suit the kind.
Result<> check(Event const& event, Effects const& effects);

// What was already applied, and what is true: two guards that are never mixed. Filled with the record an event writes
// and the tombstone of its repository.
class Guard {
public:
    // `version` is that of the record: its sequence, unless its event came late.
    Guard& add(Kind kind, Sequence sequence, Sequence version, Revision rev) noexcept
    {
        sequence_ = std::max(sequence_, sequence);
        version_ = std::max(version_, version);
        rev_ = std::max(rev_, rev);
        if (kind == Kind::repository) removed_ = std::max(removed_, version);
        return *this;
    }

    // Nothing: the event is to be written.
    std::optional<Outcome> settles(Event const& event) const noexcept
    {
        if (event.sequence <= sequence_) return Outcome::applied;
        if (event.rev != Revision::none && event.rev <= rev_) return Outcome::stale;
        // One that comes late gives way to what was written since, unless its rev says that it is newer.
        return gives_way(event, event.rev != Revision::none ? removed_ : version_) ? std::optional(Outcome::stale)
                                                                                   : std::nullopt;
    }

    // Of the removal of a repository, with all its records added: a late one, whatever its rev. What was written since
    // cannot be told from what it meant to remove.
    bool gives_way(Event const& event) const noexcept { return gives_way(event, version_); }

    Revision rev() const noexcept { return rev_; }

private:
    static bool gives_way(Event const& event, Sequence written) noexcept
    {
        return event.version != Sequence::none && event.version < written;
    }

    Sequence sequence_{};
    Sequence version_{};  // whose place in the order the newest of them has
    Sequence removed_{};  // likewise, of what removed the whole repository
    Revision rev_{};
};

}  // namespace sluice::graph
