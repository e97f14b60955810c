#include "adapters/rocksdb/disk_space.hpp"

#include <algorithm>

namespace sluice::adapters {

namespace {

using Level = log::Space::Level;

constexpr std::uint64_t low_water_max = std::uint64_t{1} << 30;

// Below the limit, or was and is not an eighth above it yet.
bool is_below(std::uint64_t free, std::uint64_t limit, bool was_below)
{
    return free < limit || (was_below && free - limit < limit / 8);
}

}  // namespace

DiskSpace::DiskSpace(Limits limits, std::string const& reserve_path, Measure measure)
    : limits_(limits), measure_(std::move(measure)), reserve_(reserve_path, limits.reserve_file_bytes)
{
}

log::Space DiskSpace::look()
{
    std::lock_guard const lock(mutex_);
    auto                  room = measure_();
    if (!room) return {.level = Level::full, .free_bytes = 0, .has_reserve = reserve_.is_whole()};
    if (reserve_.is_whole() && room->free < reserve_.bytes()) {
        reserve_.give_up();
        if (auto const left = measure_()) room = left;
    } else if (!reserve_.is_whole() && room->free / 2 > reserve_.bytes() &&
               room->free - 2 * reserve_.bytes() > limits_.reserve_bytes) {
        (void)reserve_.make();
        if (auto const left = measure_()) room = left;
    }
    auto const low_water =
        limits_.low_water_bytes != 0 ? limits_.low_water_bytes : std::min(room->total / 10, low_water_max);
    if (is_below(room->free, limits_.reserve_bytes, level_ == Level::full))
        level_ = Level::full;
    else
        level_ = is_below(room->free, low_water, level_ != Level::ok) ? Level::low : Level::ok;
    return {.level = level_, .free_bytes = room->free,
            .has_reserve = reserve_.is_whole() || reserve_.bytes() == 0};
}

void DiskSpace::make_room(std::uint64_t bytes)
{
    bytes = std::min(bytes, std::max(limits_.reserve_bytes, limits_.reserve_file_bytes));
    std::lock_guard const lock(mutex_);
    auto const            room = measure_();
    if (reserve_.is_whole() && (!room || room->free < bytes)) reserve_.give_up();
}

}  // namespace sluice::adapters
