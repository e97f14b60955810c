// Where a Redis is, and who we are to it.
#pragma once

#include <sluice/result.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::adapters {

struct RedisAddress {
    std::string   host;  // a name or an address; empty: `socket` counts
    std::uint16_t port{6379};
    std::string   socket;            // path of a Unix socket
    std::string   user, password;  // empty: none
    std::uint32_t database{0};

    // redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] or unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE], where user and
    // password are percent-encoded. `invalid`; the text does not repeat the URL, which may hold a password.
    static Result<RedisAddress> parse(std::string_view url);
};

struct RedisTimeouts {
    std::chrono::milliseconds connect{200};
    std::chrono::milliseconds answer{50};  // of everything that is asked at once
};

}  // namespace sluice::adapters
