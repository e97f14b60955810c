#include "app/projection.hpp"

#include "adapters/postgres/postgres_graph.hpp"
#include "adapters/rocksdb/env_directory.hpp"
#include "app/client.hpp"
#include "app/exit_codes.hpp"
#include "app/open_log.hpp"
#include "app/stores.hpp"
#include "app/system_clock.hpp"
#include "base/hex.hpp"
#include "engine/fold.hpp"
#include "engine/position_keeper.hpp"
#include "graph/compare.hpp"
#include "graph/resident_store.hpp"
#include "schema/syntax.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

namespace sluice::app {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using adapters::PostgresOptions;

volatile std::sig_atomic_t asked_to_stop = 0;

int report(Error const& error)
{
    fmt::print(stderr, "sluice: {} ({})\n", error.detail, error.reason);
    return exit_code(error);
}

// Fold options for somebody who is no server: nothing is bounded, and what is found is not told.
struct Bystander {
    engine::DeadLetters dead_letters{{.events = ~std::size_t{0}, .bytes = ~std::uint64_t{0}}};
    engine::Parking     parking{~std::size_t{0}};
    engine::Controls    controls;
};

// ---- comparing

struct Compared {
    Sequence          through{};  // of the log
    Sequence          reached{};  // by the graph, as it said; what comes after it may be missing
    graph::Comparison result{};
};

std::string word(std::optional<Sequence> const& sequence)
{
    return sequence ? "written by sequence " + std::to_string(number(*sequence)) : "not there";
}

json::object to_json(Compared const& compared)
{
    auto const&  result = compared.result;
    json::object object{{"equal", result.differences == 0},   {"through", number(compared.through)},
                        {"reached", number(compared.reached)},
                        {"records", result.left},             {"records_of_log", result.right},
                        {"differences", result.differences},  {"first", nullptr}};
    if (!result.first) return object;
    auto const sequence = [](std::optional<Sequence> const& s) {
        return s ? json::value(number(*s)) : json::value();
    };
    object["first"] = {{"key", result.first->key},
                       {"sequence", sequence(result.first->left)},
                       {"sequence_of_log", sequence(result.first->right)}};
    return object;
}

std::string to_text(Compared const& compared)
{
    auto const& result = compared.result;
    auto        text = fmt::format(
        "{} of {} records differ from the log through sequence {}", result.differences,
        std::max(result.left, result.right), number(compared.through));
    if (compared.reached < compared.through)
        text += fmt::format(" (the graph has applied everything through {})", number(compared.reached));
    if (result.first)
        text += fmt::format("; the first is {}: in the graph {}, by the log {}", result.first->key,
                            word(result.first->left), word(result.first->right));
    return text;
}

Result<std::unique_ptr<graph::ResidentStore>> fold_log(Config const& config, Clock const& clock, Sequence& through)
{
    auto const log = open_log(config);
    if (!log) return log.error();
    schema::SchemaSet const schemas(all_processors());
    Bystander               bystander;
    auto                    graph = std::make_unique<graph::ResidentStore>();
    through = std::min(through, (*log)->last());
    engine::FoldDeps deps{**log, schemas, *graph, clock, config.parked, bystander.dead_letters, bystander.parking,
                          bystander.controls};
    deps.through = through;
    if (auto const folded = engine::fold(deps, std::max(1u, std::thread::hardware_concurrency())); !folded)
        return folded.error();
    return graph;
}

graph::RecordSource records_of(graph::ResidentStore const& graph)
{
    return [&graph](graph::RecordVisitor const& visit) -> Result<> {
        graph.visit(visit);
        return {};
    };
}

// What the graph has yet to apply is no difference: events after `reached`, which was asked before.
Result<Compared> compare_with_log(
    Config const& config, Clock const& clock, graph::RecordSource const& records, Sequence reached, Sequence through)
{
    auto const folded = fold_log(config, clock, through);
    if (!folded) return folded.error();
    auto const result = graph::compare(records, records_of(**folded), [&](graph::Difference const& difference) {
        return std::max(difference.right.value_or(Sequence::none), difference.left.value_or(Sequence::none)) > reached;
    });
    if (!result) return result.error();
    return Compared{through, std::min(reached, through), *result};
}

Result<Compared> compare_generation(
    Config const& config, Clock const& clock, PostgresOptions const& options, Sequence through)
{
    auto const reached = adapters::reached_by_generation(options, clock);
    if (!reached) return reached.error();
    auto const records = [&](graph::RecordVisitor const& visit) {
        return adapters::scan_generation(
            options, clock, [&](Record const& record, Hash128) { visit(record); });
    };
    return compare_with_log(config, clock, records, *reached, through);
}

// ---- rebuilding

// Asks a running server how far it is.
class Server {
public:
    struct Seen {
        Sequence      settled{};
        std::uint64_t pending{0};
    };

