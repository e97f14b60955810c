#include "http/message.hpp"

#include <gtest/gtest.h>

namespace sluice::http {
namespace {

std::string serialised(Response const& response, Framing framing = {})
{
    std::string out;
    serialise(out, response, framing);
    return out;
}

TEST(Message, SerialisesAResponseWithItsLengthAndType)
{
    Response response{.status = 202, .content_type = "application/json", .body = "{}"};
    response.add_header("Retry-After", "3");

    EXPECT_EQ(serialised(response), "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
                                    "X-Content-Type-Options: nosniff\r\nRetry-After: 3\r\n\r\n{}");
}

TEST(Message, TellsAHeadRequestTheLengthWithoutTheBody)
{
    Response const response{.content_type = "text/plain", .body = "hello"};

    auto const text = serialised(response, {.head_only = true});

    EXPECT_NE(text.find("Content-Length: 5\r\n"), text.npos);
    EXPECT_TRUE(text.ends_with("\r\n\r\n"));
}

TEST(Message, SaysWhetherTheConnectionStays)
{
    EXPECT_EQ(serialised({}).find("Connection:"), std::string::npos);
    EXPECT_NE(serialised({}, {.keep_alive = false}).find("Connection: close\r\n"), std::string::npos);
    EXPECT_NE(serialised({}, {.http_1_0 = true}).find("Connection: keep-alive\r\n"), std::string::npos);
}

TEST(Message, NoContentHasNoLength)
{
    EXPECT_EQ(serialised({.status = 204}).find("Content-Length"), std::string::npos);
}

TEST(Message, AHeaderValueCannotEndItsLine)
{
    Response response;
    response.add_header("X-Value", "a\r\nX-Injected: b\n\0c");

    EXPECT_EQ(response.headers, "X-Value: aX-Injected: b\r\n");
}

TEST(Message, FindsHeadersInAnyCase)
{
    Header const headers[] = {{"x-internal-KEY", "k"}, {"Accept", "a"}};
    Request      request;
    request.headers = headers;

    EXPECT_EQ(request.header("X-Internal-Key"), "k");
    EXPECT_EQ(request.header("X-Internal-Ke"), std::nullopt);
}

TEST(Message, MethodsAreCaseSensitiveTokens)
{
    for (auto const* name : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}) {
        ASSERT_TRUE(method_named(name)) << name;
        EXPECT_EQ(to_string(*method_named(name)), name);
    }
    EXPECT_FALSE(method_named("get"));
}

TEST(Query, DecodesNamesAndValues)
{
    auto const query = Query::parse("did=did%3Aplc%3aabc&k=3&flag&empty=&a%20b=c%26d+e=f").value();

    EXPECT_EQ(query.get("did"), "did:plc:abc");
    EXPECT_EQ(query.get("k"), "3");
    EXPECT_EQ(query.get("flag"), "");
    EXPECT_EQ(query.get("empty"), "");
    EXPECT_EQ(query.get("a b"), "c&d+e=f");
    EXPECT_EQ(query.get("absent"), std::nullopt);
}

TEST(Query, RefusesBrokenPercentEncoding)
{
    for (auto const* text : {"a=%", "a=%4", "a=%4g", "%zz=1", "a=%-1", "a=1&b=%2"}) {
        auto const query = Query::parse(text);
        ASSERT_TRUE(query.has_error()) << text;
        EXPECT_EQ(query.error().reason, "bad_percent_encoding");
    }
}

TEST(Query, NamesUnknownAndRepeatedParameters)
{
    auto const parse = [](std::string_view text) { return Query::parse(text).value(); };

    EXPECT_TRUE(parse("").only({}).has_value());
    EXPECT_TRUE(parse("a=1&b=2").only({"a", "b", "c"}).has_value());
    EXPECT_EQ(parse("a=1&z=2").only({"a"}).error().reason, "unknown_parameter");
    EXPECT_EQ(parse("a=1&b=1&%61=2").only({"a", "b"}).error().reason, "duplicate_parameter");
}

TEST(MatchPath, TakesExactlyThePathOfTheRoute)
{
    EXPECT_EQ(match_path("/a/b", "/a/b"), "");
    for (auto const* path : {"/a", "/a/", "/a/b/", "/a/bc", "/a/B", "/", ""})
        EXPECT_EQ(match_path("/a/b", path), std::nullopt) << path;
}

TEST(MatchPath, TakesOneMoreSegmentForAStar)
{
    EXPECT_EQ(match_path("/a/*", "/a/17"), "17");
    EXPECT_EQ(match_path("/a/*", "/a/x%2Fy"), "x%2Fy");
    for (auto const* path : {"/a", "/a/", "/a/1/", "/a/1/2", "/a//1", "/b/1", "/A/1", "/aa/1"})
        EXPECT_EQ(match_path("/a/*", path), std::nullopt) << path;
}

}  // namespace
}  // namespace sluice::http
