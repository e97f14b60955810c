#include "app/fault_note.hpp"

#include "engine/suspects.hpp"

#include <array>
#include <csignal>
#include <unistd.h>

namespace sluice::app {

namespace {

constexpr std::array signals{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// A signal handler has nothing but what is static. Constant while the handlers are there.
std::span<std::byte>                         notes;
std::array<struct sigaction, signals.size()> before;

void put_back() noexcept
{
    for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &before[i], nullptr);
}

// Lets whoever was there before have the signal: an instruction that faulted faults again, what was raised is raised
// again.
void on_fault(int number, siginfo_t* info, void*)
{
    bool const is_raised = info->si_code <= 0;
    if (!is_raised || info->si_pid == getpid()) engine::Suspects::note_fault(notes);
    put_back();
    if (is_raised) raise(number);
}

}  // namespace

FaultNote::FaultNote(std::span<std::byte> kept)
{
    notes = kept;
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &action, &before[i]);
}

FaultNote::~FaultNote() { put_back(); }

}  // namespace sluice::app
