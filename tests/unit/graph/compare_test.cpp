#include "graph/compare.hpp"

#include "unit/graph/support.hpp"

#include "graph/resident_store.hpp"

#include <gtest/gtest.h>

namespace sluice::graph {
namespace {

std::string const alice = "did:plc:alice", bob = "did:plc:bob";

class ComparedGraphs : public testing::Test {
protected:
    void SetUp() override
    {
        for (std::uint64_t sequence = 1; sequence <= 60; ++sequence)
            for (auto* const store : {&left_, &right_}) put(*store, sequence, "r" + std::to_string(sequence % 20));
    }
    static void put(ResidentStore& store, std::uint64_t sequence, std::string const& key)
    {
        test::run(store, {test::relate(sequence, 0, alice, key, {.other = bob})});
    }
    static RecordSource of(ResidentStore const& store)
    {
        return [&store](RecordVisitor const& visit) -> Result<> {
            store.visit(visit);
            return {};
        };
    }

    ResidentStore left_, right_;
};

TEST_F(ComparedGraphs, ThatHoldTheSameAreEqual)
{
    auto const compared = compare(of(left_), of(right_));
    ASSERT_TRUE(compared);
    EXPECT_EQ(compared->left, 20u);
    EXPECT_EQ(compared->right, 20u);
    EXPECT_EQ(compared->ranges, 0u);
    EXPECT_EQ(compared->differences, 0u);
    EXPECT_FALSE(compared->first);
}

TEST_F(ComparedGraphs, NameTheFirstRecordThatDiffers)
{
    put(left_, 70, "r7");
    put(right_, 71, "r3");
    put(right_, 72, "s");
    auto const compared = compare(of(left_), of(right_));
    ASSERT_TRUE(compared);
    EXPECT_EQ(compared->differences, 3u);
    ASSERT_TRUE(compared->first);
    EXPECT_EQ(compared->first->key, test::uri(alice, "r3"));
    EXPECT_EQ(compared->first->left, Sequence{43});
    EXPECT_EQ(compared->first->right, Sequence{71});
}

TEST_F(ComparedGraphs, DifferByATombstone)
{
    test::run(left_, {test::remove(61, 0, alice, "r3")});
    auto const compared = compare(of(left_), of(right_));
    ASSERT_TRUE(compared);
    EXPECT_EQ(compared->differences, 1u);
}

TEST_F(ComparedGraphs, DoNotDifferByWhatIsExpected)
{
    put(right_, 71, "r3");
    put(right_, 72, "s");
    auto const compared = compare(of(left_), of(right_), [](Difference const& d) { return d.right > Sequence{70}; });
    ASSERT_TRUE(compared);
    EXPECT_GT(compared->ranges, 0u);
    EXPECT_EQ(compared->differences, 0u);
}

TEST_F(ComparedGraphs, PassTheErrorOfASourceOn)
{
    auto const compared = compare(of(left_), [](RecordVisitor const&) -> Result<> {
        return Error{Errc::unavailable, "away", ""};
    });
    ASSERT_FALSE(compared);
    EXPECT_EQ(compared.error().reason, "away");
}

}  // namespace
}  // namespace sluice::graph
