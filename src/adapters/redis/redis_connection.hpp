// One connection to a Redis, and what is said on it.
#pragma once

#include "adapters/redis/redis_address.hpp"

#include <sluice/clock.hpp>

#include <hiredis/hiredis.h>

#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::adapters {

struct FreeReply {
    void operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, FreeReply>;
using RedisCommand = std::vector<std::string_view>;

std::string_view text_of(redisReply const& reply);  // of one that is a text or an error
bool             is_error(redisReply const& reply);

// One thread at a time. The process ignores SIGPIPE.
class RedisConnection {
public:
    // To the address, of which `host` is the numeric form; authenticated, in its database. `unavailable`; `full` if the
    // server takes no further connection.
    static Result<std::unique_ptr<RedisConnection>>
    open(RedisAddress const& address, std::string const& host, RedisTimeouts timeouts, Clock const& clock);

    // One round trip: a reply for each command, in their order; what the server refuses is a reply too. `transient`:
    // not all of them came in time, or the connection broke; it is of no use then.
    Result<std::vector<RedisReply>> ask(std::span<RedisCommand const> commands);

    bool is_broken() const noexcept { return is_broken_; }
    bool has_timed_out() const noexcept { return has_timed_out_; }

private:
    struct FreeContext {
        void operator()(redisContext* context) const noexcept { redisFree(context); }
    };
    using Context = std::unique_ptr<redisContext, FreeContext>;

    RedisConnection(Context context, std::chrono::milliseconds timeout, Clock const& clock)
        : context_(std::move(context)), timeout_(timeout), clock_(clock)
    {
    }
    Result<> greet(RedisAddress const& address);
    Error    broken(Clock::Mono deadline);

    Context const                   context_;
    std::chrono::milliseconds const timeout_;
    Clock const&                    clock_;
    bool                            is_broken_{false}, has_timed_out_{false};
};

}  // namespace sluice::adapters