    static Result<Server> open(Remote const& remote)
    {
        auto client = Client::open(remote.url, remote.key);
        if (!client) return client.error();
        return Server(std::move(*client));
    }

    Result<Seen> look()
    {
        auto const response = client_.get("/v1/state");
        if (!response) return response.error();
        boost::system::error_code bad;
        auto const                body = json::parse(response->body, bad);
        if (response->status != 200 || bad)
            return Error{Errc::unavailable, "server", "the server answered " + std::to_string(response->status)};
        Seen seen{Sequence{body.at("watermark").to_number<std::uint64_t>()}};
        for (auto const& tier : body.at("pending").as_object()) seen.pending += tier.value().to_number<std::uint64_t>();
        return seen;
    }

private:
    explicit Server(Client client) : client_(std::move(client)) {}
    Client client_;
};

class Rebuild {
public:
    Rebuild(Config const& config, std::optional<Server> server, RebuildOptions const& options, bool as_json)
        : config_(config), server_(std::move(server)), options_(options), as_json_(as_json)
    {
        store_options_ = postgres_options(config);
    }

    Result<std::uint32_t> run()
    {
        auto const generation = choose();
        if (!generation) return generation;
        store_options_.generation = *generation;
        graph_ = adapters::open_postgres_graph(store_options_, clock_);
        for (;;) {
            auto const through = settled();
            if (!through) return through.error();
            if (*through > done_ || !is_started_)
                if (auto const passed = pass(*through); !passed) return passed.error();
            auto const now = settled();
            if (!now) return now.error();
            auto const behind = number(*now) - number(done_);
            if (asked_to_stop != 0 || (behind <= close && !options_.follow)) break;
            if (behind == 0) std::this_thread::sleep_for(500ms);
        }
        draw(done_, true);
        return *generation;
    }

    Sequence      done() const noexcept { return done_; }
    std::uint64_t events() const noexcept { return events_; }
    double        seconds() const { return std::chrono::duration<double>(clock_.now() - start_).count(); }
    Hash128       digest() const { return graph_->digest(); }
    PostgresOptions const& store_options() const noexcept { return store_options_; }

private:
    static constexpr std::uint64_t close = 10'000;  // events that the start of a server takes in its stride

    // The newest that was begun, else a new one.
    Result<std::uint32_t> choose()
    {
        auto const all = adapters::list_generations(store_options_, clock_);
        if (!all) return all.error();
        for (auto one = all->rbegin(); one != all->rend(); ++one)
            if (one->state == adapters::Generation::State::building) return one->number;
        return adapters::create_generation(store_options_, clock_);
    }

    // Behind this what becomes of an event is in the log.
    Result<Sequence> settled()
    {
        if (server_) {
            auto const seen = server_->look();
            if (!seen) return seen.error();
            return seen->settled;
        }
        auto const log = open_log(config_);
        if (!log) return log.error();
        return (*log)->last();
    }

