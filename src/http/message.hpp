// An HTTP request as handlers see it, the response they give back, and the text forms of both.
#pragma once

#include <sluice/result.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::http {

enum class Method : std::uint8_t { get, head, post, put, patch, delete_, options };
std::string_view      to_string(Method method) noexcept;
std::optional<Method> method_named(std::string_view token) noexcept;

// ASCII letters are equal in either case.
bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept;

// -1 for anything but a hex digit.
constexpr int hex_digit(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

struct Header {
    std::string_view name, value;
};

// The texts of the head are views into the connection's buffer: they stay until the reply has been given.
struct Request {
    // A body is followed by this many readable zero bytes, as simdjson wants them; moving the string keeps them.
    static constexpr std::size_t body_padding = 64;

    Method                  method{};
    bool                    keep_alive{};
    bool                    http_1_0{};
    bool                    expects_continue{};
    std::string_view        path;          // as sent, percent-encoded
    std::string             path_tail;     // what stood for the "*" of the route's path, decoded; set for its handler
    std::string_view        query;         // what follows '?', as sent
    std::string_view        host;          // empty when HTTP/1.0 sent none
    std::string_view        content_type;  // empty when there is none
    std::span<Header const> headers;       // in order; never holds a trailer
    std::uint8_t            producer{0};   // whose key it came with, as an engine::Producer; set from BodyLimit
    std::string             body;          // handlers may move it out

    // The first header of that name, in any case.
    std::optional<std::string_view> header(std::string_view name) const noexcept;
};

class Stream;

struct Response {
    int              status{200};
    std::string_view content_type{};  // a literal; empty with an empty body
    std::string      body{};
    std::string      headers{};       // further header lines, written by add_header
    bool             close{false};    // end the connection after it
    std::shared_ptr<Stream> stream{}; // gives the body instead, piece by piece; the connection ends after it

    // Control bytes in the value are left out, so that a value cannot end its line.
    Response& add_header(std::string_view name, std::string_view value);
};

struct Framing {
    bool keep_alive{true};
    bool head_only{false};  // HEAD: the length is told, the body is not sent
    bool http_1_0{false};
};

// Appends the whole response to `out`, but for the body that a stream gives.
void serialise(std::string& out, Response const& response, Framing framing);

// Appends the next piece of the body of a response that has a stream.
void serialise_piece(std::string& out, std::string_view piece, bool is_last, Framing framing);

// "%41" is "A"; '+' stays. `invalid` bad_percent_encoding when a '%' is not followed by two hex digits.
Result<std::string> percent_decode(std::string_view text);

// Whether a route's path takes the path of a request. One that ends in "/*" takes one more segment, of at least one
// byte, in its place; that is returned as sent, and nothing for other routes.
std::optional<std::string_view> match_path(std::string_view route, std::string_view path) noexcept;

// The parameters of a query string, decoded.
class Query {
public:
    // `invalid` bad_percent_encoding.
    static Result<Query> parse(std::string_view raw);

    // The value of the first parameter of that name; empty for one without '='.
    std::optional<std::string_view> get(std::string_view name) const noexcept;

    // `invalid` unknown_parameter or duplicate_parameter unless each parameter is one of `names` and there once.
    Result<> only(std::initializer_list<std::string_view> names) const;

private:
    std::vector<std::pair<std::string, std::string>> parameters_;
};

}  // namespace sluice::http
