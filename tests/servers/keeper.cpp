// server_keeper PROGRAM ARGUMENT...
//
// Runs a program for a test, as an unprivileged user where the test is root, and sees to it that nothing outlives the
// test: neither what the program forked nor what is stopped.
//
// Standard input is a socket to the test. A byte on it is the number of a signal, and is sent back once the signal is:
// SIGSTOP and SIGCONT to the program and all its descendants, others to the program. When the socket ends, or the
// program, all of them are killed. The exit code is the program's, 128 + n if signal n ended it.
#include "servers/unprivileged.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

[[noreturn]] void fail(char const* what)
{
    std::perror(what);
    ::_exit(127);
}

// In a user namespace that has one user, root, that user is seen under another number in one more namespace.
void rename_root(uid_t uid, gid_t gid)
{
    if (::unshare(CLONE_NEWUSER) != 0) fail("server_keeper: unshare");
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << uid << " 0 1";
    std::ofstream("/proc/self/gid_map") << gid << " 0 1";
    if (::getuid() != uid) fail("server_keeper: uid_map");
}

void become_unprivileged()
{
    if (::geteuid() != 0) return;
    auto const user = sluice::test::unprivileged_user();
    if (::setgroups(0, nullptr) == 0 && ::setgid(user.gid) == 0 && ::setuid(user.uid) == 0) return;
    rename_root(user.uid, user.gid);
}

[[noreturn]] void become(char** arguments)
{
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    become_unprivileged();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // forgotten when the user changes
    ::dup2(::open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
    if (::chdir("/") == 0) ::execvp(arguments[0], arguments);
    fail(arguments[0]);
}

struct Process {
    char  state{'X'};  // X: it is gone
    pid_t parent{0};
};

Process look_at(pid_t pid)
{
    std::ifstream     file("/proc/" + std::to_string(pid) + "/stat");
    std::string const stat{std::istreambuf_iterator<char>(file), {}};
    auto const        name_end = stat.rfind(')');  // "12 (name) S 1 ..."; a name may contain anything
    if (name_end == stat.npos) return {};
    return {stat[name_end + 2], std::atoi(stat.c_str() + name_end + 4)};
}

std::vector<pid_t> children_of(pid_t parent)
{
    std::vector<pid_t> children;
    for (auto const& entry : std::filesystem::directory_iterator("/proc")) {
        auto const pid = std::atoi(entry.path().filename().c_str());
        if (pid > 0 && look_at(pid).parent == parent) children.push_back(pid);
    }
    return children;
}

// Who runs on another processor, or waits for a disk, stops a little later.
void wait_until_stopped(pid_t pid)
{
    constexpr timespec         pause{.tv_sec = 0, .tv_nsec = 1'000'000};
    constexpr std::string_view running = "RSD";
    for (int tries = 10'000; tries > 0 && running.find(look_at(pid).state) != running.npos; --tries)
        ::nanosleep(&pause, nullptr);
}

// Parents first: who is stopped forks no more.
void signal_descendants(pid_t of, int number)
{
    for (auto const child : children_of(of)) {
        ::kill(child, number);
        if (number == SIGSTOP) wait_until_stopped(child);
        signal_descendants(child, number);
    }
}

// Orphans become children of this process, so there is an end to it.
void kill_everything()
{
    do {
        for (auto const child : children_of(::getpid())) ::kill(child, SIGKILL);
    } while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR);
}

// Obeys until the test or the program has ended; the program's wait status.
int keep(pid_t program, int child_signals)
{
    for (;;) {
        pollfd wanted[] = {
            {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
            {.fd = child_signals, .events = POLLIN, .revents = 0}};
        ::poll(wanted, 2, -1);
        if (wanted[1].revents != 0) {
            signalfd_siginfo ignored;
            if (::read(child_signals, &ignored, sizeof ignored) < 0) fail("server_keeper: signalfd");
            int status = 0;
            for (pid_t ended; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;)
                if (ended == program) return status;
        }
        if (wanted[0].revents != 0) {
            unsigned char number = 0;
            if (::read(STDIN_FILENO, &number, 1) != 1) return SIGKILL;
            if (number == SIGSTOP || number == SIGCONT) {
                signal_descendants(::getpid(), number);
            } else {
                ::kill(program, number);
            }
            if (::send(STDIN_FILENO, &number, 1, MSG_NOSIGNAL) != 1) return SIGKILL;
        }
    }
}

}  // namespace

int main(int, char** arguments)
{
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t children;
    ::sigemptyset(&children);
    ::sigaddset(&children, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &children, nullptr);
    auto const child_signals = ::signalfd(-1, &children, SFD_CLOEXEC);

    auto const program = ::fork();
    if (program == 0) become(arguments + 1);
    auto const status = keep(program, child_signals);
    kill_everything();
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
