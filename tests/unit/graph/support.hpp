// Events written down as what they do to their repository, and the function that makes a store do that.
#pragma once

#include "graph/graph_store.hpp"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sluice::graph::test {

using Action = Effects::Action;
using StepValue = std::variant<std::monostate, std::int64_t, std::string>;

struct Step {
    std::uint64_t          sequence{0};
    std::uint64_t          rev{0};  // 0: none
    Action                 action{Action::put};
    Kind                   kind{Kind::relationship};
    std::string            did;
    std::string            key;
    std::vector<StepValue> fields;
    std::uint64_t          version{0};  // 0: its own

    Hash128 payload_hash() const { return {sequence, rev}; }
};

inline Effects effects_of(Step const& step)
{
    Effects effects{.action = step.action, .kind = step.kind, .key = step.key, .field_count = step.fields.size()};
    for (std::size_t i = 0; i < step.fields.size(); ++i) {
        if (auto const* integer = std::get_if<std::int64_t>(&step.fields[i])) effects.fields[i] = *integer;
        if (auto const* text = std::get_if<std::string>(&step.fields[i])) effects.fields[i] = std::string_view(*text);
    }
    return effects;
}

inline Event event_of(Step const& step)
{
    Event event;
    event.sequence = Sequence{step.sequence};
    event.version = Sequence{step.version};
    event.rev = Revision{step.rev};
    event.did = step.did;
    event.payload_hash = step.payload_hash();
    return event;
}

// Applies steps of one repository.
inline ApplyResult run(GraphStore& store, std::span<Step const> steps)
{
    std::vector<Event> events;
    for (auto const& step : steps) events.push_back(event_of(step));
    return store.apply(events, [steps](Event const& event, RecordView const&) -> Result<Effects> {
        for (auto const& step : steps)
            if (Sequence{step.sequence} == event.sequence) return effects_of(step);
        return Error{Errc::invalid, "unknown_step", ""};
    });
}

inline std::vector<Outcome> run(GraphStore& store, std::vector<Step> const& steps)
{
    auto const result = run(store, std::span(steps));
    if (result.from_store) ADD_FAILURE() << result.error->reason << ": " << result.error->detail;
    return result.outcomes;
}

inline std::string uri(std::string const& did, std::string const& name) { return "at://" + did + "/test/" + name; }

struct RelationshipText {
    std::string  other{"did:plc:other"};
    std::int64_t strength{50};
    std::int64_t type{0};
    std::int64_t created_at{0};
    StepValue    last_interaction{};
    StepValue    visibility{};
    std::string  context{"context"};
};

inline Step relate(
    std::uint64_t sequence, std::uint64_t rev, std::string const& did, std::string const& name,
    RelationshipText const& text = {})
{
    auto const key = uri(did, name);
    return {
        sequence,
        rev,
        Action::put,
        Kind::relationship,
        did,
        key,
        {key, "cid", did, text.other, text.type, text.strength, text.context, text.created_at, text.last_interaction,
         text.visibility}};
}

struct AttestationText {
    std::int64_t type{0};
    std::int64_t confidence{100};
    StepValue    suggested_strength{};
    std::int64_t created_at{0};
};

inline Step attest(
    std::uint64_t sequence, std::uint64_t rev, std::string const& did, std::string const& name,
    std::string const& target, AttestationText const& text = {})
{
    auto const key = uri(did, name);
    return {
        sequence,
        rev,
        Action::put,
        Kind::attestation,
        did,
        key,
        {key, "cid", did, target, text.type, text.confidence, "evidence", text.suggested_strength, text.created_at}};
}

inline Step remove(std::uint64_t sequence, std::uint64_t rev, std::string const& did, std::string const& name)
{
    return {sequence, rev, Action::remove, Kind::relationship, did, uri(did, name), {}};
}

inline Step remove_repository(std::uint64_t sequence, std::uint64_t rev, std::string const& did)
{
    return {sequence, rev, Action::remove_repository, Kind::repository, did, "", {}};
}

// A Record over fields that are held here. Not to be moved.
class FieldsOf {
public:
    explicit FieldsOf(std::vector<StepValue> const& values)
    {
        for (auto const& value : values) {
            if (auto const* integer = std::get_if<std::int64_t>(&value)) {
                slots_.push_back(static_cast<std::uint64_t>(*integer));
            } else if (auto const* text = std::get_if<std::string>(&value)) {
                slots_.push_back(std::uint64_t{texts_.size()} << 32 | text->size());
                texts_ += *text;
            } else {
                slots_.push_back(Fields::absent);
            }
        }
    }
    FieldsOf(FieldsOf const&) = delete;
    FieldsOf& operator=(FieldsOf const&) = delete;

    Fields view() const { return {texts_.data(), reinterpret_cast<char const*>(slots_.data()), slots_.size()}; }

private:
    std::vector<std::uint64_t> slots_;
    std::string                texts_;
};

inline bool same_fields(Fields const& fields, std::vector<StepValue> const& values)
{
    if (fields.size() != values.size()) return false;
    for (std::size_t i = 0; i < values.size(); ++i) {
        auto const* integer = std::get_if<std::int64_t>(&values[i]);
        auto const* text = std::get_if<std::string>(&values[i]);
        if (integer && fields.integer(i) != *integer) return false;
        if (text && fields.text(i) != *text) return false;
        if (!integer && !text && fields.slot(i) != Fields::absent) return false;
    }
    return true;
}

inline std::vector<std::string> keys_of(std::vector<OwnedRecord> const& records)
{
    std::vector<std::string> keys;
    for (auto const& record : records) keys.emplace_back(record->key);
    return keys;
}

}  // namespace sluice::graph::test
