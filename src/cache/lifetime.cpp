#include "cache/lifetime.hpp"

#include "base/hash.hpp"

namespace sluice::cache {
namespace {

using namespace std::chrono_literals;

struct Kind {
    std::string_view     prefix;
    std::chrono::seconds lifetime;
};
constexpr Kind kinds[] = {
    {"trust:metrics:", 24h},
    {"entity:", 6h},
    {"graph:neighbors:", 900s},
    // Without ?at= a score is asked for by the minute, and by another key in the next one.
    {"conviction:", 300s},
};

}  // namespace

std::chrono::milliseconds lifetime(std::string_view key, std::chrono::seconds standard)
{
    std::chrono::milliseconds whole = standard;
    for (auto const& kind : kinds)
        if (key.starts_with(kind.prefix)) whole = kind.lifetime;
    auto const tenth = whole.count() / 10;
    auto const shift = hash64(key) % static_cast<std::uint64_t>(2 * tenth + 1);
    return whole + std::chrono::milliseconds(static_cast<std::int64_t>(shift) - tenth);
}

}  // namespace sluice::cache
