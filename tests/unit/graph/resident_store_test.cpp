#include "graph/resident_store.hpp"

#include "support.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sluice::graph::test {
namespace {

using enum Outcome;

std::string const alice = "did:plc:alice", bob = "did:plc:bob", carol = "did:plc:carol";

// What is left of record `name` in alice's repository: its sequence when it lives, 0 when not.
std::uint64_t living(GraphStore const& store, std::string const& name)
{
    auto const record = store.find(Kind::relationship, uri(alice, name)).value();
    return record ? number((*record)->sequence) : 0;
}

struct Case {
    char const*          promise;
    std::vector<Step>    steps;
    std::vector<Outcome> outcomes;
    std::uint64_t        living_a;  // the sequence that record a ends with, 0 if it does not live
    std::uint64_t        tombstones;
};

Step a(std::uint64_t sequence, std::uint64_t rev) { return relate(sequence, rev, alice, "a"); }
Step b(std::uint64_t sequence, std::uint64_t rev) { return relate(sequence, rev, alice, "b"); }
Step remove_a(std::uint64_t sequence, std::uint64_t rev) { return remove(sequence, rev, alice, "a"); }
Step remove_all(std::uint64_t sequence, std::uint64_t rev) { return remove_repository(sequence, rev, alice); }

Case const cases[] = {
    {"a later rev replaces", {a(1, 10), a(2, 11)}, {applied, applied}, 2, 0},
    {"an equal rev is stale", {a(1, 10), a(2, 10)}, {applied, stale}, 1, 0},
    {"a lower rev is stale", {a(1, 10), a(2, 9)}, {applied, stale}, 1, 0},
    {"no rev is never stale", {a(1, 10), a(2, 0)}, {applied, applied}, 2, 0},
    {"no rev keeps the floor", {a(1, 10), a(2, 0), a(3, 10)}, {applied, applied, stale}, 2, 0},
    {"another record's rev does not matter", {a(1, 10), b(2, 20), a(3, 11)}, {applied, applied, applied}, 3, 0},
    {"what was applied is not applied again", {a(2, 10), a(1, 11)}, {applied, applied}, 2, 0},
    {"sequence guards where rev is missing", {a(2, 0), a(1, 0)}, {applied, applied}, 2, 0},
    {"a delete leaves a tombstone", {a(1, 10), remove_a(2, 11)}, {applied, applied}, 0, 1},
    {"a stale delete changes nothing", {a(1, 10), remove_a(2, 10)}, {applied, stale}, 1, 0},
    {"a delete wins over its late create", {remove_a(1, 11), a(2, 10)}, {applied, stale}, 0, 1},
    {"a delete without rev keeps the floor", {a(1, 10), remove_a(2, 0), a(3, 10)}, {applied, applied, stale}, 0, 1},
    {"a create after a delete lives", {a(1, 10), remove_a(2, 11), a(3, 12)}, {applied, applied, applied}, 3, 0},
    {"a tombstone guards by sequence", {remove_a(2, 0), a(1, 0)}, {applied, applied}, 0, 1},
    {"the account's end takes lower revs", {a(1, 10), remove_all(2, 11)}, {applied, applied}, 0, 1},
    {"the account's end takes equal revs", {a(1, 10), remove_all(2, 10)}, {applied, applied}, 0, 1},
    {"the account's end spares higher revs",
     {a(1, 12), b(2, 10), remove_all(3, 11)},
     {applied, applied, applied},
     1,
     1},
    {"the account's end takes records without rev", {a(1, 0), remove_all(2, 1)}, {applied, applied}, 0, 1},
    {"the account's end takes tombstones", {remove_a(1, 10), remove_all(2, 11)}, {applied, applied}, 0, 1},
    {"the account's end spares higher tombstones", {remove_a(1, 12), remove_all(2, 11)}, {applied, applied}, 0, 2},
    {"an end without rev takes all", {a(1, 10), remove_all(2, 0)}, {applied, applied}, 0, 1},
    {"an end without rev raises the floor to a record's rev",
     {a(1, 10), remove_all(2, 0), a(3, 10), a(4, 11)},
     {applied, applied, stale, applied},
     4,
     1},
    {"an end without rev raises the floor to a tombstone's rev",
     {remove_a(1, 10), remove_all(2, 0), b(3, 10)},
     {applied, applied, stale},
     0,
     1},
    {"an end without rev keeps the old floor",
     {remove_all(1, 10), a(2, 0), remove_all(3, 0), a(4, 10)},
     {applied, applied, applied, stale},
     0,
     1},
    {"after the end the floor holds for records never seen", {remove_all(1, 10), a(2, 10)}, {applied, stale}, 0, 1},
    {"after the end a higher rev lives", {remove_all(1, 10), a(2, 11)}, {applied, applied}, 2, 1},
    {"after the end no rev lives", {remove_all(1, 10), a(2, 0)}, {applied, applied}, 2, 1},
    {"a second end needs a higher rev",
     {remove_all(1, 10), a(2, 0), remove_all(3, 10)},
     {applied, applied, stale},
     2,
     1},
    {"a second end replaces the first",
     {remove_all(1, 10), a(2, 11), remove_all(3, 12), a(4, 12)},
     {applied, applied, applied, stale},
     0,
     1},
    {"the end guards by sequence", {remove_all(2, 0), a(1, 5), remove_all(1, 5)}, {applied, applied, applied}, 0, 1},
    {"none settles without a trace",
     {Step{1, 10, Action::none, Kind::relationship, alice, uri(alice, "a"), {}}, a(2, 5)},
     {applied, applied},
     2,
     0},
};

TEST(ResidentStore, GuardsBySequenceAndRev)
{
    for (auto const& test : cases) {
        SCOPED_TRACE(test.promise);
        ResidentStore store;
        EXPECT_EQ(run(store, test.steps), test.outcomes);
        EXPECT_EQ(living(store, "a"), test.living_a);
        EXPECT_EQ(store.counts().tombstones, test.tombstones);
        EXPECT_EQ(store.digest(), store.digest_by_scan());
    }
}

TEST(ResidentStore, SettlesOneByOneAsInABatch)
{
    for (auto const& test : cases) {
        SCOPED_TRACE(test.promise);
        ResidentStore together, alone;
        run(together, test.steps);
        for (auto const& step : test.steps) run(alone, {step});
        EXPECT_EQ(together.digest(), alone.digest());
    }
}

TEST(ResidentStore, FindsWhatWasPut)
{
    ResidentStore store;
    auto const    step = relate(7, 3, alice, "a", {.other = bob, .strength = 42, .visibility = std::int64_t{1}});
    run(store, {step});

    auto const record = store.find(Kind::relationship, step.key).value();
    ASSERT_TRUE(record);
    EXPECT_EQ((*record)->kind, Kind::relationship);
    EXPECT_EQ((*record)->did, alice);
    EXPECT_EQ((*record)->key, step.key);
    EXPECT_EQ((*record)->rev, Revision{3});
    EXPECT_EQ((*record)->sequence, Sequence{7});
    EXPECT_EQ((*record)->payload_hash, step.payload_hash());
    EXPECT_TRUE(same_fields((*record)->fields, step.fields));
    EXPECT_FALSE(store.find(Kind::attestation, step.key).value());
    EXPECT_FALSE(store.find(Kind::relationship, uri(bob, "a")).value());
    EXPECT_FALSE(store.find(Kind::relationship, "not a uri").value());
}

TEST(ResidentStore, RemovalIsANewVersionWithoutContent)
{
    ResidentStore emptied, never_filled;
    run(emptied, {a(1, 10), remove_a(2, 11)});
    run(never_filled, {remove_a(2, 11)});
    EXPECT_EQ(emptied.digest(), never_filled.digest());
}

TEST(ResidentStore, OneUriMayNameRecordsOfTwoKinds)
{
    ResidentStore store;
    run(store, {relate(1, 0, alice, "a"), attest(2, 0, alice, "a", uri(bob, "x"))});
    EXPECT_EQ((*store.find(Kind::relationship, uri(alice, "a")).value())->sequence, Sequence{1});
    EXPECT_EQ((*store.find(Kind::attestation, uri(alice, "a")).value())->sequence, Sequence{2});
}

TEST(ResidentStore, BothParticipantsFindTheirRelationshipsByUri)
{
    ResidentStore store;
    run(store, {relate(1, 0, alice, "b", {.other = bob}), relate(2, 0, alice, "a", {.other = bob})});
    run(store, {relate(3, 0, bob, "c", {.other = alice})});

    std::vector const all{uri(alice, "a"), uri(alice, "b"), uri(bob, "c")};
    EXPECT_EQ(keys_of(store.relationships_of(alice).value()), all);
    EXPECT_EQ(keys_of(store.relationships_of(bob).value()), all);
    EXPECT_TRUE(store.relationships_of(carol).value().empty());
}

TEST(ResidentStore, AnUpdateMovesARelationshipToItsNewParticipants)
{
    ResidentStore store;
    auto const    swapped = [](std::uint64_t sequence) {
        auto step = relate(sequence, 0, alice, "a", {.other = bob});
        std::swap(step.fields[relationship_field::participant_a], step.fields[relationship_field::participant_b]);
        return step;
    };
    run(store, {relate(1, 0, alice, "a", {.other = bob}), swapped(2)});
    EXPECT_EQ(store.relationships_of(alice).value().size(), 1u);
    EXPECT_EQ((*store.relationships_of(bob).value()[0]).sequence, Sequence{2});

    run(store, {relate(3, 0, alice, "a", {.other = carol})});
    EXPECT_EQ(store.relationships_of(alice).value().size(), 1u);
    EXPECT_TRUE(store.relationships_of(bob).value().empty());
    EXPECT_EQ(store.relationships_of(carol).value().size(), 1u);

    run(store, {remove(4, 0, alice, "a")});
    EXPECT_TRUE(store.relationships_of(alice).value().empty());
    EXPECT_TRUE(store.relationships_of(carol).value().empty());
}

TEST(ResidentStore, AttestationsAreFoundBeforeTheirTargetExists)
{
    ResidentStore store;
    auto const    target = uri(alice, "a");
    run(store, {attest(1, 0, bob, "y", target), attest(2, 0, bob, "x", target)});
    EXPECT_EQ(keys_of(store.attestations_of(target).value()), (std::vector{uri(bob, "x"), uri(bob, "y")}));
    EXPECT_TRUE(store.relationships_of(target).value().empty());
}

TEST(ResidentStore, TheEndOfAnAccountReachesTheOthersLists)
{
    ResidentStore store;
    run(store, {relate(1, 5, alice, "a", {.other = bob}), attest(2, 5, alice, "t", uri(bob, "b")),
                relate(3, 9, alice, "late", {.other = bob})});
    run(store, {relate(4, 1, bob, "b", {.other = alice})});
    run(store, {remove_repository(5, 6, alice)});

    EXPECT_EQ(keys_of(store.relationships_of(bob).value()), (std::vector{uri(alice, "late"), uri(bob, "b")}));
    EXPECT_EQ(keys_of(store.relationships_of(alice).value()), (std::vector{uri(alice, "late"), uri(bob, "b")}));
    EXPECT_TRUE(store.attestations_of(uri(bob, "b")).value().empty());
    EXPECT_FALSE(store.find(Kind::attestation, uri(alice, "t")).value());
}

// Even of one that is in no list of its own repository.
TEST(ResidentStore, EveryChangeOfARecordChangesTheStampOfItsRepository)
{
    std::string const owner = "did:plc:a", target = uri("did:plc:b", "r");
    auto              removal = remove(3, 3, owner, "x");
    removal.kind = Kind::attestation;
    ResidentStore   store;
    std::set<Stamp> stamps{store.stamp(owner)};
    for (auto const& step : {attest(1, 1, owner, "x", target), attest(2, 2, owner, "x", target), removal,
                             attest(4, 4, owner, "x", target), remove_repository(5, 5, owner)}) {
        run(store, {step});
        EXPECT_TRUE(stamps.insert(store.stamp(owner)).second) << "sequence " << step.sequence;
    }
}

TEST(ResidentStore, CountsLiveRecordsByKind)
{
    ResidentStore store;
    run(store, {a(1, 0), b(2, 0), remove_a(3, 0), attest(4, 0, alice, "t", uri(bob, "b"))});
    auto const counts = store.counts();
    EXPECT_EQ(counts.live[static_cast<std::size_t>(Kind::relationship)], 1u);
    EXPECT_EQ(counts.live[static_cast<std::size_t>(Kind::attestation)], 1u);
    EXPECT_EQ(counts.live[static_cast<std::size_t>(Kind::repository)], 0u);
    EXPECT_EQ(counts.tombstones, 1u);
}

TEST(ResidentStore, StopsAtTheFirstRefusalAndKeepsWhatCameBefore)
{
    ResidentStore      store;
    std::vector<Step>  steps{a(1, 0), b(2, 0), a(3, 0)};
    std::vector<Event> events;
    for (auto const& step : steps) events.push_back(event_of(step));

    auto const result = store.apply(events, [&](Event const& event, RecordView const&) -> Result<Effects> {
        if (event.sequence == Sequence{2}) return Error{Errc::invalid, "no_good", ""};
        return effects_of(steps[number(event.sequence) - 1]);
    });

    EXPECT_EQ(result.outcomes, (std::vector{applied}));
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->reason, "no_good");
    EXPECT_FALSE(result.from_store);
    EXPECT_EQ(living(store, "a"), 1u);
    EXPECT_EQ(living(store, "b"), 0u);
}

