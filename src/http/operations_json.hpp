// What the operators' routes have in common: filters, names and answers.
#pragma once

#include "engine/dead_letters.hpp"
#include "http/members.hpp"
#include "http/message.hpp"

#include <boost/json/object.hpp>

#include <string>
#include <string_view>

namespace sluice::http {

Response answer(boost::json::object const& body, int status = 200);
Response problem(int status, std::string error, std::string detail);
Response cannot_read(Error const& error);

std::string_view   verdict_name(log::Verdict verdict);
boost::json::value time_or_null(WallTime time);  // null: the beginning of time
std::string        cause_name(std::uint64_t fingerprint);  // 16 hex digits

boost::json::object to_json(engine::DeadLetters::Filter const& filter);  // without what matches everything

// Of a body; of a query, `invalid` bad_query.
engine::DeadLetters::Filter         read_filter(Members& filter);
Result<engine::DeadLetters::Filter> read_filter(Query const& query);

}  // namespace sluice::http
