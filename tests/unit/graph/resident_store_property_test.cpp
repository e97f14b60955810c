// Random event streams against a fold that is as plain as can be.
#include "graph/record_digest.hpp"
#include "graph/resident_store.hpp"

#include "support.hpp"

#include "base/hash.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace sluice::graph::test {
namespace {

constexpr unsigned rounds = 150;

std::string did(std::size_t i) { return "did:plc:" + std::string(1, static_cast<char>('a' + i)); }

struct Plain {
    struct Entry {
        std::uint64_t rev, sequence;
        bool          removed;
        Step          step;
    };
    struct Tombstone {
        std::uint64_t rev, sequence;
    };
    using Repository = std::map<std::pair<Kind, std::string>, Entry>;

    std::map<std::string, Repository> repositories;
    std::map<std::string, Tombstone>  ends;

    void apply(Step const& step)
    {
        if (step.action == Action::none) return;
        auto&      records = repositories[step.did];
        auto const end = ends.find(step.did);
        if (end != ends.end() && step.rev != 0 && step.rev <= end->second.rev) return;
        if (step.action == Action::remove_repository) return end_account(step, records);

        auto const before = records.find({step.kind, step.key});
        if (before == records.end()) {
            records.insert({{step.kind, step.key}, {step.rev, step.sequence, step.action == Action::remove, step}});
        } else if (step.rev == 0 || step.rev > before->second.rev) {
            auto const rev = step.rev == 0 ? before->second.rev : step.rev;
            before->second = {rev, step.sequence, step.action == Action::remove, step};
        }
    }

    void end_account(Step const& step, Repository& records)
    {
        auto floor = step.rev;
        if (step.rev == 0) {
            if (ends.contains(step.did)) floor = ends[step.did].rev;
            for (auto const& [key, entry] : records) floor = std::max(floor, entry.rev);
        }
        std::erase_if(records, [&](auto const& record) { return step.rev == 0 || record.second.rev <= step.rev; });
        ends[step.did] = {floor, step.sequence};
    }

    Hash128 digest() const
    {
        Hash128     sum;
        std::string scratch;
        for (auto const& [name, records] : repositories) {
            for (auto const& [key, entry] : records) {
                FieldsOf const fields(entry.removed ? std::vector<StepValue>{} : entry.step.fields);
                sum += record_digest(
                    Record{
                        .kind = key.first,
                        .did = name,
                        .key = key.second,
                        .rev = Revision{entry.rev},
                        .sequence = Sequence{entry.sequence},
                        .removed = entry.removed,
                        .payload_hash = entry.removed ? Hash128{} : entry.step.payload_hash(),
                        .fields = fields.view()},
                    scratch);
            }
        }
        for (auto const& [name, end] : ends)
            sum += record_digest(
                Record{
                    .kind = Kind::repository,
                    .did = name,
                    .key = name,
                    .rev = Revision{end.rev},
                    .sequence = Sequence{end.sequence},
                    .removed = true,
                    .payload_hash = {},
                    .fields = {}},
                scratch);
        return sum;
    }

    // Keys of live records that have `text` in one of the fields.
    std::vector<std::string> keys_with(Kind kind, std::string const& text, std::set<std::size_t> const& in) const
    {
        std::set<std::string> keys;
        for (auto const& [name, records] : repositories)
            for (auto const& [key, entry] : records)
                for (auto const field : in)
                    if (key.first == kind && !entry.removed && entry.step.fields[field] == StepValue(text))
                        keys.insert(key.second);
        return {keys.begin(), keys.end()};
    }

