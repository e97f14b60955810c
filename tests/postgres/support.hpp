// A store on a server of its own.
#pragma once

#include "adapters/postgres/postgres_graph.hpp"
#include "base/hash.hpp"
#include "graph/record_digest.hpp"
#include "servers/postgres_server.hpp"
#include "unit/graph/support.hpp"

#include <gtest/gtest.h>

namespace sluice::adapters::test {

// What a server that hangs or dies does takes real time.
class RealClock final : public Clock {
public:
    Mono     now() const noexcept override { return std::chrono::steady_clock::now(); }
    WallTime wall() const noexcept override
    {
        return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    }
};

inline RealClock const real_clock;

// The one server of tests that do it no harm.
inline sluice::test::PostgresServer& quiet_server()
{
    static sluice::test::PostgresServer server;
    return server;
}

// Options for a new generation of the quiet server.
inline PostgresOptions new_graph()
{
    PostgresOptions options{.url = quiet_server().url(), .writers = 4};
    options.generation = create_generation(options, real_clock).value();
    return options;
}

inline std::unique_ptr<graph::GraphStore> begun(PostgresOptions const& options)
{
    auto       store = open_postgres_graph(options, real_clock);
    auto const position = store->positions()->begin();
    if (!position) ADD_FAILURE() << position.error().reason << ": " << position.error().detail;
    store->positions()->open();
    return store;
}

inline Hash128 digest_by_scan(PostgresOptions const& options)
{
    Hash128     sum;
    std::string scratch;
    auto const  scanned = scan_generation(options, real_clock, [&](Record const& record, Hash128 stored) {
        auto const digest = graph::record_digest(record, scratch);
        EXPECT_EQ(digest, stored) << record.key;
        sum += digest;
    });
    EXPECT_TRUE(scanned) << scanned.error().reason << ": " << scanned.error().detail;
    return sum;
}

}  // namespace sluice::adapters::test
