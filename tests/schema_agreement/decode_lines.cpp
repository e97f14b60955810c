// What the decoder says about request bodies, for comparison with the schemas: reads one body a line, prints one JSON
// object a line, {} for an accepted one. With --types it prints the event types and their fields instead.
#include "schema/decoder.hpp"

#include <nlohmann/json.hpp>

#include <iostream>

namespace sluice::schema {
namespace {

using Json = nlohmann::ordered_json;

Json describe(DecodeError const& error)
{
    Json errors = Json::array();
    for (auto const& e : error.errors) errors.push_back({{"pointer", e.pointer}, {"code", e.code}});
    return {{"is_json", error.is_json}, {"code", error.code}, {"errors", errors}};
}

Json describe(PayloadField const& field)
{
    constexpr char const* types[] = {"text",     "did",     "did_pair", "did_second",
                                     "at_uri",   "datetime", "integer",  "choice"};
    return {{"names", field.names}, {"type", types[static_cast<std::size_t>(field.type)]},
            {"min", field.min},     {"max", field.max},
            {"choices", std::vector<std::string>(field.choices.begin(), field.choices.end())}};
}

Json describe_types()
{
    Json types = Json::object();
    for (auto const* const processor : all_processors()) {
        Json fields = Json::array();
        for (auto const& field : processor->fields) fields.push_back(describe(field));
        for (auto const& event : processor->events) {
            Json required = Json::array();
            for (std::size_t i = 0; i < processor->fields.size(); ++i)
                if (event.required & bit(i)) required.push_back(i);
            types[std::string(event.name)] = {{"fields", fields}, {"required", required}};
        }
    }
    return types;
}

void decode_lines()
{
    SchemaSet const schemas(all_processors());
    Decoder         decoder(schemas);
    for (std::string line, out; std::getline(std::cin, line); out.clear()) {
        auto const size = line.size();
        line.append(Decoder::padding, ' ');
        Decoded    decoded;
        auto const error = decoder.decode(std::string_view(line).substr(0, size), out, decoded);
        std::cout << (error ? describe(*error) : Json::object()).dump(-1, ' ', true, Json::error_handler_t::replace)
                  << '\n';
    }
}

}  // namespace
}  // namespace sluice::schema

int main(int argc, char** argv)
{
    if (argc == 2 && std::string_view(argv[1]) == "--types")
        std::cout << sluice::schema::describe_types().dump(2) << '\n';
    else
        sluice::schema::decode_lines();
}
