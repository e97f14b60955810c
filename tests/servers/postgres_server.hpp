// A PostgreSQL of the machine's packages for one test, on a loopback port of its own.
#pragma once

#include "servers/kept_process.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace sluice::test {

struct PostgresOptions {
    bool                     fsync{false};  // off, a crash of the machine loses data; a kill -9 does not
    int                      max_connections{50};
    std::vector<std::string> settings{};  // "name=value", as in postgresql.conf
    // An empty directory, or one to make, that the unprivileged user can reach; empty: a temporary one.
    std::filesystem::path data{};
};

// Serves when constructed, and is gone with the object. Every wait is bounded; what fails throws, with the server's
// log. One thread.
class PostgresServer {
public:
    explicit PostgresServer(PostgresOptions options = {});

    // libpq's URL of the role `sluice`, which is no superuser, and the database it owns.
    std::string url() const;
    std::string url_of_socket() const;  // likewise, over a Unix socket
    std::string url_of_superuser() const;
    std::uint16_t                port() const noexcept { return port_; }
    std::filesystem::path const& data() const noexcept { return options_.data; }
    std::filesystem::path        log() const { return directory_.path() / "log"; }

    // Runs SQL as the superuser, who gets a connection even where others do not: a line per row, `|` between columns.
    std::string exec(std::string const& sql) const;

    bool is_running();  // false: it was stopped, or gave up
    // On the same data and port.
    void start();
    void stop();              // fast: sessions are ended, the data are flushed
    void stop_immediately();  // all processes end, the next start recovers
    void kill_9();            // likewise, and none of them hears of it
    void restart();           // stop() and start()
    // All of its processes, sessions too, stand still: connections stay open, and new ones are taken by the kernel.
    void suspend();
    void resume();

private:
    void end(int signal);

    PostgresOptions              options_;
    ServerDirectory              directory_;
    std::uint16_t                port_{0};
    std::unique_ptr<KeptProcess> process_;
};

}  // namespace sluice::test
