// Somebody who takes up again what was given up, pauses and resumes, and starts and stops jobs: all through the
// engine's public interface, at any moment.
#pragma once

#include "sim/faults.hpp"

#include <map>

namespace sluice::sim {

class Operator {
public:
    // What the process of the moment offers.
    struct Site {
        engine::Engine&             engine;
        log::EventLog const&        log;
        Program&                    program;
        log::MemoryLog::Disk const& disk;
    };

    Operator(std::vector<SimEvent> const& events, FaultContext& context) : events_(events), context_(context) {}

    void act(Site site);  // anything
    // Lifts pauses, lets jobs go on and makes room, one thing at a time. False if there is nothing of this to do.
    bool settle(Site site);
    // Once everything is at rest: releases what could be applied. False if there is nothing.
    bool release_rest(Site site);

    void crash()
    {
        in_flight_.clear();
        successors_.reset();
    }
    std::size_t places() const;  // held by what is in flight

private:
    struct Flight {
        std::uint32_t      places{0};
        std::set<Sequence> open{};  // of what is to be taken up, when it was said
    };

    void take_up(Site site);
    void pause_or_resume(Site site);
    void set_something(Site site);
    void steer_job(Site site);
    void start_job(Site site, engine::Job job);
    bool add(Site site, engine::Block& block, Sequence sequence, log::Verdict verdict);
    void submit(Site site, engine::BlockRef block);
    void say(Site site, Control control, std::string payload, bool even_if_useless);
    void answered(Site site, std::uint64_t token, engine::Block const& block);
    bool is_open(Sequence sequence, log::Verdict wanted) const;
    std::string nonce() { return std::to_string(++nonce_); }

    std::vector<SimEvent> const&    events_;
    FaultContext&                   context_;
    std::map<std::uint64_t, Flight> in_flight_;  // by token
    std::optional<engine::Successors> successors_;  // of the process
    std::uint64_t                   nonce_{0};
};

}  // namespace sluice::sim
