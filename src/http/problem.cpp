#include "http/problem.hpp"

#include <boost/json.hpp>

namespace sluice::http {

namespace {

char const* title(int status)
{
    switch (status) {
    case 400: return "Not acceptable as JSON or HTTP";
    case 401: return "No key";
    case 403: return "Not allowed";
    case 404: return "Not found";
    case 405: return "Method not allowed";
    case 409: return "Conflict";
    case 410: return "No longer there";
    case 413: return "Too large";
    case 415: return "Unsupported media type";
    case 421: return "Unknown host";
    case 422: return "Invalid";
    case 429: return "Your own limit";
    case 503: return "Not accepted for now";
    default: return "Error";
    }
}

}  // namespace

boost::json::array errors_json(Problem const& problem)
{
    boost::json::array errors;
    for (auto const& e : problem.errors)
        errors.push_back({{"pointer", e.pointer}, {"code", e.code}, {"detail", e.detail}});
    return errors;
}

Response to_response(Problem const& problem)
{
    boost::json::object body{
        {"type", "about:blank"}, {"title", title(problem.status)}, {"status", problem.status},
        {"detail", problem.detail}, {"error", problem.error}, {"message", problem.detail}};
    if (!problem.errors.empty()) body["errors"] = errors_json(problem);
    if (!problem.tier.empty()) body["tier"] = problem.tier;
    Response response{.status = problem.status, .content_type = "application/problem+json"};
    if (problem.retry_after != 0) {
        body["retry_after"] = problem.retry_after;
        response.add_header("Retry-After", std::to_string(problem.retry_after));
    }
    if (!problem.allow.empty()) response.add_header("Allow", problem.allow);
    if (!problem.rate_policy.empty()) response.add_header("RateLimit-Policy", problem.rate_policy);
    if (!problem.rate_limit.empty()) response.add_header("RateLimit", problem.rate_limit);
    if (problem.status == 401) response.add_header("WWW-Authenticate", "Bearer");
    if (problem.status == 415)
        response.add_header("Accept-Post", "application/json, application/x-ndjson, application/jsonl");
    response.body = boost::json::serialize(body);
    return response;
}

Problem to_problem(schema::DecodeError const& error, std::string const& prefix)
{
    Problem problem{.status = error.is_json ? 422 : 400, .error = error.code, .detail = error.detail};
    problem.errors = error.errors;
    if (problem.errors.empty() && !prefix.empty()) problem.errors.push_back({"", error.code, error.detail});
    for (auto& e : problem.errors) e.pointer = prefix + e.pointer;
    if (!prefix.empty()) problem.detail = "event " + prefix.substr(1) + ": " + problem.detail;
    return problem;
}

}  // namespace sluice::http
