#include "servers/redis_server.hpp"

#include <csignal>
#include <exception>
#include <utility>

namespace sluice::test {

RedisServer::RedisServer(RedisOptions options) : options_(std::move(options))
{
    start_on_free_port([this](std::uint16_t port) {
        port_ = port;
        start();
    });
}

std::string RedisServer::url() const
{
    auto const credentials = options_.password.empty() ? "" : ":" + options_.password + "@";
    return "redis://" + credentials + "127.0.0.1:" + std::to_string(port_) + "/0";
}

std::string RedisServer::exec(std::vector<std::string> const& command) const
{
    std::vector<std::string> arguments{"redis-cli", "-e", "-h", "127.0.0.1", "-p", std::to_string(port_)};
    if (!options_.password.empty()) arguments.insert(arguments.end(), {"--no-auth-warning", "-a", options_.password});
    arguments.insert(arguments.end(), command.begin(), command.end());
    auto said = run_kept(arguments);
    if (said.ends_with('\n')) said.pop_back();
    return said;
}

void RedisServer::config_set(std::string const& name, std::string const& value) const
{
    exec({"CONFIG", "SET", name, value});
}

void RedisServer::start()
{
    std::vector<std::string> arguments{"redis-server"};
    auto const               set = [&](std::string const& name, std::string const& value) {
        arguments.insert(arguments.end(), {"--" + name, value});
    };
    set("bind", "127.0.0.1");
    set("port", std::to_string(port_));
    set("dir", directory_.path());
    set("save", "");
    set("appendonly", options_.is_durable ? "yes" : "no");
    set("appendfsync", "always");
    if (!options_.password.empty()) set("requirepass", options_.password);
    for (auto const& setting : options_.settings) {
        auto const space = setting.find(' ');
        set(setting.substr(0, space), setting.substr(space + 1));
    }

    process_ = std::make_unique<KeptProcess>(arguments, log());
    auto const answers = [this] {
        try {
            return exec({"PING"}) == "PONG";
        } catch (std::exception const&) {
            return false;
        }
    };
    wait_until_ready(*process_, answers, log());
}

bool RedisServer::is_running() { return process_ && !process_->wait(std::chrono::milliseconds(0)); }

void RedisServer::end(int signal)
{
    process_->signal(signal);
    auto const code = process_->wait(server_patience);
    process_.reset();
    if (!code) throw std::runtime_error("test server: it did not stop in time; its log:\n" + read_end(log()));
}

void RedisServer::stop() { end(SIGTERM); }
void RedisServer::kill_9() { end(SIGKILL); }
void RedisServer::suspend() { process_->signal(SIGSTOP); }
void RedisServer::resume() { process_->signal(SIGCONT); }

void RedisServer::restart()
{
    stop();
    start();
}

}  // namespace sluice::test
