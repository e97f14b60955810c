#include "http/parser.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace sluice::http {
namespace {

using Step = RequestReader::Step;

struct Taken {
    std::string method, path, query, content_type, body;
    bool        keep_alive{}, expects_continue{};
    std::vector<std::pair<std::string, std::string>> headers;

    bool operator==(Taken const&) const = default;
};

// What became of the bytes of one connection.
struct Outcome {
    std::vector<Taken> requests;
    int                refused{0};
    bool               partial{false};  // the bytes ended within a request

    bool operator==(Outcome const&) const = default;
};

std::ostream& operator<<(std::ostream& out, Outcome const& outcome)
{
    for (auto const& request : outcome.requests)
        out << request.method << ' ' << request.path << " [" << request.body.size() << "] ";
    return out << "refused " << outcome.refused << (outcome.partial ? " partial" : "");
}

class Connection {
public:
    explicit Connection(std::size_t body_max) : body_max_(body_max) {}

    void deliver(std::string_view bytes)
    {
        while (!bytes.empty() && outcome_.refused == 0) {
            auto const space = reader_.space();
            ASSERT_FALSE(space.empty());
            auto const count = std::min(space.size(), bytes.size());
            std::memcpy(space.data(), bytes.data(), count);
            bytes.remove_prefix(count);
            digest(reader_.received(count));
        }
    }

    Outcome outcome()
    {
        outcome_.partial = outcome_.refused == 0 && !reader_.empty();
        return outcome_;
    }

private:
    void digest(Step step)
    {
        for (;;) {
            switch (step) {
            case Step::more: return;
            case Step::refused: outcome_.refused = reader_.refusal().status; return;
            case Step::head: step = reader_.accept(body_max_); break;
            case Step::complete:
                take(reader_.request());
                step = reader_.next();
                break;
            }
        }
    }

    void take(Request const& request)
    {
        ASSERT_GE(request.body.capacity(), request.body.size() + Request::body_padding);
        for (std::size_t i = 0; i < Request::body_padding; ++i)
            ASSERT_EQ(*(request.body.data() + request.body.size() + i), '\0');
        Taken taken{std::string(to_string(request.method)), std::string(request.path), std::string(request.query),
            std::string(request.content_type), request.body, request.keep_alive, request.expects_continue, {}};
        for (auto const& header : request.headers) taken.headers.emplace_back(header.name, header.value);
        outcome_.requests.push_back(std::move(taken));
    }

