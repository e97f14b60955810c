#include "cache/pattern.hpp"

#include "base/random.hpp"
#include "cache/lifetime.hpp"

#include <gtest/gtest.h>

namespace sluice::cache {
namespace {

bool matches(std::string_view pattern, std::string_view key) { return Pattern::parse(pattern).value().matches(key); }

TEST(Pattern, OnlyTheStarIsSpecial)
{
    EXPECT_TRUE(matches("conviction:*", "conviction:at://a/b/c"));
    EXPECT_TRUE(matches("conviction:*", "conviction:"));
    EXPECT_FALSE(matches("conviction:*", "conviction"));
    EXPECT_TRUE(matches("*:1", "a:1:1"));
    EXPECT_TRUE(matches("a*b*c", "abxbc"));
    EXPECT_FALSE(matches("a*b*c", "abxbcd"));
    EXPECT_TRUE(matches("*", ""));
    EXPECT_FALSE(matches("a?c", "abc"));
    EXPECT_TRUE(matches("a?[c]\\", "a?[c]\\"));
    EXPECT_FALSE(matches("a", "ab"));
}

// Whatever is tried first, the answer is that of trying everything.
bool matches_by_trying_all(std::string_view pattern, std::string_view key)
{
    if (pattern.empty()) return key.empty();
    if (pattern[0] != '*')
        return !key.empty() && key[0] == pattern[0] && matches_by_trying_all(pattern.substr(1), key.substr(1));
    for (std::size_t taken = 0; taken <= key.size(); ++taken)
        if (matches_by_trying_all(pattern.substr(1), key.substr(taken))) return true;
    return false;
}

TEST(Pattern, MatchesAsTryingEverythingDoes)
{
    Random      random(1);
    std::size_t matched = 0;
    for (int i = 0; i < 20'000; ++i) {
        std::string pattern, key;
        for (auto n = 1 + random.below(6); n > 0; --n) pattern += "ab*"[random.below(3)];
        for (auto n = random.below(9); n > 0; --n) key += "ab"[random.below(2)];
        auto const parsed = Pattern::parse(pattern);
        if (!parsed) continue;
        EXPECT_EQ(parsed->matches(key), matches_by_trying_all(pattern, key)) << pattern << ' ' << key;
        matched += parsed->matches(key);
    }
    EXPECT_GT(matched, 1'000u);
}

TEST(Pattern, EscapesWhatRedisWouldRead)
{
    EXPECT_EQ(Pattern::parse("a*?[b-c]\\^")->glob(), "a*\\?\\[b-c\\]\\\\^");
}

TEST(Pattern, RefusesWhatWouldHoldUpAServer)
{
    EXPECT_EQ(Pattern::parse("").error().reason, "empty_pattern");
    EXPECT_EQ(Pattern::parse(std::string(Pattern::size_max + 1, 'a')).error().reason, "long_pattern");
    EXPECT_EQ(Pattern::parse("*a*a*a*a*").error().reason, "many_stars");
    EXPECT_EQ(Pattern::parse("a*****")->text(), "a*");
}

TEST(Lifetime, IsThatOfTheKindOfQuestionWithinATenth)
{
    using namespace std::chrono_literals;
    constexpr std::pair<char const*, std::chrono::seconds> kinds[] = {
        {"graph:neighbors:", 900s}, {"conviction:", 300s}, {"trust:metrics:", 24h}, {"entity:", 6h},
        {"attestations:", 100s}, {"graph:other:", 100s}};
    for (auto const& [kind, wanted] : kinds) {
        std::chrono::milliseconds shortest = 1000h, longest = 0ms;
        for (int i = 0; i < 1'000; ++i) {
            auto const key = kind + std::to_string(i);
            auto const time = lifetime(key, 100s);
            EXPECT_EQ(time, lifetime(key, 100s)) << "always the same for a key";
            shortest = std::min(shortest, time);
            longest = std::max(longest, time);
        }
        EXPECT_GE(shortest, wanted * 9 / 10) << kind;
        EXPECT_LE(longest, wanted * 11 / 10) << kind;
        EXPECT_GT(longest - shortest, wanted / 10) << kind;
    }
    EXPECT_GE(lifetime("a", 1s), 900ms);
}

}  // namespace
}  // namespace sluice::cache
