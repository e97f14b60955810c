#include "graph/stored_record.hpp"

#include "graph/resident_store.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

namespace sluice::graph::test {
namespace {

std::string const did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";

// As a checkpoint holds it.
std::string bytes_of(Kind kind, bool removed, std::size_t field_count)
{
    auto const         key = kind == Kind::repository ? did : uri(did, "a");
    std::vector<Value> fields(field_count);
    std::string        bytes;
    StoredRecord::make(
        Record{.kind = kind, .did = did, .key = key, .rev = Revision{1}, .sequence = Sequence{1}, .removed = removed,
               .payload_hash = {}, .fields = {}},
        fields)
        ->write(bytes);
    return bytes;
}

RecordRef read(std::string_view bytes) { return StoredRecord::read(bytes, did); }

TEST(StoredRecord, ReadsWhatAStoreWrites)
{
    for (auto const kind : {Kind::relationship, Kind::attestation, Kind::entity}) {
        EXPECT_TRUE(read(bytes_of(kind, true, 0)));
        for (std::size_t count = 0; count <= record_layout(kind).count; ++count) {
            auto const record = read(bytes_of(kind, false, count));
            ASSERT_TRUE(record);
            EXPECT_EQ(record->fields().size(), count);
        }
    }
    EXPECT_TRUE(read(bytes_of(Kind::repository, true, 0)));
}

TEST(StoredRecord, RefusesWhatNoStoreWrites)
{
    EXPECT_FALSE(read(bytes_of(Kind::repository, false, 0))) << "a repository is no record until it ends";
    EXPECT_FALSE(read(bytes_of(Kind::entity, false, record_layout(Kind::entity).count + 1)));
    EXPECT_FALSE(read(bytes_of(Kind::entity, true, 1))) << "what is removed has no content";
    for (unsigned kind = 4; kind < 256; ++kind)
        for (bool const removed : {false, true})
            EXPECT_FALSE(read(bytes_of(static_cast<Kind>(kind), removed, 0))) << "kind " << kind;
}

// Whatever the bytes are, a store stays whole or says no.
TEST(StoredRecord, AStoreRestoresNothingOfAnUnknownKind)
{
    for (auto const kind : {Kind::repository, Kind{4}, Kind{8}, Kind{200}}) {
        auto const    record = bytes_of(kind, false, 0);
        std::uint32_t sizes[] = {static_cast<std::uint32_t>(did.size()), 1};
        std::string   bytes(reinterpret_cast<char const*>(sizes), sizeof sizes);
        bytes += did + record;
        auto const store = make_resident_store();
        auto const restored = store->snapshots()->restore(bytes, 1, [](Snapshots::Restored const&) {});
        ASSERT_FALSE(restored) << static_cast<int>(kind);
        EXPECT_EQ(restored.error().code, Errc::invalid);
        EXPECT_EQ(store->digest(), Hash128{});
    }
}

}  // namespace
}  // namespace sluice::graph::test
