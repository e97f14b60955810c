// The events of one simulated run: what producers send, and what each must lead to.
#pragma once

#include "base/random.hpp"
#include "schema/decoder.hpp"

#include <sluice/processor.hpp>

#include <optional>
#include <string>
#include <vector>

namespace sluice::sim {

// What is to become of an event that is in the log.
enum class Fate : std::uint8_t {
    put,
    remove,
    remove_repository,
    none,     // settled without a trace
    invalid,  // its processor refuses it
    parked,   // it has no processor; once it has one, it is settled without a trace
};

struct SimEvent {
    std::string json;  // followed by Decoder::padding bytes
    std::string payload;
    std::string type, did, uri;
    std::string id;  // what deduplication knows it by; empty: nothing
    Revision    rev{};
    Tier        tier{};

    Fate                        fate{};
    bool                        is_refused{false};  // whatever its fate, until the program is upgraded
    Kind                        kind{};
    std::string                 cid;  // unique, so that no two payloads are equal
    std::int64_t                number{0};  // strength, confidence or entity type
    std::optional<std::int64_t> created_at;

    // The record it is about, or its repository.
    std::string const& key() const noexcept { return uri.empty() ? did : uri; }

    std::string_view text() const noexcept
    {
        return std::string_view(json).substr(0, json.size() - schema::Decoder::padding);
    }
};

// The shipped processors, which refuse some events; one that refuses every event, and one that throws. Once upgraded,
// the shipped ones refuse nothing, and there is one for the type that nobody knew.
std::span<Processor const* const> simulated_processors(bool is_upgraded);

// One version of the program.
struct Program {
    explicit Program(bool is_upgraded) : schemas(simulated_processors(is_upgraded)), decoder(schemas) {}

    schema::SchemaSet schemas;
    schema::Decoder   decoder;
};

struct EventMix {
    std::size_t count{120};
    std::size_t repositories{4};
    std::size_t records{3};  // of a kind in a repository
    double      poison{0.05};
    double      refused{0};
};

std::vector<SimEvent> make_events(EventMix const& mix, Random& random, schema::Decoder& decoder);

// What an operator makes of an event that was given up.
SimEvent edited(SimEvent const& event, std::string cid, bool is_refused);

// A relationship in a repository of its own, at a given tier.
SimEvent make_simple_event(std::size_t repository, std::size_t nonce, Tier tier);

}  // namespace sluice::sim
