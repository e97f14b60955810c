#include "schema/json.hpp"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

namespace sluice::schema {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

std::optional<std::uint32_t> parse_hex4(std::string_view text) noexcept
{
    std::uint32_t value = 0;
    if (text.size() < 4) return std::nullopt;
    auto const [end, error] = std::from_chars(text.data(), text.data() + 4, value, 16);
    if (error != std::errc() || end != text.data() + 4) return std::nullopt;
    return value;
}

char* append_utf8(char* to, std::uint32_t code_point) noexcept
{
    auto const put = [&](std::uint32_t byte) { *to++ = static_cast<char>(byte); };
    auto const put_rest = [&](int shift) { put(0x80 | (code_point >> shift & 0x3F)); };
    if (code_point < 0x80) {
        put(code_point);
    } else if (code_point < 0x800) {
        put(0xC0 | code_point >> 6);
        put_rest(0);
    } else if (code_point < 0x10000) {
        put(0xE0 | code_point >> 12);
        put_rest(6);
        put_rest(0);
    } else {
        put(0xF0 | code_point >> 18);
        put_rest(12);
        put_rest(6);
        put_rest(0);
    }
    return to;
}

// The character a one-letter escape stands for, or NUL.
char unescape_letter(char letter) noexcept
{
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    auto const                 i = letters.find(letter);
    return i == std::string_view::npos ? '\0' : meanings[i];
}

// How a number is written. Empty parts are absent.
struct NumberParts {
    std::string_view integer, exponent;
    bool             is_integer;
};

std::optional<NumberParts> split_number(std::string_view text) noexcept
{
    std::size_t i = 0;
    auto const  skip_digits = [&] {
        auto const begin = i;
        while (i < text.size() && is_digit(text[i])) ++i;
        return i - begin;
    };
    NumberParts parts{};
    if (!text.empty() && text[0] == '-') ++i;
    bool const has_leading_zero = i < text.size() && text[i] == '0';
    auto const whole_digits = skip_digits();
    if (whole_digits == 0 || (has_leading_zero && whole_digits > 1)) return std::nullopt;
    parts.integer = text.substr(0, i);
    if (i < text.size() && text[i] == '.') {
        ++i;
        if (skip_digits() == 0) return std::nullopt;
    }
    if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
        ++i;
        parts.exponent = text.substr(i);
        if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
        if (skip_digits() == 0) return std::nullopt;
    }
    if (i != text.size()) return std::nullopt;
    parts.is_integer = parts.integer.size() == text.size();
    return parts;
}

// Most numbers: an integer without a sign that cannot be too large.
std::optional<std::int64_t> parse_short_integer(std::string_view text) noexcept
{
    if (text.size() > 18 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
    std::int64_t value = 0;
    for (char const c : text) {
        if (!is_digit(c)) return std::nullopt;
        value = value * 10 + (c - '0');
    }
    return value;
}

// One that is too small is zero, which is finite.
bool is_finite(std::string_view text, std::string_view exponent) noexcept
{
    double     value = 0;
    auto const error = std::from_chars(text.data(), text.data() + text.size(), value).ec;
    return error != std::errc::result_out_of_range || exponent.starts_with('-');
}

}  // namespace

JsonReader::JsonReader(JsonLimits const& limits)
    : limits_(limits), unescaped_(new char[walks_max * limits.bytes]), names_(new JsonName[limits.nodes])
{
    SLUICE_ASSERT(limits.depth <= JsonLimits::depth_bound);
    auto const error =
        simdjson::get_active_implementation()->create_dom_parser_implementation(limits.bytes, limits.depth, tokenizer_);
    SLUICE_ASSERT(error == simdjson::SUCCESS);
}

JsonReader::~JsonReader() = default;

bool JsonReader::open(std::string_view json)
{
    error_ = {};
    json_ = json;
    count_ = 0;
    walks_ = 0;
    unescaped_end_ = unescaped_.get();
    if (json.empty()) return fail_at(0, "bad_json", "no JSON at all");
    if (json.size() > limits_.bytes) return fail_at(0, "too_large", "too many bytes");
    auto const error = tokenizer_->stage1(
        reinterpret_cast<std::uint8_t const*>(json.data()), json.size(), simdjson::stage1_mode::regular);
    if (error == simdjson::UTF8_ERROR) return fail_at(0, "bad_utf8", "not valid UTF-8");
    if (error != simdjson::SUCCESS) return fail_at(0, "bad_json", simdjson::error_message(error));
    offsets_ = tokenizer_->structural_indexes.get();
    count_ = tokenizer_->n_structural_indexes;
    has_escapes_ = std::memchr(json.data(), '\\', json.size()) != nullptr;
    return true;
}

