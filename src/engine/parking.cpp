#include "engine/parking.hpp"

#include <algorithm>

namespace sluice::engine {

bool Parking::reserve()
{
    std::lock_guard lock(mutex_);
    if (parked_.load(std::memory_order_relaxed) + reserved_ >= events_max_) return false;
    ++reserved_;
    return true;
}

// Under mutex_.
bool Parking::waits(std::uint64_t name, Sequence version, Sequence sequence) const
{
    auto const found = waiting_.find(name);
    if (found == waiting_.end()) return false;
    for (auto const& [earlier, parked] : found->second) {
        if (earlier >= version) return false;
        if (parked < sequence) return true;
    }
    return false;
}

bool Parking::follows(RecordKey key, Sequence version, Sequence sequence) const
{
    if (key.record == 0 || is_empty()) return false;
    std::lock_guard lock(mutex_);
    return waits(key.record, version, sequence) || waits(key.repository, version, sequence);
}

void Parking::parked(log::Decision const& decision, bool is_reserved)
{
    auto const&     subject = decision.subject;
    std::lock_guard lock(mutex_);
    if (is_reserved) --reserved_;
    parked_.fetch_add(1, std::memory_order_relaxed);
    auto& type = of_type(subject.type);
    if (type.events++ == 0 || subject.received_at < type.oldest) type.oldest = subject.received_at;
    wait(decision.sequence, subject.record, subject.version);
}

void Parking::expect_copy(Sequence parked, std::uint64_t record, Sequence version)
{
    std::lock_guard lock(mutex_);
    wait(parked, record, version);
}

void Parking::wait(Sequence parked, std::uint64_t record, Sequence version)
{
    if (record == 0) return;
    auto const [at, fresh] = waiting_[record].try_emplace(version, parked);
    if (!fresh) at->second = std::min(at->second, parked);
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
    found->second.erase(version);
    if (found->second.empty()) waiting_.erase(found);
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
