// The composition root of the server: the one place that knows every part.
#include "adapters/posix/mapped_file.hpp"
#include "adapters/rocksdb/env_directory.hpp"
#include "adapters/rocksdb/rocksdb_log.hpp"
#include "app/commands.hpp"
#include "app/exit_codes.hpp"
#include "app/fault_note.hpp"
#include "app/producers.hpp"
#include "app/stores.hpp"
#include "app/system_clock.hpp"
#include "base/fault_stack.hpp"
#include "engine/runner.hpp"
#include "http/api.hpp"
#include "http/server.hpp"
#include "telemetry/exporter.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <spdlog/spdlog.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <random>
#include <thread>
#include <unistd.h>

namespace sluice::app {

namespace asio = boost::asio;

namespace {

constexpr auto drain_limit = std::chrono::seconds(30);

bool is_loopback(std::string const& host)
{
    return host == "localhost" || host == "::1" || host == "[::1]" || host.starts_with("127.");
}

// Of all files; one that goes while it is looked at counts as nothing.
std::uint64_t bytes_below(std::filesystem::path const& directory)
{
    std::uint64_t   bytes = 0;
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator file(directory, error), end; !error && file != end;
         file.increment(error)) {
        std::error_code gone;
        auto const      size = file->is_regular_file(gone) ? file->file_size(gone) : 0;
        if (!gone) bytes += size;
    }
    return bytes;
}

// Everything that runs while the server serves. Members die in reverse order: connections before the engine.
class Service {
public:
    // `held` is given the signals that end the service, and outlives the log: until that is closed they are caught.
    Service(
        Config const& config, Producers const& producers, log::EventLog& log, files::Directory& ids,
        std::span<std::byte> in_hand, Clock const& clock, asio::signal_set& held)
        : held_(held), config_(config), producers_(producers.all), log_(log), clock_(clock), schemas_(all_processors()),
          graph_(make_graph(config, clock_)),
          checkpoints_(adapters::open_directory(adapters::checkpoint_path(config.data))),
          engine_({log_, *graph_, schemas_, clock_, checkpoints_.get(), nullptr, in_hand},
                  engine_options(config, producers.shares),
                  [this](std::vector<engine::BlockRef> blocks) { answer(std::move(blocks)); }, {},
                  {.scheduler = nullptr, .watermark = nullptr,
                   .dedupe = std::make_unique<engine::DerivedDedupe>(ids, config.dedupe)}),
          cache_(make_cache(config, clock_)), answers_(*graph_, cache_.get(), config.cache_ttl),
          rates_(engine_, clock_),
          ingest_(io_, engine_, clock_, rates_, schemas_,
                  [this](engine::BlockRef block) { runner_.submit(std::move(block)); }, producers_,
                  {.line_wait = config.queue_wait}),
          tail_(io_, log_, clock_, {.readers_max = config.http_streams_max}),
          api_({engine_, log_, *graph_, answers_, clock_, rates_, ingest_, background_, reads_, tail_, schemas_,
                [this](engine::BlockRef block) { runner_.submit(std::move(block)); },
                [this] { runner_.wake_appender(); }, [this] { return metrics(); }, tell_cleared},
               api_options(config, producers_)),
          server_(io_, clock_, {},
                  {.on_head = [this](http::Request const& head) { return api_.on_head(head); },
                   .on_request = [this](http::Request& request, http::Reply reply) {
                       api_.on_request(request, std::move(reply));
                   },
                   .on_refusal = [](http::Refusal const& refusal) {
                       return http::to_response({.status = refusal.status, .error = std::string(refusal.code),
                                                 .detail = std::string(refusal.detail)});
                   }}),
          runner_(engine_, clock_, [this](Error const& error) { asio::post(io_, [this, error] { die(error); }); },
                  log_trouble),
          signals_(io_), sampler_(io_), deadline_(io_)
    {
    }

