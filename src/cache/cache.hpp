// Bytes by key, any of which may be gone at any time (port). Nothing may depend on what it holds but speed.
#pragma once

#include <sluice/clock.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::cache {

struct CacheStats {
    std::uint64_t keys{0}, bytes{0}, evicted{0};
};

// Any thread.
class Cache {
public:
    virtual ~Cache() = default;
    virtual std::optional<std::string> get(std::string_view key) = 0;
    virtual void                       put(std::string_view key, std::string value) = 0;
    virtual CacheStats                 stats() const = 0;
};

}  // namespace sluice::cache
