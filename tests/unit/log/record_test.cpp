#include "log/record.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace sluice::log {
namespace {

std::string_view const payload_text = R"({"uri":"at://did:plc:a/x.y.z/1","strength":80})";

RecordDraft draft()
{
    RecordDraft d;
    d.type = "relationship.created";
    d.did = "did:plc:a";
    d.id = "event-1";
    d.payload = payload_text;
    d.tier = Tier::high;
    d.rev = Revision{77};
    d.schema_version = 3;
    d.slot_count = 4;
    d.texts[0] = payload_text.substr(8, 22);
    d.integers[1] = 80;
    d.texts[2] = "from elsewhere";
    d.integers[3] = Fields::absent;
    return d;
}

struct Written {
    std::string   bytes;
    std::uint32_t offset{0};

    explicit Written(RecordDraft const& d, std::string before = {}) : bytes(std::move(before))
    {
        offset = write_record(d, bytes);
    }
    LoggedRecord     record() const { return LoggedRecord(bytes.data() + offset); }
    std::string_view record_bytes() const { return std::string_view(bytes).substr(offset); }
};

TEST(Record, ReadsBackWhatWasWritten)
{
    auto const d = draft();

    Written const written(d);

    auto const event = written.record().event(Sequence{5}, WallTime(std::chrono::microseconds(9)));
    EXPECT_EQ(event.sequence, Sequence{5});
    EXPECT_EQ(event.received_at.time_since_epoch().count(), 9);
    EXPECT_EQ(event.tier, Tier::high);
    EXPECT_EQ(event.rev, Revision{77});
    EXPECT_EQ(event.type, d.type);
    EXPECT_EQ(event.did, d.did);
    EXPECT_EQ(event.payload, d.payload);
    EXPECT_EQ(written.record().stored_id(), d.id);
    EXPECT_EQ(written.record().header().schema_version, 3);
    EXPECT_EQ(written.record().bytes(), written.bytes);
}

TEST(Record, KeepsTextsIntegersAndAbsence)
{
    Written const written(draft());

    auto const fields = written.record().event(Sequence{1}, {}).fields;
    ASSERT_EQ(fields.size(), 4u);
    EXPECT_EQ(fields.text(0), "at://did:plc:a/x.y.z/1");
    EXPECT_EQ(fields.integer(1), 80);
    EXPECT_EQ(fields.text(2), "from elsewhere");
    EXPECT_EQ(fields.integer(3), std::nullopt);
    EXPECT_EQ(fields.text(3), std::nullopt);
}

TEST(Record, CopiesOnlyTextsThatAreNotInThePayload)
{
    auto with = draft(), without = draft();
    with.texts[2] = payload_text.substr(2, 3);
    without.texts[2] = {};
    without.integers[2] = 0;

    EXPECT_EQ(Written(with).record().header().payload_offset, Written(without).record().header().payload_offset);
    EXPECT_EQ(Written(with).record().event(Sequence{1}, {}).fields.text(2), "uri");
}

TEST(Record, KeepsAnEmptyTextApartFromAbsence)
{
    auto d = draft();
    d.texts[0] = payload_text.substr(8, 0);
    d.texts[2] = "";

    Written const written(d);
    auto const    fields = written.record().event(Sequence{1}, {}).fields;

    EXPECT_EQ(fields.text(0), "");
    EXPECT_EQ(fields.text(2), "");
}

TEST(Record, FollowsOthersInOneBuffer)
{
    Written const first(draft());
    Written const second(draft(), first.bytes);

    EXPECT_EQ(second.offset, first.bytes.size());
    EXPECT_EQ(second.record().bytes(), first.bytes);
    EXPECT_TRUE(LoggedRecord::check(second.bytes));
}

TEST(Record, IsAMultipleOfEightLongForEveryPayload)
{
    for (std::size_t size = 0; size < 20; ++size) {
        auto d = draft();
        d.payload = payload_text.substr(0, size);
        d.texts[0] = {};

        Written const written(d);

        EXPECT_EQ(written.bytes.size() % 8, 0u);
        EXPECT_TRUE(LoggedRecord::check(written.bytes));
        EXPECT_EQ(written.record().payload(), d.payload);
    }
}

TEST(Record, CheckRefusesEveryShorterText)
{
    Written const written(draft());

    ASSERT_TRUE(LoggedRecord::check(written.bytes));
    for (std::size_t size = 0; size < written.bytes.size(); ++size)
        EXPECT_FALSE(LoggedRecord::check(std::string_view(written.bytes).substr(0, size))) << size;
}

TEST(Record, CheckRefusesHeadersThatLie)
{
    auto const lying = [](auto change) {
        Written      written(draft());
        RecordHeader header = written.record().header();
        change(header);
        std::memcpy(written.bytes.data(), &header, sizeof header);
        return LoggedRecord::check(written.bytes);
    };
    EXPECT_TRUE(lying([](RecordHeader&) {}));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.size += 8; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.size -= 8; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.size = 0; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.size -= 1; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.payload_offset = 64; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.payload_offset = 0xFFFFFFFF; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.payload_size = 0xFFFFFFFF; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.did_size = 0xFFFF; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.id_size = 0xFFFF; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.type_size = 0xFF; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.slot_count = 17; }));
    EXPECT_FALSE(lying([](RecordHeader& h) { h.tier = 4; }));
}

TEST(Record, CheckRefusesASizeWithRoomForNothing)
{
    Written      written(draft());
    RecordHeader header = written.record().header();
    header.size += 8;
    std::memcpy(written.bytes.data(), &header, sizeof header);

    EXPECT_FALSE(LoggedRecord::check(written.bytes + std::string(8, '\0')));
}

