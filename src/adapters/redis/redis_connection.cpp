#include "adapters/redis/redis_connection.hpp"

#include <sys/time.h>

namespace sluice::adapters {
namespace {

timeval to_timeval(std::chrono::milliseconds time)
{
    return {.tv_sec = time.count() / 1'000, .tv_usec = time.count() % 1'000 * 1'000};
}

}  // namespace

std::string_view text_of(redisReply const& reply) { return {reply.str, reply.len}; }
bool             is_error(redisReply const& reply) { return reply.type == REDIS_REPLY_ERROR; }

Result<std::unique_ptr<RedisConnection>> RedisConnection::open(
    RedisAddress const& address, std::string const& host, RedisTimeouts timeouts, Clock const& clock)
{
    auto const connect = to_timeval(timeouts.connect);
    Context    context(address.socket.empty() ? redisConnectWithTimeout(host.c_str(), address.port, connect)
                                              : redisConnectUnixWithTimeout(address.socket.c_str(), connect));
    if (!context) return Error{Errc::unavailable, "redis_connect", "out of memory"};
    if (context->err != 0 || redisSetTimeout(context.get(), to_timeval(timeouts.answer)) != REDIS_OK)
        return Error{Errc::unavailable, "redis_connect", context->errstr};
    std::unique_ptr<RedisConnection> connection(new RedisConnection(std::move(context), timeouts.answer, clock));
    if (auto const greeted = connection->greet(address); !greeted) return greeted.error();
    return connection;
}

Result<> RedisConnection::greet(RedisAddress const& address)
{
    auto const                database = std::to_string(address.database);
    std::vector<RedisCommand> commands;
    if (!address.user.empty())
        commands.push_back({"AUTH", address.user, address.password});
    else if (!address.password.empty())
        commands.push_back({"AUTH", address.password});
    commands.push_back({"SELECT", database});
    auto const replies = ask(commands);
    if (!replies) return Error{Errc::unavailable, "redis_connect", replies.error().detail};
    for (auto const& reply : *replies) {
        if (!is_error(*reply)) continue;
        std::string const text(text_of(*reply));
        bool const        is_full = text.find("max number of clients") != text.npos;
        return Error{is_full ? Errc::full : Errc::unavailable, "redis_connect", text};
    }
    return {};
}

// The timeout of the socket bounds each call of the system, the deadline bounds all of them.
Result<std::vector<RedisReply>> RedisConnection::ask(std::span<RedisCommand const> commands)
{
    auto const               deadline = clock_.now() + timeout_;
    auto* const              context = context_.get();
    std::vector<char const*> words;
    std::vector<std::size_t> sizes;
    for (auto const& command : commands) {
        words.clear();
        sizes.clear();
        for (auto const word : command) {
            words.push_back(word.data());
            sizes.push_back(word.size());
        }
        auto const count = static_cast<int>(command.size());
        if (redisAppendCommandArgv(context, count, words.data(), sizes.data()) != REDIS_OK) return broken(deadline);
    }
    for (int is_written = 0; is_written == 0;)
        if (redisBufferWrite(context, &is_written) != REDIS_OK || (is_written == 0 && clock_.now() >= deadline))
            return broken(deadline);
    std::vector<RedisReply> replies;
    while (replies.size() < commands.size()) {
        void* reply = nullptr;
        if (redisGetReplyFromReader(context, &reply) != REDIS_OK) return broken(deadline);
        if (reply != nullptr)
            replies.emplace_back(static_cast<redisReply*>(reply));
        else if (clock_.now() >= deadline || redisBufferRead(context) != REDIS_OK)
            return broken(deadline);
    }
    return replies;
}

Error RedisConnection::broken(Clock::Mono deadline)
{
    is_broken_ = true;
    has_timed_out_ = clock_.now() >= deadline;
    if (has_timed_out_)
        return {Errc::transient, "redis_timeout", "no answer in " + std::to_string(timeout_.count()) + " ms"};
    return {Errc::transient, "redis_lost", context_->errstr};
}

}  // namespace sluice::adapters
