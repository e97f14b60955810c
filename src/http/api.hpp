// The routes: which path does what, who may call it, and the JSON it answers with.
#pragma once

#include "cache/answers.hpp"
#include "engine/engine.hpp"
#include "graph/conviction.hpp"
#include "http/background.hpp"
#include "http/cache_operations.hpp"
#include "http/ingest.hpp"
#include "http/inspection.hpp"
#include "http/operations.hpp"
#include "http/producer.hpp"
#include "http/rates.hpp"
#include "http/server.hpp"
#include "http/tail.hpp"

#include <functional>
#include <string>
#include <vector>

namespace sluice::http {

struct ApiOptions {
    std::vector<Producer>    producers;    // whose keys are known, by engine::Producer
    std::vector<std::string> hosts;        // names accepted in Host beside localhost and loopback addresses
    bool                     open_status;  // /health/detailed and /metrics need no key
    std::string              version;
    std::string              environment;
    graph::ConvictionFormula           formula{};
};

// Lives on the io thread; everything it refers to outlives it.
class Api {
public:
    struct Deps {
        engine::Engine&              engine;
        log::EventLog const&         log;
        graph::GraphStore const&     graph;
        cache::Answers&              answers;
        Clock const&                 clock;
        Rates const&                 rates;
        Ingest&                      ingest;
        Background&                  background;  // reads of the log; stopped before the others go
        Background&                  reads;       // reads of the graph; likewise
        Tail&                        tail;
        schema::SchemaSet const&     schemas;
        std::function<void(engine::BlockRef)> submit;  // as Operations has it
        std::function<void()>        wake_appender;    // as Inspection has it
        std::function<std::string()> metrics;  // the text of /metrics
        CacheOperations::Told        cache_cleared;
    };

    Api(Deps deps, ApiOptions options);

    // Server's callbacks.
    std::variant<BodyLimit, Response> on_head(Request const& head) const;
    void                              on_request(Request& request, Reply reply);

    void drain() { draining_ = true; }

private:
    struct Route;
    static std::span<Route const> routes();
    Route const*       find(Request const& request) const;
    static std::string allowed(std::string_view path);
    std::variant<engine::Producer, Problem> authorise(Route const& route, Request const& head) const;
    bool                   known_host(std::string_view host) const;

    void ingest_single(Request& request, Reply reply);
    void ingest_batch(Request& request, Reply reply);
    void event_metrics(Request& request, Reply reply);
    void dead_letters(Request& request, Reply reply);
    void dead_letter_groups(Request& request, Reply reply);
    void dead_letter(Request& request, Reply reply);
    void redrive(Request& request, Reply reply);
    void drop(Request& request, Reply reply);
    void event_by_sequence(Request& request, Reply reply);
    void event_by_id(Request& request, Reply reply);
    void lanes(Request& request, Reply reply);
    void parked(Request& request, Reply reply);
    void release(Request& request, Reply reply);
    void drop_parked(Request& request, Reply reply);
    void jobs(Request& request, Reply reply);
    void stop_job(Request& request, Reply reply);
    void resume_job(Request& request, Reply reply);
    void controls(Request& request, Reply reply);
    void control(Request& request, Reply reply);
    void cache(Request& request, Reply reply);
    void clear_cache(Request& request, Reply reply);
    void health(Request& request, Reply reply);
    void ready(Request& request, Reply reply);
    void detailed(Request& request, Reply reply);
    Response detailed(engine::LaneStats const& lanes) const;
    void metrics(Request& request, Reply reply);
    void state(Request& request, Reply reply);
    void relationship(Request& request, Reply reply);
    void neighbors(Request& request, Reply reply);
    void conviction(Request& request, Reply reply);
    void attestations(Request& request, Reply reply);
    void stream(Request& request, Reply reply);

    Deps const        deps_;
    ApiOptions const  options_;
    Clock::Mono const started_;
    Operations        operations_;
    CacheOperations   cache_operations_;
    Inspection        inspection_;
    bool              draining_{false};
};

}  // namespace sluice::http
