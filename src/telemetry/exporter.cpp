#include "telemetry/exporter.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::telemetry {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

double seconds(std::uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }
double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

struct Sample {
    double           value;
    std::string label{};   // its value; the name belongs to the family
    std::string second{};  // of a family with two
};

// One sample a tier, the most important first.
std::vector<Sample> by_tier(auto const& value)
{
    std::vector<Sample> samples;
    for (std::size_t t = tier_count; t-- > 0;) samples.push_back({value(t), std::string(tier_names[t])});
    return samples;
}

using DelaysOfTiers = std::array<engine::Delays const*, tier_count>;

DelaysOfTiers by_tier_of(std::array<engine::Delays, tier_count> const& delays)
{
    DelaysOfTiers pointers{};
    for (std::size_t t = 0; t < tier_count; ++t) pointers[t] = &delays[t];
    return pointers;
}

class Families {
public:
    void counter(
        char const* name, char const* help, std::vector<Sample> const& samples, char const* label = "",
        char const* second = "")
    {
        add(name, help, MetricType::Counter, samples, label, second);
    }
    void gauge(char const* name, char const* help, std::vector<Sample> const& samples, char const* label = "")
    {
        add(name, help, MetricType::Gauge, samples, label);
    }
    // One histogram a tier, the most important first.
    void histogram(char const* name, char const* help, DelaysOfTiers const& delays)
    {
        MetricFamily family{.name = name, .help = help, .type = MetricType::Histogram, .metric = {}};
        for (std::size_t t = tier_count; t-- > 0;) {
            ClientMetric metric;
            metric.label.push_back({"tier", std::string(tier_names[t])});
            auto& histogram = metric.histogram;
            for (std::size_t i = 0; i < engine::Delays::bucket_count; ++i) {
                histogram.sample_count += delays[t]->count(i);
                bool const last = i + 1 == engine::Delays::bucket_count;
                auto const bound =
                    last ? std::numeric_limits<double>::infinity() : seconds(engine::Delays::upper(i));
                histogram.bucket.push_back({.cumulative_count = histogram.sample_count, .upper_bound = bound});
            }
            histogram.sample_sum = seconds(delays[t]->total());
            family.metric.push_back(std::move(metric));
        }
        families_.push_back(std::move(family));
    }
    std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

private:
    void add(
        char const* name, char const* help, MetricType type, std::vector<Sample> const& samples, char const* label,
        char const* second = "")
    {
        MetricFamily family{.name = name, .help = help, .type = type, .metric = {}};
        for (auto const& sample : samples) {
            ClientMetric metric;
            if (!sample.label.empty()) metric.label.push_back({label, sample.label});
            if (!sample.second.empty()) metric.label.push_back({second, sample.second});
            (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = sample.value;
            family.metric.push_back(std::move(metric));
        }
        families_.push_back(std::move(family));
    }

    std::vector<MetricFamily> families_;
};

// What waits for an operator, and the jobs that take it up.
void add_taken_up(Families& f, engine::Engine const& engine, WallTime now)
{
    auto const num = [](std::uint64_t n) { return static_cast<double>(n); };
    auto const age = [&](std::optional<WallTime> since) {
        return since && now > *since ? seconds(std::chrono::nanoseconds(now - *since)) : 0;
    };
    auto const  letters = engine.dead_letters().stats();
    auto const& limits = engine.dead_letters().limits();
    f.gauge("sluice_dead_letters", "Open dead letters.", {{num(letters.count)}});
    f.gauge("sluice_dead_letters_limit", "How many there may be.", {{num(limits.events)}});
    f.gauge("sluice_dead_letters_bytes", "Bytes of open dead letters.", {{num(letters.bytes)}});
    f.gauge("sluice_dead_letters_bytes_limit", "How many there may be.", {{num(limits.bytes)}});
    f.gauge("sluice_dead_letters_full", "1 while lanes wait since there is no room.", {{letters.is_full ? 1.0 : 0.0}});
    f.gauge("sluice_dead_letters_oldest_age_seconds", "Age of the oldest open verdict.", {{age(letters.oldest)}});
    constexpr std::size_t reasons_max = 20;
    std::vector<Sample>   by_reason;
    double                others = 0;
    for (auto const& [reason, count] : letters.by_reason) by_reason.push_back({num(count), reason});
    std::ranges::stable_sort(by_reason, std::greater{}, &Sample::value);
    for (auto i = reasons_max; i < by_reason.size(); ++i) others += by_reason[i].value;
    if (by_reason.size() > reasons_max) by_reason.resize(reasons_max);
    if (others != 0) by_reason.push_back({others, "other"});
    f.gauge("sluice_dead_letters_by_reason", "Open dead letters, by reason.", by_reason, "reason");

    std::optional<WallTime> oldest;
    for (auto const& [type, waiting] : engine.parking().by_type())
        oldest = oldest ? std::min(*oldest, waiting.oldest) : waiting.oldest;
    f.gauge("sluice_parked_oldest_age_seconds", "Age of the oldest parked event.", {{age(oldest)}});
    auto const totals = engine.jobs().totals();
    auto const job = engine.controls().state().job;
    f.counter("sluice_job_events_total", "Events that jobs took up, or had to leave, since the start.",
              {{num(totals.done), "done"}, {num(totals.failed), "failed"}}, "result");
    f.gauge("sluice_jobs_active", "1 while a job is under way.", {{job && !job->is_stopped ? 1.0 : 0.0}});
}

// What keeps a failure to itself.
void add_containment(Families& f, engine::Engine const& engine, engine::LaneStats const& lanes)
{
    auto const num = [](std::uint64_t n) { return static_cast<double>(n); };
    constexpr std::array<char const*, engine::lane_state_count> states{
        "ready", "running", "retrying", "held", "paused"};
    std::vector<Sample> by_state;
    for (std::size_t i = 0; i < states.size(); ++i) by_state.push_back({num(lanes.states[i].lanes), states[i]});
    f.gauge("sluice_lanes_by_state", "Lanes with pending events, by what they do.", by_state, "state");
    f.gauge("sluice_lanes_stuck", "Lanes that do not move although they could; at most 8 are looked for.",
            {{num(lanes.stuck.size())}});
    f.gauge("sluice_retries_waiting", "Lanes whose retry is due and has no budget yet.",
            {{num(lanes.waiting_for_budget)}});
    f.gauge("sluice_service_rate", "Events settled per second, lately.", {{lanes.rate}});
    f.gauge("sluice_backlog_events", "Pending events that are read from the log again when their turn comes.",
            {{num(lanes.backlog)}});
    f.gauge("sluice_backlog_entries", "Entries in use; a lane with a backlog counts as several.",
            {{num(engine.admission().use().backlog)}});
    f.gauge("sluice_backlog_entries_max", "Entries there are.", {{num(engine.admission().limits().backlog)}});
    auto const breaker = engine.graph_breaker();
    f.gauge("sluice_breaker_state", "0 closed, 1 open, 2 probing, by dependency.",
            {{num(static_cast<std::uint64_t>(breaker.state)), breaker.name}}, "dependency");
    f.counter("sluice_breaker_opened_total", "How often it opened since the start.",
              {{num(breaker.opened), breaker.name}}, "dependency");
    f.counter("sluice_breaker_probes_total", "Probes sent while it was open.", {{num(breaker.probes), breaker.name}},
              "dependency");
    f.counter("sluice_breaker_failures_total", "Answers that the dependency is unavailable.",
              {{num(breaker.failures), breaker.name}}, "dependency");
    f.gauge("sluice_workers", "Workers wanted.", {{num(engine.workers())}});
}

void add_cache(Families& f, cache::Answers const& answers)
{
    auto const num = [](std::uint64_t n) { return static_cast<double>(n); };
    auto const counts = answers.counts();
    auto const stats = answers.stats();
    f.counter("sluice_cache_lookups_total",
              "Answers asked for: kept and still true, computed, or waited for while somebody computed the same.",
              {{num(counts.hits), "hit"}, {num(counts.misses), "miss"}, {num(counts.shared), "shared"}}, "result");
    f.gauge("sluice_cache_backend", "1 for what keeps answers now.", {{1, std::string(stats.backend)}}, "backend");
    f.gauge("sluice_cache_fallback_active", "1 while memory answers instead of Redis.",
            {{stats.fallback_since ? 1.0 : 0.0}});
    f.counter("sluice_cache_fallbacks_total", "How often it came to that since the start.", {{num(stats.fallbacks)}});
    f.gauge("sluice_cache_keys", "Keys of the backend; in Redis all of the database.", {{num(stats.keys)}});
    f.gauge("sluice_cache_bytes", "Bytes it takes; of Redis all that the server does.", {{num(stats.bytes)}});
    f.counter("sluice_cache_evictions_total", "Answers that had to go for others; in Redis any keys.",
              {{num(stats.evicted)}});
    f.gauge("sluice_cache_clients", "Clients of the Redis, this one's connections included.", {{num(stats.clients)}});
    f.gauge("sluice_cache_connections", "Connections of this server to it.", {{num(stats.connections)}});
    f.counter("sluice_cache_calls_total", "Round trips to it.", {{num(stats.calls)}});
    f.counter("sluice_cache_seconds_total", "How long they took.", {{seconds(stats.call_ns)}});
    f.counter("sluice_cache_errors_total", "Calls it did not answer, or refused.", {{num(stats.errors)}});
    f.counter("sluice_cache_corrupt_total", "Values in it that were not what had been put.", {{num(stats.corrupt)}});
}

}  // namespace

