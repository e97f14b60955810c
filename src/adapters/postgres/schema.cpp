#include "adapters/postgres/schema.hpp"

#include "adapters/postgres/migrations.hpp"
#include "adapters/postgres/rows.hpp"

namespace sluice::adapters::postgres {
namespace {

constexpr auto lock_sql = "select pg_advisory_xact_lock(1936486761, 1)";  // "slui"

constexpr auto generations_sql = R"(
create schema if not exists sluice;
create table if not exists sluice.generation (
    number     integer primary key,
    state      text not null check (state in ('building', 'current', 'retired')),
    created_at timestamptz not null default now()
);
create unique index if not exists generation_current on sluice.generation (state) where state = 'current';
)";

constexpr auto migrations_sql = R"(
create table migration (
    number     integer primary key,
    name       text not null,
    applied_at timestamptz not null default now()
);
)";

}  // namespace

std::string schema_of(std::uint32_t generation) { return "sluice_g" + std::to_string(generation); }

Result<> lock_generations(Connection& connection)
{
    if (auto const locked = connection.run("lock_generations", lock_sql); !locked) return locked.error();
    auto const found = connection.run("has_generations", "select to_regclass('sluice.generation') is not null");
    if (!found) return found.error();
    if (read_text((*found)[0][0]) == "t") return {};
    auto const made = connection.run("make_generations", generations_sql);
    if (!made) return made.error();
    return {};
}

Result<std::optional<std::uint32_t>> current_generation(Connection& connection)
{
    auto const found =
        connection.run("current_generation", "select number from sluice.generation where state = 'current'");
    if (!found) return found.error();
    if (found->empty()) return std::optional<std::uint32_t>();
    return std::optional(static_cast<std::uint32_t>(read_number((*found)[0][0])));
}

Result<> add_generation(Connection& connection, std::uint32_t number, bool is_current)
{
    auto const made = connection.run(
        "add_generation", "create schema " + schema_of(number) + "; set local search_path to " + schema_of(number) +
                              ';' + migrations_sql + "insert into sluice.generation (number, state) values (" +
                              std::to_string(number) + (is_current ? ", 'current')" : ", 'building')"));
    if (!made) return made.error();
    return migrate(connection, number);
}

Result<> migrate(Connection& connection, std::uint32_t number)
{
    auto const table = schema_of(number) + ".migration";
    auto const found = connection.run("has_migrations", "select to_regclass('" + table + "') is not null");
    if (!found) return found.error();
    if (read_text((*found)[0][0]) != "t")
        return Error{Errc::invalid, "no_generation", "there is no generation " + std::to_string(number)};
    auto const applied = connection.run("migrations", "select coalesce(max(number), 0) from " + table);
    if (!applied) return applied.error();
    auto const version = static_cast<std::uint32_t>(read_number((*applied)[0][0]));
    if (version > migrations().size())
        return Error{
            Errc::invalid, "newer_schema",
            "the tables are of version " + std::to_string(version) + ", this program knows " +
                std::to_string(migrations().size())};
    for (auto const& migration : migrations().subspan(version)) {
        auto const name = std::string(migration.name);
        auto const done = "insert into " + table + " (number, name) values (" + std::to_string(migration.number) +
                          ", '" + name + "')";
        auto const result = connection.run(
            name, "set local search_path to " + schema_of(number) + ';' + std::string(migration.sql) + done);
        if (!result) return result.error();
    }
    return {};
}

}  // namespace sluice::adapters::postgres
