// Events to decode, and the decoder they go through.
#pragma once

#include "schema/decoder.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice::schema::test {

inline std::string const owner = "did:plc:owner";
inline std::string const other = "did:plc:other";
inline std::string const uri = "at://did:plc:owner/net.rhiz.relationship.record/3jzfcijpj2z2a";

// The text of a JSON object, member by member: values are JSON texts; an empty value leaves the member out.
class Json {
public:
    Json(std::initializer_list<std::pair<std::string, std::string>> members) : members_(members) {}

    Json with(std::string const& name, std::string const& value) const
    {
        auto changed = *this;
        for (auto& member : changed.members_)
            if (member.first == name) return member.second = value, changed;
        changed.members_.emplace_back(name, value);
        return changed;
    }
    Json without(std::string const& name) const { return with(name, ""); }

    std::string text() const
    {
        std::string out;
        for (auto const& [name, value] : members_)
            if (!value.empty()) out += (out.empty() ? "" : ",") + ('"' + name + "\":") + value;
        return '{' + out + '}';
    }

private:
    std::vector<std::pair<std::string, std::string>> members_;
};

inline std::string in_quotes(std::string const& text) { return '"' + text + '"'; }

inline Json relationship()
{
    return {
        {"uri", in_quotes(uri)},
        {"cid", R"("bafyreia")"},
        {"participants", R"(["did:plc:owner","did:plc:other"])"},
        {"type", R"("social")"},
        {"strength", "80"},
        {"context", R"("met in Lisbon")"},
        {"created_at", R"("2025-10-07T12:34:56.789Z")"},
    };
}

inline Json attestation()
{
    return {
        {"uri", R"("at://did:plc:owner/net.rhiz.relationship.attestation/3jzfcijpj2z2b")"},
        {"cid", R"("bafyreib")"},
        {"attester_did", in_quotes(owner)},
        {"target_uri", R"("at://did:plc:other/net.rhiz.relationship.record/3jzfcijpj2z2c")"},
        {"attestation_type", R"("strengthen")"},
        {"confidence", "90"},
        {"evidence", "null"},
        {"suggested_strength", "70"},
        {"created_at", R"("2025-10-07T12:34:56Z")"},
    };
}

inline Json profile()
{
    return {
        {"uri", R"("at://did:plc:owner/net.rhiz.entity.profile/self")"},
        {"cid", R"("bafyreic")"},
        {"display_name", R"("Ada")"},
        {"entity_type", R"("person")"},
        {"bio", R"("counts")"},
        {"created_at", R"("2025-10-07T12:34:56Z")"},
    };
}

inline Json envelope(std::string const& type, std::string const& payload)
{
    return {{"event_type", in_quotes(type)}, {"payload", payload}, {"did", in_quotes(owner)}};
}

inline Json envelope(std::string const& type, Json const& payload) { return envelope(type, payload.text()); }

class DecoderTest : public testing::Test {
protected:
    // A copy that ends where the padding the decoder may read ends.
    std::optional<DecodeError> decode(std::string_view json)
    {
        std::unique_ptr<char[]> const padded(new char[json.size() + Decoder::padding]);
        std::memcpy(padded.get(), json.data(), json.size());
        std::memset(padded.get() + json.size(), '}', Decoder::padding);
        auto const before = out_.size();
        auto       error = decoder_.decode({padded.get(), json.size()}, out_, decoded_);
        EXPECT_EQ(error.has_value(), out_.size() == before);
        return error;
    }
    std::optional<DecodeError> decode(Json const& json) { return decode(json.text()); }

    // "" if it was accepted.
    std::string code(std::string_view json)
    {
        auto const error = decode(json);
        return error ? error->code : "";
    }
    std::string code(Json const& json) { return code(json.text()); }

    // "code pointer" of each error, of an event that is JSON.
    std::vector<std::string> refusals(std::string_view json)
    {
        auto const               error = decode(json);
        std::vector<std::string> all;
        if (!error) return all;
        EXPECT_TRUE(error->is_json) << error->code << error->detail;
        for (auto const& e : error->errors) all.push_back(e.code + ' ' + e.pointer);
        EXPECT_EQ(error->code, error->errors.at(0).code);
        return all;
    }
    std::vector<std::string> refusals(Json const& json) { return refusals(json.text()); }

    // The record of an event that must be accepted.
    log::LoggedRecord accept(std::string_view json)
    {
        if (auto const error = decode(json))
            throw std::runtime_error(error->code + ": " + error->detail + " in " + std::string(json.substr(0, 500)));
        EXPECT_TRUE(log::LoggedRecord::check(std::string_view(out_).substr(decoded_.offset)));
        return log::LoggedRecord(out_.data() + decoded_.offset);
    }
    log::LoggedRecord accept(Json const& json) { return accept(json.text()); }

    Event accept_event(Json const& json) { return accept(json).event(Sequence{1}, {}); }

    SchemaSet   schemas_{all_processors()};
    Decoder     decoder_{schemas_};
    std::string out_;
    Decoded     decoded_;
};

using Refusals = std::vector<std::string>;

}  // namespace sluice::schema::test