    int run()
    {
        auto const address = parse_endpoint(config_.listen);
        tell_suspects();
        auto const start = clock_.now();
        std::vector<Error> refused;
        auto const         folded = engine_.recover(&refused);
        auto const* const what = graph_->positions() != nullptr ? "graph store" : "checkpoint";
        for (auto const& why : refused) spdlog::warn("{} not used: {} ({})", what, why.detail, why.reason);
        if (!folded) return report(folded.error());
        auto const seconds = std::chrono::duration<double>(clock_.now() - start).count();
        spdlog::info("recovered events={} checkpoint={} folded={} seconds={:.3f}", folded->events,
                     number(engine_.checkpoints().position), folded->read, seconds);

        auto const port = server_.listen(address->host, address->port);
        if (!port) return report({Errc::invalid, "listen", config_.listen + ": " + port.error().detail});
        tail_.advance(log_.last());
        runner_.start();
        // Until here a signal just ends the process: folding the log changes nothing.
        for (auto* const signals : {&signals_, &held_}) {
            signals->add(SIGTERM);
            signals->add(SIGINT);
        }
        await_signal();
        rates_.start();
        sample();
        std::printf("listening on %s:%u\n", address->host.c_str(), static_cast<unsigned>(*port));
        std::fflush(stdout);

        io_.run();
        background_.stop();
        reads_.stop();
        tail_.stop();
        runner_.stop();
        if (exit_ == Exit::ok && engine_.log_failed()) exit_ = exit_code(engine_.log_failure());
        spdlog::info("stopped last_sequence={}", number(engine_.state().last_sequence));
        return exit_;
    }

private:
    void tell_suspects() const
    {
        auto const& found = engine_.suspects();
        if (found.faults() == 0) return;
        constexpr std::size_t shown = 8;
        auto const            suspects = found.suspects();
        std::string           names;
        for (auto const& suspect : suspects.first(std::min(shown, suspects.size())))
            names += (names.empty() ? "" : ",") + std::to_string(suspect.sequence);
        spdlog::warn("the last start died of a fault: faults={} in a row, suspects={} sequences={}{}", found.faults(),
                     suspects.size(), names, suspects.size() > shown ? ",..." : "");
        for (auto const& guilty : found.guilty())
            spdlog::error("poison event: sequence={} faults={} alone in hand at the last: not run again, dead letter "
                          "crash_loop", guilty.sequence, guilty.faults);
    }

    static engine::EngineOptions engine_options(Config const& config, std::vector<std::uint32_t> const& shares)
    {
        engine::EngineOptions options;
        options.admission = config.queue;
        options.admission.shares = shares;
        options.workers = worker_count(config);
        options.fold_threads = worker_count(config);
        options.seed = std::random_device{}();
        options.checkpoint = config.checkpoint;
        options.dead_letters = config.dead_letters;
        options.parked = config.parked;
        options.parked_max = config.parked_max;
        return options;
    }

    static http::ApiOptions api_options(Config const& config, std::vector<http::Producer> const& producers)
    {
        auto const address = parse_endpoint(config.listen);
        return {.producers = producers, .hosts = config.http_hosts,
                .open_status = config.http_open_status || (address && is_loopback(address->host)),
                .version = SLUICE_VERSION, .environment = config.environment, .formula = config.conviction_formula};
    }

    // From the appender's thread to the io thread.
    void answer(std::vector<engine::BlockRef> blocks)
    {
        tail_.advance(log_.last());
        asio::post(io_, [this, blocks = std::move(blocks)] {
            ingest_.answered(blocks);
            if (draining_ && ingest_.waiting() == 0) server_.close_idle();
        });
    }

