// The graph in PostgreSQL, and its generations: graphs of the same database beside each other, one of them current.
//
//   schema sluice      generation   which there are, and which is current
//   schema sluice_g<n> the tables of generation n, made by the migrations of schemas/graph/
#pragma once

#include "graph/graph_store.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sluice::adapters {

struct PostgresOptions {
    std::string url;  // as libpq takes it; what it says about time-outs and keepalives wins over the options below

    std::optional<std::uint32_t> generation{};  // none: the current one
    std::uint32_t                writers{10};  // threads that apply at once; others wait for one to be done

    std::uint32_t             pool_size{20};      // connections that are kept
    std::uint32_t             pool_overflow{10};  // more for a while; `writers` of all are for appliers only
    std::chrono::seconds      pool_timeout{30};   // to wait for a free one
    std::chrono::seconds      pool_recycle{3600};  // an older one is replaced
    std::chrono::seconds      connect_timeout{5};
    std::chrono::milliseconds statement_timeout{5'000};  // a second later the connection is cut
    std::chrono::milliseconds lock_timeout{2'000};
    std::chrono::milliseconds idle_in_transaction_timeout{10'000};
    std::chrono::milliseconds tcp_user_timeout{10'000};

    std::chrono::milliseconds slow_query{100};
    // Of a statement that took that long or longer: its name, never its data. Any thread; must not block.
    std::function<void(std::string_view statement, std::chrono::nanoseconds took)> on_slow_query{};
};

// Connects when it is first needed. `clock` outlives the store. Errors of its calls:
//   unavailable  postgres_unreachable, postgres_lost, postgres_read_only, postgres_error, pool_exhausted, not_begun
//   conflict     postgres_conflict     a deadlock; nothing was done
//   invalid      postgres_refused      of one event: Postgres cannot store it, such as a key longer than 2,600 bytes
//   invalid      bad_url, newer_schema, no_generation
//   corrupt      fenced                another process has begun
//   corrupt      store_changed         the server has forgotten transactions it had committed
std::unique_ptr<graph::GraphStore> open_postgres_graph(PostgresOptions options, Clock const& clock);

struct Generation {
    enum class State : std::uint8_t { building, current, retired };

    std::uint32_t number{0};
    State         state{};
    WallTime      created_at{};
};

// Each connects for itself and is one transaction.
Result<std::vector<Generation>> list_generations(PostgresOptions const& options, Clock const& clock);  // by number
Result<std::uint32_t>           create_generation(PostgresOptions const& options, Clock const& clock);
// The one that was current is retired and stays as it is. Stores that are open go on with the one they began with.
Result<> activate_generation(PostgresOptions const& options, Clock const& clock, std::uint32_t number);
// `invalid` current_generation: it is in use.
Result<> drop_generation(PostgresOptions const& options, Clock const& clock, std::uint32_t number);

// Everything in the log up to there was applied to the generation, as it said last.
Result<Sequence> reached_by_generation(PostgresOptions const& options, Clock const& clock);

// Every record of a generation, tombstones included, in the order of kinds and keys, as at one moment; `digest` is
// what was stored with it.
using RecordVisitor = std::function<void(Record const& record, Hash128 digest)>;
Result<> scan_generation(PostgresOptions const& options, Clock const& clock, RecordVisitor const& visit);

}  // namespace sluice::adapters
