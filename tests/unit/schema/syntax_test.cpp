#include "schema/syntax.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

namespace sluice::schema {
namespace {

std::vector<std::string> cases(std::string const& file)
{
    std::ifstream            in(SLUICE_SOURCE_DIR "/tests/data/atproto-syntax/" + file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);)
        if (!line.empty() && line[0] != '#') lines.push_back(line);
    return lines;
}

struct Syntax {
    std::string name;
    bool (*is_valid)(std::string_view);
};

void PrintTo(Syntax const& syntax, std::ostream* out) { *out << syntax.name; }

class Interop : public testing::TestWithParam<Syntax> {};

TEST_P(Interop, AcceptsEveryValidCase)
{
    auto const valid = cases(GetParam().name + "_valid.txt");
    ASSERT_FALSE(valid.empty());
    for (auto const& text : valid) EXPECT_TRUE(GetParam().is_valid(text)) << text;
}

TEST_P(Interop, RefusesEveryInvalidCase)
{
    auto const invalid = cases(GetParam().name + "_invalid.txt");
    ASSERT_FALSE(invalid.empty());
    for (auto const& text : invalid) EXPECT_FALSE(GetParam().is_valid(text)) << text;
}

TEST_P(Interop, RefusesEveryValidCaseWithANulInside)
{
    for (auto text : cases(GetParam().name + "_valid.txt")) {
        text.insert(text.size() / 2, 1, '\0');
        EXPECT_FALSE(GetParam().is_valid(text)) << text;
    }
}

INSTANTIATE_TEST_SUITE_P(
    Syntax, Interop,
    testing::Values(
        Syntax{"did", is_did}, Syntax{"handle", is_handle}, Syntax{"nsid", is_nsid}, Syntax{"recordkey", is_record_key},
        Syntax{"aturi", is_at_uri}, Syntax{"tid", [](std::string_view text) { return parse_tid(text).has_value(); }},
        Syntax{"datetime", [](std::string_view text) { return parse_datetime(text).has_value(); }}),
    [](auto const& tested) { return tested.param.name; });

TEST(Datetime, RefusesWhatIsWrittenWellButIsNoTime)
{
    auto const invalid = cases("datetime_parse_invalid.txt");
    ASSERT_FALSE(invalid.empty());
    for (auto const& text : invalid) EXPECT_FALSE(parse_datetime(text)) << text;
}

std::int64_t microseconds(std::string_view text) { return parse_datetime(text).value().time_since_epoch().count(); }

TEST(Datetime, CountsMicrosecondsSince1970InUtc)
{
    EXPECT_EQ(microseconds("1970-01-01T00:00:00Z"), 0);
    EXPECT_EQ(microseconds("1970-01-01T00:00:01.5Z"), 1'500'000);
    EXPECT_EQ(microseconds("2025-10-07T12:34:56.789012Z"), 1'759'840'496'789'012);
    EXPECT_EQ(microseconds("1970-01-01T07:30:00+07:30"), 0);
    EXPECT_EQ(microseconds("1969-12-31T17:00:00-07:00"), 0);
}

TEST(Datetime, CutsWhatIsFinerThanAMicrosecond)
{
    EXPECT_EQ(microseconds("1970-01-01T00:00:00.0000019999Z"), 1);
    EXPECT_EQ(microseconds("1969-12-31T23:59:59.9999999Z"), -1);
}

TEST(Datetime, CountsALeapSecondAsTheFirstOfTheNextDay)
{
    EXPECT_EQ(microseconds("2016-12-31T23:59:60Z"), microseconds("2017-01-01T00:00:00Z"));
    EXPECT_EQ(microseconds("2016-12-31T16:59:60.25-07:00"), microseconds("2017-01-01T00:00:00.25Z"));
    EXPECT_FALSE(parse_datetime("2016-12-31T23:58:60Z"));
    EXPECT_FALSE(parse_datetime("2016-12-31T23:59:60-07:00"));
}

TEST(Datetime, KnowsTheCalendar)
{
    EXPECT_TRUE(parse_datetime("2024-02-29T00:00:00Z"));
    EXPECT_FALSE(parse_datetime("2023-02-29T00:00:00Z"));
    EXPECT_FALSE(parse_datetime("2023-04-31T00:00:00Z"));
    EXPECT_FALSE(parse_datetime("2023-04-30T24:00:00Z"));
    EXPECT_FALSE(parse_datetime("2023-04-30T00:00:00+24:00"));
    EXPECT_FALSE(parse_datetime("2023-04-30T00:00:00+23:60"));
}

TEST(Datetime, StaysWithinYears0To9999InUtc)
{
    EXPECT_TRUE(parse_datetime("0000-01-01T00:00:00Z"));
    EXPECT_FALSE(parse_datetime("0000-01-01T00:59:59+01:00"));
    EXPECT_TRUE(parse_datetime("9999-12-31T23:59:59.999999Z"));
    EXPECT_FALSE(parse_datetime("9999-12-31T23:59:59-00:01"));
}

TEST(Datetime, IsAtMost64BytesLong)
{
    std::string const digits(64 - std::string_view("1985-04-12T23:20:50.Z").size(), '1');
    EXPECT_TRUE(parse_datetime("1985-04-12T23:20:50." + digits + "Z"));
    EXPECT_FALSE(parse_datetime("1985-04-12T23:20:50." + digits + "1Z"));
}

TEST(Datetime, IsReadBackFromWhatIsFormatted)
{
    for (std::string const text :
         {"2026-01-01T00:00:00.000000Z", "0000-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.999999Z",
          "9999-12-31T23:59:59.999999Z", "2024-02-29T12:34:56.000007Z"})
        EXPECT_EQ(format_datetime(parse_datetime(text).value()), text);
}

TEST(Tid, IsReadBackFromWhatIsFormatted)
{
    for (auto const& text : cases("tid_valid.txt")) EXPECT_EQ(format_tid(parse_tid(text).value()), text);
    for (std::uint64_t const value : {1ull, 2ull, 32ull, 33ull, 1ull << 63, ~0ull})
        EXPECT_EQ(parse_tid(format_tid(Revision{value})), Revision{value});
}

TEST(Tid, OrdersAsItsTextDoes)
{
    EXPECT_GT(parse_tid("2222222222222").value(), Revision::none);
    EXPECT_LT(parse_tid("3jzfcijpj2z2a").value(), parse_tid("3jzfcijpj2z2b").value());
    EXPECT_LT(parse_tid("3zzzzzzzzzzzz").value(), parse_tid("4222222222222").value());
}

TEST(Tid, LeavesRoomForNone)
{
    EXPECT_TRUE(parse_tid("jzzzzzzzzzzzy"));
    EXPECT_FALSE(parse_tid("jzzzzzzzzzzzz"));
}

TEST(EventId, IsOneTo256OfItsCharacters)
{
    EXPECT_TRUE(is_event_id("azAZ09._:-/@%#+=~"));
    EXPECT_TRUE(is_event_id(std::string(256, 'x')));
    EXPECT_FALSE(is_event_id(""));
    EXPECT_FALSE(is_event_id(std::string(257, 'x')));
    for (int c = 0; c < 256; ++c) {
        bool const is_allowed = c != 0 && std::string_view("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                           "0123456789._:-/@%#+=~")
                                                  .find(static_cast<char>(c)) != std::string_view::npos;
        EXPECT_EQ(is_event_id(std::string(3, static_cast<char>(c))), is_allowed) << c;
    }
}

TEST(AtUri, BeginsWithItsAuthority)
{
    EXPECT_EQ(authority("at://did:plc:abc/net.rhiz.relationship.record/3k"), "did:plc:abc");
    EXPECT_EQ(authority("at://did:plc:abc"), "did:plc:abc");
    EXPECT_EQ(authority("at://user.example.com/a.b.c"), "user.example.com");
}

TEST(AtUri, HoldsItsPartsToTheirLimits)
{
    EXPECT_TRUE(is_at_uri("at://did:plc:" + std::string(2040, 'a') + "/a.b.c/" + std::string(512, 'r')));
    EXPECT_FALSE(is_at_uri("at://did:plc:" + std::string(2041, 'a') + "/a.b.c/" + std::string(512, 'r')));
    EXPECT_FALSE(is_at_uri("at://did:plc:" + std::string(2040, 'a') + "/a.b.c/" + std::string(513, 'r')));
}

}  // namespace
}  // namespace sluice::schema
