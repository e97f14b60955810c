#include "harness.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <netinet/tcp.h>
#include <poll.h>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <thread>
#include <utility>
#include <unistd.h>

namespace sluice::e2e {

namespace fs = std::filesystem;
using Steady = std::chrono::steady_clock;

namespace {

[[noreturn]] void fail(std::string const& what) { throw std::runtime_error("harness: " + what); }

int milliseconds_until(Steady::time_point deadline)
{
    auto const left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Steady::now()).count();
    return static_cast<int>(std::max<std::int64_t>(left, 0));
}

std::string lower(std::string_view text)
{
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return static_cast<char>(tolower(c)); });
    return out;
}

}  // namespace

// ---- files

fs::path const& source_directory()
{
    static fs::path const directory(SLUICE_SOURCE_DIR);
    return directory;
}

fs::path const& binary()
{
    static fs::path const path = [] {
        auto const* const other = std::getenv("E2E_BINARY");
        return fs::absolute(other != nullptr ? other : SLUICE_BINARY);
    }();
    return path;
}

TemporaryDirectory::TemporaryDirectory()
{
    auto name = (fs::temp_directory_path() / "sluice-e2e-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) fail("mkdtemp");
    path_ = name;
}

TemporaryDirectory::~TemporaryDirectory()
{
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void write_file(fs::path const& path, std::string_view content)
{
    std::ofstream file(path, std::ios::binary);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    if (!file.flush()) fail("cannot write " + path.string());
}

void write_secret(fs::path const& path, std::string_view content)
{
    write_file(path, content);
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
}

std::string read_file(fs::path const& path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file) fail("cannot read " + path.string());
    std::ostringstream content;
    content << file.rdbuf();
    return std::move(content).str();
}

// ---- processes

Process::Process(
    std::vector<std::string> const& arguments, Environment const& environment, fs::path const& standard_error,
    fs::path const& directory)
{
    std::vector<char*> argv;
    for (auto const& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
    auto const errors = standard_error.empty() ? std::string("/dev/stderr") : standard_error.string();

    pid_ = fork();
    if (pid_ == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nobody behind
        dup2(ends[1], STDOUT_FILENO);
        if (!standard_error.empty()) {
            auto const file = open(errors.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            dup2(file, STDERR_FILENO);
        }
        auto const nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        dup2(nothing, STDIN_FILENO);
        for (auto const& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
        if (!directory.empty() && chdir(directory.c_str()) != 0) _exit(127);
        execvp(argv[0], argv.data());
        _exit(127);
    }
    ::close(ends[1]);
    pipe_ = ends[0];
    if (pid_ < 0) fail("fork");
}

Process::~Process()
{
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    if (pipe_ >= 0) ::close(pipe_);
}

void Process::signal(int number)
{
    if (pid_ > 0) ::kill(pid_, number);
}

// False at the end of the output.
bool Process::read_some(Steady::time_point deadline)
{
    pollfd wanted{.fd = pipe_, .events = POLLIN, .revents = 0};
    if (poll(&wanted, 1, milliseconds_until(deadline)) == 0)
        fail("a child said and did nothing in time; so far it had said: " + output_);
    char       chunk[64 * 1024];
    auto const count = read(pipe_, chunk, sizeof chunk);
    if (count <= 0) return false;
    output_.append(chunk, static_cast<std::size_t>(count));
    return true;
}

std::string Process::read_line(std::chrono::seconds limit)
{
    auto const  deadline = Steady::now() + limit;
    std::size_t end;
    while ((end = output_.find('\n', line_start_)) == output_.npos)
        if (!read_some(deadline)) fail("a child ended before it said what was expected: " + output_);
    auto line = output_.substr(line_start_, end - line_start_);
    line_start_ = end + 1;
    return line;
}

int Process::wait(std::chrono::seconds limit)
{
    auto const deadline = Steady::now() + limit;
    while (read_some(deadline)) {}
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

Finished run(
    std::vector<std::string> const& arguments, Environment const& environment, std::chrono::seconds limit,
    fs::path const& directory)
{
    TemporaryDirectory const scratch;
    auto const               errors = scratch.path() / "stderr";
    Process                  process(arguments, environment, errors, directory);
    auto const               code = process.wait(limit);
    return {code, process.output(), fs::exists(errors) ? read_file(errors) : ""};
}

// ---- HTTP

std::string Response::header(std::string const& name) const
{
    auto const found = headers.find(name);
    return found == headers.end() ? "" : found->second;
}

Http::Http(Address address, std::string key) : address_(std::move(address)), key_(std::move(key)) {}
Http::~Http() { close(); }

Http::Http(Http&& other) noexcept
    : address_(std::move(other.address_)), key_(std::move(other.key_)), socket_(std::exchange(other.socket_, -1)),
      received_(std::move(other.received_))
{
}

void Http::close()
{
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
    received_.clear();
}

bool Http::connect()
{
    close();
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(address_.port);
    inet_pton(AF_INET, address_.host.c_str(), &to.sin_addr);
    socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    timeval const limit{.tv_sec = patience.count(), .tv_usec = 0};
    int const     on = 1;
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(socket_, reinterpret_cast<sockaddr const*>(&to), sizeof to) == 0) return true;
    close();
    return false;
}

bool Http::write(std::string_view bytes)
{
    while (!bytes.empty()) {
        auto const count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
}

bool Http::read_some()
{
    char       chunk[64 * 1024];
    auto const count = recv(socket_, chunk, sizeof chunk, 0);
    if (count <= 0) return false;
    received_.append(chunk, static_cast<std::size_t>(count));
    return true;
}

std::optional<Response> Http::receive(bool head_only)
{
    std::size_t end;
    while ((end = received_.find("\r\n\r\n")) == received_.npos)
        if (!read_some()) return std::nullopt;

    Response           response;
    std::istringstream head(received_.substr(0, end));
    std::string        line;
    std::getline(head, line);
    if (!line.starts_with("HTTP/1.1 ")) fail("not an HTTP answer: " + line);
    response.status = std::stoi(line.substr(9));
    while (std::getline(head, line)) {
        if (line.ends_with('\r')) line.pop_back();
        auto const colon = line.find(": ");
        if (colon == line.npos) fail("not a header line: " + line);
        response.headers[lower(line.substr(0, colon))] = line.substr(colon + 2);
    }
    received_.erase(0, end + 4);
    if (response.status == 100) return receive(head_only);

    auto const length = response.header("content-length");
    if (!head_only && !length.empty()) {
        auto const size = std::stoul(length);
        while (received_.size() < size)
            if (!read_some()) return std::nullopt;
        response.body = received_.substr(0, size);
        received_.erase(0, size);
    }
    if (response.header("connection") == "close") close();
    return response;
}

std::optional<Response> Http::exchange(std::string_view bytes, bool head_only)
{
    if (socket_ < 0 && !connect()) return std::nullopt;
    write(bytes);  // even if it was cut off there may be an answer that says why
    auto response = receive(head_only);
    if (!response) close();
    return response;
}

std::optional<Response> Http::try_send(
    std::string_view method, std::string_view target, std::string_view body, Headers const& headers)
{
    auto all = headers;
    auto const add = [&](char const* name, std::string value) {
        auto const is = [&](auto const& header) { return lower(header.first) == lower(name); };
        if (std::none_of(all.begin(), all.end(), is)) all.emplace_back(name, std::move(value));
    };
    add("Host", address_.host + ":" + std::to_string(address_.port));
    add("X-Internal-Key", key_);
    if (method == "POST") add("Content-Length", std::to_string(body.size()));

    std::string request(method);
    request.append(" ").append(target).append(" HTTP/1.1\r\n");
    for (auto const& [name, value] : all)
        if (!value.empty()) request.append(name).append(": ").append(value).append("\r\n");
    request.append("\r\n").append(body);
    return exchange(request, method == "HEAD");
}

Response Http::send(std::string_view method, std::string_view target, std::string_view body, Headers const& headers)
{
    auto response = try_send(method, target, body, headers);
    // The server may have closed an idle connection just then. Nothing here is harmed by being sent twice.
    if (!response) response = try_send(method, target, body, headers);
    if (!response) fail("no answer to " + std::string(method) + " " + std::string(target));
    return *response;
}

Response Http::post(std::string_view target, std::string_view body)
{
    return send("POST", target, body, {{"Content-Type", "application/json"}});
}

Response Http::ndjson(std::string_view target, std::string_view body)
{
    return send("POST", target, body, {{"Content-Type", "application/x-ndjson"}});
}

Response Http::raw(std::string_view bytes)
{
    close();
    auto const response = exchange(bytes, false);
    if (!response) fail("no answer to raw bytes");
    close();
    return *response;
}

std::string percent_encoded(std::string_view text)
{
    std::string out;
    for (unsigned char const c : text) {
        if (std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == '~') {
            out += static_cast<char>(c);
        } else {
            char escape[4];
            std::snprintf(escape, sizeof escape, "%%%02X", c);
            out += escape;
        }
    }
    return out;
}

// ---- the server

std::string Server::key() { return "e2e0123456789abcdef0123456789abcdef"; }
std::string Server::url() const { return "http://" + address_.host + ":" + std::to_string(address_.port); }

fs::path key_file(fs::path const& data)
{
    auto const path = fs::path(data.string() + ".key");
    if (!fs::exists(path)) write_secret(path, Server::key() + "\n");
    return path;
}

Address listening_on(std::string const& line)
{
    constexpr std::string_view announced = "listening on ";
    auto const                 colon = line.rfind(':');
    if (!line.starts_with(announced) || colon == line.npos) fail("the server said: " + line);
    Address address{.host = line.substr(announced.size(), colon - announced.size()), .port = 0};
    std::from_chars(line.data() + colon + 1, line.data() + line.size(), address.port);
    return address;
}

Server::Server(ServerOptions options) : options_(std::move(options))
{
    std::vector<std::string> arguments{
        binary(), "serve", "--listen", options_.listen, "--data", options_.data.string()};
    auto environment = options_.environment;
    if (options_.key_file) {
        arguments.insert(arguments.end(), {"--key-file", key_file(options_.data)});
    } else {
        environment["INTERNAL_API_KEY"] = key();
    }
    arguments.insert(arguments.end(), options_.flags.begin(), options_.flags.end());
    fs::path const log(options_.data.string() + ".log");
    process_ = std::make_unique<Process>(arguments, environment, log);

    std::string line;
    try {
        line = process_->read_line();
    } catch (std::exception const& error) {
        fail(std::string("the server did not start: ") + error.what() + "\n" + read_file(log));
    }
    address_ = listening_on(line);
}

int Server::stop()
{
    process_->signal(SIGTERM);
    return wait();
}

int Server::wait()
{
    auto const code = process_->wait();
    process_.reset();
    return code;
}

void Server::kill()
{
    process_->signal(SIGKILL);
    process_->wait();
    process_.reset();
}

Json state(Http& http)
{
    auto const response = http.get("/v1/state");
    if (response.status != 200) fail("/v1/state answered " + std::to_string(response.status) + " " + response.body);
    return response.json();
}

double metric(Http& http, std::string_view name)
{
    std::istringstream lines(http.get("/metrics").body);
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with(name) && line[name.size()] == ' ') return std::stod(line.substr(name.size()));
    fail("/metrics has no " + std::string(name));
}

namespace {

std::uint64_t pending(Json const& state)
{
    std::uint64_t sum = 0;
    for (auto const& [tier, count] : state.at("pending").items()) sum += count.get<std::uint64_t>();
    return sum;
}

}  // namespace

Json settled_state(Http& http, std::chrono::seconds limit)
{
    Json last;
    if (!eventually([&] { return pending(last = state(http)) == 0; }, limit))
        fail("events are still pending: " + last.dump());
    return last;
}

void expect_numbers_add_up(Json const& s, std::uint64_t others)
{
    auto const of = [&](char const* name) { return s.at(name).get<std::uint64_t>(); };
    EXPECT_EQ(of("accepted"), of("applied") + of("dead_lettered") + of("parked") + pending(s)) << s.dump();
    EXPECT_EQ(of("accepted") + others, of("last_sequence")) << s.dump();
    EXPECT_LE(of("stale"), of("applied")) << s.dump();
}

Json replay(fs::path const& data)
{
    auto const done = run({binary(), "replay", "--data", data, "--json"});
    if (done.code != 0) fail("replay exited with " + std::to_string(done.code) + ": " + done.error);
    return Json::parse(done.output);
}

bool eventually(std::function<bool()> const& condition, std::chrono::seconds limit)
{
    auto const deadline = Steady::now() + limit;
    while (!condition()) {
        if (Steady::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

}  // namespace sluice::e2e
