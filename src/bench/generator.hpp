// Posts events over many connections and times the answers.
//
// It shares the machine with what it measures, so it does little: one thread, bodies prepared before, nothing
// allocated per request.
#pragma once

#include "bench/latencies.hpp"
#include "bench/workload.hpp"

#include <sluice/clock.hpp>
#include <sluice/result.hpp>

#include <deque>
#include <map>
#include <string>
#include <vector>

namespace sluice::bench {

struct GeneratorOptions {
    std::string host;  // as the Host header says it
    std::string key;
    std::size_t batch{1};  // events in one request; 1: the route for single events
    // Events a second. Latency counts from when a request was due, whether or not a connection was free. 0: a
    // connection sends when it has its answer, and latency counts from then.
    double rate{0};
    std::chrono::nanoseconds rest{std::chrono::milliseconds(10)};  // of a connection after a refusal, without a rate
};

struct Tally {
    Latencies                    requests;
    std::uint64_t                events{0};  // answered: accepted + duplicates + refused
    std::uint64_t                accepted{0}, duplicates{0};
    std::map<int, std::uint64_t> refused;    // events, by status
    std::string                  refusal;    // the first one, as the server put it
    std::uint64_t                unsent{0};  // events that were due and found no free connection
    std::uint64_t                body_bytes{0};
    std::chrono::nanoseconds     elapsed{0};  // until the last answer
};

class Generator {
public:
    // `sockets` are connected, one for each request that may be under way, and are closed by the generator.
    Generator(std::vector<int> const& sockets, GeneratorOptions options, Workload& workload, Clock const& clock);
    ~Generator();
    Generator(Generator const&) = delete;
    Generator(Generator&&) = delete;

    // Sends for so long, then waits for the answers. `unavailable` when the server closes a connection or is silent
    // for half a minute.
    Result<Tally> run(std::chrono::nanoseconds length);

private:
    struct Connection {
        int               socket{-1};
        bool              busy{false};
        std::vector<char> request;
        std::size_t       request_size{0}, sent{0};
        std::vector<char> answer;
        std::size_t       received{0};
        Clock::Mono       due{};
    };
    struct Answer {
        int              status{0};  // 0: not there yet
        std::string_view body{};
    };
    struct Rest {
        std::size_t connection;
        Clock::Mono until;
    };

    Clock::Mono    due(std::uint64_t request) const;
    void           send_due(Clock::Mono now);
    void           fill(Connection& connection);
    void           write(Connection& connection);
    Result<Answer> read(Connection& connection);
    Result<>       wait(Clock::Mono now);
    void           count(Answer const& answer);

    GeneratorOptions const   options_;
    Workload&                workload_;
    Clock const&             clock_;
    int                      poller_;
    std::size_t              head_size_;  // of a request, the same for all
    std::size_t              length_at_;  // where its Content-Length ends
    std::vector<Connection>  connections_;
    std::deque<std::size_t>  idle_;  // the longest idle is used first: a server closes what idles too long
    std::deque<Rest>         resting_;  // by time

    // Of the current run.
    Tally         tally_;
    Clock::Mono   start_{};
    std::uint64_t requests_{0};      // sent
    std::uint64_t requests_max_{0};  // due in all; open loop only
    bool          sending_{false};
};

}  // namespace sluice::bench
