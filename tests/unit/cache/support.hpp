// A clock that is set by hand, and a cache that fails when it is told to.
#pragma once

#include "cache/memory_cache.hpp"

namespace sluice::cache::test {

inline constexpr auto hour = std::chrono::hours(1);

class ManualClock final : public Clock {
public:
    Mono     now() const noexcept override { return Mono(at); }
    WallTime wall() const noexcept override { return WallTime(std::chrono::floor<std::chrono::microseconds>(at)); }

    std::chrono::nanoseconds at{0};
};

// A server that fails as it is told to, and keeps what it holds meanwhile.
class Server final : public Cache {
public:
    explicit Server(Clock const& clock) : kept_({}, clock) {}

    Result<std::optional<std::string>> get(std::string_view key) override
    {
        if (auto const failure = asked()) return *failure;
        return kept_.get(key);
    }
    Result<> put(std::string_view key, std::string_view value, std::chrono::milliseconds lifetime) override
    {
        if (refuses_puts) return Error{Errc::transient, "full", ""};
        if (auto const failure = asked()) return *failure;
        return kept_.put(key, value, lifetime);
    }
    Result<std::uint64_t> clear(Pattern const& keys) override
    {
        if (auto const failure = asked()) return *failure;
        return kept_.clear(keys);
    }
    Result<> check() override
    {
        ++checks;
        if (refuses_puts) return Error{Errc::unavailable, "full", ""};
        if (error) return *error;
        return {};
    }
    CacheStats stats() const override
    {
        auto stats = kept_.stats();
        stats.backend = "server";
        return stats;
    }

    std::optional<Error> error{};
    bool                 refuses_puts{false};
    int                  calls{0}, checks{0};

private:
    std::optional<Error> asked()
    {
        ++calls;
        return error;
    }

    MemoryCache kept_;
};

}  // namespace sluice::cache::test
