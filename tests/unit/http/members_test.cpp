// The strict reading of request bodies.
#include "http/members.hpp"

#include <gtest/gtest.h>

namespace sluice::http {
namespace {

TEST(Members, TheRawBytesOfAMemberAreThoseThatWereSent)
{
    auto const raw = [](std::string const& text) {
        Document const document(text);
        EXPECT_FALSE(document.problem()) << text;
        return std::string(document.raw("payload").value_or("none"));
    };
    EXPECT_EQ(raw(R"({"payload":{"a":1.0,"b":[1e400]}})"), R"({"a":1.0,"b":[1e400]})");
    EXPECT_EQ(raw("{ \"x\" : [1,{\"payload\":2}] , \"payload\" :\n {} ,\"y\":\"}\"}"), "{}");
    EXPECT_EQ(
        raw(R"({"x":"payload","payload":{"t":"a\"},{\\","payload":3},"z":{}})"), R"({"t":"a\"},{\\","payload":3})");
    EXPECT_EQ(raw(R"({"x":{"payload":1},"y":"\"payload\":2"})"), "none");
    EXPECT_EQ(raw(R"({"payload":{},"payload":{}})"), "none") << "which of the two?";
    EXPECT_EQ(raw(R"({"p\u0061yload":{}})"), "none");
    EXPECT_EQ(raw("{}"), "none");
}

TEST(Members, WhatIsWrongIsNamedByItsPointer)
{
    Document document(R"({"a":1,"b":{"c/d":2,"e":"x"},"f":-1})");
    Members  members(document);
    auto     inner = members.object("b");
    ASSERT_TRUE(inner);
    EXPECT_EQ(inner->text("e"), "x");
    EXPECT_FALSE(members.text("a"));
    EXPECT_FALSE(members.number("f", 0, 10));
    inner->done();
    members.done();
    auto const problem = document.problem();
    ASSERT_TRUE(problem);
    EXPECT_EQ(problem->status, 422);
    std::vector<std::string> pointers;
    for (auto const& error : problem->errors) pointers.push_back(error.pointer);
    EXPECT_EQ(pointers, (std::vector<std::string>{"/a", "/f", "/b/c~1d"}));
}

TEST(Members, WhatIsNoJsonIsNoObjectEither)
{
    EXPECT_EQ(Document("{").problem()->status, 400);
    EXPECT_EQ(Document(std::string(33, '[') + std::string(33, ']')).problem()->status, 400);
    Document document("[]");
    Members  members(document);
    members.done();
    EXPECT_EQ(document.problem()->error, "wrong_type");
}

}  // namespace
}  // namespace sluice::http
