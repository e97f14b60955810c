// Probes -> the Prometheus text format.
#pragma once

#include "cache/answers.hpp"
#include "engine/engine.hpp"
#include "graph/graph_store.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sluice::telemetry {

// Numbers that live outside the engine, copied by their owner.
struct HttpNumbers {
    std::uint64_t requests{0}, connections{0};
    std::uint64_t refused_invalid{0}, refused_conflict{0}, refused_queue_full{0}, refused_disk_full{0},
        refused_ids_behind{0}, refused_read_failed{0}, refused_log_failed{0}, refused_draining{0};
    std::vector<std::pair<int, std::uint64_t>> refused_unseen{};  // by HTTP status: requests no handler saw
    std::uint64_t answers_cut{0};
    std::uint64_t streams{0}, stream_events{0}, stream_bytes{0}, streams_slow{0};
    std::size_t waiting{0};
};

// Any thread.
std::string metrics_text(
    engine::Engine const& engine, graph::GraphStore const& graph, cache::Answers const& answers,
    HttpNumbers const& http, std::uint64_t log_disk_bytes);

}  // namespace sluice::telemetry
