// Room for a signal handler on a thread whose own stack has run over.
#pragma once

#include <array>
#include <csignal>

namespace sluice {

// For the thread that makes it; ends on that thread, after whatever it was made for.
class FaultStack {
public:
    FaultStack()
    {
        ::stack_t stack{};
        stack.ss_sp = bytes_.data();
        stack.ss_size = bytes_.size();
        ::sigaltstack(&stack, &before_);
    }
    ~FaultStack() { ::sigaltstack(&before_, nullptr); }
    FaultStack(FaultStack const&) = delete;
    FaultStack& operator=(FaultStack const&) = delete;

private:
    std::array<char, 64u << 10> bytes_;
    ::stack_t                   before_{};
};

}  // namespace sluice
