// Strict reading of one JSON text: UTF-8, no duplicate names, no number that would be rounded to infinity or to another
// integer, bounded in every direction. What is accepted here has been looked at to the last byte.
#pragma once

#include "base/assert.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace simdjson::internal {
class dom_parser_implementation;
}

namespace sluice::schema {

struct JsonLimits {
    static constexpr std::size_t depth_bound = 32;

    std::size_t bytes;
    std::size_t depth;    // of brackets; at most depth_bound
    std::size_t members;  // of one object
    std::size_t nodes;    // values, at any depth
    std::size_t string_bytes;
    std::size_t number_chars;
};

struct JsonError {
    char const* code{""};
    char const* detail{""};
    std::size_t offset{0};
};

// A value without members or elements.
struct JsonScalar {
    enum class Kind : std::uint8_t { null, boolean, integer, number, string };
    Kind             kind{};
    std::int64_t     integer{0};  // of an integer; the nearest if it is above 2^63-1
    std::string_view text;        // of a string: without escapes, in the JSON text itself where it has none
};

// A member's name, with its ends as two words so that most comparisons need nothing else.
class JsonName {
public:
    JsonName() = default;
    explicit JsonName(std::string_view name) noexcept;

    std::string_view text() const noexcept { return text_; }
    std::uint64_t    hash() const noexcept
    {
        return (first_ ^ (last_ << 24 | last_ >> 40) ^ text_.size()) * 0x9E3779B97F4A7C15;
    }
    friend bool operator==(JsonName const& a, JsonName const& b) noexcept
    {
        return a.first_ == b.first_ && a.last_ == b.last_ && a.text_.size() == b.text_.size() &&
               (a.text_.size() <= 2 * sizeof(std::uint64_t) || a.text_ == b.text_);
    }

private:
    std::string_view text_;
    std::uint64_t    first_{0}, last_{0};
};

// One per thread: it owns buffers that are used again. Texts it hands out live until the next open().
class JsonReader {
public:
    explicit JsonReader(JsonLimits const& limits);
    ~JsonReader();

    // Finds the tokens of `json`, which must stay where it is. False: error() says why.
    bool open(std::string_view json);

    // Visits the value that starts at a token and returns the token after it, or 0: error() says why. At most walks_max
    // times after one open(). Handler has
    //   Target            which says what a value is for; nothing is reported about one that converts to false
    //   open_object(Target, offset), open_array(Target, offset) -> Target of the whole
    //   close(Target, offset)                                      offsets are those of the brackets
    //   member(Target of the object, JsonName, token of the value) -> Target
    //   element(Target of the array, index) -> Target
    //   scalar(Target, JsonScalar)
    static constexpr int walks_max = 2;
    template <class Handler>
    std::size_t walk(std::size_t token, typename Handler::Target target, Handler& handler);

    bool             is_end(std::size_t token) const noexcept { return token == count_; }
    JsonError const& error() const noexcept { return error_; }
    std::size_t      fail_at(std::size_t token, char const* code, char const* detail) noexcept;

private:
    // An object or array that is open.
    struct Frame {
        char          close;
        std::size_t   children;
        JsonName*     names_begin;
        JsonName*     names_end;
        std::uint64_t filter;  // a bit of each name's hash
    };
    // An object's first names are compared one by one, any others by sorting them when it ends.
    static constexpr std::size_t compared_names = 24;

    // NUL behind the last token, where it is as wrong as anywhere.
    char        at(std::size_t token) const noexcept { return token < count_ ? json_[offsets_[token]] : '\0'; }
    std::size_t offset(std::size_t token) const noexcept { return token < count_ ? offsets_[token] : json_.size(); }
    std::string_view token_text(std::size_t token) const noexcept;

    bool read_string(std::size_t token, std::string_view& text);
    bool unescape(std::size_t token, std::string_view raw, std::string_view& text);
    bool read_literal(std::size_t token, JsonScalar& scalar);
    bool read_number(std::size_t token, std::string_view text, JsonScalar& scalar);
    // The name becomes the last of the frame's names.
    bool read_name(std::size_t token, Frame& frame);
    bool check_names(std::size_t token, Frame const& frame);

