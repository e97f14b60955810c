// What has to be in the database before a graph is: made and looked up inside the caller's transaction.
#pragma once

#include "adapters/postgres/connection.hpp"

namespace sluice::adapters::postgres {

// "sluice_g3"
std::string schema_of(std::uint32_t generation);

// Until the transaction ends nobody else makes or changes generations, or begins to write one. Makes their list if
// there is none.
Result<> lock_generations(Connection& connection);

// The current one; none if the database is new.
Result<std::optional<std::uint32_t>> current_generation(Connection& connection);
// Adds it to the list and makes its tables.
Result<> add_generation(Connection& connection, std::uint32_t number, bool is_current);
// Brings its tables up to this program. `invalid` no_generation, newer_schema.
Result<> migrate(Connection& connection, std::uint32_t number);

}  // namespace sluice::adapters::postgres
