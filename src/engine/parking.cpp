#include "engine/parking.hpp"

#include <algorithm>

namespace sluice::engine {

bool Parking::is_before(Versions const* versions, Sequence version)
{
    return versions != nullptr && !versions->empty() && versions->front() < version;
}

bool Parking::follows(RecordKey key, Sequence version) const
{
    if (key.record == 0 || records_.load(std::memory_order_acquire) == 0) return false;
    std::lock_guard lock(mutex_);
    auto const      find = [&](std::uint64_t name) {
        auto const found = waiting_.find(name);
        return found == waiting_.end() ? nullptr : &found->second;
    };
    return is_before(find(key.record), version) || is_before(find(key.repository), version);
}

void Parking::parked(log::Decision const& decision)
{
    auto const&     subject = decision.subject;
    std::lock_guard lock(mutex_);
    parked_.fetch_add(1, std::memory_order_relaxed);
    auto& type = of_type(subject.type);
    if (type.events++ == 0 || subject.received_at < type.oldest) type.oldest = subject.received_at;
    wait(subject.record, subject.version);
}

void Parking::expect_copy(std::uint64_t record, Sequence version)
{
    std::lock_guard lock(mutex_);
    wait(record, version);
}

void Parking::wait(std::uint64_t record, Sequence version)
{
    if (record == 0) return;
    auto&      versions = waiting_[record];
    auto const at = std::lower_bound(versions.begin(), versions.end(), version);
    if (at == versions.end() || *at != version) versions.insert(at, version);
    records_.store(waiting_.size(), std::memory_order_release);
}

void Parking::released(log::Decision::Subject const& subject)
{
    std::lock_guard lock(mutex_);
    leave_type(subject);
}

void Parking::dropped(log::Decision::Subject const& subject)
{
    {
        std::lock_guard lock(mutex_);
        leave_type(subject);
    }
    settled({0, subject.record}, subject.version);
}

void Parking::settled(RecordKey key, Sequence version)
{
    if (key.record == 0 || records_.load(std::memory_order_acquire) == 0) return;
    std::lock_guard lock(mutex_);
    auto const      found = waiting_.find(key.record);
    if (found == waiting_.end()) return;
    auto&      versions = found->second;
    auto const at = std::lower_bound(versions.begin(), versions.end(), version);
    if (at != versions.end() && *at == version) versions.erase(at);
    if (versions.empty()) waiting_.erase(found);
    records_.store(waiting_.size(), std::memory_order_release);
}

std::map<std::string, Parking::Waiting> Parking::by_type() const
{
    std::lock_guard lock(mutex_);
    return types_;
}

Parking::Waiting& Parking::of_type(std::string const& type)
{
    auto const found = types_.find(type);
    if (found != types_.end()) return found->second;
    return types_[types_.size() < types_max ? type : "other"];
}

// The oldest of a type is known again when the last one has gone.
void Parking::leave_type(log::Decision::Subject const& subject)
{
    parked_.fetch_sub(1, std::memory_order_relaxed);
    auto const found = types_.find(types_.contains(subject.type) ? subject.type : "other");
    if (found != types_.end() && --found->second.events == 0) types_.erase(found);
}

}  // namespace sluice::engine
