#include "graph/conviction.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace sluice::graph::test {
namespace {

using Type = Attestation::Type;
using std::chrono::days;
using std::chrono::microseconds;

constexpr WallTime noon{std::chrono::seconds(1'767'268'800)};

struct Statement {
    Type                        type;
    std::optional<std::int64_t> reputation;
    int                         age;
    std::int64_t                confidence;
};

// Statements of as many attesters.
struct Said {
    explicit Said(std::vector<Statement> const& statements)
    {
        for (std::size_t i = 0; i < statements.size(); ++i) names_.push_back("did:plc:" + std::to_string(i));
        for (std::size_t i = 0; i < statements.size(); ++i) {
            auto const& [type, reputation, age, confidence] = statements[i];
            attestations.push_back(Attestation{
                .uri = names_[i],
                .attester = names_[i],
                .type = type,
                .confidence = confidence,
                .suggested_strength = {},
                .created_at = noon - days(age)});
            if (reputation) scores_[names_[i]] = *reputation;
        }
    }
    TrustScores trust() const
    {
        return [this](std::string_view did) -> std::optional<std::int64_t> {
            auto const found = scores_.find(std::string(did));
            return found == scores_.end() ? std::nullopt : std::optional(found->second);
        };
    }

    std::vector<Attestation> attestations;

private:
    std::vector<std::string>            names_;
    std::map<std::string, std::int64_t> scores_;
};

std::vector<Statement> many(std::size_t count, Statement const& statement) { return {count, statement}; }

std::vector<Statement> operator+(std::vector<Statement> a, std::vector<Statement> const& b)
{
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

TEST(Conviction, GivesTheGoldenScores)
{
    struct {
        std::vector<Statement> statements;
        int                    normalised, additive, shrinkage;
    } const rows[] = {
        {{{Type::verify, 80, 0, 90}}, 100, 88, 75},
        {{{Type::verify, {}, 0, 90}}, 100, 78, 71},
        {{{Type::verify, 75, 365, 90}}, 100, 58, 60},
        {{{Type::verify, 100, 0, 100}}, 100, 100, 79},
        {{{Type::verify, 75, 0, 80}, {Type::dispute, 75, 0, 95}}, 35, 24, 40},
        {{{Type::verify, 50, 0, 90}, {Type::verify, 50, 0, 95}}, 100, 100, 80},
        {many(5, {Type::verify, 80, 0, 85}), 100, 100, 91},
        {many(100, {Type::verify, 50, 0, 80}) + many(20, {Type::dispute, 50, 0, 80}), 76, 100, 77},
    };
    for (auto const& row : rows) {
        SCOPED_TRACE(row.additive);
        Said const said(row.statements);
        auto const score = [&](ConvictionFormula formula) {
            return conviction(said.attestations, noon, said.trust(), formula).score;
        };
        EXPECT_EQ(score(ConvictionFormula::normalised), row.normalised);
        EXPECT_EQ(score(ConvictionFormula::additive), row.additive);
        EXPECT_EQ(score(ConvictionFormula::shrinkage), row.shrinkage);
    }
}

TEST(Conviction, IsZeroWithoutAttestations) { EXPECT_EQ(conviction({}, noon), Conviction{}); }

TEST(Conviction, IsUndecidedWhenNobodyIsConfident)
{
    Said const said({{Type::verify, {}, 0, 0}});
    for (auto const formula :
         {ConvictionFormula::shrinkage, ConvictionFormula::normalised, ConvictionFormula::additive})
        EXPECT_EQ(conviction(said.attestations, noon, {}, formula).score, 50);
}

TEST(Conviction, CountsByType)
{
    Said const said(
        many(4, {Type::verify, {}, 0, 90}) + many(3, {Type::dispute, {}, 0, 90}) +
        many(2, {Type::strengthen, {}, 0, 90}) + many(1, {Type::weaken, {}, 0, 90}));
    auto const result = conviction(said.attestations, noon);
    EXPECT_EQ(result.attestation_count, 10u);
    EXPECT_EQ(result.verify_count, 4u);
    EXPECT_EQ(result.dispute_count, 3u);
    EXPECT_EQ(result.strengthen_count, 2u);
    EXPECT_EQ(result.weaken_count, 1u);
}

TEST(Conviction, AgesContinuouslyWithShrinkageElseByWholeDays)
{
    auto const almost_a_day = noon + days(1) - microseconds(1);
    auto const changes = [&](Statement const& statement, ConvictionFormula formula) {
        Said const said({statement});
        return conviction(said.attestations, noon, said.trust(), formula).score !=
               conviction(said.attestations, almost_a_day, said.trust(), formula).score;
    };
    // Both are so close above a step that most of a day takes them below it.
    EXPECT_TRUE(changes({Type::verify, 30, 0, 71}, ConvictionFormula::shrinkage));
    EXPECT_FALSE(changes({Type::verify, 51, 0, 95}, ConvictionFormula::additive));
}

TEST(AttestationWeight, FollowsTypeReputationAgeAndConfidence)
{
    auto const weight = [](Statement const& statement) {
        Said const said({statement});
        return attestation_weight(said.attestations[0], statement.age, said.trust());
    };
    EXPECT_DOUBLE_EQ(weight({Type::verify, {}, 0, 100}), 1.25);
    EXPECT_DOUBLE_EQ(weight({Type::dispute, {}, 0, 100}), -1.875);
    EXPECT_DOUBLE_EQ(weight({Type::strengthen, {}, 0, 100}), 0.625);
    EXPECT_DOUBLE_EQ(weight({Type::weaken, {}, 0, 100}), -0.625);
    EXPECT_DOUBLE_EQ(weight({Type::verify, 0, 0, 100}), 0.5);
    EXPECT_DOUBLE_EQ(weight({Type::verify, 100, 0, 100}), 2);
    EXPECT_DOUBLE_EQ(weight({Type::verify, {}, 180, 100}), 0.625);
    EXPECT_DOUBLE_EQ(weight({Type::verify, {}, 0, 40}), 0.5);
}

Attestation said_by(std::string_view attester, std::string_view uri, std::uint64_t rev, std::uint64_t sequence)
{
    return {
        .uri = uri,
        .attester = attester,
        .confidence = 100,
        .suggested_strength = {},
        .created_at = noon,
        .rev = Revision{rev},
        .sequence = Sequence{sequence}};
}

std::vector<std::string> uris(std::vector<Attestation> const& attestations)
{
    std::vector<std::string> uris;
    for (auto const& attestation : attestations) uris.emplace_back(attestation.uri);
    return uris;
}

using Uris = std::vector<std::string>;

TEST(CountedAttestations, AreTheLatestOfEachAttester)
{
    std::vector const all{said_by("did:x:a", "1", 7, 1), said_by("did:x:a", "2", 6, 9),  // rev before sequence
                          said_by("did:x:b", "3", 0, 9), said_by("did:x:b", "4", 1, 1),  // any rev before none
                          said_by("did:x:c", "5", 0, 2), said_by("did:x:c", "6", 0, 3)};  // then sequence
    EXPECT_EQ(uris(counted_attestations(all, {}, noon)), (Uris{"1", "4", "6"}));
}

TEST(CountedAttestations, ComeByUriWhicheverIsLatest)
{
    std::vector const all{said_by("did:x:a", "1", 1, 1), said_by("did:x:b", "2", 1, 2), said_by("did:x:a", "3", 2, 3)};
    EXPECT_EQ(uris(counted_attestations(all, {}, noon)), (Uris{"2", "3"}));
}

TEST(CountedAttestations, ExcludeTheParticipants)
{
    std::vector const      all{said_by("did:x:a", "1", 0, 1), said_by("did:x:b", "2", 0, 2)};
    std::string_view const participants[] = {"did:x:b", "did:x:c"};
    EXPECT_EQ(uris(counted_attestations(all, participants, noon)), (Uris{"1"}));
}

TEST(CountedAttestations, ThoseFromTheFutureGiveWayToTheOnesBefore)
{
    std::vector all{said_by("did:x:a", "1", 1, 1), said_by("did:x:a", "2", 2, 2), said_by("did:x:b", "3", 0, 3)};
    all[1].created_at += microseconds(1);
    all[2].created_at += microseconds(1);
    EXPECT_EQ(uris(counted_attestations(all, {}, noon)), (Uris{"1"}));
    EXPECT_EQ(uris(counted_attestations(all, {}, noon + microseconds(1))), (Uris{"2", "3"}));
}

}  // namespace
}  // namespace sluice::graph::test
