// Data directories as an earlier version of the program left them, whose processors refused what today's take.
#pragma once

#include "events.hpp"

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace sluice::e2e {

// A relationship that the earlier program refuses. Its cause is the first word of `context`.
Json refused_relationship(
    std::uint64_t owner, std::uint64_t other, std::uint64_t n, int strength, std::string_view context = "bad");

// Appends the events to the log there, one after the other, and decides about each. Of the types in `parked` those that
// are refused are parked.
void run_earlier_program(
    std::filesystem::path const& data, std::vector<Json> const& events, std::set<std::string, std::less<>> parked = {});

}  // namespace sluice::e2e