    std::string metrics() const
    {
        auto const& http = server_.counters();
        auto const& line = ingest_.line();
        auto const  tail = tail_.stats();
        telemetry::HttpNumbers numbers{
            .requests = http.requests, .connections = http.open, .answers_cut = http.answers_cut,
            .streams = tail.readers, .stream_events = tail.events, .stream_bytes = tail.bytes,
            .streams_slow = http.streams_slow, .waiting = ingest_.waiting(), .line_requests = line.requests,
            .line_bytes = line.bytes, .line_waits = &line.waits};
        for (std::size_t i = 0; i < producers_.size(); ++i) {
            auto const producer = static_cast<engine::Producer>(i);
            auto const& counts = ingest_.counts(producer);
            auto&       of = numbers.producers.emplace_back(telemetry::ProducerNumbers{
                      .name = producers_[i].name, .admitted = counts.admitted,
                      .held = engine_.admission().held(producer).events});
            for (std::size_t c = 0; c < http::cause_count; ++c)
                of.refused.emplace_back(http::cause_names[c], counts.refused[c]);
        }
        for (int const status : http::Counters::refusal_statuses)
            numbers.refused_unseen.emplace_back(status, http.refused_with(status));
        return telemetry::metrics_text(engine_, *graph_, answers_, numbers, bytes_below(config_.data + "/log"),
                                       clock_.wall());
    }

    void sample()
    {
        rates_.sample();
        tell_space();
        sampler_.expires_after(std::chrono::seconds(1));
        sampler_.async_wait([this](boost::system::error_code error) {
            if (!error) sample();
        });
    }

    // Changes only.
    void tell_space()
    {
        using Level = log::Space::Level;
        auto const space = engine_.space();
        if (space.level != space_.level) {
            auto const seconds = std::chrono::duration<double>(clock_.now() - space_since_).count();
            if (space.level == Level::full)
                spdlog::error("disk full: no event is accepted free={} reserve={}", space.free_bytes,
                              config_.log_reserve_bytes);
            else if (space.level == Level::low)
                spdlog::warn("disk low: LOW and NORMAL are refused free={}", space.free_bytes);
            else
                spdlog::info("disk recovered free={} seconds={:.1f}", space.free_bytes, seconds);
            if (space_.level == Level::ok) space_since_ = clock_.now();
        }
        if (space.has_reserve != space_.has_reserve) {
            if (space.has_reserve)
                spdlog::info("reserve file made again free={}", space.free_bytes);
            else
                spdlog::error("reserve file given up free={}", space.free_bytes);
        }
        space_ = space;
    }

    void await_signal()
    {
        signals_.async_wait([this](boost::system::error_code error, int) {
            if (!error) drain();
        });
    }

    // Not ready, accept nothing, answer what is under way, then end. A second signal ends at once.
    void drain()
    {
        if (draining_) return force();
        spdlog::info("draining connections={} waiting={}", server_.connections(), ingest_.waiting());
        draining_ = true;
        await_signal();
        api_.drain();
        ingest_.drain();
        server_.stop_accepting();
        server_.close_idle();
        server_.when_empty([this] { end(); });
        deadline_.expires_after(drain_limit);
        deadline_.async_wait([this](boost::system::error_code error) {
            if (!error) force();
        });
    }

    void force()
    {
        spdlog::warn("stopping with connections={} waiting={}", server_.connections(), ingest_.waiting());
        // Nothing waits for a thread that may hang in a sync: what was acknowledged is durable.
        std::_Exit(exit_ == Exit::ok ? Exit::forced_stop : exit_);
    }

    void end()
    {
        // Threads are joined and the log is closed from here on, which may hang in a sync: the limit ends the process
        // all the same. Further signals change nothing.
        std::signal(SIGALRM, [](int) { std::_Exit(Exit::forced_stop); });
        alarm(static_cast<unsigned>(drain_limit.count()));
        signals_.cancel();
        sampler_.cancel();
        deadline_.cancel();
        io_.stop();
    }

    // The log cannot be trusted any more. Answers that say so still go out; then the process ends.
    void die(Error const& error)
    {
        exit_ = exit_code(error);
        spdlog::error("stopping: {} ({})", error.detail, error.reason);
        draining_ = true;
        api_.drain();
        ingest_.drain();
        server_.stop_accepting();
        deadline_.expires_after(std::chrono::milliseconds(300));
        deadline_.async_wait([this](boost::system::error_code) { end(); });
    }

