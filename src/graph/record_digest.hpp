// One record's share of the digest. Every store must come to the same value, today and later.
#pragma once

#include <sluice/records.hpp>

#include <string>

namespace sluice::graph {

// XXH3-128 of
//   tenant u32 = 0 | kind u8 | flags u8 (1: removed) | field count u16 | key size u32 | rev u64 | sequence u64 |
//   payload hash low u64, high u64 | key | fields                                              little-endian
// where a field is 0 when absent, 1 and eight bytes for an integer, 2, a u32 size and the bytes for a text.
// `scratch` is only a buffer to reuse.
Hash128 record_digest(Record const& record, std::string& scratch);

}  // namespace sluice::graph
