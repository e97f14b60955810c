// Bytes of a connection, cut as the first byte says: the verdict is the one on the uncut bytes, and whatever is taken
// keeps what the reader promises.
#include "base/assert.hpp"
#include "http/parser.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

namespace {

using namespace sluice::http;

constexpr std::size_t body_max = 20'000;

struct Taken {
    Method                                           method;
    std::string                                      path, query, content_type, host, body;
    bool                                             keep_alive, expects_continue;
    std::vector<std::pair<std::string, std::string>> headers;

    bool operator==(Taken const&) const = default;
};

struct Outcome {
    std::vector<Taken> requests;
    int                refused{0};
    std::string        code;
    bool               partial{false};

    bool operator==(Outcome const&) const = default;
};

Taken take(Request const& request)
{
    SLUICE_ASSERT(request.path.starts_with('/') && request.path.size() + request.query.size() <= target_max);
    SLUICE_ASSERT(request.headers.size() <= headers_max);
    SLUICE_ASSERT(request.body.size() <= body_max);
    auto const* const padding = request.body.data() + request.body.size();
    SLUICE_ASSERT(std::count(padding, padding + Request::body_padding, '\0') == Request::body_padding);
    auto const decoded = percent_decode(request.path);
    SLUICE_ASSERT(!decoded || decoded->size() <= request.path.size());
    std::ignore = Query::parse(request.query);

    Taken taken{.method = request.method, .path = std::string(request.path), .query = std::string(request.query),
                .content_type = std::string(request.content_type), .host = std::string(request.host),
                .body = request.body, .keep_alive = request.keep_alive,
                .expects_continue = request.expects_continue, .headers = {}};
    for (auto const& [name, value] : request.headers) {
        SLUICE_ASSERT(!name.empty() && name.find_first_of(": \t") == name.npos && value.size() <= value_max);
        SLUICE_ASSERT(value.find_first_of(std::string_view("\r\n\0", 3)) == value.npos);
        taken.headers.emplace_back(name, value);
    }
    return taken;
}

// Delivers the bytes in pieces of the sizes `next_size` gives.
template <class NextSize>
Outcome read(std::string_view bytes, NextSize next_size)
{
    Outcome       outcome;
    RequestReader reader;
    using Step = RequestReader::Step;
    while (!bytes.empty() && outcome.refused == 0) {
        auto const space = reader.space();
        SLUICE_ASSERT(!space.empty());
        auto const count = std::min({space.size(), bytes.size(), std::max<std::size_t>(1, next_size())});
        std::memcpy(space.data(), bytes.data(), count);
        bytes.remove_prefix(count);
        auto step = reader.received(count);
        while (step == Step::head || step == Step::complete) {
            if (step == Step::complete) outcome.requests.push_back(take(reader.request()));
            step = step == Step::head ? reader.accept(body_max) : reader.next();
        }
        if (step == Step::refused) {
            outcome.refused = reader.refusal().status;
            outcome.code = reader.refusal().code;
            SLUICE_ASSERT(outcome.refused >= 400 && outcome.refused < 600 && !reader.refusal().detail.empty());
        }
    }
    outcome.partial = outcome.refused == 0 && !reader.empty();
    return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    if (size == 0) return 0;
    std::string_view const bytes(reinterpret_cast<char const*>(data) + 1, size - 1);
    auto const             whole = read(bytes, [&] { return bytes.size(); });
    SLUICE_ASSERT(read(bytes, [] { return 1; }) == whole);
    std::uint32_t random = *data;
    SLUICE_ASSERT(read(bytes, [&] {
        random = random * 1664525 + 1013904223;
        return random >> (random & 1 ? 30 : 22);
    }) == whole);
    return 0;
}
