// What only the store in Postgres does; the rest is in contract/graph_store_contract.hpp.
#include "support.hpp"

#include "graph/resident_store.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>
#include <set>
#include <thread>

namespace sluice::adapters::test {
namespace {

using namespace graph;
using namespace graph::test;
using enum Outcome;

std::string const alice = "did:plc:alice", bob = "did:plc:bob", carol = "did:plc:carol";

Step a(std::uint64_t sequence) { return relate(sequence, 0, alice, "a"); }

class PostgresGraph : public testing::Test {
protected:
    ~PostgresGraph() override
    {
        store.reset();
        EXPECT_TRUE(drop_generation(options, real_clock, *options.generation));
    }
    std::string exec(std::string const& sql) const
    {
        return quiet_server().exec(
            "set search_path to sluice_g" + std::to_string(*options.generation) + "; " + sql);
    }

    PostgresOptions             options{new_graph()};
    std::unique_ptr<GraphStore> store{begun(options)};
};

std::vector<ApplyResult> run_all(GraphStore& store, std::vector<std::vector<Step>> const& lanes)
{
    std::map<Sequence, Step const*>     steps;
    std::vector<std::vector<Event>>     events(lanes.size());
    std::vector<std::span<Event const>> runs;
    for (std::size_t i = 0; i < lanes.size(); ++i) {
        for (auto const& step : lanes[i]) {
            events[i].push_back(event_of(step));
            steps[Sequence{step.sequence}] = &step;
        }
        runs.push_back(events[i]);
    }
    return store.apply_all(runs, [&](Event const& event, RecordView const&) -> Result<Effects> {
        return effects_of(*steps[event.sequence]);
    });
}

TEST_F(PostgresGraph, AppliesNothingUntilItIsOpened)
{
    auto const other = open_postgres_graph(options, real_clock);
    auto const step = a(1);
    auto       result = run(*other, std::span(&step, 1));
    EXPECT_EQ(result.error->reason, "not_begun");
    EXPECT_TRUE(result.from_store);
    ASSERT_TRUE(other->positions()->begin());
    EXPECT_EQ(run(*other, std::span(&step, 1)).error->reason, "not_begun");
    other->positions()->open();
    EXPECT_FALSE(run(*other, std::span(&step, 1)).error);
}

TEST_F(PostgresGraph, OnlyTheProcessThatBeganLastApplies)
{
    run(*store, {a(1)});
    ASSERT_TRUE(store->positions()->save("one", Sequence{1}));
    auto const later = begun(options);
    for (auto const& step : {a(2), remove_repository(3, 0, alice)}) {
        auto const result = run(*store, std::span(&step, 1));
        ASSERT_TRUE(result.error);
        EXPECT_EQ(result.error->code, Errc::corrupt);
        EXPECT_EQ(result.error->reason, "fenced");
        EXPECT_TRUE(result.from_store);
    }
    EXPECT_EQ(store->positions()->save("two", Sequence{2}).error().code, Errc::corrupt);
    EXPECT_EQ(store->positions()->clear().error().code, Errc::corrupt);
    EXPECT_EQ(number((*later->find(Kind::relationship, uri(alice, "a")).value())->sequence), 1u);
    run(*later, {a(2)});
    EXPECT_EQ(later->digest(), digest_by_scan(options));
}

// As after it was restored from a backup.
TEST_F(PostgresGraph, AServerThatForgotWhatItCommittedIsNotWrittenTo)
{
    run(*store, {a(1)});
    run(*store, {a(2)});
    exec("update writer set commits = 0");
    auto const step = a(3);
    auto const result = run(*store, std::span(&step, 1));
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->code, Errc::corrupt);
    EXPECT_EQ(result.error->reason, "store_changed");
    EXPECT_EQ(exec("select sequence from relationship"), "2\n");
}

TEST_F(PostgresGraph, OfARemovedRecordNoContentStays)
{
    auto step = attest(1, 0, alice, "t", uri(bob, "x"));
    auto gone = remove(2, 0, alice, "t");
    gone.kind = Kind::attestation;
    run(*store, {step, gone});
    EXPECT_EQ(
        exec("select removed, num_nonnulls(payload, cid, attester, target, type, confidence, evidence, "
             "suggested_strength, created_at), payload_hash from attestation"),
        "t|0|\\x" + std::string(32, '0') + "\n");
}

TEST_F(PostgresGraph, GoesOnWhereItWas)
{
    std::string const position{"any\0bytes\xff", 10};
    run(*store, {a(1), relate(2, 0, alice, "b")});
    ASSERT_TRUE(store->positions()->save("before", Sequence{1}));
    ASSERT_TRUE(store->positions()->save(position, Sequence{2}));
    auto const digest = store->digest();
    auto const live = store->counts().live;

    options.writers = 2;  // of another configuration
    store = open_postgres_graph(options, real_clock);
    EXPECT_EQ(store->positions()->begin().value(), position);
    EXPECT_EQ(store->digest(), digest);
    EXPECT_EQ(store->counts().live, live);
    EXPECT_EQ(exec("select through from projection"), "2\n");

    ASSERT_TRUE(store->positions()->clear());
    EXPECT_EQ(store->positions()->begin().value(), "");
    EXPECT_EQ(store->digest(), Hash128{});
    EXPECT_EQ(digest_by_scan(options), Hash128{});
}

// Keys the schemas of events never let through, but a processor of another kind of record may.
TEST_F(PostgresGraph, AnEventPostgresCannotStoreHarmsNoOther)
{
    std::mt19937 random(1);
    std::string  unlike(5'000, 'x');  // compressed, a key may be longer than an index takes
    for (auto& c : unlike) c = static_cast<char>('!' + random() % 90);
    std::string const keys[] = {std::string("with\0zero", 9), "no \xff text", "too long " + unlike};
    std::uint64_t     sequence = 0;
    for (auto const& key : keys) {
        SCOPED_TRACE(key.substr(0, 8));
        auto const first = sequence;
        auto const results = run_all(
            *store,
            {{relate(first + 1, 0, bob, "a"), relate(first + 2, 0, bob, "b")},
             {relate(first + 3, 0, alice, "a"), relate(first + 4, 0, alice, key), relate(first + 5, 0, alice, "b")},
             {relate(first + 6, 0, carol, "a")}});
        sequence += 6;
        EXPECT_FALSE(results[0].error);
        EXPECT_EQ(results[0].outcomes, (std::vector{applied, applied}));
        ASSERT_TRUE(results[1].error);
        EXPECT_EQ(results[1].error->code, Errc::invalid);
        EXPECT_EQ(results[1].error->reason, "postgres_refused");
        EXPECT_EQ(results[1].error->detail.find(key.substr(0, 4)), std::string::npos);
        EXPECT_TRUE(results[1].from_store);
        EXPECT_EQ(results[1].outcomes, std::vector{applied});
        EXPECT_EQ(results[2].outcomes, std::vector{applied});
        EXPECT_EQ(store->digest(), digest_by_scan(options));
    }
    EXPECT_EQ(store->counts().live[static_cast<std::size_t>(Kind::relationship)], 4u);
}

TEST_F(PostgresGraph, NothingHasANameThatPostgresCannotTake)
{
    std::string const name("at://did:plc:alice/\0", 20);
    EXPECT_FALSE(store->find(Kind::relationship, name).value());
    EXPECT_TRUE(store->relationships_of("\xff").value().empty());
    EXPECT_TRUE(store->attestations_of(name).value().empty());
    EXPECT_TRUE(store->status().is_up);
}

TEST_F(PostgresGraph, AccountsEndHoweverMuchTheyHold)
{
    std::vector<Step> steps;
    for (std::uint64_t i = 1; i <= 12'000; ++i)
        steps.push_back(relate(i, i, alice, "r" + std::to_string(i), {.other = "did:plc:" + std::to_string(i % 100)}));
    std::string const near[] = {"did:plc:alic", "did:plc:alice-", "did:plc:alice0", "did:plc:alice.b", "did:plc:alicf"};
    std::vector<std::vector<Step>> lanes{steps};
    for (std::uint64_t i = 0; i < std::size(near); ++i) lanes.push_back({relate(20'000 + i, 0, near[i], "r")});
    for (auto const& result : run_all(*store, lanes)) ASSERT_FALSE(result.error);

    auto const stamp = store->stamp("did:plc:7");
    run(*store, {remove_repository(30'000, 11'999, alice)});
    EXPECT_EQ(store->counts().live[static_cast<std::size_t>(Kind::relationship)], 1 + std::size(near));
    EXPECT_EQ(store->counts().tombstones, 1u);
    EXPECT_EQ(store->digest(), digest_by_scan(options));
    EXPECT_NE(store->stamp("did:plc:7"), stamp);
    EXPECT_EQ(store->relationships_of(alice).value().size(), 1u);
}

TEST_F(PostgresGraph, ManyThreadsComeToTheSameAsOne)
{
    options.writers = 3;
    options.pool_size = 4;
    options.pool_overflow = 2;
    store = begun(options);
    constexpr std::size_t                       threads = 6;
    std::vector<std::vector<std::vector<Step>>> calls(threads);
    ResidentStore                               expected;
    std::uint64_t                               sequence = 0;
    for (std::size_t round = 0; round < 40; ++round) {
        for (std::size_t thread = 0; thread < threads; ++thread) {
            for (std::size_t lane = 0; lane < 3; ++lane) {
                auto const        did = "did:plc:" + std::to_string(thread) + std::to_string(lane);
                std::vector<Step> steps;
                for (auto i = 1 + (round + thread) % 5; i > 0; --i) {
                    auto const key = "r" + std::to_string((round * 7 + i) % 9);
                    ++sequence;
                    if (sequence % 41 == 0)
                        steps.push_back(remove_repository(sequence, 0, did));
                    else if (sequence % 5 == 0)
                        steps.push_back(remove(sequence, 0, did, key));
                    else
                        steps.push_back(relate(sequence, 0, did, key, {.other = "did:plc:shared"}));
                }
                run(expected, steps);
                calls[thread].push_back(std::move(steps));
            }
        }
    }
    std::atomic<bool>        is_done{false};
    std::vector<std::thread> workers;
    for (auto const& mine : calls)
        workers.emplace_back([&store = *store, &mine] {
            for (std::size_t i = 0; i < mine.size(); i += 3)
                for (auto const& result : run_all(store, {mine[i], mine[i + 1], mine[i + 2]}))
                    EXPECT_FALSE(result.error) << result.error->detail;
        });
    std::thread reader([&] {
        while (!is_done) EXPECT_TRUE(store->relationships_of("did:plc:shared"));
    });
    for (auto& worker : workers) worker.join();
    is_done = true;
    reader.join();
    EXPECT_EQ(store->digest(), expected.digest());
    EXPECT_EQ(store->counts().live, expected.counts().live);
    EXPECT_EQ(store->counts().tombstones, expected.counts().tombstones);
    EXPECT_EQ(digest_by_scan(options), expected.digest());
    EXPECT_EQ(
        keys_of(store->relationships_of("did:plc:shared").value()),
        keys_of(expected.relationships_of("did:plc:shared").value()));
    EXPECT_LE(store->status().connections, 4u);
    EXPECT_EQ(store->status().connections_in_use, 0u);
    EXPECT_EQ(store->status().unknown_commits, 0u);
}

TEST_F(PostgresGraph, TellsOfSlowStatementsByNameOnly)
{
    std::set<std::string> names;
    std::mutex            mutex;
    options.slow_query = std::chrono::milliseconds(0);
    options.on_slow_query = [&](std::string_view name, std::chrono::nanoseconds) {
        std::lock_guard const lock(mutex);
        names.emplace(name);
    };
    store = begun(options);
    run(*store, {a(1)});
    EXPECT_TRUE(names.contains("guards"));
    EXPECT_TRUE(names.contains("write_1"));
    for (auto const& name : names) EXPECT_EQ(name.find("alice"), std::string::npos);
    auto const status = store->status();
    EXPECT_EQ(status.slow_queries, status.queries);
    EXPECT_EQ(status.transactions, 1u);
    EXPECT_TRUE(status.is_up);
    EXPECT_EQ(status.backend, "postgres");
    options.on_slow_query = {};
    store.reset();
}

TEST_F(PostgresGraph, ItsTablesAreReadable)
{
    auto step = relate(1, 0, alice, "a", {.other = bob, .visibility = std::int64_t{2}, .context = "caf\u00e9"});
    step.fields[relationship_field::created_at] = std::int64_t{1'700'000'000'000'000};
    run(*store, {step});
    EXPECT_EQ(
        exec("set timezone to utc; select did, participant_b, type, strength, context, created_at, visibility, payload "
             "from relationships"),
        "did:plc:alice|did:plc:bob|professional|50|caf\u00e9|2023-11-14 22:13:20+00|private|\n");
    run(*store, {relate(2, 0, alice, "a", {.context = std::string("\0'", 2)})});
    EXPECT_EQ(exec("select context from relationships"), "\\000'\n");
}

TEST_F(PostgresGraph, RefusesTablesOfALaterProgram)
{
    exec("insert into migration (number, name) values (999, 'later')");
    auto const later = open_postgres_graph(options, real_clock);
    auto const begun = later->positions()->begin();
    EXPECT_EQ(begun.error().code, Errc::invalid);
    EXPECT_EQ(begun.error().reason, "newer_schema");
}

// Of each generation's tables the same sums are kept, and only the current one is used unless another is named.
TEST(PostgresGenerations, StandBesideEachOther)
{
    sluice::test::PostgresServer server;
    PostgresOptions              options{.url = server.url()};
    EXPECT_TRUE(list_generations(options, real_clock).value().empty());
    EXPECT_EQ(scan_generation(options, real_clock, [](auto&&...) {}).error().reason, "no_generation");

    auto const live = begun(options);
    run(*live, {a(1)});
    auto const number = create_generation(options, real_clock).value();
    EXPECT_EQ(number, 2u);
    auto next_options = options;
    next_options.generation = number;
    auto const next = begun(next_options);
    run(*next, {a(1), relate(2, 0, alice, "b")});
    run(*live, {a(3)});  // not fenced
    EXPECT_EQ(digest_by_scan(options), live->digest());
    EXPECT_EQ(digest_by_scan(next_options), next->digest());

    using State = Generation::State;
    auto const states = [&] {
        std::vector<State> all;
        for (auto const& generation : list_generations(options, real_clock).value()) all.push_back(generation.state);
        return all;
    };
    EXPECT_EQ(states(), (std::vector{State::current, State::building}));
    EXPECT_EQ(drop_generation(options, real_clock, 1).error().reason, "current_generation");
    EXPECT_EQ(activate_generation(options, real_clock, 7).error().reason, "no_generation");
    ASSERT_TRUE(activate_generation(options, real_clock, number));
    EXPECT_EQ(states(), (std::vector{State::retired, State::current}));
    EXPECT_EQ(begun(options)->digest(), next->digest());

    ASSERT_TRUE(activate_generation(options, real_clock, 1));
    EXPECT_EQ(begun(options)->digest(), live->digest());
    ASSERT_TRUE(drop_generation(options, real_clock, number));
    EXPECT_EQ(states(), std::vector{State::current});
    EXPECT_EQ(begun(options)->digest(), digest_by_scan(options));
    EXPECT_EQ(open_postgres_graph(next_options, real_clock)->positions()->begin().error().reason, "no_generation");
}

}  // namespace
}  // namespace sluice::adapters::test
