// Programs that end with the test, and what every server of the tests needs besides.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace sluice::test {

inline constexpr std::chrono::seconds server_patience{60};  // for a start, a stop, one command

// A program and everything it forks, run as an unprivileged user where the test is root. All of it ends with the
// object, and with the test, however that ends. One thread.
class KeptProcess {
public:
    // What it says goes to the end of the file `log`. Paths must be absolute.
    KeptProcess(std::vector<std::string> const& arguments, std::filesystem::path const& log);
    ~KeptProcess();
    KeptProcess(KeptProcess const&) = delete;
    KeptProcess& operator=(KeptProcess const&) = delete;

    // SIGSTOP and SIGCONT reach all of its processes before this returns, others are sent to the program.
    void signal(int number);
    // The exit code, 128 + n if signal n ended it; then nothing of it is left. nullopt: it runs.
    std::optional<int> wait(std::chrono::milliseconds limit);

private:
    pid_t              keeper_{-1};
    int                socket_{-1};
    std::optional<int> code_;
};

// What the program said; throws, with that, when it fails or takes too long.
std::string run_kept(std::vector<std::string> const& arguments);

// A directory that the unprivileged user owns, gone with the object.
class ServerDirectory {
public:
    ServerDirectory();
    ~ServerDirectory();
    ServerDirectory(ServerDirectory const&) = delete;
    ServerDirectory& operator=(ServerDirectory const&) = delete;

    std::filesystem::path const& path() const noexcept { return path_; }

private:
    std::filesystem::path path_;
};

// Makes the unprivileged user its owner.
void give_away(std::filesystem::path const& path);

// On loopback, and below the ports that clients get: whoever keeps connecting to one of those while nobody listens
// may in the end be connected to itself.
std::uint16_t free_port();

// Calls `start` with a free port, and with another one if it throws: somebody may have been faster.
void start_on_free_port(std::function<void(std::uint16_t port)> const& start);

// Returns when `is_ready` holds; throws, with the end of `log`, when `process` ended or that takes too long.
void wait_until_ready(KeptProcess& process, std::function<bool()> const& is_ready, std::filesystem::path const& log);

std::string read_end(std::filesystem::path const& file);  // its last 4 KiB

}  // namespace sluice::test
