#include "events.hpp"

namespace sluice::e2e {

namespace {

constexpr std::string_view alphabet = "234567abcdefghijklmnopqrstuvwxyz";
constexpr char const*      cid = "bafkreig5px4vza6jtdrdooofzy5knhj6chlv5kqkyjde2r623kyoddzjwi";

std::string base32(std::uint64_t n, std::size_t size)
{
    std::string text(size, alphabet[0]);
    for (auto at = size; at-- > 0 && n != 0; n >>= 5) text[at] = alphabet[n & 31];
    return text;
}

Json envelope(std::string_view event_type, std::uint64_t owner, Json payload, std::uint64_t rev)
{
    Json event{{"event_type", event_type}, {"did", did(owner)}, {"payload", std::move(payload)}};
    if (rev != 0) event["rev"] = tid(rev);
    return event;
}

}  // namespace

std::string did(std::uint64_t n) { return "did:plc:" + base32(n, 24); }
std::string tid(std::uint64_t n) { return base32(n, 13); }

std::string relationship_uri(std::string_view owner, std::uint64_t n)
{
    return "at://" + std::string(owner) + "/net.rhiz.relationship.record/" + tid(n);
}

std::string attestation_uri(std::string_view owner, std::uint64_t n)
{
    return "at://" + std::string(owner) + "/net.rhiz.relationship.attestation/" + tid(n);
}

Json relationship(
    std::uint64_t owner, std::uint64_t other, std::uint64_t n, int strength, std::uint64_t rev,
    std::string_view event_type)
{
    return envelope(
        event_type, owner,
        {{"uri", relationship_uri(did(owner), n)}, {"cid", cid}, {"participants", {did(owner), did(other)}},
         {"type", "personal"}, {"strength", strength}, {"context", "met"}, {"created_at", "2025-12-01T00:00:00Z"}},
        rev);
}

Json attestation(
    std::uint64_t attester, std::uint64_t n, std::string_view target, std::string_view verdict, int confidence,
    std::uint64_t rev)
{
    return envelope(
        "attestation.created", attester,
        {{"uri", attestation_uri(did(attester), n)}, {"cid", cid}, {"attester_did", did(attester)},
         {"target_uri", target}, {"attestation_type", verdict}, {"confidence", confidence}, {"evidence", nullptr},
         {"suggested_strength", nullptr}, {"created_at", "2025-12-01T00:00:00Z"},
         {"indexed_at", "2025-12-01T00:00:00Z"}},
        rev);
}

Json mixed(std::uint64_t n)
{
    auto const relationship_of = [](std::uint64_t i) { return relationship(i % 37, 100 + i % 11, i, 50, i + 1); };
    Json       event;
    if (n % 40 == 39) {
        event = {{"event_type", "example.unknown"}, {"did", did(n)}, {"payload", {{"n", n}}}};
    } else if (n % 4 == 3) {
        auto const target = relationship_of(n - 3).at("payload").at("uri").get<std::string>();
        char const* const verdicts[] = {"verify", "dispute", "strengthen", "weaken"};
        event = attestation(200 + n % 13, n, target, verdicts[n / 4 % 4], static_cast<int>(n % 101), n + 1);
    } else {
        event = relationship_of(n);
    }
    event["event_id"] = "mixed-" + std::to_string(n);
    return event;
}

std::string mixed_lines(std::uint64_t from, std::uint64_t to)
{
    std::string lines;
    for (; from < to; ++from) lines += mixed(from).dump() + '\n';
    return lines;
}

}  // namespace sluice::e2e
