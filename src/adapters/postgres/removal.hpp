// The end of an account: everything its repository held goes, and a tombstone stays.
#pragma once

#include "adapters/postgres/batch.hpp"
#include "adapters/postgres/connection.hpp"

#include "graph/guard.hpp"

#include <set>

namespace sluice::adapters::postgres {

// Inside a transaction of the connection. Takes a page of records at a time, so that neither memory nor the time of a
// statement depends on how many there are.
class Removal {
public:
    Removal(Connection& connection, Statements const& sql) : connection_(connection), sql_(sql) {}

    // Nothing: the repository is removed once the transaction is.
    Result<std::optional<graph::Outcome>> apply(Event const& event);

    Totals const& change() const noexcept { return change_; }  // what it adds to the sums
    // Stamps::place() of the names it changes.
    std::set<std::size_t> const& places() const noexcept { return places_; }

private:
    class Pages;

    Result<> guard_by_tombstone(Event const& event, graph::Guard& guard);
    Result<> guard_by_records(std::string_view did, graph::Guard& guard);
    Result<> remove_records(std::string_view did, Revision floor);
    Result<> put_tombstone(Event const& event, Revision rev);

    Connection&           connection_;
    Statements const&     sql_;
    Totals                change_;
    std::set<std::size_t> places_;
};

}  // namespace sluice::adapters::postgres
