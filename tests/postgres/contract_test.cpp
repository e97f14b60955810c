#include "contract/graph_store_contract.hpp"

#include "support.hpp"

namespace sluice::graph::test {
namespace {

using namespace adapters;
using namespace adapters::test;

class PostgresStorage final : public GraphStorage {
public:
    PostgresStorage()
    {
        EXPECT_EQ(store_->positions()->begin().value(), "");
        store_->positions()->open();
    }
    ~PostgresStorage() override
    {
        store_.reset();
        EXPECT_TRUE(drop_generation(options_, real_clock, *options_.generation));
    }

    GraphStore& store() override { return *store_; }
    void        clear() override { EXPECT_TRUE(store_->positions()->clear()); }
    Hash128     digest_by_scan() override { return adapters::test::digest_by_scan(options_); }

private:
    PostgresOptions const             options_{new_graph()};
    std::unique_ptr<GraphStore>       store_{open_postgres_graph(options_, real_clock)};
};

INSTANTIATE_TEST_SUITE_P(
    Postgres, GraphStoreContract,
    testing::Values(GraphKind{"postgres", [] { return std::make_unique<PostgresStorage>(); }}));

}  // namespace
}  // namespace sluice::graph::test