    static void tell_cleared(std::string_view by, std::string_view pattern, std::uint64_t removed)
    {
        // Quoted, so that a pattern cannot look like another line.
        auto const quoted = boost::json::serialize(boost::json::string_view(pattern));
        spdlog::info("cache cleared by={} pattern={} removed={}", by, quoted, removed);
    }

    static void log_trouble(char const* what, Error const* error)
    {
        if (error != nullptr)
            spdlog::warn("cannot write {}: {} ({})", what, error->detail, error->reason);
        else
            spdlog::info("writing {} again", what);
    }

    int report(Error const& error)
    {
        spdlog::error("{} ({})", error.detail, error.reason);
        return exit_code(error);
    }

    asio::signal_set&                         held_;
    Config const&                             config_;
    std::vector<http::Producer> const         producers_;
    log::EventLog&                            log_;
    Clock const&                              clock_;
    schema::SchemaSet                         schemas_;
    std::unique_ptr<graph::GraphStore>        graph_;
    std::unique_ptr<files::Directory>         checkpoints_;
    engine::Engine                            engine_;
    asio::io_context                          io_{1};
    std::unique_ptr<cache::Cache>             cache_;  // may be null
    cache::Answers                            answers_;
    http::Rates                               rates_;
    http::Ingest                              ingest_;
    http::Background                          background_{io_, {}};
    http::Background                          reads_{io_, {.threads = 4, .waiting_max = 1'024}};
    http::Tail                                tail_;
    http::Api                                 api_;
    http::Server                              server_;
    engine::Runner                            runner_;
    asio::signal_set                          signals_;
    asio::steady_timer                        sampler_, deadline_;
    log::Space                                space_{};  // as it was told last
    Clock::Mono                               space_since_{};  // it is not ok
    bool                                      draining_{false};
    int                                       exit_{Exit::ok};
};

}  // namespace

int exit_code(Error const& error)
{
    if (error.reason == "newer_format") return Exit::newer_format;
    if (error.reason == "already_running") return Exit::already_running;
    if (error.reason == "log_failed") return Exit::log_failed;
    if (error.reason == "damaged_ids") return Exit::failure;  // the next start makes them again
    if (error.code == Errc::corrupt) return Exit::damaged_log;
    if (error.code == Errc::invalid) return Exit::usage;
    return Exit::failure;
}

int serve(Config const& config)
{
    auto const refusals = refusals_to_serve(config);
    for (auto const& refusal : refusals) spdlog::error("{}", refusal);
    if (!refusals.empty()) return Exit::usage;
    auto const producers = load_producers(config);
    std::signal(SIGPIPE, SIG_IGN);
    asio::io_context  nobody;
    asio::signal_set  held(nobody);
    SystemClock const clock;
    auto log = adapters::open_rocksdb_log({.directory = config.data, .reserve_bytes = config.log_reserve_bytes,
                                           .low_water_bytes = config.log_low_water_bytes,
                                           .reserve_file_bytes = config.log_reserve_file_bytes});
    if (!log) {
        spdlog::error("{}: {} ({})", config.data, log.error().detail, log.error().reason);
        return exit_code(log.error());
    }
    auto const ids = adapters::open_directory(config.data + "/ids");
    auto const in_hand = adapters::MappedFile::open(config.data + "/in-hand", engine::Suspects::bytes);
    if (!in_hand) spdlog::warn("crashes are not looked into: {}", in_hand.error().detail);
    FaultStack const stack;
    auto const       kept = in_hand ? (*in_hand)->bytes() : std::span<std::byte>();
    FaultNote const  note(kept);
    Service          service(config, producers, **log, *ids, kept, clock, held);
    return service.run();
}

}  // namespace sluice::app
