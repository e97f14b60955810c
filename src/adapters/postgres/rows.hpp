// Rows as Postgres gives them, and as it takes them.
#pragma once

#include "adapters/postgres/batch.hpp"
#include "adapters/postgres/ledger.hpp"
#include "adapters/postgres/params.hpp"

#include <pqxx/result>

namespace sluice::adapters::postgres {

std::int64_t     read_number(pqxx::field const& field);  // 0 for null
std::string_view read_text(pqxx::field const& field);    // valid as long as the result
bool             read_flag(pqxx::field const& field);
Revision         read_rev(pqxx::field const& field);
Sequence         read_sequence(pqxx::field const& field);
std::string      read_bytes(pqxx::field const& field);
Hash128          read_hash(pqxx::field const& field);

// As the guards statement gives it.
Batch::Key key_of_guard(pqxx::row const& row);
RowGuard   read_guard(pqxx::row const& row);

// As the statements that end in a table's columns give it.
RowGuard           read_row_guard(pqxx::row const& row, Table const& table);
graph::OwnedRecord read_record(pqxx::row const& row, Table const& table);

// As writer_columns() lists them; from the era on they are also the parameters of writing.
Ledger::Writer read_writer(pqxx::row const& row);
void           add_writer(Params& params, Ledger::Writer const& writer);

// An array for each column of the rows of one table that a batch wrote.
void add_written(Params& params, Table const& table, Batch::Rows const& rows);

}  // namespace sluice::adapters::postgres
