#include "graph/node_table.hpp"

#include "support.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace sluice::graph::test {
namespace {

// Names whose hashes are crowded, so that runs of neighbours form, wrap around and hold equal hashes.
Name crowded(std::string const& text)
{
    Name name(text);
    name.bits &= 0xf000000f;
    return name;
}

TEST(NodeTable, HoldsWhatASetHolds)
{
    for (unsigned seed = 0; seed < 50; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937          random(seed);
        std::set<std::string> expected;
        NodeTable             table;
        for (int i = 0; i < 600; ++i) {
            auto const text = "name" + std::to_string(random() % 200);
            if (random() % 5 < 3) {
                if (expected.insert(text).second) table.create(crowded(text));
            } else if (expected.erase(text) == 1) {
                table.erase(*table.find(crowded(text)));
            }
            table.prefetch(crowded(text));
            table.prefetch_parts(crowded(text));
        }
        std::set<std::string> visited;
        table.for_each([&](Node const& node) { visited.emplace(node.name()); });
        EXPECT_EQ(visited, expected);
        for (int i = 0; i < 200; ++i) {
            auto const  text = "name" + std::to_string(i);
            auto const* node = table.find(crowded(text));
            EXPECT_EQ(node != nullptr, expected.contains(text));
            EXPECT_TRUE(!node || node->name() == text);
        }
    }
}

// A few homes at a time, while names come and go and the table grows.
TEST(NodeTable, AScanVisitsWhatIsThereThroughout)
{
    for (unsigned seed = 0; seed < 50; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937          random(seed);
        std::set<std::string> stay, come_and_go, visited;
        NodeTable             table;
        for (auto i = random() % 300; i > 0; --i)
            if (auto const text = "stays" + std::to_string(i); stay.insert(text).second) table.create(crowded(text));
        std::uint32_t cursor = 0;
        do {
            cursor = table.scan(cursor, 1 + random() % 3, [&](Node const& node) { visited.emplace(node.name()); });
            for (auto changes = random() % 6; changes > 0; --changes) {
                auto const text = "goes" + std::to_string(random() % 400);
                if (come_and_go.insert(text).second) {
                    table.create(crowded(text));
                } else {
                    come_and_go.erase(text);
                    table.erase(*table.find(crowded(text)));
                }
            }
        } while (cursor != 0);
        for (auto const& text : stay) EXPECT_TRUE(visited.contains(text)) << text;
    }
}

RecordRef record(std::string const& name, std::uint64_t rev)
{
    auto const key = "at://did:plc:a/" + name;
    return StoredRecord::make(
        Record{
            .kind = Kind::entity,
            .did = "did:plc:a",
            .key = key,
            .rev = Revision{rev},
            .sequence = {},
            .payload_hash = {},
            .fields = {}},
        {});
}

TEST(RecordSet, HoldsWhatAMapHolds)
{
    for (unsigned seed = 0; seed < 50; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937                         random(seed);
        std::map<std::string, std::uint64_t> expected;
        RecordSet                            set;
        auto const hash = [](std::string_view key) { return static_cast<std::uint32_t>(hash64(key)) & 0xf0f; };
        for (int i = 0; i < 300; ++i) {
            auto const one = record(std::to_string(random() % 100), random() % 50);
            expected[std::string(one->key())] = static_cast<std::uint64_t>(one->rev());
            set.put(hash(one->key()), one);
            if (random() % 100 != 0) continue;
            std::size_t taken = 0;
            set.take_if([](auto const& each) { return each.rev() < Revision{25}; }, [&](RecordRef) { ++taken; });
            EXPECT_EQ(std::erase_if(expected, [](auto const& each) { return each.second < 25; }), taken);
        }
        std::map<std::string, std::uint64_t> visited;
        set.for_each([&](StoredRecord const& each) { visited[std::string(each.key())] = std::uint64_t(each.rev()); });
        EXPECT_EQ(visited, expected);
        for (auto const& [key, rev] : expected) {
            auto const* found = set.find(hash(key), Kind::entity, key);
            ASSERT_TRUE(found);
            EXPECT_EQ(found->rev(), Revision{rev});
            EXPECT_FALSE(set.find(hash(key), Kind::attestation, key));
        }
    }
}

}  // namespace
}  // namespace sluice::graph::test
