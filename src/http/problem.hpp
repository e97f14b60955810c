// What a refusal looks like: RFC 9457, with `error` and `message` for XRPC clients and `detail` for FastAPI ones.
#pragma once

#include "http/message.hpp"
#include "schema/decoder.hpp"

#include <boost/json/array.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::http {

struct Problem {
    int                             status{500};
    std::string                     error;   // a stable word: what clients switch on
    std::string                     detail;  // a sentence: what happened and what to try
    std::vector<schema::FieldError> errors{};
    std::uint32_t                   retry_after{0};  // seconds; 0: none
    std::string                     tier{};          // the closed one, for 503 queue_full
    std::string                     allow{};         // methods, for 405
    std::string                     rate_policy{}, rate_limit{};  // RateLimit-Policy and RateLimit, for 429
};

Response to_response(Problem const& problem);

// [{"pointer","code","detail"}]
boost::json::array errors_json(Problem const& problem);

// The problem of bytes that are not an event. `prefix` stands before every pointer, such as "/17" in a batch.
Problem to_problem(schema::DecodeError const& error, std::string const& prefix = "");

}  // namespace sluice::http
