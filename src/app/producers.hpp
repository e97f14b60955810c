// Who may post events: the single key, and those of keys_file.
#pragma once

#include "app/config.hpp"
#include "http/producer.hpp"

#include <string>
#include <vector>

namespace sluice::app {

struct Producers {
    std::vector<http::Producer> all;       // the single key's first, as `default`, then by name
    std::vector<std::uint32_t>  shares;    // per cent, as Admission::Limits has them
    std::vector<std::string>    problems;  // not empty: nobody must be served
};

// Reads keys_file, a TOML file with a table for each producer.
Producers load_producers(Config const& config);

// The text of a file that holds secrets. `invalid` when it cannot be read or is open to others; `setting` is what names
// the file.
Result<std::string> read_secrets(std::string const& file, std::string const& setting);

}  // namespace sluice::app