    Counts counts() const
    {
        Counts counts;
        counts.tombstones = ends.size();
        for (auto const& [name, records] : repositories)
            for (auto const& [key, entry] : records)
                ++(entry.removed ? counts.tombstones : counts.live[static_cast<std::size_t>(key.first)]);
        return counts;
    }
};

using Streams = std::map<std::string, std::vector<Step>>;

// Streams of a few repositories over a few keys, with revs that go back and forth.
Streams random_streams(std::mt19937& random)
{
    auto const    below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    auto const    repositories = 1 + below(4);
    auto const    length = 1 + below(80);
    Streams       streams;
    std::uint64_t sequence = 0;
    for (std::size_t i = 0; i < length; ++i) {
        auto const owner = did(below(repositories)), other = did(4 + below(2));
        auto const name = "r" + std::to_string(below(5));
        auto const rev = below(3) == 0 ? 0 : 1 + i / 3 + below(12);
        auto const dice = below(100);
        auto const target = uri(did(below(repositories)), "r" + std::to_string(below(3)));
        Step       step;
        ++sequence;
        if (dice < 45)
            step = relate(sequence, rev, owner, name, {.other = other, .strength = std::int64_t(below(101))});
        else if (dice < 70)
            step = attest(sequence, rev, owner, name, target, {.confidence = std::int64_t(below(101))});
        else if (dice < 90)
            step = remove(sequence, rev, owner, name);
        else if (dice < 97)
            step = remove_repository(sequence, rev, owner);
        else
            step = Step{sequence, rev, Action::none, Kind::relationship, owner, uri(owner, name), {}};
        if (dice >= 70 && dice < 90 && below(2) == 0) step.kind = Kind::attestation;
        streams[owner].push_back(step);
    }
    return streams;
}

void expect_equal(ResidentStore const& store, Plain const& plain)
{
    ASSERT_EQ(store.digest(), plain.digest());
    ASSERT_EQ(store.digest(), store.digest_by_scan());
    ASSERT_EQ(store.counts().live, plain.counts().live);
    ASSERT_EQ(store.counts().tombstones, plain.counts().tombstones);
    for (std::size_t i = 0; i < 6; ++i) {
        using namespace relationship_field;
        ASSERT_EQ(
            keys_of(store.relationships_of(did(i)).value()),
            plain.keys_with(Kind::relationship, did(i), {participant_a, participant_b}));
        for (auto const* name : {"r0", "r1", "r2"})
            ASSERT_EQ(
                keys_of(store.attestations_of(uri(did(i), name)).value()),
                plain.keys_with(Kind::attestation, uri(did(i), name), {attestation_field::target}));
    }
    for (auto const& [owner, records] : plain.repositories) {
        for (auto const& [key, entry] : records) {
            auto const found = store.find(key.first, key.second).value();
            ASSERT_EQ(found.has_value(), !entry.removed);
            ASSERT_TRUE(!found || same_fields((*found)->fields, entry.step.fields));
        }
    }
}

class ResidentStoreProperty : public testing::TestWithParam<unsigned> {
protected:
    std::mt19937 random_{GetParam()};
    Streams      streams_{random_streams(random_)};
};

TEST_P(ResidentStoreProperty, EqualsThePlainFoldAtEveryStep)
{
    ResidentStore store;
    Plain         plain;
    for (auto const& [owner, stream] : streams_) {
        for (auto const& step : stream) {
            run(store, {step});
            plain.apply(step);
            ASSERT_NO_FATAL_FAILURE(expect_equal(store, plain)) << "after sequence " << step.sequence;
        }
    }
}

// What was answered under a stamp is the answer for as long as that is the stamp.
TEST_P(ResidentStoreProperty, AnAnswerChangesOnlyWithItsStamp)
{
    ResidentStore                                              store;
    std::map<std::pair<std::string, Stamp>, std::vector<std::uint64_t>> answers;
    auto const sequences = [](std::vector<OwnedRecord> const& records, std::vector<std::uint64_t>& out) {
        for (auto const& record : records) out.push_back(number(record->sequence));
    };
    for (auto const& [owner, stream] : streams_) {
        for (auto const& step : stream) {
            run(store, {step});
            std::vector<std::string> names;
            for (std::size_t i = 0; i < 6; ++i) {
                names.push_back(did(i));
                for (auto const* name : {"r0", "r1", "r2"}) names.push_back(uri(did(i), name));
            }
            for (auto const& name : names) {
                std::vector<std::uint64_t> answer;
                sequences(store.relationships_of(name).value(), answer);
                sequences(store.attestations_of(name).value(), answer);
                for (auto const* key : {"r0", "r1", "r2", "r3", "r4"})
                    if (auto const found = store.find(Kind::relationship, uri(name, key)).value())
                        answer.push_back(number((*found)->sequence));
                auto const [at, fresh] = answers.try_emplace({name, store.stamp(name)}, answer);
                ASSERT_EQ(at->second, answer) << name << " after sequence " << step.sequence;
            }
        }
    }
}

// Captured a little at a time while events are applied, restored, and brought up to date as a fold does.
TEST_P(ResidentStoreProperty, ComesBackFromItsCaptures)
{
    struct File {
        std::uint32_t number;
        std::string   bytes;
    };
    ResidentStore      store;
    std::vector<File>  chain;
    Snapshots::Capture capture{.number = 1, .all = true};
    Sequence           applied{}, began{};
    chain.push_back({1, {}});
    auto const proceed = [&] {
        for (auto steps = random_() % 40; steps > 0; --steps) {
            if (store.capture(capture, chain.back().bytes)) continue;
            // One thread applies, so that everything before is settled.
            capture = {.number = capture.number + 1, .all = random_() % 4 == 0, .after = began};
            if (capture.all) capture.after = Sequence::none;
            began = applied;
            if (capture.all) chain.clear();
            chain.push_back({capture.number, {}});
        }
    };
    std::map<std::uint64_t, Step const*> in_order;
    for (auto const& [owner, stream] : streams_)
        for (auto const& step : stream) in_order[step.sequence] = &step;
    for (auto const& [sequence, step] : in_order) {
        run(store, {*step});
        applied = Sequence{sequence};
        proceed();
    }
    while (store.capture(capture, chain.back().bytes)) {}

    ResidentStore                   restored;
    std::map<std::string, Sequence> last;
    for (auto file = chain.rbegin(); file != chain.rend(); ++file)
        ASSERT_TRUE(restored.restore(file->bytes, file->number, [&](Snapshots::Restored const& repository) {
            auto const newest = last.emplace(repository.did, repository.last).first;
            EXPECT_GE(newest->second, repository.last) << "the newest comes first";
        }));
    for (auto const& [owner, sequence] : last)
        EXPECT_NE(restored.stamp(owner), Stamp::none) << "of " << owner << " something is known";
    Plain plain;
    for (auto const& [owner, stream] : streams_)
        for (auto const& step : stream) {
            plain.apply(step);
            if (Sequence{step.sequence} > last[owner]) run(restored, {step});
        }
    ASSERT_NO_FATAL_FAILURE(expect_equal(restored, plain));

    // What is restored can be captured and restored again.
    std::string        all;
    Snapshots::Capture again{.number = 100, .all = true};
    while (restored.capture(again, all)) {}
    ResidentStore copy;
    ASSERT_TRUE(copy.restore(all, 100, [](auto const&) {}));
    ASSERT_NO_FATAL_FAILURE(expect_equal(copy, plain));
}

// Whatever the bytes are, they are refused or are repositories; nothing is read beyond them.
TEST_P(ResidentStoreProperty, RefusesBytesThatAreNoCapture)
{
    ResidentStore store;
    for (auto const& [owner, stream] : streams_)
        for (auto const& step : stream) run(store, {step});
    std::string        bytes;
    Snapshots::Capture capture;
    while (store.capture(capture, bytes)) {}
    if (bytes.empty()) return;
    auto const is_refused = [](std::string const& changed) {
        // On the heap to the byte: the sanitizer sees a step too far.
        std::vector<char> const exact(changed.begin(), changed.end());
        ResidentStore           other;
        return !other.restore({exact.data(), exact.size()}, 1, [](auto const&) {});
    };
    EXPECT_TRUE(is_refused(bytes.substr(0, bytes.size() - 1)));
    EXPECT_TRUE(is_refused(bytes + '\0'));
    for (int i = 0; i < 20; ++i) {
        auto const cut = random_() % bytes.size();
        auto       changed = bytes.substr(0, cut);
        (void)is_refused(changed);
        changed = bytes;
        changed[cut] = static_cast<char>(random_());
        (void)is_refused(changed);
    }
}

TEST_P(ResidentStoreProperty, ApplyingAgainChangesNothing)
{
    ResidentStore store;
    Plain         plain;
    for (auto const& [owner, stream] : streams_) {
        std::size_t done = 0;
        while (done < stream.size()) {
            auto const upto = done + 1 + random_() % (stream.size() - done);
            auto const again = random_() % (done + 1);
            run(store, std::span(stream).subspan(again, upto - again));
            for (; done < upto; ++done) plain.apply(stream[done]);
            ASSERT_NO_FATAL_FAILURE(expect_equal(store, plain)) << "again from " << again << " up to " << upto;
        }
        run(store, std::span(stream));
        ASSERT_NO_FATAL_FAILURE(expect_equal(store, plain));
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ResidentStoreProperty, testing::Range(0u, rounds));

}  // namespace
}  // namespace sluice::graph::test
