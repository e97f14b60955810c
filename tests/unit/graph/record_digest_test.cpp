#include "graph/record_digest.hpp"

#include "base/hash.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sluice::graph::test {
namespace {

Hash128 digest(Record record, std::vector<StepValue> const& values)
{
    FieldsOf const fields(values);
    std::string    scratch;
    record.fields = fields.view();
    return record_digest(record, scratch);
}

Record entity()
{
    return {
        .kind = Kind::entity,
        .did = "did:plc:a",
        .key = "at://did:plc:a/x/self",
        .rev = Revision{2},
        .sequence = Sequence{3},
        .payload_hash = {4, 5},
        .fields = {}};
}

TEST(RecordDigest, HashesTheDocumentedBytes)
{
    std::string const bytes(
        "\0\0\0\0"
        "\3"
        "\0"
        "\4\0"
        "\25\0\0\0"
        "\2\0\0\0\0\0\0\0"
        "\3\0\0\0\0\0\0\0"
        "\4\0\0\0\0\0\0\0"
        "\5\0\0\0\0\0\0\0"
        "at://did:plc:a/x/self"
        "\2"
        "\1\0\0\0"
        "u"
        "\0"
        "\2"
        "\0\0\0\0"
        "\1"
        "\1\0\0\0\0\0\0\0",
        44 + 21 + 6 + 1 + 5 + 9);
    EXPECT_EQ(digest(entity(), {"u", {}, "", std::int64_t{1}}), hash128(bytes));
}

TEST(RecordDigest, IsTheSameForEver)
{
    EXPECT_EQ(digest(entity(), {"u", {}, "", std::int64_t{1}}), (Hash128{0x366569A33232C251, 0x19513B9924F468B0}));
}

TEST(RecordDigest, DiffersInEveryPart)
{
    std::vector<StepValue> const values{"u", "c", "name", std::int64_t{1}};
    auto const                   other = [&](auto change) {
        auto record = entity();
        change(record);
        return digest(record, values);
    };
    std::vector<Hash128> const digests{
        digest(entity(), values),
        digest(entity(), {"u", "c", "name"}),
        digest(entity(), {"u", "c", "name", {}}),
        digest(entity(), {"u", "c", {}, std::int64_t{1}}),
        digest(entity(), {"u", "c", "", std::int64_t{1}}),
        digest(entity(), {"uc", "", "name", std::int64_t{1}}),
        digest(entity(), {"u", "cn", "ame", std::int64_t{1}}),
        digest(entity(), {"u", "c", "name", std::int64_t{2}}),
        other([](Record& record) { record.key = "at://did:plc:a/x/selF"; }),
        other([](Record& record) { record.rev = Revision{9}; }),
        other([](Record& record) { record.sequence = Sequence{9}; }),
        other([](Record& record) { record.removed = true; }),
        other([](Record& record) { record.payload_hash.low = 9; }),
        other([](Record& record) { record.payload_hash.high = 9; }),
    };
    EXPECT_EQ(std::set(digests.begin(), digests.end()).size(), digests.size());
}

}  // namespace
}  // namespace sluice::graph::test
