#include "servers/kept_process.hpp"

#include "servers/unprivileged.hpp"

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <csignal>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice::test {

namespace fs = std::filesystem;
using Steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

namespace {

[[noreturn]] void fail(std::string const& what) { throw std::runtime_error("test server: " + what); }

}  // namespace

KeptProcess::KeptProcess(std::vector<std::string> const& arguments, fs::path const& log)
{
    std::vector<char*> argv{const_cast<char*>(SERVER_KEEPER)};
    for (auto const& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    auto const output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (output < 0) fail("cannot write " + log.string());

    keeper_ = ::fork();
    if (keeper_ == 0) {
        ::dup2(ends[1], STDIN_FILENO);
        ::dup2(output, STDOUT_FILENO);
        ::dup2(output, STDERR_FILENO);
        ::execv(argv[0], argv.data());
        ::_exit(127);
    }
    ::close(output);
    ::close(ends[1]);
    socket_ = ends[0];
    if (keeper_ < 0) fail("fork");
}

KeptProcess::~KeptProcess()
{
    ::close(socket_);
    if (!code_) ::waitpid(keeper_, nullptr, 0);
}

void KeptProcess::signal(int number)
{
    auto          byte = static_cast<unsigned char>(number);
    timeval const limit{.tv_sec = server_patience.count(), .tv_usec = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::send(socket_, &byte, 1, MSG_NOSIGNAL) != 1 || ::recv(socket_, &byte, 1, 0) < 0) fail("the keeper is gone");
}

std::optional<int> KeptProcess::wait(std::chrono::milliseconds limit)
{
    auto const deadline = Steady::now() + limit;
    while (!code_) {
        int        status = 0;
        auto const ended = ::waitpid(keeper_, &status, WNOHANG);
        if (ended < 0) fail("waitpid");
        if (ended == keeper_) {
            code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        } else if (Steady::now() > deadline) {
            break;
        } else {
            std::this_thread::sleep_for(2ms);
        }
    }
    return code_;
}

std::string run_kept(std::vector<std::string> const& arguments)
{
    ServerDirectory const directory;
    auto const            output = directory.path() / "output";
    KeptProcess           process(arguments, output);
    auto const            code = process.wait(server_patience);
    std::ifstream         file(output);
    std::string           said{std::istreambuf_iterator<char>(file), {}};
    if (code != 0) fail(arguments[0] + (code ? " failed: " : " took too long: ") + said);
    return said;
}

ServerDirectory::ServerDirectory()
{
    auto pattern = (fs::temp_directory_path() / "sluice-server-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) fail("mkdtemp");
    path_ = pattern;
    give_away(path_);
}

ServerDirectory::~ServerDirectory()
{
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void give_away(fs::path const& path)
{
    if (::geteuid() != 0) return;
    auto const user = unprivileged_user();
    // In a user namespace with one user it stays that user's, which is the one that servers run as there.
    if (::chown(path.c_str(), user.uid, user.gid) != 0 && errno != EINVAL) fail("cannot give away " + path.string());
}

std::uint16_t free_port()
{
    constexpr unsigned           first = 20'000, count = 10'000;
    static std::atomic<unsigned> next{static_cast<unsigned>(::getpid()) * 61};
    for (;;) {
        auto const  port = static_cast<std::uint16_t>(first + next++ % count);
        auto const  probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in here{};
        here.sin_family = AF_INET;
        here.sin_port = htons(port);
        here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto const is_free = ::bind(probe, reinterpret_cast<sockaddr*>(&here), sizeof here) == 0;
        ::close(probe);
        if (is_free) return port;
    }
}

void start_on_free_port(std::function<void(std::uint16_t)> const& start)
{
    for (int attempts_left = 2;; --attempts_left) {
        try {
            return start(free_port());
        } catch (std::exception const&) {
            if (attempts_left == 0) throw;
        }
    }
}

void wait_until_ready(KeptProcess& process, std::function<bool()> const& is_ready, fs::path const& log)
{
    auto const deadline = Steady::now() + server_patience;
    while (!is_ready()) {
        if (auto const code = process.wait(10ms))
            fail("it ended with " + std::to_string(*code) + " instead of getting ready; its log:\n" + read_end(log));
        if (Steady::now() > deadline) fail("it did not get ready in time; its log:\n" + read_end(log));
    }
}

std::string read_end(fs::path const& file)
{
    std::ifstream in(file);
    in.seekg(0, std::ios::end);
    auto const size = static_cast<std::int64_t>(in.tellg());
    in.seekg(std::max<std::int64_t>(size - 4096, 0));
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace sluice::test
