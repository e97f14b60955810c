// What every files::Directory promises.
#pragma once

#include "files/directory.hpp"

#include <gtest/gtest.h>

namespace sluice::test {

inline void write_file(files::Directory& directory, std::string const& name, std::string_view bytes)
{
    auto writer = directory.create(name);
    ASSERT_TRUE(writer) << writer.error().detail;
    ASSERT_TRUE((*writer)->append(bytes));
    ASSERT_TRUE((*writer)->commit());
}

inline std::string content(files::Directory const& directory, std::string const& name)
{
    auto const reader = directory.open(name);
    if (!reader) return "(" + std::string(reader.error().reason) + ")";
    auto const bytes = (*reader)->read(0, (*reader)->size());
    return bytes ? *bytes : "(" + std::string(bytes.error().reason) + ")";
}

// `make` gives a new object for the same place.
template <class Make>
void keeps_the_directory_contract(Make make)
{
    {
        auto const directory = make();
        EXPECT_TRUE(directory->list()->empty());
        EXPECT_EQ(content(*directory, "a"), "(no_file)");
        EXPECT_TRUE(directory->remove("a")) << "removing what is not there is no error";

        auto writer = directory->create("b");
        ASSERT_TRUE(writer) << writer.error().detail;
        ASSERT_TRUE((*writer)->append("second"));
        EXPECT_TRUE(directory->list()->empty()) << "a file is there once it is committed, not before";
        ASSERT_TRUE((*writer)->commit());
        write_file(*directory, "a", "first");
        EXPECT_EQ(*directory->list(), (std::vector<std::string>{"a", "b"}));

        auto abandoned = directory->create("a");
        ASSERT_TRUE(abandoned);
        ASSERT_TRUE((*abandoned)->append("never"));
    }
    auto const directory = make();
    EXPECT_EQ(content(*directory, "a"), "first") << "a writer without commit leaves the file as it was";
    auto const before = directory->open("a");
    write_file(*directory, "a", "replaced");
    EXPECT_EQ(content(*directory, "a"), "replaced");
    EXPECT_EQ(*(*before)->read(0, 100), "first") << "a reader keeps the file it opened";

    auto const reader = directory->open("a");
    EXPECT_EQ((*reader)->size(), 8u);
    EXPECT_EQ(*(*reader)->read(2, 3), "pla");
    EXPECT_EQ(*(*reader)->read(6, 10), "ed");
    EXPECT_EQ(*(*reader)->read(8, 10), "");
    EXPECT_EQ(*(*reader)->read(99, 10), "");

    EXPECT_TRUE(directory->remove("a"));
    EXPECT_EQ(*directory->list(), (std::vector<std::string>{"b"}));
}

}  // namespace sluice::test