    std::size_t   body_max_;
    RequestReader reader_;
    Outcome       outcome_;
};

constexpr std::size_t      body_max = 1024 * 1024;
constexpr std::string_view second_request = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";

Outcome whole(std::string_view bytes)
{
    Connection connection(body_max);
    connection.deliver(bytes);
    return connection.outcome();
}

Outcome cut(std::string_view bytes, std::size_t at)
{
    Connection connection(body_max);
    connection.deliver(bytes.substr(0, at));
    connection.deliver(bytes.substr(at));
    return connection.outcome();
}

Outcome byte_by_byte(std::string_view bytes)
{
    Connection connection(body_max);
    for (std::size_t i = 0; i < bytes.size(); ++i) connection.deliver(bytes.substr(i, 1));
    return connection.outcome();
}

// The bytes a verdict is known after, when they come one by one: what follows a refusal is not looked at.
std::size_t looked_at(std::string_view bytes)
{
    Connection  connection(body_max);
    std::size_t count = 0;
    while (count < bytes.size() && connection.outcome().refused == 0) connection.deliver(bytes.substr(count++, 1));
    return count;
}

// Delivers the bytes in every way and gives the outcome, which must always be the same. Cut at every position that is
// looked at; in a large body, at samples.
Outcome outcome_of(std::string const& bytes)
{
    auto const result = whole(bytes);
    EXPECT_EQ(byte_by_byte(bytes), result);
    auto const end = looked_at(bytes);
    auto const in_large_body = [&](std::size_t at) { return end > 20'000 && at > 500 && end - at > 300; };
    for (std::size_t at = 0; at <= end; at += in_large_body(at) ? 1'009 : 1) {
        auto const other = cut(bytes, at);
        EXPECT_EQ(other, result) << "cut at " << at;
        if (other != result) break;
    }
    return result;
}

struct Case {
    char const* name;
    std::string bytes;
    int         status;
};

std::string post(std::string_view rest) { return "POST /internal/events HTTP/1.1\r\nHost: a\r\n" + std::string(rest); }
std::string get(std::string_view rest) { return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(rest); }
std::string chunked(std::string_view rest) { return post("Transfer-Encoding: chunked\r\n\r\n") + std::string(rest); }
std::string repeated(std::size_t count, std::string_view text)
{
    std::string out;
    while (count-- > 0) out += text;
    return out;
}
std::string numbered_headers(int count)
{
    std::string out;
    for (int i = 0; i < count; ++i) out += "a" + std::to_string(i) + ": b\r\n";
    return out;
}

std::vector<Case> refused_shapes()
{
    std::string const hello = "5\r\nhello\r\n0\r\n\r\n";
    return {
        {"length and chunked", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + hello), 400},
        {"chunked and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + hello), 400},
        {"two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400},
        {"two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello1"), 400},
        {"length list", post("Content-Length: 5, 5\r\n\r\nhello"), 400},
        {"length +5", post("Content-Length: +5\r\n\r\nhello"), 400},
        {"length -5", post("Content-Length: -5\r\n\r\nhello"), 400},
        {"length 0x5", post("Content-Length: 0x5\r\n\r\nhello"), 400},
        {"length 5 5", post("Content-Length: 5 5\r\n\r\nhello"), 400},
        {"length empty", post("Content-Length: \r\n\r\nhello"), 400},
        {"length above 2^64", post("Content-Length: 18446744073709551621\r\n\r\nhello"), 400},
        {"length far above 2^64", post("Content-Length: 184467440737095516150\r\n\r\nhello"), 400},
        {"length of 2^64-1", post("Content-Length: 18446744073709551615\r\n\r\nhello"), 413},
        {"space before colon", post("Content-Length : 5\r\n\r\nhello"), 400},
        {"tab before colon", post("Content-Length\t: 5\r\n\r\nhello"), 400},
        {"coding xchunked", post("Transfer-Encoding: xchunked\r\n\r\n" + hello), 501},
        {"coding chunked, identity", post("Transfer-Encoding: chunked, identity\r\n\r\n" + hello), 501},
        {"coding identity", post("Transfer-Encoding: identity\r\n\r\nhello"), 501},
        {"coding gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n\r\n" + hello), 501},
        {"coding quoted", post("Transfer-Encoding: \"chunked\"\r\n\r\n" + hello), 501},
        {"coding empty", post("Transfer-Encoding:\r\n\r\n" + hello), 501},
        {"coding twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + hello), 400},
        {"coding after vertical tab", post("Transfer-Encoding: \x0b" "chunked\r\n\r\n" + hello), 400},
        {"chunked in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + hello, 400},
        {"chunk size 0x5", chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size +5", chunked("+5\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size 0_5", chunked("0_5\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size empty", chunked("\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size only extension", chunked(";a\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size then space", chunked("5 \r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size above 2^64", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size of 17 digits", chunked("00000000000000005\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size of 2^64-1", chunked("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 413},
        {"chunk sizes that wrap around", chunked("5\r\nhello\r\nfffffffffffffffb\r\nhello\r\n0\r\n\r\n"), 413},
        {"LF in chunk extension", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"), 400},
        {"control byte in chunk extension", chunked("5;a\x01\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size ends with LF", chunked("5\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size ends with CR", chunked("5\rXhello\r\n0\r\n\r\n"), 400},
        {"chunk without CRLF", chunked("5\r\nhelloXX0\r\n\r\n"), 400},
        {"chunk ends with LF", chunked("5\r\nhello\n0\r\n\r\n"), 400},
        {"chunk ends with CR", chunked("5\r\nhello\rX0\r\n\r\n"), 400},
        {"last chunk ends with LF", chunked("0\n\r\n"), 400},
        {"trailers end with LF", chunked("0\r\n\n"), 400},
        {"trailers end with CR", chunked("0\r\n\rX"), 400},
        {"long chunk line", chunked("5;" + std::string(31, 'e') + "\r\nhello\r\n0\r\n\r\n"), 400},
        {"5 MB chunk extension", chunked("5;" + std::string(5'000'000, 'e') + "\r\nhello\r\n0\r\n\r\n"), 400},
        {"tiny chunks", chunked(repeated(1'000, "1\r\nx\r\n") + "0\r\n\r\n"), 400},
        {"chunks of extensions",
         chunked(repeated(1'000, "1;" + std::string(30, 'e') + "\r\nx\r\n") + "0\r\n\r\n"), 400},
        {"chunks above the limit", chunked("80000\r\n" + std::string(0x80000, 'x') + "\r\n80001\r\n"), 413},
        {"trailer field over 64 KiB", chunked("0\r\nX: " + std::string(65'537, 'x') + "\r\n\r\n"), 400},
        {"100,000 trailer fields", chunked("0\r\n" + repeated(100'000, "a: b\r\n") + "\r\n"), 400},
        {"65 trailer fields", chunked("0\r\n" + repeated(65, "a: b\r\n") + "\r\n"), 400},
        {"trailer without colon", chunked("0\r\nabc\r\n\r\n"), 400},
        {"trailer without name", chunked("0\r\n: b\r\n\r\n"), 400},
        {"trailer folded", chunked("0\r\na: b\r\n c\r\n\r\n"), 400},
        {"trailer with NUL", chunked(std::string("0\r\na: b\0\r\n\r\n", 12)), 400},
        {"trailer ends with LF", chunked("0\r\na: b\n\r\n"), 400},
        {"trailer ends with CR", chunked("0\r\na: b\rX\r\n"), 400},
        {"bare LF line ends", "GET / HTTP/1.1\nHost: a\n\n", 400},
        {"bare LF in a header", get("X: a\nY: b\r\n\r\n"), 400},
        {"bare LF ends the head", get("\n"), 400},
        {"bare CR in a value", get("X: a\rY: b\r\n\r\n"), 400},
        {"CR CR LF", get("X: a\r\r\n\r\n"), 400},
        {"NUL in a value", get(std::string("X: a\0b\r\n\r\n", 10)), 400},
        {"BEL in a value", get("X: a\x07" "b\r\n\r\n"), 400},
        {"DEL in a value", get("X: a\x7f" "b\r\n\r\n"), 400},
        {"obs-fold", get("X: a\r\n b\r\n\r\n"), 400},
        {"obs-fold by tab", get("X: a\r\n\tb\r\n\r\n"), 400},
        {"space before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
        {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
        {"two Hosts", get("Host: b\r\n\r\n"), 400},
        {"two equal Hosts", get("Host: a\r\n\r\n"), 400},
        {"two internal keys", post("X-Internal-Key: a\r\nx-internal-key: b\r\nContent-Length: 0\r\n\r\n"), 400},
        {"two authorizations", get("Authorization: a\r\nAuthorization: a\r\n\r\n"), 400},
        {"two content types", post("Content-Type: a\r\nContent-Type: a\r\nContent-Length: 0\r\n\r\n"), 400},
        {"HTTP/1.32", "GET / HTTP/1.32\r\nHost: a\r\n\r\n", 400},
        {"HTTP/9.9", "GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505},
        {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
        {"HTTP/2.0 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"HTTP/0.9", "GET /\r\n\r\n", 400},
        {"http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
        {"TLS hello", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), 400},
        {"method of other bytes", "G=\":<>(e) / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"method in lower case", "get / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"header name with brackets", get("X-Invalid[]: t\r\n\r\n"), 400},
        {"header name empty", get(": t\r\n\r\n"), 400},
        {"header name not ASCII", get("\xef" "foo: t\r\n\r\n"), 400},
        {"header without colon", get("foo\r\n\r\n"), 400},
        {"value over 4 KiB", get("X: " + std::string(4'097, 'a') + "\r\n\r\n"), 431},
        {"header of 9 KB", get("X: " + std::string(9'000, 'a') + "\r\n\r\n"), 431},
        {"head one above the limit",
         get("X: " + std::string(4'090, 'a') + "\r\nY: " + std::string(4'066, 'a') + "\r\n\r\n"), 431},
        {"head that never ends", get("X: " + std::string(100'000, 'a')), 431},
        {"65 headers", get(numbered_headers(64) + "\r\n"), 431},
        {"2,000 headers", get(numbered_headers(2'000) + "\r\n"), 431},
        {"request line over 4 KiB", "GET /" + std::string(4'083, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
        {"request line that never ends", "GET /" + std::string(100'000, 'a'), 414},
        {"target over 2 KiB", "GET /" + std::string(2'048, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
        {"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"space at the end of the request line", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
        {"tabs in the request line", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"target not ASCII", "GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"control byte in the target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"fragment in the target", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"absolute target", "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"asterisk target", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"text before the request", "Extra lineGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"two empty lines before the request", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"bare LF before the request", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"bare CR before the request", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"body above the limit", post("Content-Length: 1048577\r\n\r\n"), 413},
        {"GET with a body", get("Content-Length: 5\r\n\r\nhello"), 400},
        {"GET chunked", get("Transfer-Encoding: chunked\r\n\r\n" + hello), 400},
        {"HEAD with a body", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 400},
        {"POST without a length", post("\r\n"), 411},
        {"PUT without a length", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", 411},
        {"PATCH without a length", "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", 411},
        {"POST of 1.0 without a length", "POST / HTTP/1.0\r\n\r\nhello", 411},
        {"gzip body", post("Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"), 415},
        {"gzip after identity",
         post("Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"), 415},
        {"unknown expectation", post("Expect: 200-ok\r\nContent-Length: 0\r\n\r\n"), 417},
    };
}

struct GoodCase {
    char const* name;
    std::string bytes;
    std::string method, path, body;
};

std::vector<GoodCase> good_shapes()
{
    char const* const events = "/internal/events";
    std::string const big(200'000, 'x');
    return {
        {"length", post("Content-Length: 5\r\n\r\nhello"), "POST", events, "hello"},
        {"length with blanks around", post("Content-Length: \t 5 \r\n\r\nhello"), "POST", events, "hello"},
        {"length without blanks", post("Content-Length:5\r\n\r\nhello"), "POST", events, "hello"},
        {"length 0", post("Content-Length: 0\r\n\r\n"), "POST", events, ""},
        {"body of line ends", post("Content-Length: 4\r\n\r\n\r\n\r\n"), "POST", events, "\r\n\r\n"},
        {"chunked", chunked("5\r\nhello\r\n0\r\n\r\n"), "POST", events, "hello"},
        {"chunked in another case",
         post("transfer-encoding:\tChunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "POST", events, "hello"},
        {"several chunks",
         chunked("5\r\nhello\r\n1\r\n \r\n00A\r\n0123456789\r\n0\r\n\r\n"), "POST", events, "hello 0123456789"},
        {"16 digits", chunked("0000000000000005\r\nhello\r\n0\r\n\r\n"), "POST", events, "hello"},
        {"empty chunked", chunked("0\r\n\r\n"), "POST", events, ""},
        {"chunk line of 32", chunked("5;" + std::string(30, 'e') + "\r\nhello\r\n0\r\n\r\n"), "POST", events, "hello"},
        {"trailers",
         chunked("5\r\nhello\r\n0\r\nContent-Length: 9\r\nX-Internal-Key: a\r\n\r\n"), "POST", events, "hello"},
        {"64 trailer fields", chunked("0\r\n" + repeated(64, "a: b\r\n") + "\r\n"), "POST", events, ""},
        {"large length", post("Content-Length: 200000\r\n\r\n" + big), "POST", events, big},
        {"large chunk", chunked("30d40\r\n" + big + "\r\n0\r\n\r\n"), "POST", events, big},
        {"GET", get("\r\n"), "GET", "/", ""},
        {"GET with length 0", get("Content-Length: 0\r\n\r\n"), "GET", "/", ""},
        {"empty line first", "\r\n" + get("\r\n"), "GET", "/", ""},
        {"64 headers", get(numbered_headers(63) + "\r\n"), "GET", "/", ""},
        {"value of 4 KiB", get("X: " + std::string(4'096, 'a') + "\r\n\r\n"), "GET", "/", ""},
        {"head of 8 KiB",
         get("X: " + std::string(4'090, 'a') + "\r\nY: " + std::string(4'065, 'a') + "\r\n\r\n"), "GET", "/", ""},
        {"target of 2 KiB",
         "GET /" + std::string(2'047, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/" + std::string(2'047, 'a'), ""},
        {"dots are the router's business", "GET /a/../%2e%2e HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a/../%2e%2e", ""},
        {"upgrade is ignored",
         get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"), "GET", "/", ""},
        {"bytes above ASCII in a value", get("X: \xc3\xa4\r\n\r\n"), "GET", "/", ""},
        {"empty value", get("X:\r\n\r\n"), "GET", "/", ""},
        {"identity", post("Content-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello"), "POST", events, "hello"},
        {"OPTIONS", "OPTIONS /v1 HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "/v1", ""},
        {"DELETE", "DELETE /v1 HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE", "/v1", ""},
        {"DELETE with a body", "DELETE /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", "DELETE", "/v1", "{}"},
        {"HEAD", "HEAD /v1 HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD", "/v1", ""},
    };
}

TEST(RequestReader, RefusesEveryShapeOfTheTableAndReadsNothingAfterIt)
{
    for (auto const& shape : refused_shapes()) {
        SCOPED_TRACE(shape.name);
        Outcome refused;
        refused.refused = shape.status;
        EXPECT_EQ(whole(shape.bytes), refused);
        EXPECT_EQ(outcome_of(shape.bytes + std::string(second_request)), refused);
    }
}

TEST(RequestReader, TakesGoodShapesAndTheRequestAfterThem)
{
    for (auto const& shape : good_shapes()) {
        SCOPED_TRACE(shape.name);
        auto const outcome = outcome_of(shape.bytes + std::string(second_request));
        ASSERT_EQ(outcome.requests.size(), 2u) << outcome;
        EXPECT_EQ(outcome.requests[0].method, shape.method);
        EXPECT_EQ(outcome.requests[0].path, shape.path);
        EXPECT_EQ(outcome.requests[0].body, shape.body);
        EXPECT_EQ(outcome.requests[1].path, "/second");
        EXPECT_FALSE(outcome.partial);
    }
}

TEST(RequestReader, NeverShowsATrailerAsAHeader)
{
    auto const outcome = whole(chunked("5\r\nhello\r\n0\r\nX-Internal-Key: stolen\r\nX-Tenant-Id: 7\r\n\r\n"));

    ASSERT_EQ(outcome.requests.size(), 1u);
    std::vector<std::pair<std::string, std::string>> const sent{{"Host", "a"}, {"Transfer-Encoding", "chunked"}};
    EXPECT_EQ(outcome.requests[0].headers, sent);
}

TEST(RequestReader, SplitsTheTargetAndKeepsItsBytes)
{
    auto const outcome = whole("GET /v1/path%2F?from=a&to=b?c HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\r\n");

    ASSERT_EQ(outcome.requests.size(), 1u);
    EXPECT_EQ(outcome.requests[0].path, "/v1/path%2F");
    EXPECT_EQ(outcome.requests[0].query, "from=a&to=b?c");
    EXPECT_EQ(outcome.requests[0].content_type, "text/plain");
}

TEST(RequestReader, KnowsWhetherTheConnectionIsToStay)
{
    auto const stays = [](std::string_view version, std::string_view headers) {
        auto const line = "GET / HTTP/" + std::string(version) + "\r\nHost: a\r\n";
        auto const outcome = whole(line + std::string(headers) + "\r\n");
        return outcome.requests.at(0).keep_alive;
    };
    EXPECT_TRUE(stays("1.1", ""));
    EXPECT_FALSE(stays("1.1", "Connection: close\r\n"));
    EXPECT_FALSE(stays("1.1", "Connection: foo , Close\r\nConnection: keep-alive\r\n"));
    EXPECT_FALSE(stays("1.0", ""));
    EXPECT_TRUE(stays("1.0", "Connection: Keep-Alive\r\n"));
    EXPECT_FALSE(stays("1.0", "Connection: keep-alive, close\r\n"));
}

TEST(RequestReader, TakesHttp10WithALengthAndWithoutHost)
{
    auto const outcome = outcome_of("POST /e HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello");

    ASSERT_EQ(outcome.requests.size(), 1u);
    EXPECT_EQ(outcome.requests[0].body, "hello");
}

TEST(RequestReader, TellsOfExpectedContinueBeforeTheBody)
{
    auto const expects = [](std::string_view bytes) { return whole(bytes).requests.at(0).expects_continue; };
    EXPECT_TRUE(expects(post("Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx")));
    EXPECT_FALSE(expects(post("Content-Length: 1\r\n\r\nx")));
    EXPECT_FALSE(expects("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"));
}

TEST(RequestReader, TakesABodyOfExactlyTheLimit)
{
    std::string const body(body_max, 'b');
    auto const        size = std::to_string(body.size());

    EXPECT_EQ(whole(post("Content-Length: " + size + "\r\n\r\n" + body)).requests.at(0).body, body);
    EXPECT_EQ(whole(chunked("100000\r\n" + body + "\r\n0\r\n\r\n")).requests.at(0).body, body);
    EXPECT_EQ(whole(chunked("100000\r\n" + body + "\r\n1\r\nb\r\n0\r\n\r\n")).refused, 413);
}

TEST(RequestReader, DoesNotReserveALargeBodyOnAnAnnouncement)
{
    RequestReader reader;
    auto const    head = post("Content-Length: 1000000000\r\n\r\n");
    std::memcpy(reader.space().data(), head.data(), head.size());
    ASSERT_EQ(reader.received(head.size()), Step::head);
    ASSERT_EQ(reader.accept(std::size_t{1} << 40), Step::more);

    EXPECT_LE(reader.body_reserved(), 2u * 1024 * 1024);
}

TEST(RequestReader, ReadsALargeBodyStraightIntoItsPlace)
{
    RequestReader reader;
    auto const    head = post("Content-Length: 100000\r\n\r\n");
    std::memcpy(reader.space().data(), head.data(), head.size());
    ASSERT_EQ(reader.received(head.size()), Step::head);
    ASSERT_EQ(reader.accept(body_max), Step::more);

    EXPECT_EQ(reader.space().data(), reader.request().body.data());
    EXPECT_EQ(reader.space().size(), 100'000u);
}

TEST(RequestReader, IsPartialUntilTheLastByte)
{
    auto const with_length = post("Content-Length: 5\r\n\r\nhello");
    auto const with_chunks = chunked("5\r\nhello\r\n0\r\nA: b\r\n\r\n");
    for (auto const& bytes : {with_length, with_chunks, get("\r\n")})
        for (std::size_t size = 1; size < bytes.size(); ++size) {
            auto const outcome = whole(bytes.substr(0, size));
            EXPECT_TRUE(outcome.partial && outcome.requests.empty()) << size << " of " << bytes;
        }
}

// Valid requests drawn at random, and what they must be read as.
class Generator {
public:
    explicit Generator(unsigned seed) : random_(seed) {}

    std::size_t up_to(std::size_t most) { return std::uniform_int_distribution<std::size_t>(0, most)(random_); }

    std::string request(Taken& taken)
    {
        static constexpr char const* methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
        taken = {};
        taken.method = methods[up_to(6)];
        taken.path = "/" + text("abcXYZ019-._~%2F:@!$&'()*+,;=/", up_to(3) == 0 ? 500 : 20);
        taken.query = text("ab=&%20?/+", up_to(2) * 10);
        taken.keep_alive = true;
        add(taken, "Host", "localhost");
        for (auto count = up_to(6); count > 0; --count)
            add(taken, "X-" + text("abcdefABC-_123", 12), text("ab \tc\xc3:;,\"", up_to(9) == 0 ? 1'000 : 20));
        bool const writes = taken.method[0] == 'P';
        if (writes || (taken.method[0] != 'G' && taken.method[0] != 'H' && up_to(1) == 0))
            taken.body = text(std::string_view("ab\r\n0\0;:", 8), up_to(4) == 0 ? 300'000 : 600);
        bool const with_chunks = !taken.body.empty() && up_to(1) == 0;
        if (with_chunks)
            add(taken, "Transfer-Encoding", "chunked");
        else if (writes || !taken.body.empty())
            add(taken, "Content-Length", std::to_string(taken.body.size()));

        auto out = taken.method + ' ' + taken.path + (taken.query.empty() ? "" : "?" + taken.query) + " HTTP/1.1\r\n";
        for (auto& [name, value] : taken.headers) {
            out += name + ":" + (up_to(1) == 0 ? " " : "") + value + (up_to(3) == 0 ? " \t" : "") + "\r\n";
            value = stripped(value);
        }
        return out + "\r\n" + (with_chunks ? in_chunks(taken.body) : taken.body);
    }

private:
    static void add(Taken& taken, std::string name, std::string value)
    {
        taken.headers.emplace_back(std::move(name), std::move(value));
    }
    static std::string stripped(std::string const& text)
    {
        auto const first = text.find_first_not_of(" \t");
        if (first == text.npos) return {};
        return text.substr(first, text.find_last_not_of(" \t") - first + 1);
    }
    std::string text(std::string_view alphabet, std::size_t most)
    {
        std::string out(up_to(most), ' ');
        for (auto& c : out) c = alphabet[up_to(alphabet.size() - 1)];
        return out;
    }
    std::string in_chunks(std::string_view body)
    {
        std::string out;
        while (!body.empty()) {
            auto const size = std::min(body.size(), 50 + up_to(body.size()));
            char       line[32];
            std::snprintf(line, sizeof line, up_to(1) == 0 ? "%zx" : "0%zX;ext=\"v\"", size);
            out.append(line).append("\r\n").append(body.substr(0, size)).append("\r\n");
            body.remove_prefix(size);
        }
        out += "0\r\n";
        for (auto count = up_to(2); count > 0; --count) out += "X-Internal-Key: trailer\r\n";
        return out + "\r\n";
    }

    std::mt19937 random_;
};

TEST(RequestReader, ReadsRandomRequestsTheSameHoweverTheyAreCut)
{
    for (unsigned seed = 1; seed <= 300; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Generator   draw(seed);
        Outcome     expected;
        std::string bytes;
        for (auto count = 1 + draw.up_to(4); count > 0; --count)
            bytes += draw.request(expected.requests.emplace_back());

        Connection       connection(body_max);
        std::string_view rest = bytes;
        auto const       piece = draw.up_to(2) == 0 ? 7 : 20'000;
        while (!rest.empty()) {
            auto const count = std::min(rest.size(), 1 + draw.up_to(piece));
            connection.deliver(rest.substr(0, count));
            rest.remove_prefix(count);
        }
        ASSERT_EQ(connection.outcome(), expected);
        ASSERT_EQ(whole(bytes), expected);
    }
}

// Bytes changed at random must give one verdict, and never more than bytes allow.
TEST(RequestReader, JudgesDamagedRequestsTheSameHoweverTheyAreCut)
{
    for (unsigned seed = 1; seed <= 2'000; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Generator   draw(seed);
        Taken       taken;
        std::string bytes = draw.request(taken);
        bytes.resize(std::min<std::size_t>(bytes.size(), 2'000));
        static constexpr std::string_view damage("\r\n\0 \t:;,#\x80" "0fGA", 14);
        for (auto count = 1 + draw.up_to(3); count > 0; --count)
            bytes[draw.up_to(bytes.size() - 1)] = damage[draw.up_to(damage.size() - 1)];

        auto const verdict = whole(bytes);
        ASSERT_EQ(byte_by_byte(bytes), verdict);
        ASSERT_EQ(cut(bytes, draw.up_to(bytes.size())), verdict);
    }
}

}  // namespace
}  // namespace sluice::http
