// What a failure does to everybody else, in numbers: containment [--json] [--only poison] [--outage 60] [--dir DIR]
#include "contract/containment.hpp"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using namespace std::chrono_literals;
using namespace sluice;
using namespace sluice::test;

struct Arguments {
    bool                  is_json{false};
    std::string           only{};
    int                   outage{60}, length{10};  // seconds
    std::uint64_t         events{3'000'000};       // of the long outage
    std::filesystem::path place{std::filesystem::temp_directory_path()};
};

// One line, whatever its form: a name and numbers.
class Line {
public:
    Line(bool is_json, char const* figure) : is_json_(is_json)
    {
        text_ = is_json ? R"({"figure":")" + std::string(figure) + '"' : figure;
    }
    ~Line() { std::printf("%s%s\n", text_.c_str(), is_json_ ? "}" : ""), std::fflush(stdout); }
    Line& add(char const* name, double value)
    {
        char number[64];
        std::snprintf(number, sizeof number, "%.6g", value);
        text_ += is_json_ ? ",\"" + std::string(name) + "\":" + number : "  " + std::string(name) + ' ' + number;
        return *this;
    }
    Line& add(char const* name, std::uint64_t value) { return add(name, static_cast<double>(value)); }
    Line& add(char const* name, bench::Latencies const& latencies)
    {
        auto const ms = [](std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e6; };
        std::string const prefix(name);
        add((prefix + "_p50_ms").c_str(), ms(latencies.percentile(0.5)));
        add((prefix + "_p99_ms").c_str(), ms(latencies.percentile(0.99)));
        return add((prefix + "_max_ms").c_str(), ms(latencies.max()));
    }

private:
    bool        is_json_;
    std::string text_;
};

