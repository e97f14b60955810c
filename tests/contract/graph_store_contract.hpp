// What every GraphStore does. Included by one file of each executable that has one to offer.
#pragma once

#include "unit/graph/support.hpp"

#include "graph/resident_store.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <set>

namespace sluice::graph::test {

using enum Outcome;

// A store to be tested, and where it keeps its state.
class GraphStorage {
public:
    virtual ~GraphStorage() = default;
    virtual GraphStore& store() = 0;
    virtual void        clear() = 0;  // the store is as new
    // The digest, computed from every record as it is stored.
    virtual Hash128 digest_by_scan() = 0;
};

struct GraphKind {
    std::string                                    name;
    std::function<std::unique_ptr<GraphStorage>()> make_storage;

    friend void PrintTo(GraphKind const& kind, std::ostream* out) { *out << kind.name; }
};

class GraphStoreContract : public testing::TestWithParam<GraphKind> {
protected:
    void restart() { storage->clear(); }

    std::unique_ptr<GraphStorage> storage = GetParam().make_storage();
    GraphStore&                   store = storage->store();
};

inline std::string const alice = "did:plc:alice", bob = "did:plc:bob", carol = "did:plc:carol";

// What is left of record `name` in alice's repository: its sequence when it lives, 0 when not.
inline std::uint64_t living(GraphStore const& store, std::string const& name)
{
    auto const record = store.find(Kind::relationship, uri(alice, name)).value();
    return record ? number((*record)->sequence) : 0;
}

struct GuardCase {
    char const*          promise;
    std::vector<Step>    steps;
    std::vector<Outcome> outcomes;
    std::uint64_t        living_a;  // the sequence that record a ends with, 0 if it does not live
    std::uint64_t        tombstones;
};

inline Step a(std::uint64_t sequence, std::uint64_t rev) { return relate(sequence, rev, alice, "a"); }
inline Step b(std::uint64_t sequence, std::uint64_t rev) { return relate(sequence, rev, alice, "b"); }
inline Step remove_a(std::uint64_t sequence, std::uint64_t rev) { return remove(sequence, rev, alice, "a"); }
inline Step remove_all(std::uint64_t sequence, std::uint64_t rev) { return remove_repository(sequence, rev, alice); }

inline GuardCase const guard_cases[] = {
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

TEST_P(GraphStoreContract, GuardsBySequenceAndRev)
{
    for (auto const& test : guard_cases) {
        SCOPED_TRACE(test.promise);
        restart();
        EXPECT_EQ(run(store, test.steps), test.outcomes);
        EXPECT_EQ(living(store, "a"), test.living_a);
        EXPECT_EQ(store.counts().tombstones, test.tombstones);
        EXPECT_EQ(store.digest(), storage->digest_by_scan());
    }
}

TEST_P(GraphStoreContract, SettlesOneByOneAsInABatch)
{
    for (auto const& test : guard_cases) {
        SCOPED_TRACE(test.promise);
        restart();
        run(store, test.steps);
        auto const together = store.digest();
        restart();
        for (auto const& step : test.steps) run(store, {step});
        EXPECT_EQ(store.digest(), together);
    }
}

TEST_P(GraphStoreContract, FindsWhatWasPut)
{
    auto const step = relate(7, 3, alice, "a", {.other = bob, .strength = 42, .visibility = std::int64_t{1}});
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

TEST_P(GraphStoreContract, RemovalIsANewVersionWithoutContent)
{
    run(store, {a(1, 10), remove_a(2, 11)});
    auto const emptied = store.digest();
    restart();
    run(store, {remove_a(2, 11)});
    EXPECT_EQ(store.digest(), emptied);
}

TEST_P(GraphStoreContract, OneUriMayNameRecordsOfTwoKinds)
{
    run(store, {relate(1, 0, alice, "a"), attest(2, 0, alice, "a", uri(bob, "x"))});
    EXPECT_EQ((*store.find(Kind::relationship, uri(alice, "a")).value())->sequence, Sequence{1});
    EXPECT_EQ((*store.find(Kind::attestation, uri(alice, "a")).value())->sequence, Sequence{2});
}

TEST_P(GraphStoreContract, BothParticipantsFindTheirRelationshipsByUri)
{
    run(store, {relate(1, 0, alice, "b", {.other = bob}), relate(2, 0, alice, "a", {.other = bob})});
    run(store, {relate(3, 0, bob, "c", {.other = alice})});

    std::vector const all{uri(alice, "a"), uri(alice, "b"), uri(bob, "c")};
    EXPECT_EQ(keys_of(store.relationships_of(alice).value()), all);
    EXPECT_EQ(keys_of(store.relationships_of(bob).value()), all);
    EXPECT_TRUE(store.relationships_of(carol).value().empty());
}

TEST_P(GraphStoreContract, AnUpdateMovesARelationshipToItsNewParticipants)
{
    auto const swapped = [](std::uint64_t sequence) {
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

TEST_P(GraphStoreContract, AttestationsAreFoundBeforeTheirTargetExists)
{
    auto const target = uri(alice, "a");
    run(store, {attest(1, 0, bob, "y", target), attest(2, 0, bob, "x", target)});
    EXPECT_EQ(keys_of(store.attestations_of(target).value()), (std::vector{uri(bob, "x"), uri(bob, "y")}));
    EXPECT_TRUE(store.relationships_of(target).value().empty());
}

TEST_P(GraphStoreContract, TheEndOfAnAccountReachesTheOthersLists)
{
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
TEST_P(GraphStoreContract, EveryChangeOfARecordChangesTheStampOfItsRepository)
{
    std::string const owner = "did:plc:a", target = uri("did:plc:b", "r");
    auto              removal = remove(3, 3, owner, "x");
    removal.kind = Kind::attestation;
    std::set<Stamp> stamps{store.stamp(owner)};
    for (auto const& step : {attest(1, 1, owner, "x", target), attest(2, 2, owner, "x", target), removal,
                             attest(4, 4, owner, "x", target), remove_repository(5, 5, owner)}) {
        run(store, {step});
        EXPECT_TRUE(stamps.insert(store.stamp(owner)).second) << "sequence " << step.sequence;
    }
}

TEST_P(GraphStoreContract, CountsLiveRecordsByKind)
{
    run(store, {a(1, 0), b(2, 0), remove_a(3, 0), attest(4, 0, alice, "t", uri(bob, "b"))});
    auto const counts = store.counts();
    EXPECT_EQ(counts.live[static_cast<std::size_t>(Kind::relationship)], 1u);
    EXPECT_EQ(counts.live[static_cast<std::size_t>(Kind::attestation)], 1u);
    EXPECT_EQ(counts.live[static_cast<std::size_t>(Kind::repository)], 0u);
    EXPECT_EQ(counts.tombstones, 1u);
}

TEST_P(GraphStoreContract, StopsAtTheFirstRefusalAndKeepsWhatCameBefore)
{
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

TEST_P(GraphStoreContract, DecidesOnTheStateBeforeTheEvent)
{
    std::vector<Step>                      steps{a(1, 0), a(2, 0), remove_a(3, 0), a(4, 0)};
    std::vector<Event>                     events;
    std::map<std::uint64_t, std::uint64_t> seen;  // the last time that each event was decided
    for (auto const& step : steps) events.push_back(event_of(step));

    store.apply(events, [&](Event const& event, RecordView const& view) -> Result<Effects> {
        auto const before = view.find(Kind::relationship, uri(alice, "a"));
        seen[number(event.sequence)] = before ? number(before->sequence) : 0;
        return effects_of(steps[number(event.sequence) - 1]);
    });

    EXPECT_EQ(seen, (std::map<std::uint64_t, std::uint64_t>{{1, 0}, {2, 1}, {3, 2}, {4, 0}}));
}

TEST_P(GraphStoreContract, RefusesEffectsNoProcessorMayHave)
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
        auto const result = run(store, std::span(&step, 1));
        ASSERT_TRUE(result.error);
        EXPECT_EQ(result.error->code, Errc::invalid);
        EXPECT_EQ(result.error->reason, reason);
        EXPECT_FALSE(result.from_store);
        EXPECT_EQ(store.digest(), Hash128{});
    }
}


// The order of the log, cut into calls in any way that keeps the order of each repository.
class Stream {
public:
    // Few repositories and keys, so that events meet: revs that go back and forth, late events, texts of every byte.
    Stream(unsigned seed, std::size_t length) : random_(seed)
    {
        auto const repositories = 1 + below(8);
        for (std::uint64_t sequence = 1; sequence <= length; ++sequence) steps_.push_back(make(sequence, repositories));
        for (auto const& step : steps_) lanes_[step.did].push_back(&step);
    }

    // All of it, in calls of several repositories; now and then something that was applied comes again.
    void apply_in_pieces(GraphStore& store)
    {
        std::map<std::string, std::size_t> done;
        for (std::size_t left = lanes_.size(); left > 0;) {
            std::vector<std::vector<Step const*>> pieces;
            for (auto const& [did, lane] : lanes_) {
                auto& at = done[did];
                if (at == lane.size() || below(3) == 0) continue;
                auto const begin = below(8) == 0 ? below(at + 1) : at;
                auto const end = std::min(lane.size(), at + below(1 + below(40)));
                if (begin < end) pieces.push_back({lane.data() + begin, lane.data() + end});
                if (end > at && end == lane.size()) --left;
                at = std::max(at, end);
            }
            apply(store, std::move(pieces));
        }
    }
    void apply_one_by_one(GraphStore& store)
    {
        for (auto const& step : steps_) apply(store, {{&step}});
    }

    std::vector<Step> const& steps() const noexcept { return steps_; }
    std::vector<std::string> names() const
    {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < 10; ++i) {
            names.push_back(did(i));
            for (std::size_t key = 0; key < keys; ++key) names.push_back(uri(did(i), name(key)));
        }
        return names;
    }

    // As processors do: some are refused, and some look at the record before and keep a part of it.
    static Result<Effects> decide(Step const& step, RecordView const& view)
    {
        if (step.sequence % 50 == 0) return Error{Errc::invalid, "refused", ""};
        auto effects = effects_of(step);
        if (step.sequence % 3 != 0 || step.action != Action::put) return effects;
        auto const before = view.find(step.kind, step.key);
        if (before && before->fields.text(1)) effects.fields[1] = *before->fields.text(1);
        return effects;
    }

private:
    static constexpr std::size_t keys = 6;

    static std::string did(std::size_t i) { return "did:plc:" + std::string(1, static_cast<char>('a' + i)); }
    static std::string name(std::size_t i) { return "r" + std::to_string(i); }

    std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }

    std::string bytes()
    {
        std::string text(below(40), '\0');
        for (auto& c : text) c = static_cast<char>(random_());
        return text;
    }

    Step make(std::uint64_t sequence, std::size_t repositories)
    {
        auto const owner = did(below(repositories));
        auto const key = name(below(keys));
        auto const rev = below(3) == 0 ? 0 : below(50) == 0 ? ~std::uint64_t{0} - below(9) : 1 + sequence + below(60);
        auto const dice = below(1'000);
        Step       step;
        if (dice < 400) {
            step = relate(
                sequence, rev, owner, key,
                {.other = did(8 + below(2)), .strength = std::int64_t(below(101)), .context = bytes()});
        } else if (dice < 650) {
            step = attest(sequence, rev, owner, key, uri(did(below(repositories)), name(below(keys))));
            step.fields[attestation_field::evidence] = bytes();
        } else if (dice < 800) {
            auto const at = uri(owner, key);
            auto const cid = below(2) == 0 ? StepValue() : StepValue(bytes());
            step = {sequence, rev, Action::put, Kind::entity, owner, at,
                    {at, cid, bytes(), std::int64_t{1}, StepValue(), "", std::int64_t{-1}}};
        } else if (dice < 960) {
            step = remove(sequence, rev, owner, key);
            step.kind = static_cast<Kind>(1 + below(3));
        } else if (dice < 980) {
            step = remove_repository(sequence, rev, owner);
        } else {
            step = {sequence, rev, Action::none, Kind::relationship, owner, uri(owner, key), {}};
        }
        if (below(10) == 0) step.version = 1 + below(sequence);
        return step;
    }

    // An event the processor refuses becomes a dead letter, and its repository goes on.
    void apply(GraphStore& store, std::vector<std::vector<Step const*>> pieces)
    {
        while (!pieces.empty()) {
            std::vector<std::vector<Event>>     events;
            std::vector<std::span<Event const>> runs;
            for (auto const& piece : pieces) {
                auto& run = events.emplace_back();
                for (auto const* step : piece) run.push_back(event_of(*step));
            }
            for (auto const& run : events) runs.push_back(run);
            auto const results = store.apply_all(runs, [this](Event const& event, RecordView const& view) {
                return decide(steps_[number(event.sequence) - 1], view);
            });
            ASSERT_EQ(results.size(), runs.size());
            std::vector<std::vector<Step const*>> rest;
            for (std::size_t i = 0; i < runs.size(); ++i) {
                auto const& [settled, error, from_store] = results[i];
                for (std::size_t k = 0; k < settled.size(); ++k)
                    outcomes.insert({pieces[i][k]->sequence, settled[k]});
                if (!error) {
                    ASSERT_EQ(settled.size(), runs[i].size());
                    continue;
                }
                ASSERT_FALSE(from_store) << error->reason << ": " << error->detail;
                ASSERT_EQ(error->reason, "refused");
                rest.emplace_back(pieces[i].begin() + static_cast<std::ptrdiff_t>(settled.size()) + 1, pieces[i].end());
            }
            std::erase_if(rest, [](auto const& piece) { return piece.empty(); });
            pieces = std::move(rest);
        }
    }

public:
    std::map<std::uint64_t, Outcome> outcomes;  // of the first time

private:
    std::mt19937                                    random_;
    std::vector<Step>                               steps_;
    std::map<std::string, std::vector<Step const*>> lanes_;
};

inline bool same_record(Record const& x, Record const& y)
{
    auto const layout = record_layout(x.kind);
    if (x.kind != y.kind || x.did != y.did || x.key != y.key || x.rev != y.rev || x.sequence != y.sequence ||
        x.version != y.version || x.payload_hash != y.payload_hash || x.fields.size() != y.fields.size())
        return false;
    for (std::size_t i = 0; i < x.fields.size(); ++i) {
        if (layout.is_text(i) && x.fields.text(i) != y.fields.text(i)) return false;
        if (!layout.is_text(i) && x.fields.slot(i) != y.fields.slot(i)) return false;
    }
    return true;
}

inline bool same_records(std::vector<OwnedRecord> const& x, std::vector<OwnedRecord> const& y)
{
    return std::ranges::equal(x, y, [](auto const& a, auto const& b) { return same_record(*a, *b); });
}

inline void expect_same(GraphStore const& store, GraphStore const& other, Stream const& stream)
{
    ASSERT_EQ(store.digest(), other.digest());
    ASSERT_EQ(store.counts().live, other.counts().live);
    ASSERT_EQ(store.counts().tombstones, other.counts().tombstones);
    for (auto const& name : stream.names()) {
        ASSERT_TRUE(same_records(store.relationships_of(name).value(), other.relationships_of(name).value())) << name;
        ASSERT_TRUE(same_records(store.attestations_of(name).value(), other.attestations_of(name).value())) << name;
        for (auto const kind : {Kind::relationship, Kind::attestation, Kind::entity}) {
            auto const found = store.find(kind, name).value(), expected = other.find(kind, name).value();
            ASSERT_EQ(found.has_value(), expected.has_value()) << name;
            ASSERT_TRUE(!found || same_record(**found, **expected)) << name;
        }
    }
}

TEST_P(GraphStoreContract, ComesToTheSameHoweverTheLogIsCutIntoCalls)
{
    for (unsigned seed = 1; seed <= 12; ++seed) {
        SCOPED_TRACE(seed);
        restart();
        ResidentStore one_by_one;
        Stream        stream(seed, 500 * (1 + seed % 3)), plain(seed, 500 * (1 + seed % 3));
        ASSERT_NO_FATAL_FAILURE(stream.apply_in_pieces(store));
        ASSERT_NO_FATAL_FAILURE(plain.apply_one_by_one(one_by_one));
        EXPECT_EQ(stream.outcomes, plain.outcomes);
        ASSERT_NO_FATAL_FAILURE(expect_same(store, one_by_one, stream));
        EXPECT_EQ(store.digest(), storage->digest_by_scan());
    }
}

TEST_P(GraphStoreContract, ApplyingAllOfItAgainChangesNothing)
{
    Stream stream(7, 400);
    ASSERT_NO_FATAL_FAILURE(stream.apply_in_pieces(store));
    auto const digest = store.digest();
    ASSERT_NO_FATAL_FAILURE(stream.apply_in_pieces(store));
    EXPECT_EQ(store.digest(), digest);
    EXPECT_EQ(store.digest(), storage->digest_by_scan());
}

// What was answered under a stamp is the answer for as long as that is the stamp.
TEST_P(GraphStoreContract, AnAnswerChangesOnlyWithItsStamp)
{
    using Answer = std::vector<std::uint64_t>;
    Stream                                           stream(3, 60);
    std::map<std::pair<std::string, Stamp>, Answer> answers;
    auto const                                       names = stream.names();
    for (auto const& step : stream.steps()) {
        run(store, {step});
        for (auto const& name : names) {
            Answer     answer;
            auto const add = [&](OwnedRecord const& record) { answer.push_back(number(record->sequence)); };
            std::ranges::for_each(store.relationships_of(name).value(), add);
            std::ranges::for_each(store.attestations_of(name).value(), add);
            for (auto const& key : names)
                if (authority(key) == name)
                    if (auto const found = store.find(Kind::relationship, key).value()) add(*found);
            auto const [at, fresh] = answers.try_emplace({name, store.stamp(name)}, answer);
            ASSERT_EQ(at->second, answer) << name << " after sequence " << step.sequence;
        }
    }
}

TEST_P(GraphStoreContract, ARefusedEventStopsOnlyItsOwnRepository)
{
    std::vector<Step> const      steps{a(1, 0), b(2, 0), a(3, 0), relate(4, 0, bob, "a"), relate(5, 0, carol, "a")};
    std::vector<Event>           events;
    for (auto const& step : steps) events.push_back(event_of(step));
    std::span<Event const> const all(events), runs[] = {all.subspan(3, 1), all.first(3), all.subspan(4)};

    auto const results = store.apply_all(runs, [&](Event const& event, RecordView const&) -> Result<Effects> {
        if (event.sequence == Sequence{2}) return Error{Errc::invalid, "no_good", ""};
        return effects_of(steps[number(event.sequence) - 1]);
    });

    ASSERT_EQ(results.size(), 3u);
    EXPECT_EQ(results[0].outcomes, std::vector{applied});
    EXPECT_FALSE(results[0].error);
    EXPECT_EQ(results[1].outcomes, std::vector{applied});
    ASSERT_TRUE(results[1].error);
    EXPECT_EQ(results[1].error->reason, "no_good");
    EXPECT_FALSE(results[1].from_store);
    EXPECT_EQ(results[2].outcomes, std::vector{applied});
    EXPECT_EQ(living(store, "a"), 1u);
    EXPECT_EQ(living(store, "b"), 0u);
}

TEST_P(GraphStoreContract, KeepsEveryByteOfATextAndEveryBitOfANumber)
{
    std::string every_byte;
    for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i);
    for (auto const& text : {every_byte, std::string(), std::string("'\"\\{},NULL$1"), std::string(1, '\0')}) {
        restart();
        RelationshipText const extremes{
            .strength = INT64_MAX, .created_at = INT64_MIN + 1, .last_interaction = std::int64_t{-1}, .context = text};
        auto const step = relate(1, ~std::uint64_t{0}, alice, "a", extremes);
        run(store, {step});
        auto const record = store.find(Kind::relationship, step.key).value();
        ASSERT_TRUE(record);
        EXPECT_TRUE(same_fields((*record)->fields, step.fields));
        EXPECT_EQ((*record)->rev, Revision{~std::uint64_t{0}});
        EXPECT_EQ(store.digest(), storage->digest_by_scan());
    }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GraphStoreContract);

}  // namespace sluice::graph::test