TEST(Record, CheckRefusesBytesBehindThePayload)
{
    auto d = draft();
    d.payload.remove_suffix(Written(d).bytes.ends_with('\0') ? 0 : 1);
    Written written(d);
    ASSERT_TRUE(LoggedRecord::check(written.bytes));

    written.bytes.back() = 'x';

    EXPECT_FALSE(LoggedRecord::check(written.bytes));
}

// Reads every part, so that the address sanitizer sees what check() lets through.
std::size_t touch(LoggedRecord const& record)
{
    std::size_t sum = 0;
    for (auto const part : {record.bytes(), record.type(), record.did(), record.stored_id(), record.payload()})
        for (char const c : part) sum += static_cast<unsigned char>(c);
    auto const fields = record.event(Sequence{1}, {}).fields;
    for (std::size_t i = 0; i < fields.size(); ++i) sum += fields.slot(i) & 1;
    return sum + record.content_hash().low + record.chain_after(1) + record.id(Sequence{1}).size() +
           record.payload_intact();
}

TEST(Record, WhatPassesCheckIsReadWithinBounds)
{
    std::mt19937_64   random(20260101);
    std::string const original = Written(draft()).bytes;
    std::size_t       passed = 0, refused = 0, sum = 0;
    for (int round = 0; round < 200'000; ++round) {
        auto bytes = original;
        for (auto changes = 1 + random() % 3; changes > 0; --changes)
            bytes[random() % (round % 2 ? sizeof(RecordHeader) : bytes.size())] = static_cast<char>(random());
        if (random() % 4 == 0) bytes.resize(random() % (bytes.size() + 1));
        std::unique_ptr<char[]> const exact(new char[bytes.size()]);
        std::memcpy(exact.get(), bytes.data(), bytes.size());

        if (LoggedRecord::check({exact.get(), bytes.size()})) {
            ++passed;
            sum += touch(LoggedRecord(exact.get()));
        } else {
            ++refused;
        }
    }
    EXPECT_GT(passed, 1'000u);
    EXPECT_GT(refused, 1'000u);
    EXPECT_NE(sum, 0u);
}

TEST(Record, WithoutAnIdIsNamedByAUuidThatHoldsItsSequence)
{
    auto d = draft();
    d.id = {};
    Written const written(d);

    EXPECT_EQ(written.record().id(Sequence{42}), "00000000-0000-8000-8000-00000000002a");
    EXPECT_EQ(written.record().id(Sequence{0x123456789abcdef0}), "00000000-1234-8000-8000-56789abcdef0");
    EXPECT_EQ(Written(draft()).record().id(Sequence{42}), "event-1");
}

TEST(Record, ContentIsTypeDidRevAndPayload)
{
    auto const content = [](auto change) {
        auto d = draft();
        change(d);
        return Written(d).record().content_hash();
    };
    auto const same = content([](RecordDraft&) {});
    EXPECT_EQ(content([](RecordDraft& d) { d.id = "another"; }), same);
    EXPECT_EQ(content([](RecordDraft& d) { d.tier = Tier::low; }), same);
    EXPECT_EQ(content([](RecordDraft& d) { d.integers[1] = 81; }), same);
    EXPECT_EQ(content([](RecordDraft& d) { d.schema_version = 4; }), same);
    EXPECT_NE(content([](RecordDraft& d) { d.type = "relationship.updated"; }), same);
    EXPECT_NE(content([](RecordDraft& d) { d.did = "did:plc:b"; }), same);
    EXPECT_NE(content([](RecordDraft& d) { d.rev = Revision{78}; }), same);
    EXPECT_NE(content([](RecordDraft& d) { d.payload = "{}", d.texts[0] = {}; }), same);
    // A byte that moves from the type to the did is another event.
    EXPECT_NE(content([](RecordDraft& d) { d.type = "relationship.create", d.did = "ddid:plc:a"; }), same);
}

TEST(Record, ChainCoversEveryByteButItsOwnAndThePayload)
{
    Written const       written(draft());
    auto const          header = written.record().header();
    std::uint64_t const chain = written.record().chain_after(1);
    EXPECT_NE(written.record().chain_after(2), chain);

    for (std::size_t i = 0; i < written.bytes.size(); ++i) {
        auto changed = written.bytes;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        bool const is_covered = i >= sizeof header.chain && i < header.payload_offset;
        if (!LoggedRecord::check(changed)) continue;
        EXPECT_EQ(LoggedRecord(changed.data()).chain_after(1) != chain, is_covered) << i;
    }
}

TEST(Record, PayloadIsIntactUntilAByteChanges)
{
    Written written(draft());
    EXPECT_TRUE(written.record().payload_intact());

    written.bytes[written.record().header().payload_offset + 3] ^= 1;

    EXPECT_FALSE(written.record().payload_intact());
}

TEST(Record, SetChainChangesTheChainAlone)
{
    Written    written(draft());
    auto const before = written.bytes;

    set_chain(written.bytes.data(), 0x1122334455667788);

    EXPECT_EQ(written.record().header().chain, 0x1122334455667788u);
    EXPECT_EQ(written.bytes.substr(8), before.substr(8));
}

TEST(Record, KeysTellTenantsApart)
{
    EXPECT_EQ(lane_key(0, "did:plc:a"), lane_key(0, "did:plc:a"));
    EXPECT_NE(lane_key(0, "did:plc:a"), lane_key(1, "did:plc:a"));
    EXPECT_NE(lane_key(0, "did:plc:a"), lane_key(0, "did:plc:b"));
    EXPECT_NE(id_key(0, "event-1"), id_key(1, "event-1"));
    EXPECT_NE(id_key(0, "event-1"), id_key(0, "event-2"));
}

}  // namespace
}  // namespace sluice::log