TEST(ResidentStore, DecidesOnTheStateBeforeTheEvent)
{
    ResidentStore              store;
    std::vector<Step>          steps{a(1, 0), a(2, 0), remove_a(3, 0), a(4, 0)};
    std::vector<Event>         events;
    std::vector<std::uint64_t> seen;
    for (auto const& step : steps) events.push_back(event_of(step));

    store.apply(events, [&](Event const& event, RecordView const& view) -> Result<Effects> {
        auto const before = view.find(Kind::relationship, uri(alice, "a"));
        seen.push_back(before ? number(before->sequence) : 0);
        return effects_of(steps[number(event.sequence) - 1]);
    });

    EXPECT_EQ(seen, (std::vector<std::uint64_t>{0, 1, 2, 0}));
}

TEST(ResidentStore, RefusesEffectsNoProcessorMayHave)
{
    auto const with = [](auto change) {
        auto step = relate(1, 0, alice, "a");
        change(step);
        return step;
    };
    struct {
        char const* reason;
        Step        step;
    } const refused[] = {
        {"key_outside_repository", with([](Step& step) { step.key = uri(bob, "a"); })},
        {"key_outside_repository", with([](Step& step) { step.key = "a"; })},
        {"key_outside_repository", with([](Step& step) { step.key += std::string(70'000, 'x'); })},
        {"unknown_kind", with([](Step& step) { step.kind = Kind::repository; })},
        {"unknown_kind", with([](Step& step) { step.kind = Kind{7}; })},
        {"too_many_fields", with([](Step& step) { step.fields.emplace_back("more"); })},
        {"wrong_field_type", with([](Step& step) { step.fields[relationship_field::strength] = "strong"; })},
        {"wrong_field_type", with([](Step& step) { step.fields[relationship_field::cid] = std::int64_t{1}; })},
    };
    for (auto const& [reason, step] : refused) {
        SCOPED_TRACE(reason);
        ResidentStore store;
        auto const    result = run(store, std::span(&step, 1));
        ASSERT_TRUE(result.error);
        EXPECT_EQ(result.error->code, Errc::invalid);
        EXPECT_EQ(result.error->reason, reason);
        EXPECT_FALSE(result.from_store);
        EXPECT_EQ(store.digest(), Hash128{});
    }
}

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
