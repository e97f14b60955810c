// A Redis of the machine's packages for one test, on a loopback port of its own.
#pragma once

#include "servers/kept_process.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sluice::test {

struct RedisOptions {
    std::string              password{};         // empty: none is asked for
    bool                     is_durable{false};  // a write is in a file before its answer; else a stop empties it
    std::vector<std::string> settings{};         // as in redis.conf, such as "maxmemory 10mb"
};

// Serves when constructed, and is gone with the object. Every wait is bounded; what fails throws, with the server's
// log. One thread.
class RedisServer {
public:
    explicit RedisServer(RedisOptions options = {});

    std::string           url() const;  // with the password, database 0
    std::uint16_t         port() const noexcept { return port_; }
    std::filesystem::path log() const { return directory_.path() / "log"; }

    // Runs one command and returns what redis-cli prints, without the last newline.
    std::string exec(std::vector<std::string> const& command) const;
    void        config_set(std::string const& name, std::string const& value) const;

    bool is_running();  // false: it was stopped, or gave up
    // On the same data and port.
    void start();
    void stop();
    void kill_9();
    void restart();  // stop() and start()
    // It stands still: connections stay open, and new ones are taken by the kernel.
    void suspend();
    void resume();

private:
    void end(int signal);

    RedisOptions                 options_;
    ServerDirectory              directory_;
    std::uint16_t                port_{0};
    std::unique_ptr<KeptProcess> process_;
};

}  // namespace sluice::test