std::size_t JsonReader::fail_at(std::size_t token, char const* code, char const* detail) noexcept
{
    error_ = {.code = code, .detail = detail, .offset = count_ == 0 ? 0 : offset(token)};
    return 0;
}

// Never longer than `raw`, so that `unescaped_` has room.
bool JsonReader::unescape(std::size_t token, std::string_view raw, std::string_view& text)
{
    auto escape = raw.find('\\');
    if (escape == std::string_view::npos) return true;
    char const* const begin = unescaped_end_;
    char*             to = unescaped_end_;
    for (; escape != std::string_view::npos; escape = raw.find('\\')) {
        std::memcpy(to, raw.data(), escape);
        to += escape;
        raw.remove_prefix(escape + 1);
        if (raw.empty()) return fail_at(token, "bad_json", "a string has an incomplete escape");
        char const letter = raw.front();
        raw.remove_prefix(1);
        if (char const meaning = unescape_letter(letter)) {
            *to++ = meaning;
            continue;
        }
        auto const unit = letter == 'u' ? parse_hex4(raw) : std::nullopt;
        if (!unit) return fail_at(token, "bad_json", "a string has an unknown escape");
        raw.remove_prefix(4);
        auto code_point = *unit;
        if (code_point >= 0xD800 && code_point <= 0xDFFF) {
            auto const low = raw.starts_with("\\u") ? parse_hex4(raw.substr(2)) : std::nullopt;
            if (code_point > 0xDBFF || !low || *low < 0xDC00 || *low > 0xDFFF)
                return fail_at(token, "bad_utf8", "a string has half of a surrogate pair");
            raw.remove_prefix(6);
            code_point = 0x10000 + ((code_point - 0xD800) << 10) + (*low - 0xDC00);
        }
        to = append_utf8(to, code_point);
    }
    std::memcpy(to, raw.data(), raw.size());
    unescaped_end_ = to + raw.size();
    text = {begin, static_cast<std::size_t>(unescaped_end_ - begin)};
    return true;
}

bool JsonReader::read_literal(std::size_t token, JsonScalar& scalar)
{
    auto const text = token_text(token);
    if (!text.empty() && (text[0] == '-' || is_digit(text[0]))) return read_number(token, text, scalar);
    if (text == "true" || text == "false") {
        scalar.kind = JsonScalar::Kind::boolean;
        return true;
    }
    if (text == "null") return true;
    return fail_at(token, "bad_json", "expected a value");
}

bool JsonReader::read_number(std::size_t token, std::string_view text, JsonScalar& scalar)
{
    constexpr auto int64_max = std::numeric_limits<std::int64_t>::max();
    if (auto const value = parse_short_integer(text)) {
        scalar.kind = JsonScalar::Kind::integer;
        scalar.integer = *value;
        return true;
    }
    auto const        parts = split_number(text);
    char const* const end = text.data() + text.size();
    if (!parts) return fail_at(token, "bad_json", "a number is not written as JSON has it");
    if (text.size() > limits_.number_chars) return fail_at(token, "bad_number", "a number is written too long");
    if (!parts->is_integer) {
        scalar.kind = JsonScalar::Kind::number;
        return is_finite(text, parts->exponent) || fail_at(token, "bad_number", "a number is too large");
    }
    scalar.kind = JsonScalar::Kind::integer;
    if (std::from_chars(text.data(), end, scalar.integer).ec == std::errc()) return true;
    std::uint64_t beyond = 0;
    scalar.integer = int64_max;
    return std::from_chars(text.data(), end, beyond).ec == std::errc() ||
           fail_at(token, "bad_number", "an integer needs more than 64 bits");
}

bool JsonReader::check_names(std::size_t token, Frame const& frame)
{
    std::sort(frame.names_begin, frame.names_end, [](auto const& a, auto const& b) { return a.text() < b.text(); });
    return std::adjacent_find(frame.names_begin, frame.names_end) == frame.names_end ||
           fail_at(token, "duplicate_member", "a member name occurs twice");
}

}  // namespace sluice::schema
