#include "schema/decoder.hpp"

#include <algorithm>
#include <cstring>

namespace sluice::schema {
namespace {

DecodeError refuse(char const* code, char const* detail)
{
    return {.is_json = false, .code = code, .detail = detail, .errors = {}};
}

std::string_view trim(std::string_view text) noexcept
{
    constexpr std::string_view blank = " \t\r\n";
    auto const                 begin = text.find_first_not_of(blank);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blank) + 1 - begin);
}

// Behind the string that starts at `begin`, or the end of the text if it never ends.
std::size_t skip_string(std::string_view json, std::size_t begin) noexcept
{
    for (auto from = begin + 1; from < json.size();) {
        auto const* const found = static_cast<char const*>(std::memchr(json.data() + from, '"', json.size() - from));
        if (!found) break;
        auto const quote = static_cast<std::size_t>(found - json.data());
        auto       escapes = quote;
        while (json[escapes - 1] == '\\') --escapes;
        if ((quote - escapes) % 2 == 0) return quote + 1;
        from = quote + 1;
    }
    return json.size();
}

// The comma or bracket that ends the element that starts at `begin`, or the end of the text.
std::size_t skip_element(std::string_view json, std::size_t begin) noexcept
{
    std::size_t depth = 0;
    for (auto i = begin; i < json.size();) {
        switch (json[i]) {
        case '"': i = skip_string(json, i); continue;
        case '{':
        case '[': ++depth; break;
        case '}':
        case ']':
            if (depth == 0) return i;
            --depth;
            break;
        case ',':
            if (depth == 0) return i;
            break;
        default: break;
        }
        ++i;
    }
    return json.size();
}

}  // namespace

std::string_view take_line(std::string_view text, std::size_t& at) noexcept
{
    auto line = text.substr(at);
    line = line.substr(0, line.find('\n'));
    at = std::min(at + line.size() + 1, text.size());
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

std::optional<DecodeError>
Decoder::split_array(std::string_view json, std::size_t max, std::vector<std::string_view>& out)
{
    out.clear();
    json = trim(json);
    if (json.size() < 2 || json.front() != '[' || json.back() != ']') return refuse("bad_json", "must be an array");
    if (trim(json.substr(1, json.size() - 2)).empty()) return std::nullopt;

    for (std::size_t begin = 1;;) {
        auto const end = skip_element(json, begin);
        if (end == json.size()) return refuse("bad_json", "the array does not end");
        auto const element = trim(json.substr(begin, end - begin));
        if (element.empty()) return refuse("bad_json", "an element is missing");
        if (out.size() == max) return refuse("too_many_events", "the array has too many elements");
        out.push_back(element);
        if (json[end] == ',') {
            begin = end + 1;
            continue;
        }
        if (json[end] == ']' && end + 1 == json.size()) return std::nullopt;
        return refuse("bad_json", json[end] == ']' ? "something follows the array" : "a bracket closes nothing");
    }
}

}  // namespace sluice::schema