    Result<> pass(Sequence through)
    {
        auto const log = open_log(config_);
        if (!log) return log.error();
        Bystander              bystander;
        engine::DenseWatermark watermark;
        engine::PositionKeeper keeper(
            {*graph_->positions(), nullptr, **log, watermark, bystander.controls, schemas_, clock_}, {});
        auto checkpoint = keeper.load();
        if (!checkpoint) return checkpoint.error();
        if (!keeper.is_open()) return checkpoint->refused.back();
        auto const from = checkpoint->position.last;
        if (!is_started_) first_ = from;
        is_started_ = true;
        last_ = through;

        engine::FoldDeps deps{**log, schemas_, *graph_, clock_, config_.parked, bystander.dead_letters,
                              bystander.parking, bystander.controls};
        deps.through = through;
        deps.unanswered = [&](Error const& error) {
            if (!is_waiting_.exchange(true))
                fmt::print(stderr, "\nsluice: {} ({}); asking again until it is there\n", error.detail, error.reason);
            std::this_thread::sleep_for(1s);
            return asked_to_stop == 0;
        };
        deps.passed = [&](Sequence passed) {
            passed = std::max(passed, from);
            if (clock_.now() >= next_save_) {
                next_save_ = clock_.now() + 1s;
                if (keeper.save({.last = passed, .unsettled = {}})) is_waiting_ = false;
                draw(passed, false);
            }
            rest(passed);
        };
        // Beside a server little at a time: what the database does for a rebuild it does not do for the server.
        if (server_) deps.batch = 16;
        auto const folded = engine::fold(deps, server_ ? 1 : worker_count(config_), std::move(*checkpoint));
        if (!folded) return folded.error();
        if (!folded->undecided.empty())
            return Error{Errc::corrupt, "verdicts_differ",
                         "event " + std::to_string(number(folded->undecided.front().sequence)) +
                             " was settled, and this program refuses it: " + folded->undecided.front().detail};
        events_ += folded->read;
        done_ = through;
        return keeper.save({.last = through, .unsettled = {}});
    }

    // Not faster than asked for, and not while the server has enough to do.
    void rest(Sequence passed)
    {
        while (asked_to_stop == 0 && options_.rate != 0 &&
               static_cast<double>(number(passed) - number(first_)) > seconds() * static_cast<double>(options_.rate))
            std::this_thread::sleep_for(10ms);
        if (!server_) return;
        std::this_thread::sleep_for((clock_.now() - rested_) * (100 - options_.share) / options_.share);
        watch();
        rested_ = clock_.now();
    }

    void watch()
    {
        if (clock_.now() < next_look_) return;
        for (;;) {
            auto const seen = server_->look();
            next_look_ = clock_.now() + 20ms;
            if (!seen || seen->pending <= options_.lag_max || asked_to_stop != 0) return;
            std::this_thread::sleep_for(20ms);
        }
    }

    void draw(Sequence passed, bool is_last)
    {
        if (as_json_ || (isatty(STDERR_FILENO) != 1 && !is_last)) return;
        auto const done = static_cast<double>(number(passed) - number(first_));
        auto const all = static_cast<double>(number(last_) - number(first_));
        auto const rate = done / std::max(seconds(), 1e-3);
        fmt::print(stderr, "\r{} of {}  {:.1f} %  {:.0f} events/s  {:.0f} s left   {}", number(passed), number(last_),
                   all > 0 ? 100 * done / all : 100, rate, rate > 0 ? (all - done) / rate : 0, is_last ? "\n" : "");
    }

    Config const&                      config_;
    std::optional<Server>              server_;
    RebuildOptions const               options_;
    bool const                         as_json_;
    SystemClock const                  clock_;
    schema::SchemaSet const            schemas_{all_processors()};
    PostgresOptions                    store_options_;
    std::unique_ptr<graph::GraphStore> graph_;
    Clock::Mono const                  start_{clock_.now()};
    Clock::Mono                        next_save_{}, next_look_{}, rested_{clock_.now()};
    bool                               is_started_{false};
    std::atomic<bool>                  is_waiting_{false};  // the database does not answer, and that was told
    Sequence                           first_{}, last_{}, done_{};
    std::uint64_t                      events_{0};
};

int no_database()
{
    fmt::print(stderr, "sluice: there is no database.url (DATABASE_URL)\n");
    return Exit::usage;
}

char const* word(adapters::Generation::State state)
{
    constexpr char const* words[] = {"building", "current", "retired"};
    return words[static_cast<std::size_t>(state)];
}

}  // namespace

