#include "graph/resident_store.hpp"

#include "support.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

namespace sluice::graph::test {
namespace {

std::string const hub = "did:plc:hub";

// Records that come, change and go, all at one hub. Each is whole if its context names its strength.
std::vector<Step> stream(std::string const& owner)
{
    std::vector<Step> steps;
    for (std::uint64_t i = 1; i <= 3'000; ++i) {
        auto const name = std::to_string(i % 97);
        auto const strength = static_cast<std::int64_t>(i % 101);
        if (i % 7 == 0)
            steps.push_back(remove(i, 0, owner, name));
        else if (i % 701 == 0)
            steps.push_back(remove_repository(i, 0, owner));
        else if (i % 5 == 0)
            steps.push_back(attest(i, 0, owner, name, uri(owner, "1"), {.confidence = strength}));
        else
            steps.push_back(
                relate(i, 0, owner, name, {.other = hub, .strength = strength, .context = std::to_string(strength)}));
    }
    return steps;
}

void apply_in_batches(GraphStore& store, std::vector<Step> const& steps)
{
    for (std::size_t i = 0; i < steps.size(); i += 10) run(store, std::span(steps).subspan(i, 10));
}

bool is_whole(Record const& record)
{
    auto const strength = record.fields.integer(relationship_field::strength);
    return record.fields.text(relationship_field::context) == std::to_string(*strength);
}

TEST(ResidentStore, ReadersSeeWholeRecordsWhileRepositoriesChange)
{
    auto const        a = stream("did:plc:a"), b = stream("did:plc:b");
    ResidentStore     store;
    std::atomic<int>  writing{2};
    std::atomic<bool> whole{true};
    auto const        read = [&] {
        while (writing > 0) {
            for (auto const& record : store.relationships_of(hub).value())
                if (!is_whole(*record)) whole = false;
            for (auto const* owner : {"did:plc:a", "did:plc:b"}) {
                auto const record = store.find(Kind::relationship, uri(owner, "1")).value();
                if (record && !is_whole(**record)) whole = false;
                store.attestations_of(uri(owner, "1")).value();
            }
            store.digest_by_scan();
            store.counts();
        }
    };
    {
        std::jthread const first_reader(read), second_reader(read);
        std::jthread const first_writer([&] { apply_in_batches(store, a), --writing; });
        std::jthread const second_writer([&] { apply_in_batches(store, b), --writing; });
    }

    ResidentStore one_by_one;
    apply_in_batches(one_by_one, b);
    apply_in_batches(one_by_one, a);
    EXPECT_TRUE(whole);
    EXPECT_EQ(store.digest(), one_by_one.digest());
    EXPECT_EQ(store.digest(), store.digest_by_scan());
    EXPECT_EQ(keys_of(store.relationships_of(hub).value()), keys_of(one_by_one.relationships_of(hub).value()));
}

// Captures look at records without the lock: none of them may go meanwhile.
TEST(ResidentStore, IsCapturedWhileItIsWritten)
{
    ResidentStore            store;
    std::atomic<bool>        stop{false};
    std::vector<std::thread> writers;
    for (unsigned writer = 0; writer < 2; ++writer)
        writers.emplace_back([&, writer] {
            std::mt19937 random(writer);
            for (std::uint64_t sequence = 1 + writer; !stop; sequence += 2) {
                auto const owner = "did:plc:" + std::to_string(2 * (random() % 20) + writer);
                auto const name = "r" + std::to_string(random() % 50);
                auto const dice = random() % 100;
                if (dice < 90) run(store, {relate(sequence, sequence, owner, name, {.other = "did:plc:9"})});
                else if (dice < 99) run(store, {remove(sequence, sequence, owner, name)});
                else run(store, {remove_repository(sequence, sequence, owner)});
            }
        });
    std::vector<std::string> chain;
    Snapshots::Capture       capture{.number = 1, .all = true};
    for (int i = 0; i < 600; ++i) {
        chain.emplace_back();
        while (store.capture(capture, chain.back())) {}
        capture = {.number = capture.number + 1, .all = false};
        if (i == 598) {
            stop = true;
            for (auto& writer : writers) writer.join();
        }
    }
    ResidentStore restored;
    auto          number = static_cast<std::uint32_t>(chain.size());
    for (auto file = chain.rbegin(); file != chain.rend(); ++file)
        ASSERT_TRUE(restored.restore(*file, number--, [](auto const&) {}));
    EXPECT_EQ(restored.digest(), store.digest());
}

// What was read between two looks at one stamp is the answer for as long as that is the stamp: also while an event
// that reaches many records is halfway through them.
TEST(ResidentStore, WhatWasReadUnderAStampIsWhatItStandsFor)
{
    constexpr std::uint64_t rounds = 800, records = 24;
    std::string const       owner = "did:plc:a", other = "did:plc:b";
    ResidentStore           store;
    std::atomic<bool>       done{false}, is_one_answer{true};
    auto const              read = [&](std::string const& name) {
        std::map<Stamp, std::vector<std::string>> answers;
        while (!done) {
            auto const before = store.stamp(name);
            auto const answer = keys_of(store.relationships_of(name).value());
            if (store.stamp(name) != before) continue;
            if (answers.size() > 100) answers.erase(answers.begin());
            if (answers.try_emplace(before, answer).first->second != answer) is_one_answer = false;
        }
    };
    {
        std::jthread const of_the_hub([&] { read(hub); }), of_the_owner([&] { read(owner); });
        std::uint64_t      sequence = 0;
        auto const         put = [&](std::string const& name, std::string const& second) {
            ++sequence;
            run(store, {relate(sequence, 0, owner, name, {.other = second})});
        };
        for (std::uint64_t round = 0; round < rounds && is_one_answer; ++round) {
            for (std::uint64_t i = 0; i < records; ++i) put(std::to_string(i), hub);
            for (std::uint64_t i = 0; i < records; i += 3) put(std::to_string(i), other);
            ++sequence;
            run(store, {remove_repository(sequence, 0, owner)});
        }
        done = true;
    }
    EXPECT_TRUE(is_one_answer);
}

}  // namespace
}  // namespace sluice::graph::test
