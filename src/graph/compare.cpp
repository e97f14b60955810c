#include "graph/compare.hpp"

#include "base/hash.hpp"
#include "graph/record_digest.hpp"

#include <map>
#include <vector>

namespace sluice::graph {
namespace {

std::size_t range_of(Record const& record) { return hash64(record.key) % compared_ranges; }

struct Sums {
    std::vector<Hash128> of_ranges = std::vector<Hash128>(compared_ranges);
    std::uint64_t        records{0};
};

Result<Sums> sum(RecordSource const& source)
{
    Sums        sums;
    std::string scratch;
    auto const  visited = source([&](Record const& record) {
        sums.of_ranges[range_of(record)] += record_digest(record, scratch);
        ++sums.records;
    });
    if (!visited) return visited.error();
    return sums;
}

struct Content {
    Sequence sequence{};
    Hash128  digest{};
};
using Contents = std::map<std::pair<Kind, std::string>, Content>;

Result<Contents> contents_of(RecordSource const& source, std::vector<bool> const& ranges)
{
    Contents    contents;
    std::string scratch;
    auto const  visited = source([&](Record const& record) {
        if (ranges[range_of(record)])
            contents.emplace(std::pair(record.kind, std::string(record.key)),
                             Content{record.sequence, record_digest(record, scratch)});
    });
    if (!visited) return visited.error();
    return contents;
}

}  // namespace

Result<Comparison> compare(
    RecordSource const& left, RecordSource const& right, std::function<bool(Difference const&)> const& expected)
{
    auto const left_sums = sum(left);
    if (!left_sums) return left_sums.error();
    auto const right_sums = sum(right);
    if (!right_sums) return right_sums.error();

    Comparison        result{.left = left_sums->records, .right = right_sums->records};
    std::vector<bool> ranges(compared_ranges);
    for (std::size_t i = 0; i < compared_ranges; ++i) {
        ranges[i] = left_sums->of_ranges[i] != right_sums->of_ranges[i];
        result.ranges += ranges[i];
    }
    if (result.ranges == 0) return result;

    auto const ours = contents_of(left, ranges);
    if (!ours) return ours.error();
    auto const theirs = contents_of(right, ranges);
    if (!theirs) return theirs.error();
    auto const count = [&](Contents::key_type const& key, Content const* a, Content const* b) {
        Difference difference{.kind = key.first, .key = key.second, .left = {}, .right = {}};
        if (a != nullptr) difference.left = a->sequence;
        if (b != nullptr) difference.right = b->sequence;
        if (expected(difference)) return;
        ++result.differences;
        if (!result.first || key < std::pair(result.first->kind, result.first->key)) result.first = difference;
    };
    for (auto const& [key, content] : *ours) {
        auto const other = theirs->find(key);
        if (other == theirs->end()) count(key, &content, nullptr);
        else if (other->second.digest != content.digest) count(key, &content, &other->second);
    }
    for (auto const& [key, content] : *theirs)
        if (!ours->contains(key)) count(key, nullptr, &content);
    return result;
}

}  // namespace sluice::graph