    JsonLimits                                                     limits_;
    std::unique_ptr<simdjson::internal::dom_parser_implementation> tokenizer_;
    std::unique_ptr<char[]>                                        unescaped_;  // room for all strings, walks_max times
    std::string_view                                               json_;
    std::uint32_t const*                                           offsets_{nullptr};
    std::size_t                                                    count_{0};
    bool                                                           has_escapes_{false};
    char*                                                          unescaped_end_{nullptr};
    int                                                            walks_{0};
    std::unique_ptr<JsonName[]>                                    names_;  // of the objects that are open
    JsonError                                                      error_;
};

inline JsonName::JsonName(std::string_view name) noexcept : text_(name)
{
    auto const load = [&](std::size_t from, auto part) {
        std::memcpy(&part, name.data() + from, sizeof part);
        return std::uint64_t{part};
    };
    auto const size = name.size();
    if (size >= 8) {
        first_ = load(0, std::uint64_t{});
        last_ = load(size - 8, std::uint64_t{});
    } else if (size >= 4) {
        first_ = load(0, std::uint32_t{});
        last_ = load(size - 4, std::uint32_t{});
    } else if (size > 0) {
        first_ = load(0, std::uint8_t{});
        last_ = load(size / 2, std::uint8_t{}) << 8 | load(size - 1, std::uint8_t{});
    }
}

// The three functions below are most of the work of a walk, and too large for the compiler to inline unasked.

[[gnu::always_inline]] inline std::string_view JsonReader::token_text(std::size_t token) const noexcept
{
    auto const begin = offset(token);
    auto       end = offset(token + 1);
    auto const is_blank = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
    while (end > begin && is_blank(json_[end - 1])) --end;
    return json_.substr(begin, end - begin);
}

[[gnu::always_inline]] inline bool JsonReader::read_string(std::size_t token, std::string_view& text)
{
    // Between a string and the next token there is only blank space, mostly none.
    auto const begin = offset(token), end = offset(token + 1);
    auto const quoted = json_[end - 1] == '"' ? json_.substr(begin, end - begin) : token_text(token);
    if (quoted.size() < 2 || quoted.back() != '"') return fail_at(token, "bad_json", "a string does not end");
    auto const raw = quoted.substr(1, quoted.size() - 2);
    if (raw.size() > limits_.string_bytes) return fail_at(token, "too_large", "a string is too long");
    text = raw;
    return !has_escapes_ || unescape(token, raw, text);
}

[[gnu::always_inline]] inline bool JsonReader::read_name(std::size_t token, Frame& frame)
{
    if (at(token) != '"') return fail_at(token, "bad_json", "expected a member name");
    std::string_view text;
    if (!read_string(token, text)) return false;
    if (at(token + 1) != ':') return fail_at(token + 1, "bad_json", "expected a colon");
    auto const& name = *frame.names_end = JsonName(text);
    auto const  filter_bit = std::uint64_t{1} << (name.hash() >> 58);
    bool const  may_occur = (frame.filter & filter_bit) != 0;
    frame.filter |= filter_bit;
    if (frame.children < compared_names) {
        for (auto const* other = frame.names_begin; may_occur && other != frame.names_end; ++other)
            if (*other == name) return fail_at(token, "duplicate_member", "a member name occurs twice");
    } else if (frame.children == limits_.members) {
        return fail_at(token, "too_large", "an object has too many members");
    }
    ++frame.names_end;
    return true;
}

template <class Handler>
std::size_t JsonReader::walk(std::size_t token, typename Handler::Target target, Handler& handler)
{
    using Target = typename Handler::Target;
    struct Open {
        Frame  frame;
        Target target;
    };
    std::array<Open, JsonLimits::depth_bound + 1> open;
    auto* const                                   outside = open.data();
    auto*                                         whole = outside;
    outside->frame.names_end = names_.get();
    SLUICE_ASSERT(++walks_ <= walks_max);

    for (std::size_t nodes = 1;; ++nodes) {
        if (nodes > limits_.nodes) return fail_at(token, "too_large", "too many values");
        char const first = at(token);
        bool const is_opened = first == '{' || first == '[';
        if (is_opened) {
            if (whole == outside + limits_.depth) return fail_at(token, "too_deep", "nested too deeply");
            auto* const names = whole->frame.names_end;
            ++whole;
            whole->frame = {
                .close = first == '{' ? '}' : ']',
                .children = 0,
                .names_begin = names,
                .names_end = names,
                .filter = 0};
            whole->target = !target        ? Target{}
                            : first == '{' ? handler.open_object(target, offset(token))
                                           : handler.open_array(target, offset(token));
        } else {
            JsonScalar scalar;
            if (first == '"') {
                scalar.kind = JsonScalar::Kind::string;
                if (!read_string(token, scalar.text)) return 0;
            } else if (!read_literal(token, scalar)) {
                return 0;
            }
            if (target) handler.scalar(target, scalar);
        }
        ++token;

        // Closes what ends here, then stops at the next value.
        for (bool is_first = is_opened;; is_first = false) {
            if (whole == outside) return token;
            auto&      frame = whole->frame;
            char const next = at(token);
            if (next == frame.close) {
                if (frame.children > compared_names && next == '}' && !check_names(token, frame)) return 0;
                if (whole->target) handler.close(whole->target, offset(token));
                --whole;
                ++token;
                continue;
            }
            if (!is_first && next != ',') return fail_at(token, "bad_json", "expected a comma or the end");
            if (!is_first) ++token;
            if (frame.close == '}') {
                if (!read_name(token, frame)) return 0;
                token += 2;
                target = whole->target ? handler.member(whole->target, frame.names_end[-1], token) : Target{};
            } else {
                target = whole->target ? handler.element(whole->target, frame.children) : Target{};
            }
            ++frame.children;
            break;
        }
    }
}

}  // namespace sluice::schema