namespace {

// Of a store in memory most of it stays 0.
void add_graph_store(Families& f, graph::StoreStatus const& store)
{
    auto const num = [](std::uint64_t n) { return static_cast<double>(n); };
    f.gauge("sluice_graph_up", "1 while the graph store answers.", {{num(store.is_up), std::string(store.backend)}},
            "backend");
    f.gauge("sluice_graph_connections", "Connections to its server.", {{num(store.connections)}});
    f.gauge("sluice_graph_connections_in_use", "Those that somebody uses.", {{num(store.connections_in_use)}});
    f.gauge("sluice_graph_connections_max", "How many there may be.", {{num(store.connections_max)}});
    f.counter("sluice_graph_connects_total", "Connections made.", {{num(store.connected)}});
    f.counter("sluice_graph_connections_lost_total", "Connections that broke.", {{num(store.lost)}});
    f.counter("sluice_graph_queries_total", "Statements.", {{num(store.queries)}});
    f.counter("sluice_graph_query_seconds_total", "Time spent waiting for them.", {{seconds(store.query_ns)}});
    f.counter("sluice_graph_slow_queries_total", "Statements that took longer than database.slow_query_ms.",
              {{num(store.slow_queries)}});
    f.counter("sluice_graph_transactions_total", "Transactions that applied events.", {{num(store.transactions)}});
    f.counter("sluice_graph_unknown_commits_total", "Commits whose answer was lost; each was looked up afterwards.",
              {{num(store.unknown_commits)}});
}

}  // namespace

