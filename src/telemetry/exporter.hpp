// Probes -> the Prometheus text format.
#pragma once

#include "cache/answers.hpp"
#include "engine/engine.hpp"
#include "graph/graph_store.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::telemetry {

// Of one producer.
struct ProducerNumbers {
    std::string                                             name;
    std::uint64_t                                           admitted{0}, held{0};  // events
    std::vector<std::pair<std::string_view, std::uint64_t>> refused{};             // the same causes for each
};

// Numbers that live outside the engine, copied by their owner.
struct HttpNumbers {
    std::uint64_t requests{0}, connections{0};
    std::vector<std::pair<int, std::uint64_t>> refused_unseen{};  // by HTTP status: requests no handler saw
    std::uint64_t answers_cut{0};
    std::uint64_t streams{0}, stream_events{0}, stream_bytes{0}, streams_slow{0};
    std::size_t waiting{0};
    std::size_t line_requests{0}, line_bytes{0};  // that stand in line for places
    std::array<engine::Delays, tier_count> const* line_waits{nullptr};
    std::vector<ProducerNumbers>                  producers{};
};

// Any thread.
std::string metrics_text(
    engine::Engine const& engine, graph::GraphStore const& graph, cache::Answers const& answers,
    HttpNumbers const& http, std::uint64_t log_disk_bytes, WallTime now);

}  // namespace sluice::telemetry
