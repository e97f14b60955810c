#include "http/parser.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace sluice::http {

namespace {

constexpr std::size_t body_step = 128 * 1024;          // made ready at once for bytes that have not come yet
constexpr std::size_t body_trusted = 1024 * 1024;      // reserved at once on the word of Content-Length

enum CharacterClass : std::uint8_t { token = 1, field = 2, target = 4, upper = 8 };

constexpr auto character_classes = [] {
    std::array<std::uint8_t, 256> table{};
    for (std::size_t c = 0x20; c < 256; ++c) table[c] |= field;
    table['\t'] |= field;
    table[0x7f] = 0;
    for (std::size_t c = 0x21; c < 0x7f; ++c) table[c] |= target;
    table['#'] &= static_cast<std::uint8_t>(~target);
    for (char const c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<unsigned char>(c)] |= token;
    for (std::size_t c = '0'; c <= '9'; ++c) table[c] |= token;
    for (std::size_t c = 'a'; c <= 'z'; ++c) table[c] |= token;
    for (std::size_t c = 'A'; c <= 'Z'; ++c) table[c] |= token | upper;
    return table;
}();

bool is(char c, CharacterClass wanted) noexcept
{
    return (character_classes[static_cast<unsigned char>(c)] & wanted) != 0;
}

bool all(std::string_view text, CharacterClass wanted) noexcept
{
    std::uint8_t common = wanted;
    for (char const c : text) common &= character_classes[static_cast<unsigned char>(c)];
    return common != 0;
}

std::string_view trimmed(std::string_view text) noexcept
{
    auto const blank = [](char c) { return c == ' ' || c == '\t'; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    return text;
}

// `name` must be in lower case.
bool is_named(std::string_view text, std::string_view name) noexcept { return equal_ignoring_case(text, name); }

// Bits of seen_: fields that may come only once, and one connection option.
enum Seen : std::uint8_t {
    host_seen = 1,
    content_length_seen = 2,
    transfer_encoding_seen = 4,
    content_type_seen = 8,
    authorization_seen = 16,
    internal_key_seen = 32,
    expect_seen = 64,
    close_seen = 128,
};

}  // namespace

RequestReader::RequestReader() { start(); }

void RequestReader::start()
{
    line_start_ = scanned_ = head_end_ = position_ = 0;
    state_ = State::request_line;
    direct_ = chunked_ = empty_line_skipped_ = false;
    coding_known_ = expectation_known_ = content_coding_known_ = true;
    seen_ = 0;
    content_length_ = body_max_ = chunk_left_ = chunk_overhead_ = 0;
    chunk_line_ = chunk_digits_ = trailer_bytes_ = trailer_count_ = 0;
    body_size_ = header_count_ = 0;

    request_.method = {};
    request_.keep_alive = true;
    request_.http_1_0 = request_.expects_continue = false;
    request_.path = request_.query = request_.host = request_.content_type = {};
    request_.headers = {};
    request_.body.clear();
}

RequestReader::Step RequestReader::refuse(int status, std::string_view code, std::string_view detail)
{
    state_ = State::refused;
    refusal_ = {status, code, detail};
    return Step::refused;
}

bool RequestReader::bad(std::string_view detail)
{
    refuse(400, "bad_http", detail);
    return false;
}

RequestReader::Step RequestReader::complete()
{
    body_space(0);  // an empty body has its padding, too
    request_.body.resize(body_size_);
    state_ = State::complete;
    return Step::complete;
}

std::span<char> RequestReader::space()
{
    direct_ = state_ == State::length_body || (state_ == State::chunk_data && chunk_left_ > capacity - head_end_);
    if (direct_) return body_space(state_ == State::length_body ? content_length_ : chunk_left_);
    return {buffer_.data() + end_, capacity - end_};
}

RequestReader::Step RequestReader::received(std::size_t count)
{
    if (state_ == State::refused) return Step::refused;
    if (direct_) {
        auto& left = state_ == State::length_body ? content_length_ : chunk_left_;
        body_size_ += count;
        left -= count;
        if (left > 0) return Step::more;
        if (state_ == State::length_body) return complete();
        state_ = State::chunk_data_cr;
        return Step::more;
    }
    end_ += count;
    return state_ <= State::fields ? read_head() : read_chunks();
}

RequestReader::Step RequestReader::accept(std::size_t body_max)
{
    SLUICE_ASSERT(state_ == State::head_done);
    body_max_ = body_max;
    if (content_length_ > body_max) return refuse(413, "too_large", "the body is larger than this route takes");
    if (chunked_) {
        state_ = State::chunk_size;
        return read_chunks();
    }
    if ((seen_ & content_length_seen) == 0) return complete();
    state_ = State::length_body;
    return read_length_body();
}

RequestReader::Step RequestReader::next()
{
    SLUICE_ASSERT(state_ == State::complete);
    auto const further = end_ - position_;
    if (further > 0) std::memmove(buffer_.data(), buffer_.data() + position_, further);
    end_ = further;
    start();
    return read_head();
}

// ---- head

RequestReader::Step RequestReader::read_head()
{
    if (state_ == State::request_line && !skip_empty_line()) return Step::refused;

    auto const limit = std::min(end_, head_max);
    while (scanned_ < limit) {
        auto const* const from = buffer_.data() + scanned_;
        auto const* const found = static_cast<char const*>(std::memchr(from, '\n', limit - scanned_));
        if (found == nullptr) {
            scanned_ = limit;
            break;
        }
        auto const line_end = static_cast<std::size_t>(found - buffer_.data());
        scanned_ = line_end + 1;
        if (request_line_too_long(line_end)) break;
        if (line_end == line_start_ || buffer_[line_end - 1] != '\r')
            return refuse(400, "bad_http", "lines end with CR LF");

        std::string_view const line(buffer_.data() + line_start_, line_end - 1 - line_start_);
        line_start_ = scanned_;
        if (state_ == State::request_line) {
            if (!read_request_line(line)) return Step::refused;
            state_ = State::fields;
        } else if (line.empty()) {
            return finish_head();
        } else if (!read_field(line)) {
            return Step::refused;
        }
    }

    if (request_line_too_long(scanned_)) return refuse(414, "uri", "the request line is too long");
    if (end_ > head_max) return refuse(431, "headers", "the request's head is too large");
    return Step::more;
}

// Some clients end a body with a line end that is not part of it: one is passed over.
bool RequestReader::skip_empty_line()
{
    if (!empty_line_skipped_ && end_ >= 2 && buffer_[0] == '\r' && buffer_[1] == '\n') {
        empty_line_skipped_ = true;
        scanned_ = 0;
        end_ -= 2;
        std::memmove(buffer_.data(), buffer_.data() + 2, end_);
    }
    bool const may_be_one = !empty_line_skipped_ && end_ == 1 && buffer_[0] == '\r';
    return end_ == 0 || may_be_one || is(buffer_[0], upper) || bad("a request starts with its method");
}

// `end` is where the line ends, or how far it is known. The CR is not counted.
bool RequestReader::request_line_too_long(std::size_t end) const noexcept
{
    return state_ == State::request_line && end - line_start_ > request_line_max + 1;
}

bool RequestReader::read_request_line(std::string_view line)
{
    auto const first = line.find(' ');
    auto const last = line.rfind(' ');
    if (first == line.npos || first == last || line.find(' ', first + 1) != last)
        return bad("a request line is a method, a target and a version");

    auto const version = line.substr(last + 1);
    auto const digit = [](char c) { return c >= '0' && c <= '9'; };
    if (version.size() != 8 || !version.starts_with("HTTP/") || !digit(version[5]) || version[6] != '.' ||
        !digit(version[7]))
        return bad("the version is malformed");
    if (version[5] != '1' || version[7] > '1') {
        refuse(505, "http_version", "HTTP/1.1 and HTTP/1.0 are spoken here");
        return false;
    }
    request_.http_1_0 = version[7] == '0';
    request_.keep_alive = !request_.http_1_0;

    auto const name = line.substr(0, first);
    if (!all(name, token)) return bad("the method is malformed");
    auto const method = method_named(name);
    if (!method) {
        refuse(501, "method", "the method is not known");
        return false;
    }
    request_.method = *method;
    return read_target(line.substr(first + 1, last - first - 1));
}

bool RequestReader::read_target(std::string_view text)
{
    if (text.size() > target_max) {
        refuse(414, "uri", "the target is too long");
        return false;
    }
    if (!text.starts_with('/') || !all(text, target)) return bad("the target must be a path of printable ASCII");
    auto const question = text.find('?');
    request_.path = text.substr(0, question);
    if (question != text.npos) request_.query = text.substr(question + 1);
    return true;
}

bool RequestReader::read_field(std::string_view line)
{
    std::size_t colon = 0;
    while (colon < line.size() && is(line[colon], token)) ++colon;
    if (colon == 0 || colon == line.size() || line[colon] != ':') return bad("a header line is malformed");

    auto const name = line.substr(0, colon);
    auto const value = trimmed(line.substr(colon + 1));
    if (value.size() > value_max || header_count_ == headers_max) {
        refuse(431, "headers", "too many header fields, or too long a value");
        return false;
    }
    if (!all(line.substr(colon + 1), field)) return bad("a header value contains a control byte");
    headers_[header_count_++] = {name, value};
    return note_field(name, value);
}

bool RequestReader::once(std::uint8_t mark)
{
    if ((seen_ & mark) != 0) return bad("a header that may come once came twice");
    seen_ |= mark;
    return true;
}

bool RequestReader::note_field(std::string_view name, std::string_view value)
{
    switch (name.size()) {
    case 4:
        if (!is_named(name, "host")) return true;
        request_.host = value;
        return once(host_seen);
    case 6:
        if (!is_named(name, "expect")) return true;
        expectation_known_ = is_named(value, "100-continue");
        request_.expects_continue = !request_.http_1_0;
        return once(expect_seen);
    case 10: return !is_named(name, "connection") || note_connection(value);
    case 12:
        if (!is_named(name, "content-type")) return true;
        request_.content_type = value;
        return once(content_type_seen);
    case 13: return !is_named(name, "authorization") || once(authorization_seen);
    case 14:
        if (is_named(name, "x-internal-key")) return once(internal_key_seen);
        return !is_named(name, "content-length") || (once(content_length_seen) && note_content_length(value));
    case 16:
        if (is_named(name, "content-encoding") && !is_named(value, "identity")) content_coding_known_ = false;
        return true;
    case 17:
        if (!is_named(name, "transfer-encoding")) return true;
        chunked_ = true;
        coding_known_ = is_named(value, "chunked");
        return once(transfer_encoding_seen);
    default: return true;
    }
}

bool RequestReader::note_content_length(std::string_view value)
{
    constexpr auto largest = std::numeric_limits<std::uint64_t>::max();
    if (value.empty()) return bad("Content-Length must be a number");
    for (char const c : value) {
        if (c < '0' || c > '9') return bad("Content-Length must be a number");
        auto const digit = static_cast<std::uint64_t>(c - '0');
        if (content_length_ > (largest - digit) / 10) return bad("Content-Length is too large a number");
        content_length_ = content_length_ * 10 + digit;
    }
    return true;
}

bool RequestReader::note_connection(std::string_view value)
{
    while (!value.empty()) {
        auto const comma = value.find(',');
        auto const option = trimmed(value.substr(0, comma));
        if (is_named(option, "close")) {
            seen_ |= close_seen;
            request_.keep_alive = false;
        } else if (is_named(option, "keep-alive")) {
            request_.keep_alive = (seen_ & close_seen) == 0;
        }
        value.remove_prefix(comma == value.npos ? value.size() : comma + 1);
    }
    return true;
}

RequestReader::Step RequestReader::finish_head()
{
    head_end_ = position_ = scanned_;
    state_ = State::head_done;
    request_.headers = {headers_.data(), header_count_};

    bool const has_length = (seen_ & content_length_seen) != 0;
    if (!request_.http_1_0 && (seen_ & host_seen) == 0) return refuse(400, "bad_http", "Host is missing");
    if (chunked_ && has_length)
        return refuse(400, "bad_http", "Content-Length and Transfer-Encoding exclude each other");
    if (chunked_ && request_.http_1_0) return refuse(400, "bad_http", "HTTP/1.0 has no Transfer-Encoding");
    if (!coding_known_) return refuse(501, "transfer_coding", "chunked is the only transfer coding spoken here");
    if (!content_coding_known_) return refuse(415, "content_coding", "bodies are taken without a content coding");
    if (!expectation_known_) return refuse(417, "expectation", "100-continue is the only expectation that can be met");

    bool const reads = request_.method == Method::get || request_.method == Method::head;
    if (reads && announces_body()) return refuse(400, "bad_http", "GET and HEAD take no body");
    bool const writes =
        request_.method == Method::post || request_.method == Method::put || request_.method == Method::patch;
    if (writes && !has_length && !chunked_) return refuse(411, "length", "Content-Length or chunked is needed");
    return Step::head;
}

// ---- body

// Room for a part of what is left of the body, followed by the padding.
std::span<char> RequestReader::body_space(std::uint64_t left)
{
    auto& body = request_.body;
    auto const part = static_cast<std::size_t>(std::min<std::uint64_t>(left, body_step));
    auto const needed = body_size_ + part + Request::body_padding;
    if (body.capacity() < needed) {
        auto const doubled = body.capacity() * 2;
        auto const announced = body_size_ + static_cast<std::size_t>(content_length_) + Request::body_padding;
        auto const wanted = chunked_ ? doubled : std::min(announced, std::max(body_trusted, doubled));
        body.reserve(std::max(needed, wanted));
    }
    if (body.size() < needed) body.resize(needed);
    return {body.data() + body_size_, part};
}

// Moves what the buffer holds of the body into its place.
std::size_t RequestReader::take_body(std::uint64_t left)
{
    auto const count = static_cast<std::size_t>(std::min<std::uint64_t>(left, end_ - position_));
    std::memcpy(body_space(count).data(), buffer_.data() + position_, count);
    position_ += count;
    body_size_ += count;
    return count;
}

RequestReader::Step RequestReader::read_length_body()
{
    body_space(content_length_);
    content_length_ -= take_body(content_length_);
    return content_length_ == 0 ? complete() : Step::more;
}

RequestReader::Step RequestReader::read_chunks()
{
    while (position_ < end_) {
        if (state_ == State::chunk_data) {
            chunk_left_ -= take_body(chunk_left_);
            if (chunk_left_ == 0) state_ = State::chunk_data_cr;
            continue;
        }
        if (!read_chunk_byte(buffer_[position_++])) return Step::refused;
        if (state_ == State::complete) return complete();
    }
    position_ = end_ = head_end_;
    return Step::more;
}

bool RequestReader::read_chunk_byte(char c)
{
    switch (state_) {
    case State::chunk_size:
    case State::chunk_extension: return read_size_byte(c);
    case State::chunk_size_lf: return c == '\n' ? finish_chunk_line() : bad("a chunk's size ends with CR LF");
    case State::chunk_data_cr:
        state_ = State::chunk_data_lf;
        return c == '\r' || bad("a chunk ends with CR LF");
    case State::chunk_data_lf:
        state_ = State::chunk_size;
        return c == '\n' || bad("a chunk ends with CR LF");
    default: return read_trailer_byte(c);
    }
}

bool RequestReader::read_size_byte(char c)
{
    if (c == '\r') {
        state_ = State::chunk_size_lf;
        return chunk_digits_ > 0 || bad("a chunk's size is malformed");
    }
    if (++chunk_line_ > chunk_line_max) return bad("a chunk's size line is too long");
    if (state_ == State::chunk_extension) return is(c, field) || bad("a chunk's extension is malformed");
    if (c == ';' && chunk_digits_ > 0) {
        state_ = State::chunk_extension;
        return true;
    }
    auto const digit = hex_digit(c);
    if (digit < 0 || ++chunk_digits_ > 16) return bad("a chunk's size is malformed");
    chunk_left_ = chunk_left_ << 4 | static_cast<std::uint64_t>(digit);
    return true;
}

bool RequestReader::finish_chunk_line()
{
    if (chunk_left_ > body_max_ - body_size_) {
        refuse(413, "too_large", "the body is larger than this route takes");
        return false;
    }
    chunk_overhead_ += chunk_line_ + 4;  // with both line ends
    if (chunk_overhead_ > chunk_overhead_free + (body_size_ + chunk_left_) / 10) return bad("the chunks are too small");
    state_ = chunk_left_ > 0 ? State::chunk_data : State::trailer_start;
    chunk_line_ = chunk_digits_ = 0;
    return true;
}

bool RequestReader::read_trailer_byte(char c)
{
    if (++trailer_bytes_ > head_max) return bad("the trailer is too large");
    switch (state_) {
    case State::trailer_start:
        if (c == '\r') {
            state_ = State::trailers_end_lf;
            return true;
        }
        if (++trailer_count_ > headers_max) return bad("there are too many trailer fields");
        state_ = State::trailer_name;
        return is(c, token) || bad("a trailer line is malformed");
    case State::trailer_name:
        if (c == ':') state_ = State::trailer_value;
        return c == ':' || is(c, token) || bad("a trailer line is malformed");
    case State::trailer_value:
        if (c == '\r') state_ = State::trailer_lf;
        return c == '\r' || is(c, field) || bad("a trailer value contains a control byte");
    case State::trailer_lf:
        state_ = State::trailer_start;
        return c == '\n' || bad("lines end with CR LF");
    default:
        state_ = State::complete;
        return c == '\n' || bad("lines end with CR LF");
    }
}

}  // namespace sluice::http
