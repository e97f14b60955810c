#include "adapters/postgres/rows.hpp"

#include <charconv>

namespace sluice::adapters::postgres {
namespace {

using Type = Column::Type;

int nibble(char c) noexcept { return c <= '9' ? c - '0' : c - 'a' + 10; }

Array::Element element_of(Type type)
{
    switch (type) {
    case Type::number: return Array::Element::number;
    case Type::bytes: return Array::Element::bytes;
    case Type::flag: return Array::Element::boolean;
    case Type::key:
    case Type::text: break;
    }
    return Array::Element::text;
}

void add_field(Array& array, Fields const& fields, std::size_t i, Type type)
{
    if (fields.slot(i) == Fields::absent) return array.add_null();
    if (type == Type::number) return array.add(*fields.integer(i));
    array.add(*fields.text(i));
}

}  // namespace

std::int64_t read_number(pqxx::field const& field)
{
    std::int64_t number = 0;
    std::from_chars(field.c_str(), field.c_str() + field.size(), number);
    return number;
}

std::string_view read_text(pqxx::field const& field) { return {field.c_str(), field.size()}; }

bool read_flag(pqxx::field const& field) { return read_text(field) == "t"; }

Revision read_rev(pqxx::field const& field) { return Revision{static_cast<std::uint64_t>(read_number(field))}; }

Sequence read_sequence(pqxx::field const& field) { return Sequence{static_cast<std::uint64_t>(read_number(field))}; }

std::string read_bytes(pqxx::field const& field)
{
    auto hex = read_text(field);
    hex.remove_prefix(hex.starts_with("\\x") ? 2 : 0);
    std::string bytes(hex.size() / 2, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<char>(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
    return bytes;
}

Hash128 read_hash(pqxx::field const& field)
{
    auto const    bytes = read_bytes(field);
    std::uint64_t parts[2] = {};
    for (std::size_t i = 0; i < std::min<std::size_t>(bytes.size(), 16); ++i)
        parts[i / 8] = parts[i / 8] << 8 | static_cast<unsigned char>(bytes[i]);
    return {.low = parts[1], .high = parts[0]};
}

Batch::Key key_of_guard(pqxx::row const& row)
{
    auto const table = static_cast<std::size_t>(read_number(row[guard_column::table]));
    auto const kind = table < table_count ? tables()[table].kind : Kind::repository;
    return {kind, std::string(read_text(row[guard_column::uri]))};
}

RowGuard read_guard(pqxx::row const& row)
{
    auto const mention = [&](int column) { return std::string(read_text(row[column])); };
    return {
        .rev = read_rev(row[guard_column::rev]),
        .sequence = read_sequence(row[guard_column::sequence]),
        .version = read_sequence(row[guard_column::version]),
        .removed = read_flag(row[guard_column::removed]),
        .digest = read_hash(row[guard_column::digest]),
        .mentions = {mention(guard_column::mention_a), mention(guard_column::mention_b)}};
}

RowGuard read_row_guard(pqxx::row const& row, Table const& table)
{
    RowGuard guard{
        .rev = read_rev(row[row_column::rev]),
        .sequence = read_sequence(row[row_column::sequence]),
        .version = read_sequence(row[row_column::version]),
        .removed = read_flag(row[row_column::removed]),
        .digest = read_hash(row[row_column::digest])};
    std::size_t mention = 0;
    for (std::size_t i = 1; i < table.columns.size(); ++i)
        if (table.columns[i].is_mention)
            guard.mentions[mention++] = read_text(row[row_column::count + static_cast<int>(i) - 1]);
    return guard;
}

graph::OwnedRecord read_record(pqxx::row const& row, Table const& table)
{
    auto const  uri = read_text(row[row_column::uri]);
    bool const  removed = read_flag(row[row_column::removed]);
    auto const  count = removed ? 0 : table.columns.size();
    std::string texts(uri);

    std::array<std::uint64_t, Fields::max> slots;
    for (std::size_t i = 0; i < count; ++i) {
        auto const text = [&](std::string_view value) {
            slots[i] = std::uint64_t{texts.size()} << 32 | value.size();
            texts += value;
        };
        if (i == 0) {
            slots[i] = uri.size();
            continue;
        }
        auto const field = row[row_column::count + static_cast<int>(i) - 1];
        if (field.is_null())
            slots[i] = Fields::absent;
        else if (table.columns[i].type == Type::number)
            slots[i] = static_cast<std::uint64_t>(read_number(field));
        else if (table.columns[i].type == Type::bytes)
            text(read_bytes(field));
        else
            text(read_text(field));
    }
    return graph::OwnedRecord({
        .kind = table.kind,
        .did = graph::authority(uri),
        .key = uri,
        .rev = read_rev(row[row_column::rev]),
        .sequence = read_sequence(row[row_column::sequence]),
        .version = read_sequence(row[row_column::version]),
        .removed = removed,
        .payload_hash = read_hash(row[row_column::payload_hash]),
        .fields = Fields(texts.data(), reinterpret_cast<char const*>(slots.data()), count)});
}

Ledger::Writer read_writer(pqxx::row const& row)
{
    std::array<std::uint64_t, 8> n;
    for (std::size_t i = 0; i < n.size(); ++i) n[i] = static_cast<std::uint64_t>(read_number(row[static_cast<int>(i)]));
    Ledger::Writer writer{.era = n[0], .commits = n[1], .totals = {.digest = {n[2], n[3]}}};
    for (std::size_t i = 0; i < table_count; ++i)
        writer.totals.counts.live[static_cast<std::size_t>(tables()[i].kind)] = n[4 + i];
    writer.totals.counts.tombstones = n[7];
    return writer;
}

void add_writer(Params& params, Ledger::Writer const& writer)
{
    auto const& [digest, counts] = writer.totals;
    for (auto const number : {writer.era, writer.commits, digest.low, digest.high}) params.add(stored(number));
    for (auto const& table : tables()) params.add(stored(counts.live[static_cast<std::size_t>(table.kind)]));
    params.add(stored(counts.tombstones));
}

void add_written(Params& params, Table const& table, Batch::Rows const& rows)
{
    using enum Array::Element;
    Array uri(text), rev(number), sequence(number), version(number), removed(boolean), payload_hash(bytes),
        digest(bytes), payload(bytes);
    std::vector<Array> columns;
    for (auto const& column : table.columns.subspan(1)) columns.emplace_back(element_of(column.type));

    for (auto const& [key, row] : rows) {
        if (!row.after || key.first != table.kind) continue;
        auto const record = row.after->view();
        uri.add(record.key);
        rev.add(stored(record.rev));
        sequence.add(stored(record.sequence));
        version.add(stored(record.version));
        removed.add(record.removed);
        payload_hash.add(stored(record.payload_hash));
        digest.add(stored(row.digest));
        record.removed ? payload.add_null() : payload.add(row.payload);
        for (std::size_t i = 0; i < columns.size(); ++i)
            add_field(columns[i], record.fields, i + 1, table.columns[i + 1].type);
    }
    for (auto* column : {&uri, &rev, &sequence, &version, &removed, &payload_hash, &digest, &payload})
        params.add(std::move(*column));
    for (auto& column : columns) params.add(std::move(column));
}

}  // namespace sluice::adapters::postgres