std::string metrics_text(
    engine::Engine const& engine, graph::GraphStore const& graph, cache::Answers const& answers,
    HttpNumbers const& http, std::uint64_t log_disk_bytes, WallTime now)
{
    auto const& c = engine.counters();
    auto const  state = engine.state();
    auto const  lanes = engine.lanes();
    auto const  use = engine.admission().use();
    auto const  counts = graph.counts();
    auto const  num = [](std::uint64_t n) { return static_cast<double>(n); };
    auto const  live = [&](Kind kind) { return num(counts.live[static_cast<std::size_t>(kind)]); };

    Families f;
    f.counter("sluice_events_accepted_total", "Events made durable since the log began.", {{num(state.accepted)}});
    f.counter("sluice_events_duplicate_total", "Events answered with the sequence they already had.",
              {{num(engine::get(c.duplicates))}});
    f.counter("sluice_events_applied_total", "Events applied since the log began, stale ones included.",
              {{num(state.applied)}});
    f.counter("sluice_events_stale_total", "Events that a newer revision had overtaken, as far as a restart remembers.",
              {{num(state.stale)}});
    f.counter("sluice_events_dead_lettered_total", "Dead-letter verdicts.", {{num(state.dead_lettered)}});
    f.gauge("sluice_events_parked", "Events that wait for a processor.", {{num(state.parked)}});
    add_taken_up(f, engine, now);
    f.counter("sluice_retries_total", "Events tried again after a failure of a store.",
              {{num(engine::get(c.retries))}});
    std::vector<Sample> admitted, held, refused, refused_of;
    for (auto const& producer : http.producers) {
        admitted.push_back({num(producer.admitted), producer.name});
        held.push_back({num(producer.held), producer.name});
        refused.resize(producer.refused.size());
        for (std::size_t i = 0; i < refused.size(); ++i) {
            auto const& [cause, count] = producer.refused[i];
            refused[i].label = cause;
            refused[i].value += num(count);
            refused_of.push_back({num(count), producer.name, std::string(cause)});
        }
    }
    f.counter("sluice_requests_refused_total", "Requests or items refused, by cause.", refused, "cause");
    f.counter("sluice_producer_admitted_total", "Events that were given a place, by producer.", admitted, "producer");
    f.counter("sluice_producer_refused_total", "Requests or items refused, by producer and cause.", refused_of,
              "producer", "cause");
    f.gauge("sluice_producer_events", "Places in use, by producer.", held, "producer");
    f.gauge("sluice_line_requests", "Requests that stand in line for places.", {{num(http.line_requests)}});
    f.gauge("sluice_line_bytes", "Bytes of their events.", {{num(http.line_bytes)}});
    if (http.line_waits != nullptr)
        f.histogram("sluice_line_seconds", "How long requests stood in line, placed in the end or not, by tier.",
                    by_tier_of(*http.line_waits));
    std::vector<Sample> unseen;
    for (auto const& [status, count] : http.refused_unseen) unseen.push_back({num(count), std::to_string(status)});
    f.counter("sluice_http_refused_total", "Requests refused at their head or by the transport, by status.", unseen,
              "status");
    f.gauge("sluice_pending_events", "Durable events not settled yet, by tier.",
            by_tier([&](std::size_t t) { return num(state.pending[t]); }), "tier");
    f.gauge("sluice_oldest_age_seconds", "Age of the oldest lane head, blocked ones included, by its tier.",
            by_tier([&](std::size_t t) { return seconds(lanes.oldest_age[t]); }), "tier");
    f.gauge("sluice_oldest_wait_seconds", "Age of the oldest lane head that could run, by its tier.",
            by_tier([&](std::size_t t) { return seconds(lanes.oldest_wait[t]); }), "tier");
    f.gauge("sluice_lag_seconds", "How long it takes to work off a tier and those above it, at the measured rate.",
            by_tier([&](std::size_t t) { return seconds(lanes.lag[t]); }), "tier");
    f.gauge("sluice_wait_bound_seconds",
            "No lane that can run waits longer: max_wait + backlog / (service rate / 8); +Inf while nothing is served.",
            by_tier([&](std::size_t t) {
                bool const is_served = lanes.wait_bound[t] != std::chrono::nanoseconds::max();
                return is_served ? seconds(lanes.wait_bound[t]) : std::numeric_limits<double>::infinity();
            }), "tier");
    f.gauge("sluice_tier_closed", "1 while a tier is refused.",
            by_tier([&](std::size_t t) { return num(use.closed[t]); }), "tier");
    f.gauge("sluice_lanes", "Lanes with pending events.", {{num(lanes.lanes)}});
    f.gauge("sluice_lanes_blocked", "Lanes that wait for a retry, a decision, or the end of a pause.",
            {{num(lanes.blocked)}});
    add_containment(f, engine, lanes);
    f.gauge("sluice_admission_events", "Places in use.", {{num(use.events)}});
    f.gauge("sluice_admission_events_max", "Places there are.", {{num(engine.admission().limits().events)}});
    f.gauge("sluice_admission_bytes", "Bytes of resident events.", {{num(use.bytes)}});
    f.gauge("sluice_admission_bytes_max", "Bytes resident events may take.",
            {{num(engine.admission().limits().bytes)}});
    f.gauge("sluice_last_sequence", "The last durable sequence.", {{num(number(state.last_sequence))}});
    f.gauge("sluice_watermark", "Everything up to this sequence is settled.", {{num(number(state.watermark))}});
    f.counter("sluice_log_commits_total", "Group commits.", {{num(engine::get(c.commits))}});
    f.counter("sluice_log_bytes_total", "Bytes handed to the log.", {{num(engine::get(c.committed_bytes))}});
    f.gauge("sluice_log_disk_bytes", "Size of the log's files.", {{num(log_disk_bytes)}});
    auto const space = engine.space();
    using Level = log::Space::Level;
    f.gauge("sluice_disk_free_bytes", "Free disk space, looked at once a second.", {{num(space.free_bytes)}});
    f.gauge("sluice_disk_low", "1 while LOW and NORMAL are refused for want of disk space.",
            {{num(space.level != Level::ok)}});
    f.gauge("sluice_disk_full", "1 while every event is.", {{num(space.level == Level::full)}});
    f.gauge("sluice_disk_reserve", "1 while the reserve file is there, or none is wanted.", {{num(space.has_reserve)}});
    f.counter("sluice_log_commit_seconds_total", "Time spent writing and syncing.",
              {{seconds(engine::get(c.commit_ns))}});
    f.counter("sluice_worker_busy_seconds_total", "Time workers spent on micro-batches.",
              {{seconds(engine::get(c.work_ns))}});
    f.counter("sluice_worker_batches_total", "Micro-batches.", {{num(engine::get(c.batches))}});
    add_graph_store(f, graph.status());
    auto const checkpoints = engine.checkpoints();
    f.counter("sluice_checkpoints_total", "Checkpoints since the start.",
              {{num(checkpoints.written), "written"}, {num(checkpoints.failed), "failed"}}, "result");
    f.gauge("sluice_checkpoint_sequence",
            "The log up to here is in the last checkpoint, or in the store; a restart goes on from there.",
            {{num(number(checkpoints.position))}});
    f.gauge("sluice_checkpoint_bytes", "Size of the last checkpoint.", {{num(checkpoints.bytes)}});
    f.gauge("sluice_checkpoint_seconds", "How long the last checkpoint took.", {{seconds(checkpoints.nanoseconds)}});
    f.histogram("sluice_projection_seconds", "From durable to applied, by tier.", by_tier_of(c.delays));
    DelaysOfTiers waits{};
    for (std::size_t t = 0; t < tier_count; ++t) waits[t] = &engine.waits(Tier{static_cast<std::uint8_t>(t)});
    f.histogram("sluice_wait_seconds", "How long lanes waited for a worker, by the tier they were served for.", waits);
    auto const ids = engine.ids();
    f.gauge("sluice_dedupe_memory_ids", "Event ids in memory.", {{num(ids.memory_ids)}});
    f.gauge("sluice_dedupe_memory_bytes", "Bytes of their tables.", {{num(ids.memory_bytes)}});
    f.gauge("sluice_dedupe_runs", "Files of ids.", {{num(ids.runs)}});
    f.gauge("sluice_dedupe_run_ids", "Event ids in files.", {{num(ids.run_ids)}});
    f.gauge("sluice_dedupe_disk_bytes", "Bytes of those files.", {{num(ids.disk_bytes)}});
    f.gauge("sluice_dedupe_filter_bytes", "Bytes of their filters, in memory.", {{num(ids.filter_bytes)}});
    f.counter("sluice_dedupe_disk_lookups_total", "Lookups that read a file, one for each file read.",
              {{num(ids.disk_lookups)}});
    f.counter("sluice_dedupe_write_failures_total", "Files of ids that could not be written, and were tried again.",
              {{num(ids.write_failures)}});
    f.gauge("sluice_records", "Live records, by kind.",
            {{live(Kind::relationship), "relationship"}, {live(Kind::attestation), "attestation"},
             {live(Kind::entity), "entity"}},
            "kind");
    f.gauge("sluice_tombstones", "Tombstones of records and repositories.", {{num(counts.tombstones)}});
    add_cache(f, answers);
    f.counter("sluice_http_requests_total", "Requests handled.", {{num(http.requests)}});
    f.gauge("sluice_http_connections", "Open connections.", {{num(http.connections)}});
    f.counter("sluice_http_answers_cut_total", "Connections closed since their clients read too slowly.",
              {{num(http.answers_cut)}});
    f.gauge("sluice_stream_readers", "Readers of /v1/stream.", {{num(http.streams)}});
    f.counter("sluice_stream_events_total", "Events sent to them.", {{num(http.stream_events)}});
    f.counter("sluice_stream_bytes_total", "Bytes sent to them.", {{num(http.stream_bytes)}});
    f.counter("sluice_stream_readers_slow_total", "Readers closed since they took nothing.",
              {{num(http.streams_slow)}});
    f.gauge("sluice_http_waiting", "Requests that wait for their commit.", {{num(http.waiting)}});
    return f.text();
}

}  // namespace sluice::telemetry
