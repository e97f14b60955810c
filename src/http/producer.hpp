// A named key and what its holder may do. Its position in the list of all is its engine::Producer.
#pragma once

#include "http/rate_limit.hpp"

#include <sluice/event.hpp>

#include <optional>
#include <string>

namespace sluice::http {

struct Producer {
    static constexpr std::size_t max = 64;  // beside the single key

    std::string          name{"default"};
    std::string          key{};
    Tier                 tier_cap{Tier::critical};  // events of a higher one are lowered to it
    std::optional<Quota> quota{};
    bool                 is_operator{false};        // may do what operators do, not only look
};

}  // namespace sluice::http
