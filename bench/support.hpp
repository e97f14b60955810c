// Events for stages, the same in every run of the program.
#pragma once

#include "bench/workload.hpp"
#include "engine/block.hpp"
#include "schema/decoder.hpp"

#include <cstdio>
#include <cstdlib>

namespace sluice::bench {

class FixedClock final : public Clock {
public:
    Mono     now() const noexcept override { return Mono(std::chrono::hours(1)); }
    WallTime wall() const noexcept override { return WallTime(std::chrono::days(20'000)); }
};

[[noreturn]] inline void give_up(std::string const& why)
{
    std::fprintf(stderr, "%s\n", why.c_str());
    std::exit(1);
}

// New events with each call.
class Source {
public:
    std::string json()
    {
        std::string text(Workload::body_bytes_max, '\0');
        text.resize(workload_.put(text.data()));
        return text;
    }

    // `count` decoded events as one request.
    engine::BlockRef block(std::size_t count)
    {
        engine::BlockRef block(new engine::Block);
        for (std::size_t i = 0; i < count; ++i) {
            auto text = json();
            auto const size = text.size();
            text.resize(size + schema::Decoder::padding);
            schema::Decoded decoded;
            if (auto const error = decoder_.decode(std::string_view(text).substr(0, size), block->data, decoded))
                give_up(error->detail);
            block->items.push_back({.offset = decoded.offset, .tier = decoded.tier});
        }
        block->requests.push_back({.count = static_cast<std::uint32_t>(count)});
        return block;
    }

    schema::SchemaSet const& schemas() const noexcept { return schemas_; }

private:
    Workload          workload_{{.dids = 10'000}, std::uint64_t{1} << 60};
    schema::SchemaSet schemas_{all_processors()};
    schema::Decoder   decoder_{schemas_};
};

}  // namespace sluice::bench
