// Records as the API shows them, in the canonical spelling.
#pragma once

#include <sluice/records.hpp>

#include <boost/json/object.hpp>

namespace sluice::http {

boost::json::object relationship_json(Record const& record);
boost::json::object attestation_json(Record const& record);

}  // namespace sluice::http
