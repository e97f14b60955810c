#include "adapters/postgres/tables.hpp"

#include <algorithm>
#include <vector>

namespace sluice::adapters::postgres {
namespace {

using Type = Column::Type;

constexpr Column relationship_columns[] = {
    {"uri", Type::key},
    {"cid", Type::bytes},
    {"participant_a", Type::text, true},
    {"participant_b", Type::text, true},
    {"type", Type::number},
    {"strength", Type::number},
    {"context", Type::bytes},
    {"created_at", Type::number},
    {"last_interaction", Type::number},
    {"visibility", Type::number},
};
constexpr Column attestation_columns[] = {
    {"uri", Type::key},
    {"cid", Type::bytes},
    {"attester", Type::text},
    {"target", Type::text, true},
    {"type", Type::number},
    {"confidence", Type::number},
    {"evidence", Type::bytes},
    {"suggested_strength", Type::number},
    {"created_at", Type::number},
};
constexpr Column entity_columns[] = {
    {"uri", Type::key},
    {"cid", Type::bytes},
    {"display_name", Type::bytes},
    {"entity_type", Type::number},
    {"bio", Type::bytes},
    {"avatar_url", Type::bytes},
    {"created_at", Type::number},
};

constexpr Table all_tables[table_count] = {
    {Kind::relationship, "relationship", relationship_columns},
    {Kind::attestation, "attestation", attestation_columns},
    {Kind::entity, "entity", entity_columns},
};

constexpr bool fits(Table const& table)
{
    auto const layout = graph::record_layout(table.kind);
    if (table.columns.size() != layout.count || table.columns[0].type != Type::key) return false;
    for (std::size_t i = 0; i < layout.count; ++i)
        if (((layout.texts & bit(i)) != 0) == (table.columns[i].type == Type::number)) return false;
    return true;
}
static_assert(std::ranges::all_of(all_tables, fits));

// The columns of every table that an event writes, besides those of its fields.
constexpr Column written[] = {
    {"uri", Type::key},      {"rev", Type::number},         {"sequence", Type::number}, {"version", Type::number},
    {"removed", Type::flag}, {"payload_hash", Type::bytes}, {"digest", Type::bytes},    {"payload", Type::bytes},
};

std::string array_type(Type type)
{
    switch (type) {
    case Type::number: return "bigint[]";
    case Type::bytes: return "bytea[]";
    case Type::flag: return "boolean[]";
    case Type::key:
    case Type::text: break;
    }
    return "text[]";
}

std::string joined(std::span<std::string const> parts, std::string_view between)
{
    std::string text;
    for (auto const& part : parts) {
        if (!text.empty()) text += between;
        text += part;
    }
    return text;
}

std::string parameter(std::size_t number) { return '$' + std::to_string(number); }

std::vector<Column> written_columns(Table const& table)
{
    std::vector<Column> columns(std::begin(written), std::end(written));
    columns.insert(columns.end(), table.columns.begin() + 1, table.columns.end());
    return columns;
}

std::string mentions(Table const& table)
{
    std::vector<std::string> names;
    for (auto const& column : table.columns)
        if (column.is_mention) names.emplace_back(column.name);
    names.resize(2, "null");
    return joined(names, ", ");
}

// `any` rather than a join: whatever the server knows about the table, it looks the keys up in the index.
std::string guards_sql(std::string const& schema)
{
    std::string sql = "select t.did, t.rev, t.sequence, t.version, true, t.digest, " + std::to_string(table_count) +
                      ", null, null from " + schema + "repository t where t.tenant = 0 and t.did = any ($1::text[])";
    for (std::size_t i = 0; i < table_count; ++i)
        sql += " union all select t.uri, t.rev, t.sequence, t.version, t.removed, t.digest, " + std::to_string(i) +
               ", " + mentions(all_tables[i]) + " from " + schema + std::string(all_tables[i].name) +
               " t where t.tenant = 0 and t.uri = any (" + parameter(i + 2) + "::text[])";
    return sql;
}

// An upsert of one table's rows, from parameter `next` on.
std::string put_sql(std::string const& schema, Table const& table, std::size_t& next)
{
    std::vector<std::string> names, arrays, changes;
    for (auto const& column : written_columns(table)) {
        names.emplace_back(column.name);
        arrays.push_back(parameter(next++) + "::" + array_type(column.type));
        if (column.type != Type::key) changes.push_back(names.back() + " = excluded." + names.back());
    }
    auto const columns = joined(names, ", ");
    return "insert into " + schema + std::string(table.name) + " as t (tenant, " + columns + ") select 0, " + columns +
           " from unnest(" + joined(arrays, ", ") + ") as n(" + columns +
           ") where exists (select from mine) on conflict (uri, tenant) do update set " + joined(changes, ", ") +
           " where excluded.sequence > t.sequence";
}

// The writer's row is changed first: who has lost the store writes nothing.
std::string write_sql(std::string const& schema, std::size_t set)
{
    std::string sql = "with mine as (update " + schema +
                      "writer set commits = $4, digest_low = $5, digest_high = $6, relationships = $7, "
                      "attestations = $8, entities = $9, tombstones = $10 "
                      "where number = $1::bigint and epoch = $2 and era = $3 and commits = $4::bigint - 1 "
                      "returning commits)";
    std::size_t next = 11;
    for (std::size_t i = 0; i < table_count; ++i)
        if (set >> i & 1)
            sql += ", put_" + std::string(all_tables[i].name) + " as (" + put_sql(schema, all_tables[i], next) + ')';
    return sql + " select commits from mine";
}

// The next records of a repository: from $1 on, of those at $2 or between $3 and $4, at most $5.
std::string next_of_repository(std::string const& columns, std::string const& table, std::string const& condition)
{
    return "select " + columns + " from " + table +
           " where tenant = 0 and uri >= $1 and uri < $4 and (uri = $2 or uri >= $3)" + condition +
           " order by uri limit $5";
}

// Revisions are unsigned: with the top bit turned over they compare as signed numbers do.
std::string ordered(std::string const& rev) { return '(' + rev + " # (-9223372036854775808))"; }

}  // namespace

std::span<Table const, table_count> tables() { return all_tables; }

std::string writer_columns()
{
    return "era, commits, digest_low, digest_high, relationships, attestations, entities, tombstones";
}

Table const* table_of(Kind kind)
{
    auto const* const table = std::ranges::find(all_tables, kind, &Table::kind);
    return table == std::end(all_tables) ? nullptr : table;
}

std::string row_columns(Table const& table)
{
    std::string text = "t.uri, t.rev, t.sequence, t.version, t.removed, t.digest, t.payload_hash";
    for (auto const& column : table.columns.subspan(1)) text += ", t." + std::string(column.name);
    return text;
}

std::size_t index_of(Table const& table) { return static_cast<std::size_t>(&table - all_tables); }

Statements::Statements(std::string const& generation)
{
    auto const schema = generation + '.';
    guards = {"guards", guards_sql(schema)};
    for (std::size_t i = 0; i < table_count; ++i) {
        auto const& table = all_tables[i];
        auto const  name = std::string(table.name);
        records[i] = {"find_" + name, "select " + row_columns(table) + " from " + schema + name +
                                          " t where t.tenant = 0 and t.uri = any ($1::text[])"};
        auto const all = next_of_repository("uri, " + ordered("rev") + " as rev, version", schema + name, "");
        auto const old =
            next_of_repository("ctid", schema + name, " and " + ordered("rev") + " <= " + ordered("$6::bigint"));
        guard_all[i] = {"guard_all_" + name, "select max(uri), count(*), " + ordered("max(rev)") +
                                                 ", max(version) from (" + all + ") as n"};
        remove_all[i] = {"remove_all_" + name, "delete from " + schema + name + " t where ctid = any (array(" + old +
                                                   ")) returning uri, digest, removed, " + mentions(table)};
    }
    auto const relationships = "select " + row_columns(all_tables[0]) + " from " + schema +
                               "relationship t where t.tenant = 0 and not t.removed and ";
    relationships_of = {"relationships_of", relationships + "t.participant_a = $1 union all " + relationships +
                                                "t.participant_b = $1 and t.participant_a is distinct from $1"};
    attestations_of = {"attestations_of", "select " + row_columns(all_tables[1]) + " from " + schema +
                                              "attestation t where t.tenant = 0 and not t.removed and t.target = $1"};
    for (std::size_t set = 0; set < write.size(); ++set)
        write[set] = {"write_" + std::to_string(set), write_sql(schema, set)};
    put_repository = {
        "put_repository",
        "insert into " + schema +
            "repository (tenant, did, rev, sequence, version, digest) values (0, $1, $2, $3, $4, $5) on conflict "
            "(did, tenant) do update set rev = excluded.rev, sequence = excluded.sequence, version = excluded.version, "
            "digest = excluded.digest"};
    settle_writer = {
        "settle_writer", "update " + schema + "writer set era = era + 1 where number = $1::bigint and epoch = $2 "
                                              "returning " + writer_columns()};
    save = {"save", "update " + schema +
                        "projection set position = $2, through = $3, updated_at = now() where epoch = $1 "
                        "returning epoch"};
}

}  // namespace sluice::adapters::postgres
