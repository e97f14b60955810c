// The tables of schemas/graph/, and every statement over them.
#pragma once

#include <sluice/records.hpp>

#include "graph/record_layout.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>

namespace sluice::adapters::postgres {

struct Column {
    enum class Type : std::uint8_t {
        key,     // text, also a column of its own
        text,    // checked by whoever made the event: ASCII
        bytes,   // free text
        number,
        flag,
    };

    std::string_view name;
    Type             type{};
    bool             is_mention{false};  // the record is found by it
};

// A kind of records: one column for each field, in their order.
struct Table {
    Kind                    kind{};
    std::string_view        name;
    std::span<Column const> columns;
};

inline constexpr std::size_t table_count = 3;
std::span<Table const, table_count> tables();
// Null for kinds without one.
Table const* table_of(Kind kind);
std::size_t  index_of(Table const& table);

struct Statement {
    std::string name;  // names it for the server and in what is told about slow ones
    std::string sql;
};

// How each table's rows come back: these columns, then one for each field but the first, which is the key.
namespace row_column {
enum : int { uri, rev, sequence, version, removed, digest, payload_hash, count };
}
std::string row_columns(Table const& table);  // of a table that the statement calls t
// How guards come back: likewise up to the digest, then the table's index, and the names that mention.
namespace guard_column {
enum : int { uri, rev, sequence, version, removed, digest, table, mention_a, mention_b };
}

std::string writer_columns();

// For one generation.
class Statements {
public:
    explicit Statements(std::string const& schema);

    // $1: DIDs; then the keys of each table. The table of a repository's tombstone is table_count.
    Statement guards;
    // By table. $1: keys.
    std::array<Statement, table_count> records;
    // $1: a name. Live ones, in any order: long lists would not be sorted in the server's memory.
    Statement relationships_of, attestations_of;

    // $1-$3: number, epoch and era of a writer; $4-$10 what it comes to, as its columns from the commits on, which are
    // one more than they were. No row: that is not so, and nothing was done.
    // By set of tables, bit by bit; for each of those follow arrays of uri, rev, sequence, version, removed,
    // payload_hash, digest, payload and its other columns.
    std::array<Statement, std::size_t{1} << table_count> write;

    // The end of a repository, so many records at a time. $1: the key to begin with, $2: the repository's own, $3 and
    // $4: between which the others are, $5: how many.
    // By table. Gives the last key, how many there were, and the highest rev and version of them.
    std::array<Statement, table_count> guard_all;
    // By table. Those up to rev $6: gives key, digest, removed and the names that mention.
    std::array<Statement, table_count> remove_all;
    // $1-$5: did, rev, sequence, version, digest.
    Statement put_repository;

    // $1: writer, $2: epoch. So that a transaction that is still on its way cannot happen. Gives its columns.
    Statement settle_writer;
    // $1: epoch, $2: position, $3: through.
    Statement save;
};

}  // namespace sluice::adapters::postgres
