// Records and events as the API shows them; records in the canonical spelling.
#pragma once

#include "log/record.hpp"

#include <sluice/records.hpp>

#include <boost/json/object.hpp>

#include <string>

namespace sluice::http {

boost::json::object relationship_json(Record const& record);
boost::json::object attestation_json(Record const& record);

// An event as ingest accepts it, on one line, its payload byte by byte. Ids that the server made are left out: the same
// events get them again.
void append_envelope(std::string& out, log::LoggedRecord const& record);

}  // namespace sluice::http
