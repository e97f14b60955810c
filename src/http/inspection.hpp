// Where an event is, and which lanes wait: what operators look at.
#pragma once

#include "engine/whereabouts.hpp"
#include "http/background.hpp"
#include "http/message.hpp"

#include <boost/json.hpp>

namespace sluice::http {

// Handlers are called on the io thread; what reads the log runs on the background thread.
class Inspection {
public:
    struct Deps {  // outlive the background thread
        engine::Engine&           engine;
        log::EventLog const&      log;
        graph::GraphReader const& graph;
        schema::SchemaSet const&  schemas;
        Clock const&              clock;
        Background&               background;
        std::function<void()>     wake_appender;  // it has a search to do
    };

    explicit Inspection(Deps deps) : deps_(std::move(deps)) {}

    void by_sequence(Request& request, Reply reply);
    void by_id(Request& request, Reply reply);
    void lanes(Request& request, Reply reply);

private:
    // The background thread only.
    Response show(Sequence sequence) const;
    Response find(std::string const& event_id) const;
    Response list_lanes(std::size_t limit, std::string const& cursor) const;

    boost::json::object lane_json(engine::LaneInfo const& lane) const;

    Deps const deps_;
};

// The lanes that have work and do not move although they could.
boost::json::array stuck_lanes(engine::LaneStats const& stats, log::EventLog const& log);

}  // namespace sluice::http