int projection_rebuild(
    Config const& config, std::optional<Remote> const& remote, RebuildOptions const& options, bool as_json)
{
    if (!uses_postgres(config)) return no_database();
    std::optional<Server> server;
    if (remote) {
        auto opened = Server::open(*remote);
        if (!opened) return fail(opened.error());
        server.emplace(std::move(*opened));
        if (auto const seen = server->look(); !seen) return fail(seen.error());
    }
    ::setpriority(PRIO_PROCESS, 0, 10);
    for (auto const signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { asked_to_stop = 1; });

    SystemClock const clock;
    Rebuild           rebuild(config, std::move(server), options, as_json);
    auto const        generation = rebuild.run();
    if (!generation) return report(generation.error());
    auto const compared = compare_generation(config, clock, rebuild.store_options(), rebuild.done());
    if (!compared) return report(compared.error());
    bool const is_equal = compared->result.differences == 0;
    bool const is_activated = is_equal && options.activate;
    if (is_activated)
        if (auto const done = adapters::activate_generation(postgres_options(config), clock, *generation); !done)
            return report(done.error());
    if (as_json)
        fmt::print("{}\n", json::serialize(json::object{
                               {"generation", *generation}, {"through", number(rebuild.done())},
                               {"events", rebuild.events()}, {"seconds", rebuild.seconds()},
                               {"digest", hex(rebuild.digest())}, {"activated", is_activated},
                               {"compared", to_json(*compared)}}));
    else
        fmt::print("generation {}: {} events in {:.1f} s, through sequence {}\ndigest {}\n{}\n{}\n", *generation,
                   rebuild.events(), rebuild.seconds(), number(rebuild.done()), hex(rebuild.digest()),
                   to_text(*compared),
                   is_activated ? "it is current: the server uses it from its next start on"
                                : fmt::format("to use it: sluice projection activate {}", *generation));
    return is_equal ? Exit::ok : Exit::failure;
}

int projection_verify(Config const& config, std::optional<std::uint32_t> generation, bool as_json)
{
    SystemClock const clock;
    Result<Compared>  compared = Error{};
    if (uses_postgres(config)) {
        auto options = postgres_options(config);
        options.generation = generation;
        compared = compare_generation(config, clock, options, Sequence{~std::uint64_t{0}});
    } else {
        // Before the log, so that the checkpoint is not ahead of it.
        auto const checkpoints = adapters::open_directory(adapters::checkpoint_path(config.data));
        auto const log = open_log(config);
        if (!log) return report(log.error());
        schema::SchemaSet const schemas(all_processors());
        graph::ResidentStore    graph;
        auto                    checkpoint = engine::load_checkpoint(*checkpoints, **log, schemas, graph);
        auto const              folded =
            engine::fold(**log, schemas, graph, clock, worker_count(config), std::move(checkpoint));
        if (!folded) return report(folded.error());
        compared = compare_with_log(config, clock, records_of(graph), folded->last, folded->last);
    }
    if (!compared) return report(compared.error());
    if (as_json)
        fmt::print("{}\n", json::serialize(to_json(*compared)));
    else
        fmt::print("{}\n", to_text(*compared));
    return compared->result.differences == 0 ? Exit::ok : Exit::failure;
}

int projection_list(Config const& config, bool as_json)
{
    if (!uses_postgres(config)) return no_database();
    SystemClock const clock;
    auto              options = postgres_options(config);
    auto const        all = adapters::list_generations(options, clock);
    if (!all) return report(all.error());
    json::array list;
    for (auto const& one : *all) {
        options.generation = one.number;
        auto const reached = adapters::reached_by_generation(options, clock);
        if (!reached) return report(reached.error());
        auto const created = schema::format_datetime(one.created_at);
        if (as_json)
            list.push_back({{"generation", one.number}, {"state", word(one.state)}, {"through", number(*reached)},
                            {"created_at", created}});
        else
            fmt::print("{:<4} {:<9} through {:<12} made {}\n", one.number, word(one.state), number(*reached), created);
    }
    if (as_json) fmt::print("{}\n", json::serialize(json::object{{"generations", std::move(list)}}));
    return Exit::ok;
}

int projection_activate(Config const& config, std::uint32_t generation, bool as_json)
{
    if (!uses_postgres(config)) return no_database();
    SystemClock const clock;
    if (auto const done = adapters::activate_generation(postgres_options(config), clock, generation); !done)
        return report(done.error());
    if (as_json)
        fmt::print("{{\"generation\":{},\"state\":\"current\"}}\n", generation);
    else
        fmt::print("generation {} is current: the server uses it from its next start on\n", generation);
    return Exit::ok;
}

int projection_drop(Config const& config, std::uint32_t generation, bool as_json)
{
    if (!uses_postgres(config)) return no_database();
    SystemClock const clock;
    if (auto const done = adapters::drop_generation(postgres_options(config), clock, generation); !done)
        return report(done.error());
    if (as_json)
        fmt::print("{{\"generation\":{},\"state\":\"dropped\"}}\n", generation);
    else
        fmt::print("generation {} is gone\n", generation);
    return Exit::ok;
}

}  // namespace sluice::app
