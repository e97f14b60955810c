// A real Redis and caches on it.
#pragma once

#include "adapters/redis/redis_cache.hpp"
#include "servers/redis_server.hpp"

#include <thread>

namespace sluice::test {

// Real time: so is a Redis's.
class RealClock final : public Clock {
public:
    Mono     now() const noexcept override { return std::chrono::steady_clock::now(); }
    WallTime wall() const noexcept override
    {
        return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    }
};
inline RealClock const real_clock;

// With more patience than a server has, since the machine does other things as well.
inline adapters::RedisCacheOptions options_of(std::string const& url, std::string epoch = "e1")
{
    using namespace std::chrono_literals;
    return {.address = adapters::RedisAddress::parse(url).value(), .epoch = std::move(epoch),
            .timeouts = {.connect = 10s, .answer = 10s}};
}

// As the caches name it there.
inline std::string redis_key(std::string const& key, std::string const& epoch = "e1")
{
    return "sluice:default:" + epoch + ':' + key;
}

}  // namespace sluice::test
