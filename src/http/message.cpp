#include "http/message.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace sluice::http {

namespace {

constexpr std::pair<std::string_view, Method> methods[] = {
    {"POST", Method::post},   {"GET", Method::get},         {"HEAD", Method::head},       {"PUT", Method::put},
    {"PATCH", Method::patch}, {"DELETE", Method::delete_}, {"OPTIONS", Method::options},
};

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

std::string_view reason_phrase(int status) noexcept
{
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 207: return "Multi-Status";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
    }
}

void append_number(std::string& out, std::size_t number)
{
    char       digits[20];
    auto const end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    out.append(digits, end);
}

}  // namespace

std::string_view to_string(Method method) noexcept
{
    for (auto const& [name, value] : methods)
        if (value == method) return name;
    return {};
}

std::optional<Method> method_named(std::string_view token) noexcept
{
    for (auto const& [name, value] : methods)
        if (name == token) return value;
    return std::nullopt;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept
{
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (lower(a[i]) != lower(b[i])) return false;
    return true;
}

std::optional<std::string_view> Request::header(std::string_view name) const noexcept
{
    for (auto const& header : headers)
        if (equal_ignoring_case(header.name, name)) return header.value;
    return std::nullopt;
}

Response& Response::add_header(std::string_view name, std::string_view value)
{
    headers.append(name).append(": ");
    std::copy_if(value.begin(), value.end(), std::back_inserter(headers), [](char c) {
        auto const byte = static_cast<unsigned char>(c);
        return byte >= 0x20 && byte != 0x7f;
    });
    headers.append("\r\n");
    return *this;
}

void serialise(std::string& out, Response const& response, Framing framing)
{
    bool const bodiless = response.status == 204 || response.status == 304;
    out.append("HTTP/1.1 ");
    append_number(out, static_cast<std::size_t>(response.status));
    out.append(" ").append(reason_phrase(response.status));
    if (!bodiless) {
        if (!response.stream) {
            out.append("\r\nContent-Length: ");
            append_number(out, response.body.size());
        } else if (!framing.http_1_0) {
            out.append("\r\nTransfer-Encoding: chunked");
        }
        if (!response.content_type.empty()) out.append("\r\nContent-Type: ").append(response.content_type);
    }
    out.append("\r\nX-Content-Type-Options: nosniff\r\n");
    out.append(response.headers);
    if (!framing.keep_alive)
        out.append("Connection: close\r\n");
    else if (framing.http_1_0)
        out.append("Connection: keep-alive\r\n");
    out.append("\r\n");
    if (!bodiless && !framing.head_only) out.append(response.body);
}

void serialise_piece(std::string& out, std::string_view piece, bool is_last, Framing framing)
{
    if (framing.http_1_0) {
        out.append(piece);
        return;
    }
    if (!piece.empty()) {
        char       digits[16];
        auto const end = std::to_chars(digits, digits + sizeof digits, piece.size(), 16).ptr;
        out.append(digits, end).append("\r\n").append(piece).append("\r\n");
    }
    if (is_last) out.append("0\r\n\r\n");
}

Result<std::string> percent_decode(std::string_view text)
{
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out.push_back(text[i]);
            continue;
        }
        int const high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
        int const low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
        if (high < 0 || low < 0)
            return Error{Errc::invalid, "bad_percent_encoding", "a '%' must be followed by two hex digits"};
        out.push_back(static_cast<char>(high * 16 + low));
        i += 2;
    }
    return out;
}

std::optional<std::string_view> match_path(std::string_view route, std::string_view path) noexcept
{
    if (!route.ends_with("/*")) return route == path ? std::optional(std::string_view{}) : std::nullopt;
    auto const folder = route.substr(0, route.size() - 1);
    if (!path.starts_with(folder)) return std::nullopt;
    auto const segment = path.substr(folder.size());
    if (segment.empty() || segment.find('/') != segment.npos) return std::nullopt;
    return segment;
}

Result<Query> Query::parse(std::string_view raw)
{
    Query query;
    while (!raw.empty()) {
        auto const item = raw.substr(0, raw.find('&'));
        raw.remove_prefix(std::min(item.size() + 1, raw.size()));
        if (item.empty()) continue;

        auto const equals = item.find('=');
        auto       name = percent_decode(item.substr(0, equals));
        if (!name) return name.error();
        auto value = percent_decode(equals == item.npos ? std::string_view{} : item.substr(equals + 1));
        if (!value) return value.error();
        query.parameters_.emplace_back(std::move(*name), std::move(*value));
    }
    return query;
}

std::optional<std::string_view> Query::get(std::string_view name) const noexcept
{
    for (auto const& [key, value] : parameters_)
        if (key == name) return value;
    return std::nullopt;
}

Result<> Query::only(std::initializer_list<std::string_view> names) const
{
    for (auto at = parameters_.begin(); at != parameters_.end(); ++at) {
        auto const& name = at->first;
        if (std::find(names.begin(), names.end(), name) == names.end())
            return Error{Errc::invalid, "unknown_parameter", "there is no parameter \"" + name + "\" here"};
        if (std::any_of(parameters_.begin(), at, [&](auto const& other) { return other.first == name; }))
            return Error{Errc::invalid, "duplicate_parameter", "parameter \"" + name + "\" is given more than once"};
    }
    return {};
}

}  // namespace sluice::http
