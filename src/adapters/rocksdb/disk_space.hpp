// When a disk counts as low or full, and what is done about it.
//
//   free >= low water        everything is accepted
//   low water > free         what is less important is refused
//   reserve > free           every event is refused; verdicts, tables and HEAD may still take what is left
//   reserve file > free      somebody else has filled the disk: the reserve file is given up for them
//
// The reserve file is made again when, with it, there is still room for twice as much above the reserve. Full and low
// end an eighth above where they began.
#pragma once

#include "adapters/posix/reserve_file.hpp"
#include "log/event_log.hpp"

#include <functional>
#include <mutex>
#include <string>

namespace sluice::adapters {

// Any thread.
class DiskSpace {
public:
    struct Limits {
        std::uint64_t reserve_bytes{0};       // free space below which the disk is full
        std::uint64_t low_water_bytes{0};     // below which it is low; 0: a tenth of it, but at most 1 GiB
        std::uint64_t reserve_file_bytes{0};  // 0: there is none
    };
    struct Room {
        std::uint64_t free{0}, total{0};  // bytes
    };
    using Measure = std::function<Result<Room>()>;

    DiskSpace(Limits limits, std::string const& reserve_path, Measure measure);

    // Space that cannot be read counts as none.
    log::Space look();

    // Before up to `bytes` are written that must not fail: gives up the reserve file if they might not fit else. What
    // is in reserve is taken to be enough.
    void make_room(std::uint64_t bytes);

private:
    Limits const  limits_;
    Measure const measure_;
    std::mutex    mutex_;
    ReserveFile   reserve_;                        // guarded by mutex_
    log::Space::Level level_{log::Space::Level::ok};  // guarded by mutex_
};

}  // namespace sluice::adapters
