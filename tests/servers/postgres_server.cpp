#include "servers/postgres_server.hpp"

#include <csignal>
#include <exception>
#include <fstream>
#include <utility>

namespace sluice::test {

namespace fs = std::filesystem;

namespace {

constexpr char const* superuser = "postgres";
constexpr char const* role = "sluice";  // and its database
constexpr char const* password = "of-tests-only";

std::string program(std::string const& name) { return "/usr/lib/postgresql/15/bin/" + name; }

std::string address(std::string const& user, std::string const& host)
{
    return "postgresql://" + user + ":" + password + "@" + host + "/" + role;
}

// An initialised data directory, made once for all servers of a test program.
class InitialData {
public:
    InitialData()
    {
        auto const password_file = directory_.path() / "password";
        std::ofstream(password_file) << password << '\n';
        fs::permissions(password_file, fs::perms::owner_read | fs::perms::group_read | fs::perms::others_read);
        run_kept(
            {program("initdb"), "--pgdata", path(), "--username", superuser, "--pwfile", password_file, "--auth",
             "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"});
        for (auto const* const sql : {"CREATE ROLE sluice LOGIN PASSWORD 'of-tests-only'",
                                      "CREATE DATABASE sluice OWNER sluice"})
            run_kept(
                {"sh", "-c", "printf '%s\\n' \"$1\" | \"$2\" --single -F -D \"$3\" postgres", "sh", sql,
                 program("postgres"), path()});
    }
    fs::path path() const { return directory_.path() / "data"; }

private:
    ServerDirectory directory_;
};

InitialData const& initial_data()
{
    static InitialData const data;
    return data;
}

}  // namespace

PostgresServer::PostgresServer(PostgresOptions options) : options_(std::move(options))
{
    if (options_.data.empty()) options_.data = directory_.path() / "data";
    fs::create_directories(options_.data);
    fs::permissions(options_.data, fs::perms::owner_all);
    give_away(options_.data);
    run_kept({"cp", "-a", initial_data().path() / ".", options_.data});
    start_on_free_port([this](std::uint16_t port) {
        port_ = port;
        start();
    });
}

std::string PostgresServer::url() const { return address(role, "127.0.0.1:" + std::to_string(port_)); }

std::string PostgresServer::url_of_socket() const
{
    return address(role, "") + "?host=" + directory_.path().string() + "&port=" + std::to_string(port_);
}

std::string PostgresServer::url_of_superuser() const
{
    return address(superuser, "127.0.0.1:" + std::to_string(port_));
}

std::string PostgresServer::exec(std::string const& sql) const
{
    return run_kept(
        {program("psql"), "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set", "ON_ERROR_STOP=1",
         "--command", sql, url_of_superuser()});
}

void PostgresServer::start()
{
    std::vector<std::string> arguments{program("postgres"), "-D", options_.data};
    auto const               set = [&](std::string const& setting) {
        arguments.insert(arguments.end(), {"-c", setting});
    };
    set("listen_addresses=127.0.0.1");
    set("port=" + std::to_string(port_));
    set("unix_socket_directories=" + directory_.path().string());
    set("max_connections=" + std::to_string(options_.max_connections));
    set(options_.fsync ? "fsync=on" : "fsync=off");
    for (auto const& setting : options_.settings) set(setting);

    process_ = std::make_unique<KeptProcess>(arguments, log());
    auto const answers = [this] {
        try {
            exec("SELECT 1");
            return true;
        } catch (std::exception const&) {
            return false;
        }
    };
    wait_until_ready(*process_, answers, log());
}

bool PostgresServer::is_running() { return process_ && !process_->wait(std::chrono::milliseconds(0)); }

void PostgresServer::end(int signal)
{
    process_->signal(signal);
    auto const code = process_->wait(server_patience);
    process_.reset();
    if (!code) throw std::runtime_error("test server: it did not stop in time; its log:\n" + read_end(log()));
}

void PostgresServer::stop() { end(SIGINT); }
void PostgresServer::stop_immediately() { end(SIGQUIT); }
void PostgresServer::kill_9() { end(SIGKILL); }
void PostgresServer::suspend() { process_->signal(SIGSTOP); }
void PostgresServer::resume() { process_->signal(SIGCONT); }

void PostgresServer::restart()
{
    stop();
    start();
}

}  // namespace sluice::test
