// What only the store in memory does; the rest is in contract/graph_store_contract.hpp.
#include "contract/graph_store_contract.hpp"

namespace sluice::graph::test {
namespace {

class ResidentStorage final : public GraphStorage {
public:
    GraphStore& store() override { return store_; }
    void        clear() override { store_.clear(); }
    Hash128     digest_by_scan() override { return store_.digest_by_scan(); }

private:
    ResidentStore store_;
};

INSTANTIATE_TEST_SUITE_P(
    Resident, GraphStoreContract,
    testing::Values(GraphKind{"resident", [] { return std::make_unique<ResidentStorage>(); }}));

TEST(ResidentStore, PairsOfNewNamesStayRightWhileTablesGrow)
{
    ResidentStore store;
    auto const    left = [](int i) { return "did:plc:left" + std::to_string(i); };
    auto const    right = [](int i) { return "did:plc:right" + std::to_string(i); };
    for (int i = 0; i < 20'000; ++i) run(store, {relate(1, 0, left(i), "r", {.other = right(i)})});

    for (int i = 0; i < 20'000; ++i) {
        std::vector const expected{uri(left(i), "r")};
        ASSERT_TRUE(store.find(Kind::relationship, expected[0]).value());
        ASSERT_EQ(keys_of(store.relationships_of(left(i)).value()), expected);
        ASSERT_EQ(keys_of(store.relationships_of(right(i)).value()), expected);
    }
    EXPECT_EQ(store.digest(), store.digest_by_scan());
}

TEST(ResidentStore, HubsKeepTheirListsRightThroughRemovals)
{
    ResidentStore     store;
    std::string const hub = "did:plc:hub";
    auto const        member = [](std::uint64_t i) { return "did:plc:m" + std::to_string(1'000 + i); };
    for (std::uint64_t i = 0; i < 300; ++i) run(store, {relate(1 + i, 0, member(i), "r", {.other = hub})});
    for (std::uint64_t i = 0; i < 300; ++i)
        if (i % 3 != 0) run(store, {remove(1'000 + i, 0, member(i), "r")});

    std::vector<std::string> left;
    for (std::uint64_t i = 0; i < 300; i += 3) left.push_back(uri(member(i), "r"));
    EXPECT_EQ(keys_of(store.relationships_of(hub).value()), left);
}

}  // namespace
}  // namespace sluice::graph::test