// A directory for one figure, gone with it.
class Place {
public:
    explicit Place(Arguments const& arguments)
    {
        auto pattern = (arguments.place / "containment-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error(pattern);
        path = pattern;
    }
    ~Place() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

void check(Line& line, bool is_drained, bool is_in_order)
{
    line.add("drained", std::uint64_t{is_drained}).add("in_order", std::uint64_t{is_in_order});
}

void poison(Arguments const& arguments)
{
    Place const place(arguments);
    auto const  f = measure_poison(place.path, {.service = 200us}, std::chrono::seconds(arguments.length), 3);
    Line        line(arguments.is_json, "poison");
    line.add("baseline", f.baseline).add("beside_transient", f.beside_transient);
    line.add("share_transient", f.beside_transient / f.baseline).add("attempts", f.attempts);
    line.add("baseline_again", f.baseline_again).add("beside_invalid", f.beside_invalid);
    line.add("share_invalid", f.beside_invalid / f.baseline_again).add("dead_letters", f.dead_letters);
    check(line, f.is_drained, f.is_in_order);
}

void outage(Arguments const& arguments)
{
    Place const place(arguments);
    auto const  f = measure_outage(place.path, {.service = 200us}, 500, std::chrono::seconds(arguments.outage), 10s);
    {
        Line line(arguments.is_json, "outage");
        line.add("posted", f.posted).add("refused", f.refused).add("dead_letters", f.dead_letters);
        line.add("calls_away", f.calls_away).add("probes", f.probes);
        line.add("seconds_to_notice", f.seconds_to_notice).add("seconds_to_catch_up", f.seconds_to_catch_up);
        line.add("worst_share_of_budget", f.worst_share);
        check(line, f.is_drained, f.is_in_order);
    }
    for (auto const& w : f.windows)
        Line(arguments.is_json, "outage_window").add("from", w.from).add("calls", w.calls).add("retries", w.retries)
            .add("allowed", w.allowed).add("applied", w.applied);
}

void flood(Arguments const& arguments)
{
    Place const place(arguments);
    auto const  f = measure_flood(place.path, {.service = 200us}, 20, std::chrono::seconds(8 * arguments.length));
    Line        line(arguments.is_json, "flood");
    line.add("rate", f.rate).add("low_posted", f.low_posted).add("low_applied", f.low_applied);
    line.add("low_longest_s", Seconds(f.journeys[0].max()).count()).add("low_exported_wait_s", f.longest_wait.count());
    line.add("bound_least_s", f.least_bound.count()).add("bound_most_s", f.most_bound.count());
    line.add("looks", f.looks).add("looks_above", f.above);
    line.add("low", f.journeys[0]).add("high", f.journeys[index(Tier::high)]);
    check(line, f.is_drained, f.is_in_order);
}

void critical(
    Arguments const& arguments, char const* name, std::chrono::nanoseconds service, std::uint32_t places = 65'536)
{
    Place const  place(arguments);
    Rig::Options options{.service = service, .journeys_max = 10'000'000};
    options.engine.admission.events = places;
    options.engine.admission.bytes = std::uint64_t{places} * 4'096;
    auto const f = measure_critical(place.path, options, 500, std::chrono::seconds(arguments.length));
    Line       line(arguments.is_json, name);
    line.add("rate", f.rate).add("low_most", f.most).add("low_least", f.least);
    line.add("criticals", f.critical.count()).add("critical", f.critical).add("low", f.low);
    check(line, f.is_drained, f.is_in_order);
}

// Ten minutes of 5,000 events a second, as fast as the log takes them.
void long_outage(Arguments const& arguments)
{
    constexpr std::size_t request = 5'000;
    Place const           place(arguments);
    Rig                   rig(place.path, {.lanes = 20'000, .journeys_max = 0, .write_buffer_bytes = 4u << 20});
    schema::Decoder       decoder(rig.schemas);
    rig.graph.is_away = true;
    auto const    before = resident_bytes();
    auto          most = before;
    std::uint64_t posted = 0, full = 0;
    auto const    start = rig.clock.now();
    while (posted < arguments.events) {
        // A producer waits while the log is behind; with no events in the log's queue there is no excuse.
        bool const is_log_behind = rig.engine.append_waits();
        if (rig.post(decoder, {.lanes = 20'000}, posted, request))
            posted += request;
        else {
            full += !is_log_behind && rig.engine.admission().use().events == 0;
            std::this_thread::sleep_for(1ms);
        }
        most = std::max(most, resident_bytes());
    }
    rig.await([&] { return rig.engine.lanes().backlog == posted; }, 60s);
    auto const in_log = rig.clock.now();
    auto const calls = rig.graph.calls.load();
    auto const backlog = rig.engine.lanes().backlog;
    rig.graph.is_away = false;
    rig.await([&] { return rig.engine.graph_answers(); }, 60s);
    auto const noticed = rig.clock.now();
    bool const is_drained = rig.drain(600s);
    auto const seconds = Seconds(rig.clock.now() - noticed).count();
    Line       line(arguments.is_json, "long_outage");
    line.add("posted", posted).add("refused", full).add("backlog", backlog).add("calls_away", calls);
    line.add("memory_grew_mib", static_cast<double>(most - before) / (1 << 20));
    line.add("into_the_log_per_s", static_cast<double>(posted) / Seconds(in_log - start).count());
    line.add("caught_up_per_s", static_cast<double>(posted) / seconds);
    line.add("dead_letters", rig.engine.state().dead_lettered);
    check(line, is_drained, rig.graph.is_in_order);
}

}  // namespace

int main(int argc, char** argv)
{
    Arguments arguments;
    for (int i = 1; i < argc; ++i) {
        std::string_view const name = argv[i];
        char const* const      value = i + 1 < argc ? argv[i + 1] : nullptr;
        if (name == "--json")
            arguments.is_json = true;
        else if (value == nullptr || !name.starts_with("--"))
            return std::fprintf(stderr, "containment: what is %s?\n", argv[i]), 2;
        else if (++i; name == "--only")
            arguments.only = value;
        else if (name == "--dir")
            arguments.place = value;
        else if (name == "--outage")
            arguments.outage = std::atoi(value);
        else if (name == "--length")
            arguments.length = std::atoi(value);
        else if (name == "--events")
            arguments.events = std::strtoull(value, nullptr, 10);
        else
            return std::fprintf(stderr, "containment: what is %s?\n", argv[i - 1]), 2;
    }
    auto const wants = [&](char const* figure) { return arguments.only.empty() || arguments.only == figure; };
    if (wants("poison")) poison(arguments);
    if (wants("outage")) outage(arguments);
    if (wants("flood")) flood(arguments);
    if (wants("critical")) {
        critical(arguments, "critical", 0us, 1u << 20);  // so that it lasts a while
        critical(arguments, "critical_20us_an_event", 20us);
        critical(arguments, "critical_100us_an_event", 100us);
        critical(arguments, "critical_1ms_an_event", 1ms);
    }
    if (wants("long_outage")) long_outage(arguments);
    return 0;
}
