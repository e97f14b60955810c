// Generations, each call over a connection of its own.
#include "adapters/postgres/connection.hpp"
#include "adapters/postgres/postgres_graph.hpp"
#include "adapters/postgres/rows.hpp"
#include "adapters/postgres/schema.hpp"

#include <algorithm>

namespace sluice::adapters {
namespace {

using namespace postgres;

// One transaction.
template <class T, class F>
Result<T> once(PostgresOptions const& options, Clock const& clock, F const& work)
{
    auto const text = connection_string(options);
    if (!text) return text.error();
    Watchdog   watchdog(clock);
    Usage      usage;
    auto const connection = Connection::open({options, clock, watchdog, usage}, *text);
    if (!connection) return connection.error();
    Transaction transaction(**connection);
    if (auto const begun = transaction.begin(); !begun) return begun.error();
    Result<T> result = work(**connection);
    if (!result) return result;
    if (auto const committed = transaction.commit(); !committed) return committed.error();
    return result;
}

constexpr std::string_view states[] = {"building", "current", "retired"};

Error no_generation(std::uint32_t number)
{
    return {Errc::invalid, "no_generation", "there is no generation " + std::to_string(number)};
}

Result<Generation::State> state_of(Connection& connection, std::uint32_t number)
{
    auto const found =
        connection.run("generation", "select state from sluice.generation where number = " + std::to_string(number));
    if (!found) return found.error();
    if (found->empty()) return no_generation(number);
    return static_cast<Generation::State>(std::ranges::find(states, read_text((*found)[0][0])) - states);
}

Result<> scan(Connection& connection, std::string const& schema, Table const& table, RecordVisitor const& visit)
{
    auto const opened = connection.run(
        "scan", "declare scan no scroll cursor for select " + row_columns(table) + " from " + schema + '.' +
                    std::string(table.name) + " t where t.tenant = 0 order by t.uri");
    if (!opened) return opened.error();
    for (;;) {
        auto const rows = connection.run("scan", "fetch 1000 from scan");
        if (!rows) return rows.error();
        for (auto const& row : *rows) visit(*read_record(row, table), read_hash(row[row_column::digest]));
        if (rows->empty()) break;
    }
    if (auto const closed = connection.run("scan", "close scan"); !closed) return closed.error();
    return {};
}

Result<> scan_repositories(Connection& connection, std::string const& schema, RecordVisitor const& visit)
{
    auto const opened = connection.run(
        "scan", "declare scan no scroll cursor for select did, rev, sequence, version, true, digest from " + schema +
                    ".repository where tenant = 0 order by did");
    if (!opened) return opened.error();
    for (;;) {
        auto const rows = connection.run("scan", "fetch 1000 from scan");
        if (!rows) return rows.error();
        for (auto const& row : *rows) {
            auto const did = read_text(row[0]);
            visit(
                {.kind = Kind::repository,
                 .did = did,
                 .key = did,
                 .rev = Revision{static_cast<std::uint64_t>(read_number(row[1]))},
                 .sequence = Sequence{static_cast<std::uint64_t>(read_number(row[2]))},
                 .version = Sequence{static_cast<std::uint64_t>(read_number(row[3]))},
                 .removed = true,
                 .payload_hash = {},
                 .fields = {}},
                read_hash(row[5]));
        }
        if (rows->empty()) break;
    }
    if (auto const closed = connection.run("scan", "close scan"); !closed) return closed.error();
    return {};
}

}  // namespace

Result<std::vector<Generation>> list_generations(PostgresOptions const& options, Clock const& clock)
{
    using List = std::vector<Generation>;
    return once<List>(options, clock, [](Connection& connection) -> Result<List> {
        if (auto const locked = lock_generations(connection); !locked) return locked.error();
        auto const rows = connection.run(
            "list_generations",
            "select number, state, (extract(epoch from created_at) * 1000000)::bigint from sluice.generation "
            "order by number");
        if (!rows) return rows.error();
        List list;
        for (auto const& row : *rows)
            list.push_back(
                {.number = static_cast<std::uint32_t>(read_number(row[0])),
                 .state = static_cast<Generation::State>(std::ranges::find(states, read_text(row[1])) - states),
                 .created_at = WallTime(std::chrono::microseconds(read_number(row[2])))});
        return list;
    });
}

Result<std::uint32_t> create_generation(PostgresOptions const& options, Clock const& clock)
{
    return once<std::uint32_t>(options, clock, [](Connection& connection) -> Result<std::uint32_t> {
        if (auto const locked = lock_generations(connection); !locked) return locked.error();
        auto const last = connection.run("last_generation", "select coalesce(max(number), 0) from sluice.generation");
        if (!last) return last.error();
        auto const number = static_cast<std::uint32_t>(read_number((*last)[0][0])) + 1;
        if (auto const added = add_generation(connection, number, false); !added) return added.error();
        return number;
    });
}

Result<> activate_generation(PostgresOptions const& options, Clock const& clock, std::uint32_t number)
{
    return once<void>(options, clock, [number](Connection& connection) -> Result<> {
        if (auto const locked = lock_generations(connection); !locked) return locked.error();
        if (auto const state = state_of(connection, number); !state) return state.error();
        auto const done = connection.run(
            "activate_generation",
            "update sluice.generation set state = 'retired' where state = 'current'; "
            "update sluice.generation set state = 'current' where number = " +
                std::to_string(number));
        if (!done) return done.error();
        return {};
    });
}

Result<> drop_generation(PostgresOptions const& options, Clock const& clock, std::uint32_t number)
{
    return once<void>(options, clock, [number](Connection& connection) -> Result<> {
        if (auto const locked = lock_generations(connection); !locked) return locked.error();
        auto const state = state_of(connection, number);
        if (!state) return state.error();
        if (*state == Generation::State::current)
            return Error{Errc::invalid, "current_generation", "generation " + std::to_string(number) + " is in use"};
        auto const done = connection.run(
            "drop_generation", "drop schema " + schema_of(number) +
                                   " cascade; delete from sluice.generation where number = " + std::to_string(number));
        if (!done) return done.error();
        return {};
    });
}

namespace {

// As the options name it, else the current one.
Result<std::string> schema_to_read(Connection& connection, PostgresOptions const& options)
{
    if (options.generation) return schema_of(*options.generation);
    auto const current = current_generation(connection);
    if (!current) return current.error();
    if (!*current) return Error{Errc::invalid, "no_generation", "the database has no graph"};
    return schema_of(**current);
}

}  // namespace

Result<Sequence> reached_by_generation(PostgresOptions const& options, Clock const& clock)
{
    return once<Sequence>(options, clock, [&](Connection& connection) -> Result<Sequence> {
        auto const schema = schema_to_read(connection, options);
        if (!schema) return schema.error();
        auto const rows = connection.run("reached", "select through from " + *schema + ".projection");
        if (!rows) return rows.error();
        return rows->empty() ? Sequence::none : Sequence{static_cast<std::uint64_t>(read_number((*rows)[0][0]))};
    });
}

Result<> scan_generation(PostgresOptions const& options, Clock const& clock, RecordVisitor const& visit)
{
    return once<void>(options, clock, [&](Connection& connection) -> Result<> {
        auto const as_of_now =
            connection.run("scan", "set transaction isolation level repeatable read, read only");
        if (!as_of_now) return as_of_now.error();
        auto const found = schema_to_read(connection, options);
        if (!found) return found.error();
        auto const& schema = *found;
        if (auto const done = scan_repositories(connection, schema, visit); !done) return done;
        for (auto const& table : tables())
            if (auto const done = scan(connection, schema, table, visit); !done) return done;
        return {};
    });
}

}  // namespace sluice::adapters
