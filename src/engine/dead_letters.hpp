// The open dead letters: what operators list, group, search and take up again.
#pragma once

#include "log/event_log.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sluice::engine {

// What dead letters with the same cause have in common: type, reason, and the detail without what varies in it
// (numbers, DIDs, URIs, quoted texts).
std::uint64_t fingerprint(log::Decision const& decision);

struct DeadLetterLimits {
    std::size_t   events{100'000};
    std::uint64_t bytes{1u << 30};  // of the events in the log
};

// Any thread. Bounded by its limits: room is reserved before a verdict is made, and a lane whose event finds none
// waits. What a fold finds is added all the same. What counts as open: the newest verdict is `dead_letter`.
class DeadLetters {
public:
    struct Item {
        Sequence         sequence{};
        std::string_view type, reason;  // live as long as the index
        std::string      did;
        std::uint64_t    fingerprint{0};
        WallTime         at{};           // of the verdict
        WallTime         received_at{};
        std::uint32_t    attempts{0}, bytes{0};
        Tier             tier{};
    };

    // An empty member matches everything.
    struct Filter {
        std::optional<std::string>   type{}, did{}, reason{};
        std::optional<std::uint64_t> fingerprint{};
        std::optional<WallTime>      from{}, to{};  // of the verdict; [from, to)
        Sequence                     through{~std::uint64_t{0}};  // no later event

        bool matches(Item const& item) const;
    };

    struct Group {
        std::uint64_t fingerprint{0};
        std::string   type, reason;
        Sequence      example{};  // the newest
        std::uint64_t count{0};
        WallTime      oldest{}, newest{};  // verdicts
    };

    struct Stats {
        std::uint64_t                          count{0}, bytes{0};
        std::optional<WallTime>                oldest{};  // verdict
        std::map<std::string, std::uint64_t>   by_reason{};
        bool                                   is_full{false};
    };

    explicit DeadLetters(DeadLetterLimits limits) : limits_(limits) {}

    // Takes room for one more verdict about an event of so many bytes, until it is added; false if there is none.
    bool reserve(std::uint32_t bytes);
    DeadLetterLimits const& limits() const noexcept { return limits_; }

    // A verdict `dead_letter` is durable; `is_reserved`: room was taken for it.
    void add(log::Decision const& decision, bool is_reserved = false);
    void remove(Sequence sequence);           // so is one after it
    bool is_open(Sequence sequence) const;

    // The items after or, with `newest_first`, before `cursor`; at most `limit`. None means the beginning.
    std::vector<Item> list(Filter const& filter, Sequence cursor, std::size_t limit, bool newest_first) const;
    std::uint64_t     count(Filter const& filter) const;
    std::vector<Group> groups(Filter const& filter) const;  // the largest first
    Stats             stats() const;

private:
    std::string_view keep(std::string_view text);

    DeadLetterLimits const limits_;

    mutable std::mutex                     mutex_;  // guards what is below
    std::map<Sequence, Item>               items_;
    std::uint64_t                          bytes_{0};
    std::uint64_t                          reserved_{0}, reserved_bytes_{0};  // for verdicts that are not durable yet
    std::set<std::string, std::less<>>     texts_;  // types and reasons; few, as producers can invent neither
    std::map<std::string_view, std::uint64_t> by_reason_;
    std::multiset<WallTime>                times_;  // of the verdicts
};

}  // namespace sluice::engine
