// Runs the corpora through the fuzz targets without a fuzzer.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

#define TARGET(name) extern "C" int fuzz_##name(std::uint8_t const* data, std::size_t size);
TARGET(http_codec)
TARGET(event_decode)
TARGET(log_record)
#undef TARGET

namespace sluice {
namespace {

namespace fs = std::filesystem;

void run(char const* target, int (*one_input)(std::uint8_t const*, std::size_t))
{
    std::size_t count = 0;
    for (auto const& entry : fs::directory_iterator(fs::path(SLUICE_SOURCE_DIR) / "tests/fuzz/corpus" / target)) {
        std::ifstream                   file(entry.path(), std::ios::binary);
        std::vector<std::uint8_t> const bytes{std::istreambuf_iterator<char>(file), {}};
        std::cout << entry.path().filename().string() << std::endl;  // the last one named is the one that failed
        one_input(bytes.data(), bytes.size());
        ++count;
    }
    EXPECT_GT(count, 10u) << "the corpus is missing";
}

TEST(Corpus, HttpCodec) { run("http_codec", fuzz_http_codec); }
TEST(Corpus, EventDecode) { run("event_decode", fuzz_event_decode); }
TEST(Corpus, LogRecord) { run("log_record", fuzz_log_record); }

}  // namespace
}  // namespace sluice
