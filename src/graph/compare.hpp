// Whether two graphs hold the same records, and which one differs first.
#pragma once

#include <sluice/records.hpp>
#include <sluice/result.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace sluice::graph {

// Shows every record of a graph once, tombstones included, in any order.
using RecordVisitor = std::function<void(Record const&)>;
using RecordSource = std::function<Result<>(RecordVisitor const&)>;

struct Difference {
    Kind                    kind{};
    std::string             key;
    std::optional<Sequence> left, right;  // of the record; none: there is none. The same twice: its content differs
};

struct Comparison {
    std::uint64_t             left{0}, right{0};  // records
    std::uint64_t             ranges{0};          // that differ, of compared_ranges
    std::uint64_t             differences{0};     // records
    std::optional<Difference> first{};            // by kind, then key
};

inline constexpr std::size_t compared_ranges = 4'096;

// Sums the records of each range of keys on both sides, and looks only into ranges whose sums differ: each source is
// visited at most twice, and only records of those ranges are kept. A difference that is `expected` does not count, as
// one of two graphs of which one is behind. Errors are the sources'.
Result<Comparison> compare(
    RecordSource const& left, RecordSource const& right,
    std::function<bool(Difference const&)> const& expected = [](Difference const&) { return false; });

}  // namespace sluice::graph
