// How long an answer is kept at most. Stamps say whether it is still true: a lifetime only bounds the memory taken by
// answers that nobody asks for again.
#pragma once

#include <chrono>
#include <string_view>

namespace sluice::cache {

// Of the kind of question that `key` begins with, else `standard`; shifted by up to a tenth, always the same for a key,
// so that what was computed together does not go together.
std::chrono::milliseconds lifetime(std::string_view key, std::chrono::seconds standard);

}  // namespace sluice::cache
