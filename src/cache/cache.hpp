// Bytes by key, any of which may be gone at any time (port). Nothing may depend on what it holds but speed.
#pragma once

#include "cache/pattern.hpp"

#include <sluice/clock.hpp>
#include <sluice/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::cache {

struct CacheStats {
    std::string_view        backend{"none"};       // that answers now
    bool                    has_fallback{false};
    std::optional<WallTime> fallback_since{};      // it is the fallback that answers
    std::optional<Error>    last_error{};          // why; kept after that is over
    std::uint64_t           fallbacks{0};          // how often it came to that
    std::uint64_t           keys{0}, bytes{0}, evicted{0};  // of the backend; of a server all that it holds
    std::uint64_t           clients{0}, connections{0};  // connected to the server: everybody, and of these ours
    std::uint64_t           calls{0}, call_ns{0};  // of the server, since the start, and how long they took
    std::uint64_t           errors{0};   // calls it did not answer, since the start
    std::uint64_t           corrupt{0};  // values that were not what had been put, since the start
};

// Any thread.
class Cache {
public:
    virtual ~Cache() = default;

    // Errors, of every call: `transient`, it failed this time; `unavailable`, it does not answer; `full`, too many are
    // asking. Who asks for an answer takes any of them as a miss.
    virtual Result<std::optional<std::string>> get(std::string_view key) = 0;
    // May keep nothing: what is too big, or when there is no room.
    virtual Result<> put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime) = 0;
    // How many keys were removed. It looks at every key: not for requests.
    virtual Result<std::uint64_t> clear(Pattern const& keys) = 0;
    // Whether it answers and takes values; brings stats() up to date. May wait longer than the others. One thread.
    virtual Result<> check() { return {}; }
    // Never waits.
    virtual CacheStats stats() const = 0;
};

}  // namespace sluice::cache
