// Runs the real binary in child processes and talks HTTP to it, as producers do.
//
// Every wait is bounded and every child is ended by its pid. What goes wrong in the harness itself throws.
#pragma once

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace sluice::e2e {

using Json = nlohmann::json;

inline constexpr std::chrono::seconds patience{60};  // for one answer, a start, a stop

// ---- files

std::filesystem::path const& source_directory();
// The binary under test: the one built beside the tests, or the environment's E2E_BINARY.
std::filesystem::path const& binary();

// Goes with everything in it.
class TemporaryDirectory {
public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(TemporaryDirectory const&) = delete;
    TemporaryDirectory(TemporaryDirectory&&) = delete;
    std::filesystem::path const& path() const noexcept { return path_; }

private:
    std::filesystem::path path_;
};

void        write_file(std::filesystem::path const& path, std::string_view content);
void        write_secret(std::filesystem::path const& path, std::string_view content);  // mode 0600
std::string read_file(std::filesystem::path const& path);

// ---- processes

using Environment = std::map<std::string, std::string>;  // beside the test's own

// A child whose standard output is a pipe. It is killed when its owner goes.
class Process {
public:
    Process(
        std::vector<std::string> const& arguments, Environment const& environment = {},
        std::filesystem::path const& standard_error = {}, std::filesystem::path const& directory = {});
    ~Process();
    Process(Process const&) = delete;
    Process(Process&&) = delete;

    pid_t pid() const noexcept { return pid_; }
    void  signal(int number);
    // The next line of its output; throws at its end, and when none comes in time.
    std::string read_line(std::chrono::seconds limit = patience);
    // Reads its output to the end and returns the exit code, 128 + n if signal n ended it. Throws, and kills it, when
    // it takes longer.
    int                wait(std::chrono::seconds limit = patience);
    std::string const& output() const noexcept { return output_; }  // all of it that was read

private:
    bool read_some(std::chrono::steady_clock::time_point deadline);

    pid_t       pid_{-1};
    int         pipe_{-1};
    std::string output_;
    std::size_t line_start_{0};
};

struct Finished {
    int         code{};
    std::string output;
    std::string error;
};

Finished run(
    std::vector<std::string> const& arguments, Environment const& environment = {},
    std::chrono::seconds limit = patience, std::filesystem::path const& directory = {});

// ---- HTTP

struct Response {
    int                                status{};
    std::map<std::string, std::string> headers;  // names in lower case
    std::string                        body;

    Json        json() const { return Json::parse(body); }
    std::string header(std::string const& name) const;  // empty: there is none
};

struct Address {
    std::string   host;
    std::uint16_t port{};
};

using Headers = std::vector<std::pair<std::string, std::string>>;

// One keep-alive connection, opened when needed. One thread.
class Http {
public:
    Http(Address address, std::string key);
    ~Http();
    Http(Http const&) = delete;
    Http(Http&& other) noexcept;

    // Host, key and length are added unless `headers` has them; a header with an empty value is left out.
    // Throws when there is no answer.
    Response send(
        std::string_view method, std::string_view target, std::string_view body = {}, Headers const& headers = {});
    // nullopt: the connection failed, and whether the request was taken is unknown.
    std::optional<Response> try_send(
        std::string_view method, std::string_view target, std::string_view body = {}, Headers const& headers = {});

    Response get(std::string_view target) { return send("GET", target); }
    Response post(std::string_view target, std::string_view body);    // application/json
    Response ndjson(std::string_view target, std::string_view body);  // application/x-ndjson
    // These bytes and nothing else on a new connection, then its first answer.
    Response raw(std::string_view bytes);

private:
    std::optional<Response> exchange(std::string_view bytes, bool head_only);
    std::optional<Response> receive(bool head_only);
    bool                    connect();
    bool                    write(std::string_view bytes);
    bool                    read_some();
    void                    close();

    Address     address_;
    std::string key_;
    int         socket_{-1};
    std::string received_;
};

std::string percent_encoded(std::string_view text);

// ---- the server

struct ServerOptions {
    std::filesystem::path    data;
    std::string              listen{"127.0.0.1:0"};
    std::vector<std::string> flags{};
    bool                     key_file{true};  // else the key comes by INTERNAL_API_KEY
    Environment              environment{};
};

// `sluice serve`, ready to answer.
class Server {
public:
    explicit Server(ServerOptions options);

    Address const&     address() const noexcept { return address_; }
    std::string        url() const;
    Http               http() const { return {address_, key()}; }
    static std::string key();
    pid_t              pid() const noexcept { return process_->pid(); }

    // SIGTERM; returns the exit code.
    int stop();
    // As stop(), for a server that was told to already: a second signal while it drains ends it at once.
    int wait();
    // SIGKILL, now.
    void kill();

private:
    ServerOptions            options_;
    std::unique_ptr<Process> process_;
    Address                  address_;
};

// From the line that says it.
Address listening_on(std::string const& line);

// A file beside `data` that holds the key of every server of these tests.
std::filesystem::path key_file(std::filesystem::path const& data);

Json state(Http& http);
// A sample of /metrics, such as `sluice_workers` or `sluice_cache_lookups_total{result="hit"}`.
double metric(Http& http, std::string_view name);
// `GET /v1/state` once nothing is pending.
Json settled_state(Http& http, std::chrono::seconds limit = patience);
// accepted = applied + dead-lettered + parked + pending. `others` of the log's records are no accepted events: they are
// controls, or copies of parked events.
void expect_numbers_add_up(Json const& state, std::uint64_t others = 0);
// `sluice replay --data` as JSON.
Json replay(std::filesystem::path const& data);

// Asks until `condition` holds; false: it did not in time.
bool eventually(std::function<bool()> const& condition, std::chrono::seconds limit = patience);

}  // namespace sluice::e2e
