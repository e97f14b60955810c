// Measures a running server: posts events, waits until all of them are in the graph, reads the server's own numbers
// before and after.
#include "app/client.hpp"
#include "app/commands.hpp"
#include "app/exit_codes.hpp"
#include "app/system_clock.hpp"
#include "bench/generator.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

namespace sluice::app {

namespace json = boost::json;
using bench::Generator;
using bench::Tally;

namespace {

// ---- the server's numbers

// Of sluice_projection_seconds: how many events took at most so many seconds.
struct DelayBucket {
    double upper;
    double count;  // of this bucket and those below
};
using DelayBuckets = std::vector<DelayBucket>;

struct Scrape {
    std::array<DelayBuckets, tier_count> delays;
    double                               disk_bytes{0};
};

// The value of a label in a line of the Prometheus text format.
std::string_view label(std::string_view line, std::string_view name)
{
    auto const from = line.find(name);
    if (from == line.npos) return {};
    auto const begin = from + name.size() + 2;  // ="
    return line.substr(begin, line.find('"', begin) - begin);
}

Scrape parse_metrics(std::string const& text)
{
    Scrape scrape;
    for (std::size_t at = 0, end; at < text.size(); at = end + 1) {
        end = std::min(text.find('\n', at), text.size());
        auto const line = std::string_view(text).substr(at, end - at);
        auto const value = std::strtod(text.c_str() + at + line.rfind(' ') + 1, nullptr);
        if (line.starts_with("sluice_log_disk_bytes ")) scrape.disk_bytes = value;
        if (!line.starts_with("sluice_projection_seconds_bucket{")) continue;
        for (std::size_t t = 0; t < tier_count; ++t)
            if (label(line, "tier") == tier_names[t])
                scrape.delays[t].push_back({std::strtod(label(line, "le").data(), nullptr), value});
    }
    return scrape;
}

DelayBuckets operator-(DelayBuckets const& after, DelayBuckets const& before)
{
    auto result = after;
    for (std::size_t i = 0; i < std::min(after.size(), before.size()); ++i) result[i].count -= before[i].count;
    return result;
}

// The delay that a share of `p` does not exceed, in seconds, spread evenly within its bucket.
double percentile(DelayBuckets const& delays, double p)
{
    if (delays.empty() || delays.back().count == 0) return 0;
    auto const wanted = p * delays.back().count;
    double     lower = 0, below = 0;
    for (auto const& [upper, count] : delays) {
        if (count >= wanted && count > below)
            return std::isinf(upper) ? lower : lower + (upper - lower) * (wanted - below) / (count - below);
        lower = upper;
        below = count;
    }
    return lower;
}

struct State {
    std::uint64_t accepted{0}, pending{0};
};

// ---- processors

double own_cpu_seconds()
{
    rusage use{};
    getrusage(RUSAGE_SELF, &use);
    auto const seconds = [](timeval const& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(use.ru_utime) + seconds(use.ru_stime);
}

// Nothing when there is no such process.
std::optional<double> cpu_seconds_of(int pid)
{
    std::ifstream     stat("/proc/" + std::to_string(pid) + "/stat");
    std::string const text((std::istreambuf_iterator<char>(stat)), {});
    unsigned long     user = 0, system = 0;
    auto const        name_end = text.rfind(')');  // a name may hold blanks
    if (name_end == text.npos ||
        std::sscanf(text.c_str() + name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                    &system) != 2)
        return std::nullopt;
    return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// ---- the run

struct Snapshot {
    State  state;
    Scrape scrape;
    double own_cpu{0}, server_cpu{0};
};

struct Measured {
    Snapshot before, after;
    Tally    tally;
    double   end_to_end_seconds{0};  // until nothing was pending
};

class Bench {
public:
    Bench(Client client, BenchOptions const& options) : client_(std::move(client)), options_(options) {}

    Result<Measured> run(Generator& generator)
    {
        if (options_.warmup > 0)
            if (auto const warm = generator.run(time(options_.warmup)); !warm) return warm.error();
        if (auto const rest = settle(); !rest) return rest.error();

        Measured m;
        if (auto const taken = snapshot(m.before); !taken) return taken.error();
        auto const start = clock_.now();
        auto       tally = generator.run(time(options_.seconds));
        if (!tally) return tally.error();
        m.tally = std::move(*tally);
        if (auto const rest = settle(); !rest) return rest.error();
        m.end_to_end_seconds = std::chrono::duration<double>(clock_.now() - start).count();
        if (auto const taken = snapshot(m.after); !taken) return taken.error();
        return m;
    }

private:
    static std::chrono::nanoseconds time(double seconds)
    {
        return std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
    }

    Result<std::string> get(std::string const& target)
    {
        auto response = client_.get(target);
        if (!response) return response.error();
        if (response->status != 200)
            return Error{Errc::unavailable, "status", target + " answered " + std::to_string(response->status)};
        return std::move(response->body);
    }

    Result<State> state()
    {
        auto const body = get("/v1/state");
        if (!body) return body.error();
        auto const object = json::parse(*body);
        State      state{.accepted = object.at("accepted").to_number<std::uint64_t>()};
        for (auto const& [tier, events] : object.at("pending").as_object())
            state.pending += events.to_number<std::uint64_t>();
        return state;
    }

    // Until nothing is pending.
    Result<> settle()
    {
        constexpr auto patience = std::chrono::seconds(60);  // without progress
        State          last;
        auto           progress = clock_.now();
        for (;;) {
            auto const now = state();
            if (!now) return now.error();
            if (now->pending == 0) return {};
            if (now->pending != last.pending) progress = clock_.now();
            last = *now;
            if (clock_.now() - progress > patience)
                return Error{Errc::unavailable, "pending", "the server does not settle what it has accepted"};
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

    Result<> snapshot(Snapshot& to)
    {
        auto const state = this->state();
        if (!state) return state.error();
        auto const metrics = get("/metrics");
        if (!metrics) return metrics.error();
        to.state = *state;
        to.scrape = parse_metrics(*metrics);
        to.own_cpu = own_cpu_seconds();
        if (options_.server_pid == 0) return {};
        auto const cpu = cpu_seconds_of(options_.server_pid);
        if (!cpu) return Error{Errc::invalid, "pid", "there is no process " + std::to_string(options_.server_pid)};
        to.server_cpu = *cpu;
        return {};
    }

    SystemClock const   clock_;
    Client              client_;
    BenchOptions const& options_;
};

// ---- the report

std::int64_t microseconds(std::chrono::nanoseconds time)
{
    return std::chrono::round<std::chrono::microseconds>(time).count();
}
std::int64_t microseconds(double seconds) { return std::llround(seconds * 1e6); }

std::uint64_t refused_events(Tally const& tally)
{
    std::uint64_t events = 0;
    for (auto const& [status, count] : tally.refused) events += count;
    return events;
}

json::object report_of(BenchOptions const& options, Measured const& m)
{
    auto const& tally = m.tally;
    auto const  seconds = std::chrono::duration<double>(tally.elapsed).count();
    auto const  accepted = static_cast<double>(tally.accepted);
    auto const  per_million = [&](double value) { return value / std::max(accepted, 1.0) * 1e6; };

    json::object refused;
    for (auto const& [status, events] : tally.refused) refused[std::to_string(status)] = events;

    DelayBuckets all;
    json::object by_tier;
    for (std::size_t t = tier_count; t-- > 0;) {
        auto const delays = m.after.scrape.delays[t] - m.before.scrape.delays[t];
        if (all.empty()) all = delays;
        else
            for (std::size_t i = 0; i < all.size(); ++i) all[i].count += delays[i].count;
        by_tier[tier_names[t]] = microseconds(percentile(delays, 0.99));
    }
    auto const own_cpu = m.after.own_cpu - m.before.own_cpu;
    auto const at = [&](double p) { return microseconds(tally.requests.percentile(p)); };
    auto const delay = [&](double p) { return microseconds(percentile(all, p)); };

    json::object report{
        {"mode", options.rate > 0 ? "open" : "closed"},
        {"connections", options.connections},
        {"batch", options.batch},
        {"rate", options.rate},
        {"seconds", seconds},
        {"events", tally.events},
        {"accepted", tally.accepted},
        {"duplicates", tally.duplicates},
        {"refused", std::move(refused)},
        {"unsent", tally.unsent},
        {"accepted_per_second", std::llround(accepted / seconds)},
        {"end_to_end_per_second", std::llround(accepted / m.end_to_end_seconds)},
        {"latency_us",
         {{"p50", at(.5)}, {"p90", at(.9)}, {"p99", at(.99)}, {"p99.9", at(.999)},
          {"max", microseconds(tally.requests.max())}}},
        {"projection_us",
         {{"events", all.empty() ? 0 : static_cast<std::uint64_t>(all.back().count)},
          {"p50", delay(.5)}, {"p99", delay(.99)}, {"p99.9", delay(.999)}, {"p99_by_tier", std::move(by_tier)}}},
        {"generator", {{"cpu_seconds_per_million", per_million(own_cpu)}, {"cores", own_cpu / m.end_to_end_seconds}}},
        {"server", nullptr},
        {"body_bytes", tally.body_bytes / std::max<std::uint64_t>(tally.events, 1)},
        {"disk_bytes_per_event", std::llround(m.after.scrape.disk_bytes /
                                              static_cast<double>(std::max<std::uint64_t>(m.after.state.accepted, 1)))},
    };
    if (options.server_pid != 0) {
        auto const cpu = m.after.server_cpu - m.before.server_cpu;
        report["server"] = {
            {"cpu_seconds_per_million", per_million(cpu)}, {"cores", cpu / m.end_to_end_seconds}};
    }
    return report;
}

void print_table(json::object const& r)
{
    auto const real = [&](char const* object, char const* name) { return r.at(object).at(name).to_number<double>(); };
    auto const ms = [&](char const* object, char const* name) { return real(object, name) / 1e3; };
    auto const count = [&](char const* name) { return r.at(name).to_number<std::uint64_t>(); };
    auto const number = [&](char const* name) { return r.at(name).to_number<double>(); };

    auto const rate = number("rate");
    fmt::print("{}, {} connections, batches of {}, bodies of {} bytes, {:.1f} s\n",
               rate > 0 ? fmt::format("open loop at {:.0f} events/s", rate) : "closed loop", count("connections"),
               count("batch"), count("body_bytes"), number("seconds"));
    fmt::print("events       {} accepted, {} duplicates", count("accepted"), count("duplicates"));
    for (auto const& [status, events] : r.at("refused").as_object())
        fmt::print(", {} refused with {}", events.to_number<std::uint64_t>(), std::string_view(status));
    if (count("unsent") != 0) fmt::print(", {} not sent in time", count("unsent"));
    fmt::print("\naccepted     {} events/s\nend to end   {} events/s, until all were in the graph\n",
               count("accepted_per_second"), count("end_to_end_per_second"));
    fmt::print("latency      ms of a request: p50 {:.3f}  p90 {:.3f}  p99 {:.3f}  p99.9 {:.3f}  max {:.3f}\n",
               ms("latency_us", "p50"), ms("latency_us", "p90"), ms("latency_us", "p99"),
               ms("latency_us", "p99.9"), ms("latency_us", "max"));
    fmt::print("projection   ms from durable to applied: p50 {:.3f}  p99 {:.3f}  p99.9 {:.3f};  p99",
               ms("projection_us", "p50"), ms("projection_us", "p99"), ms("projection_us", "p99.9"));
    for (auto const& [tier, p99] : r.at("projection_us").at("p99_by_tier").as_object())
        fmt::print(" {} {:.3f}", std::string_view(tier), p99.to_number<double>() / 1e3);
    fmt::print("\n");
    for (auto const* const who : {"server", "generator"})
        if (!r.at(who).is_null())
            fmt::print("{:<12} {:.2f} CPU s per million events, {:.2f} cores\n", who,
                       real(who, "cpu_seconds_per_million"), real(who, "cores"));
    fmt::print("disk         {} bytes per event in the log\n", count("disk_bytes_per_event"));
}

// Everything taken, some of it, or why nothing was.
int exit_of(Tally const& tally)
{
    if (tally.refused.empty() && tally.unsent == 0) return Exit::ok;
    if (refused_events(tally) != tally.events || tally.events == 0) return Exit::partial;
    auto const status = tally.refused.begin()->first;
    return status == 429 || status == 503 ? Exit::backpressure : Exit::failure;
}

}  // namespace

int bench(Remote const& remote, BenchOptions const& options, bool as_json)
{
    auto const address = Address::parse(remote.url);
    if (!address) return fail(address.error());
    auto client = Client::open(remote.url, remote.key);
    if (!client) return fail(client.error());
    auto const reachable = client->get("/v1/state");
    if (!reachable) return fail(reachable.error());
    if (reachable->status != 200) return refused(*reachable);

    // At a low rate only as many as have something to send every ten seconds: a server closes what idles too long.
    auto connections = options.connections;
    if (options.rate > 0)
        connections = std::min(connections, 1 + static_cast<std::size_t>(
                                                    10 * options.rate / static_cast<double>(options.batch)));
    std::vector<int> sockets;
    while (sockets.size() < connections) {
        auto const socket = connect_to(*address);
        if (!socket) return fail(socket.error());
        sockets.push_back(*socket);
    }
    SystemClock const clock;
    // Above every revision of an earlier run.
    auto const      base = static_cast<std::uint64_t>(clock.wall().time_since_epoch().count()) << 10;
    bench::Workload workload(options.workload, base);
    Generator       generator(sockets, {.host = address->text(), .key = remote.key, .batch = options.batch,
                                        .rate = options.rate,
                                        .rest = std::chrono::nanoseconds(std::llround(options.rest * 1e9))},
                              workload, clock);
    // Requests are due to the microsecond; by default the kernel wakes sleepers up to 50 later.
    prctl(PR_SET_TIMERSLACK, 1ul);

    auto const measured = Bench(std::move(*client), options).run(generator);
    if (!measured) return fail(measured.error());
    auto const report = report_of(options, *measured);
    if (as_json)
        fmt::print("{}\n", json::serialize(report));
    else
        print_table(report);

    if (!measured->tally.refused.empty())
        fmt::print(stderr, "sluice: the first refusal was {}\n", measured->tally.refusal);
    auto const counted = measured->after.state.accepted - measured->before.state.accepted;
    if (counted != measured->tally.accepted)
        fmt::print(stderr, "sluice: the server accepted {} events and {} were ours: somebody else writes to it\n",
                   counted, measured->tally.accepted);
    return exit_of(measured->tally);
}

}  // namespace sluice::app
