// The rules that a compiler does not know: which layer may include what, and what source text may contain.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {
namespace {

using Names = std::vector<std::string_view>;

// A folder and what its files may include of ours. The longest folder that fits a file counts.
struct Layer {
    std::string_view folder;
    Names            includes;
};
Layer const layers[] = {
    {"include/sluice/", {"sluice/"}},
    {"processors/", {"sluice/", "put.hpp"}},
    {"src/base/", {"sluice/", "base/"}},
    {"src/files/", {"sluice/", "base/", "files/"}},
    {"src/log/", {"sluice/", "base/", "log/"}},
    {"src/schema/", {"sluice/", "base/", "log/", "schema/"}},
    {"src/graph/", {"sluice/", "base/", "log/", "graph/"}},
    {"src/cache/", {"sluice/", "base/", "graph/", "cache/"}},
    {"src/engine/", {"sluice/", "base/", "files/", "log/", "schema/", "graph/", "engine/"}},
    {"src/adapters/posix/", {"sluice/", "base/", "adapters/posix/"}},
    {"src/adapters/rocksdb/", {"sluice/", "base/", "files/", "log/", "adapters/posix/", "adapters/rocksdb/"}},
    {"src/adapters/postgres/", {"sluice/", "base/", "graph/", "adapters/postgres/"}},
    {"src/adapters/redis/", {"sluice/", "base/", "cache/", "adapters/redis/"}},
    {"src/telemetry/", {"sluice/", "base/", "log/", "graph/", "cache/", "engine/", "telemetry/"}},
    {"src/http/", {"sluice/", "base/", "log/", "schema/", "graph/", "cache/", "engine/", "http/"}},
    {"src/bench/", {"sluice/", "base/", "bench/"}},
    {"src/app/",
     {"sluice/", "base/", "files/", "log/", "schema/", "graph/", "cache/", "engine/", "adapters/", "telemetry/", "http/",
      "bench/", "app/"}},
};

// What is not ours and not the standard library, and the folders that may include it.
struct ThirdParty {
    std::string_view header;  // how it begins
    Names            folders;
};
ThirdParty const third_parties[] = {
    {"boost/system/", {"include/sluice/", "src/"}},
    {"boost/smart_ptr/", {"src/"}},
    {"boost/unordered/", {"src/"}},
    {"boost/asio", {"src/http/", "src/app/"}},
    {"boost/json", {"src/http/", "src/app/", "src/engine/"}},
    {"simdjson", {"src/schema/"}},
    {"xxhash", {"src/base/"}},
    {"rocksdb/", {"src/adapters/rocksdb/"}},
    {"pqxx/", {"src/adapters/postgres/"}},
    {"libpq-fe.h", {"src/adapters/postgres/"}},
    {"hiredis/", {"src/adapters/redis/"}},
    {"prometheus/", {"src/telemetry/"}},
    {"spdlog/", {"src/app/"}},
    {"fmt/", {"src/app/", "src/http/", "src/telemetry/"}},
    {"CLI/", {"src/app/"}},
    {"toml++/", {"src/app/"}},
    {"openssl/", {"src/app/", "src/http/"}},
    {"curl/", {"src/app/"}},
    // The operating system.
    {"linux/magic.h", {"src/app/"}},
    {"sys/resource.h", {"src/engine/", "src/app/"}},
    {"sys/", {"src/app/", "src/http/", "src/adapters/", "src/bench/"}},
    {"netinet/", {"src/app/", "src/http/"}},
    {"netdb.h", {"src/app/", "src/http/", "src/adapters/redis/"}},
    {"arpa/", {"src/app/", "src/http/"}},
    {"poll.h", {"src/app/", "src/http/"}},
    {"fcntl.h", {"src/app/", "src/adapters/", "src/bench/"}},
    {"unistd.h", {"src/engine/", "src/app/", "src/http/", "src/adapters/", "src/bench/"}},
    {"pthread.h", {"src/engine/"}},
};

// Time and chance come in through ports, which only the outermost layer fills.
Names const impure = {"steady_clock::now", "system_clock::now", "random_device", "sleep_for", "sleep_until", "getenv"};
Names const pure_folders = {"include/", "src/", "processors/", "tests/sim/", "tests/unit/engine/"};
Names const impure_folders = {"src/app/", "tests/sim/sim_test.cpp"};

constexpr std::size_t columns_max = 120;

bool starts_with_any(std::string_view text, Names const& starts)
{
    return std::any_of(starts.begin(), starts.end(), [&](auto start) { return text.starts_with(start); });
}

bool is_ours(std::string_view path) { return starts_with_any(path, {"include/", "src/", "processors/"}); }

// "#include <a/b>" -> "a/b"
std::string_view included(std::string_view line)
{
    if (!line.starts_with("#include")) return {};
    auto const from = line.find_first_of("<\"");
    auto const to = line.find_first_of(">\"", from + 1);
    if (from == line.npos || to == line.npos) return {};
    return line.substr(from + 1, to - from - 1);
}

bool is_third_party(std::string_view header) { return header.find_first_of("./") != header.npos; }

std::string wrong_include(std::string_view path, std::string_view header, bool is_quoted)
{
    auto const layer = std::find_if(
        std::begin(layers), std::end(layers), [&](auto const& entry) { return path.starts_with(entry.folder); });
    if (layer == std::end(layers)) return is_ours(path) ? "is in no layer" : "";
    if (is_quoted || header.starts_with("sluice/"))
        return starts_with_any(header, layer->includes) ? "" : "this layer may not include " + std::string(header);
    if (!is_third_party(header)) return {};
    auto const party = std::find_if(std::begin(third_parties), std::end(third_parties), [&](auto const& entry) {
        return header.starts_with(entry.header);
    });
    if (party == std::end(third_parties)) return "nobody may include " + std::string(header);
    return starts_with_any(path, party->folders) ? "" : "this folder may not include " + std::string(header);
}

std::size_t columns(std::string_view line)
{
    return static_cast<std::size_t>(
        std::count_if(line.begin(), line.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// Everything wrong with one file.
std::vector<std::string> complaints(std::string const& path, std::string const& text)
{
    std::vector<std::string> found;
    std::istringstream       lines(text);
    std::size_t              number = 0;
    auto const               complain = [&](std::string const& what) {
        if (!what.empty()) found.push_back(path + ':' + std::to_string(number) + ": " + what);
    };
    for (std::string line; std::getline(lines, line);) {
        ++number;
        if (columns(line) > columns_max) complain("longer than 120 columns");
        if (line.find('\t') != line.npos) complain("a tab");
        if (!line.empty() && (line.back() == ' ' || line.back() == '\r')) complain("space at the end");
        for (std::string_view const word : {"TO" "DO", "FIX" "ME"})
            if (line.find(word) != line.npos) complain("unfinished: " + std::string(word));
        if (auto const header = included(line); !header.empty())
            complain(wrong_include(path, header, line.find('"') != line.npos));
        bool const is_pure = starts_with_any(path, pure_folders) && !starts_with_any(path, impure_folders);
        for (auto const word : impure)
            if (is_pure && line.find(word) != line.npos)
                complain("time and chance come through ports: " + std::string(word));
    }
    number = 1;
    if (path.ends_with(".hpp") && text.find("#pragma once\n") == text.npos) complain("a header without #pragma once");
    if (!text.empty() && text.back() != '\n') complain("no newline at the end");
    return found;
}

std::string read(std::filesystem::path const& path)
{
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

TEST(Tidy, EveryFileKeepsTheRules)
{
    std::filesystem::path const root(SLUICE_SOURCE_DIR);
    std::size_t                 files = 0;
    for (auto const* const folder : {"include", "src", "processors", "bench", "tests"})
        for (auto const& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
            auto const path = std::filesystem::relative(entry.path(), root).string();
            if (!path.ends_with(".cpp") && !path.ends_with(".hpp")) continue;
            // The rules quote what they forbid.
            if (path == "tests/tidy/tidy_test.cpp") continue;
            ++files;
            for (auto const& complaint : complaints(path, read(entry.path()))) ADD_FAILURE() << complaint;
        }
    EXPECT_GT(files, 60u);
}

TEST(Tidy, SeesPlantedViolations)
{
    struct Planted {
        char const* path;
        char const* text;
        char const* complaint;
    };
    std::string const long_line = "// " + std::string(118, 'x') + '\n';
    Planted const     planted[] = {
        {"src/log/a.cpp", "#include \"engine/engine.hpp\"\n", "this layer may not include engine/engine.hpp"},
        {"src/base/a.cpp", "#include \"log/record.hpp\"\n", "this layer may not include log/record.hpp"},
        {"src/engine/a.cpp", "#include \"http/api.hpp\"\n", "this layer may not include http/api.hpp"},
        {"src/http/a.cpp", "#include \"adapters/rocksdb/rocksdb_log.hpp\"\n", "this layer may not include adapters"},
        {"src/adapters/rocksdb/a.cpp", "#include \"engine/engine.hpp\"\n", "this layer may not include engine"},
        {"processors/a.cpp", "#include \"log/record.hpp\"\n", "this layer may not include log/record.hpp"},
        {"include/sluice/a.hpp", "#pragma once\n#include <boost/asio.hpp>\n", "this folder may not include boost/asio"},
        {"src/engine/a.cpp", "#include <rocksdb/db.h>\n", "this folder may not include rocksdb/db.h"},
        {"src/http/a.cpp", "#include <simdjson.h>\n", "this folder may not include simdjson.h"},
        {"src/log/a.cpp", "#include <boost/asio/ip/tcp.hpp>\n", "this folder may not include boost/asio"},
        {"src/http/a.cpp", "#include <prometheus/registry.h>\n", "this folder may not include prometheus"},
        {"src/app/a.cpp", "#include <unheard/of.h>\n", "nobody may include unheard/of.h"},
        {"src/cache/a.cpp", "#include <hiredis/hiredis.h>\n", "this folder may not include hiredis"},
        {"src/adapters/redis/a.cpp", "#include \"adapters/rocksdb/keys.hpp\"\n", "this layer may not include adapters"},
        {"src/lost/a.cpp", "#include <vector>\n", "is in no layer"},
        {"src/engine/a.cpp", "auto now = std::chrono::steady_clock::now();\n", "time and chance"},
        {"src/http/a.cpp", "std::this_thread::sleep_for(1s);\n", "time and chance"},
        {"processors/a.cpp", "std::random_device device;\n", "time and chance"},
        {"tests/unit/log/a.cpp", "// FIX" "ME\n", "unfinished"},
        {"bench/a.cpp", "// TO" "DO: more\n", "unfinished"},
        {"src/log/a.hpp", "int a;\n", "a header without #pragma once"},
        {"src/log/a.cpp", "\tint a;\n", "a tab"},
        {"src/log/a.cpp", "int a; \n", "space at the end"},
        {"src/log/a.cpp", "int a;", "no newline at the end"},
        {"src/log/a.cpp", long_line.c_str(), "longer than 120 columns"},
    };
    for (auto const& [path, text, complaint] : planted) {
        auto const found = complaints(path, text);
        ASSERT_EQ(found.size(), 1u) << path << ": " << text;
        EXPECT_NE(found[0].find(complaint), std::string::npos) << found[0];
    }
}

TEST(Tidy, AcceptsWhatIsAllowed)
{
    EXPECT_TRUE(complaints("src/log/a.hpp", "#pragma once\n#include \"log/b.hpp\"\n#include <vector>\n").empty());
    EXPECT_TRUE(complaints("src/app/a.cpp", "auto now = std::chrono::steady_clock::now();\n").empty());
    EXPECT_TRUE(complaints("processors/a.cpp", "#include <sluice/processor.hpp>\n").empty());
    EXPECT_TRUE(complaints("src/log/a.cpp", "// " + std::string(117, 'x') + '\n').empty());
}

}  // namespace
}  // namespace sluice
