// One stage of an event's path with a fixed amount of work, timed by `stages` and counted in instructions by `budget`.
// A stage is one file; list its function in stage.cpp.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace sluice::bench {

class Stage {
public:
    virtual ~Stage() = default;
    virtual void        prepare() {}  // what a run needs, not measured
    virtual void        run() = 0;
    virtual std::size_t events() const = 0;  // of one run
};

struct NamedStage {
    char const* name;
    std::unique_ptr<Stage> (*make)();
};

template <class T>
std::unique_ptr<Stage> make_stage()
{
    return std::make_unique<T>();
}

std::span<NamedStage const> codec_stages();
std::span<NamedStage const> decode_stages();
std::span<NamedStage const> admission_stages();
std::span<NamedStage const> append_stages();
std::span<NamedStage const> lanes_stages();
std::span<NamedStage const> apply_stages();
std::span<NamedStage const> checkpoint_stages();
std::span<NamedStage const> fold_stages();
std::span<NamedStage const> conviction_stages();
std::span<NamedStage const> digest_stages();

std::vector<NamedStage> all_stages();

}  // namespace sluice::bench
