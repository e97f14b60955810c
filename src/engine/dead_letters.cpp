#include "engine/dead_letters.hpp"

#include "base/hash.hpp"

#include <algorithm>

namespace sluice::engine {
namespace {

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// What is left of a detail once its variable parts are taken out.
std::string normalised(std::string_view detail)
{
    std::string out;
    for (std::size_t i = 0; i < detail.size();) {
        auto const rest = detail.substr(i);
        if (rest.starts_with("did:") || rest.starts_with("at://")) {
            out += '@';
            i = std::min(detail.find_first_of(" ,;\"'`)", i), detail.size());
        } else if (detail[i] == '"' || detail[i] == '\'' || detail[i] == '`') {
            auto const end = detail.find(detail[i], i + 1);
            out += '"';
            i = end == detail.npos ? i + 1 : end + 1;
        } else if (is_digit(detail[i]) && (i == 0 || !is_word(detail[i - 1]))) {
            out += '#';
            while (i < detail.size() && (is_digit(detail[i]) || is_word(detail[i]) || detail[i] == '.')) ++i;
        } else {
            out += detail[i++];
        }
    }
    return out;
}

}  // namespace

std::uint64_t fingerprint(log::Decision const& decision)
{
    auto const& subject = decision.subject;
    return hash64(normalised(decision.detail), hash64(decision.reason, hash64(subject.type)));
}

bool DeadLetters::Filter::matches(Item const& item) const
{
    return (!type || *type == item.type) && (!did || *did == item.did) && (!reason || *reason == item.reason) &&
           (!fingerprint || *fingerprint == item.fingerprint) && (!from || item.at >= *from) &&
           (!to || item.at < *to) && item.sequence <= through;
}

bool DeadLetters::reserve(std::uint32_t bytes)
{
    std::lock_guard lock(mutex_);
    if (items_.size() + reserved_ >= limits_.events || bytes_ + reserved_bytes_ >= limits_.bytes) return false;
    ++reserved_;
    reserved_bytes_ += bytes;
    return true;
}

std::string_view DeadLetters::keep(std::string_view text)
{
    auto const found = texts_.find(text);
    return found != texts_.end() ? *found : *texts_.emplace(text).first;
}

void DeadLetters::add(log::Decision const& decision, bool is_reserved)
{
    auto const&     subject = decision.subject;
    std::lock_guard lock(mutex_);
    if (is_reserved) {
        --reserved_;
        reserved_bytes_ -= subject.bytes;
    }
    Item item{
        .sequence = decision.sequence,
        .type = keep(subject.type),
        .reason = keep(decision.reason),
        .did = subject.did,
        .fingerprint = engine::fingerprint(decision),
        .at = decision.at,
        .received_at = subject.received_at,
        .attempts = decision.attempts,
        .bytes = subject.bytes,
        .tier = subject.tier,
    };
    auto const [it, fresh] = items_.emplace(decision.sequence, std::move(item));
    if (!fresh) return;
    bytes_ += subject.bytes;
    ++by_reason_[it->second.reason];
    times_.insert(decision.at);
}

void DeadLetters::remove(Sequence sequence)
{
    std::lock_guard lock(mutex_);
    auto const      found = items_.find(sequence);
    if (found == items_.end()) return;
    auto const& item = found->second;
    bytes_ -= item.bytes;
    if (--by_reason_.at(item.reason) == 0) by_reason_.erase(item.reason);
    times_.erase(times_.find(item.at));
    items_.erase(found);
}

bool DeadLetters::is_open(Sequence sequence) const
{
    std::lock_guard lock(mutex_);
    return items_.contains(sequence);
}

std::vector<DeadLetters::Item> DeadLetters::list(
    Filter const& filter, Sequence cursor, std::size_t limit, bool newest_first) const
{
    std::vector<Item> found;
    auto const        take = [&](auto it, auto end) {
        for (; it != end && found.size() < limit; ++it)
            if (filter.matches(it->second)) found.push_back(it->second);
    };
    std::lock_guard lock(mutex_);
    if (!newest_first) {
        take(items_.upper_bound(cursor), items_.end());
    } else {
        auto const before = cursor == Sequence::none ? items_.end() : items_.lower_bound(cursor);
        take(std::make_reverse_iterator(before), items_.rend());
    }
    return found;
}

std::uint64_t DeadLetters::count(Filter const& filter) const
{
    std::lock_guard lock(mutex_);
    return static_cast<std::uint64_t>(
        std::ranges::count_if(items_, [&](auto const& entry) { return filter.matches(entry.second); }));
}

std::vector<DeadLetters::Group> DeadLetters::groups(Filter const& filter) const
{
    std::unordered_map<std::uint64_t, Group> by_cause;
    {
        std::lock_guard lock(mutex_);
        for (auto const& [sequence, item] : items_) {
            if (!filter.matches(item)) continue;
            auto& group = by_cause[item.fingerprint];
            if (group.count++ == 0)
                group = {item.fingerprint, std::string(item.type), std::string(item.reason), {}, 1, item.at, item.at};
            group.example = sequence;
            group.oldest = std::min(group.oldest, item.at);
            group.newest = std::max(group.newest, item.at);
        }
    }
    std::vector<Group> groups;
    for (auto& [cause, group] : by_cause) groups.push_back(std::move(group));
    std::ranges::sort(groups, [](Group const& a, Group const& b) {
        return a.count != b.count ? a.count > b.count : a.fingerprint < b.fingerprint;
    });
    return groups;
}

DeadLetters::Stats DeadLetters::stats() const
{
    std::lock_guard lock(mutex_);
    Stats stats{.count = items_.size(), .bytes = bytes_};
    stats.is_full = items_.size() >= limits_.events || bytes_ >= limits_.bytes;
    for (auto const& [reason, count] : by_reason_) stats.by_reason.emplace(reason, count);
    if (!times_.empty()) stats.oldest = *times_.begin();
    return stats;
}

}  // namespace sluice::engine
