#include "bench/workload.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string_view>

namespace sluice::bench {

namespace {

// base32-sortable, of TIDs and of did:plc.
constexpr char        tid_digits[] = "234567abcdefghijklmnopqrstuvwxyz";
constexpr char        plc_digits[] = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::size_t tid_size = 13;
constexpr std::size_t id_size = 16;

void put_tid(char* out, std::uint64_t value) noexcept
{
    for (auto i = tid_size; i-- > 0; value >>= 5) out[i] = tid_digits[value & 31];
}

void put_hex(char* out, std::uint64_t value) noexcept
{
    for (auto i = id_size; i-- > 0; value >>= 4) out[i] = "0123456789abcdef"[value & 15];
}

std::string did(std::uint64_t n)
{
    Random      random(n);
    std::string text = "did:plc:";
    for (int i = 0; i < 24; ++i) text += plc_digits[random.below(32)];
    return text;
}

constexpr double sigma = 0.35;

double within_limits(double size)
{
    return std::clamp<double>(size, Workload::body_bytes_min, Workload::body_bytes_max);
}

// The parameter with which sizes have this mean after the limits have cut them.
double median_for(std::size_t mean)
{
    auto const wanted = std::log(static_cast<double>(mean));
    auto       parameter = wanted;
    for (int round = 0; round < 20; ++round) {
        std::mt19937_64                     random(1);
        std::lognormal_distribution<double> size(parameter, sigma);
        double                              sum = 0;
        constexpr int                       samples = 5'000;
        for (int i = 0; i < samples; ++i) sum += within_limits(size(random));
        parameter += wanted - std::log(sum / samples);
    }
    return parameter;
}

}  // namespace

Workload::Workload(WorkloadOptions const& options, std::uint64_t base)
    : duplicates_(options.duplicates), base_(base), records_(options.records), random_(options.seed)
{
    std::vector<std::string> names(options.dids);
    std::vector<double>      weights(options.dids);
    for (std::size_t i = 0; i < names.size(); ++i) {
        names[i] = did(i + 1);
        weights[i] = std::pow(static_cast<double>(i + 1), -options.skew);
    }
    std::mt19937_64                         random(options.seed);
    std::discrete_distribution<std::size_t> repository(weights.begin(), weights.end());
    std::discrete_distribution<int>         tier(options.tier_mix.begin(), options.tier_mix.end());
    std::lognormal_distribution<double>     size(median_for(options.body_bytes), sigma);
    constexpr std::string_view filler = "worked together ";
    std::string const          blank_tid(tid_size, '2'), blank_id(id_size, '0');

    bodies_.resize(std::clamp<std::size_t>(options.dids, 10'000, 500'000));
    text_.reserve(bodies_.size() * (options.body_bytes + 16));
    for (auto& body : bodies_) {
        auto const owner = repository(random);
        auto       other = repository(random);
        if (other == owner) other = (owner + 1) % names.size();
        auto const wanted = static_cast<std::size_t>(within_limits(size(random)));

        body.at = text_.size();
        auto const here = [&] { return static_cast<std::uint16_t>(text_.size() - body.at); };
        text_ += R"({"event_type":"relationship.created","did":")" + names[owner] + R"(","event_id":")";
        body.id_at = here();
        text_ += blank_id + R"(","rev":")";
        body.rev_at = here();
        text_ += blank_tid + R"(","priority":)" + std::to_string(tier(random)) + R"(,"payload":{"uri":"at://)" +
                 names[owner] + "/net.rhiz.relationship/";
        body.key_at = here();
        text_ += blank_tid + R"(","cid":"bafyreigh2akiscaildc","participants":[")" + names[owner] + R"(",")" +
                 names[other] + R"("],"type":"civic","strength":)" + std::to_string(random() % 101) +
                 R"(,"created_at":"2026-01-01T00:00:00Z","context":")";
        constexpr std::string_view end = R"("}})";
        while (here() + end.size() < wanted) text_ += filler[here() % filler.size()];
        text_ += end;
        body.size = here();
    }
}

std::size_t Workload::put(char* out)
{
    auto n = next_;
    if (n > 0 && duplicates_ > 0 && random_.chance(duplicates_))
        n -= 1 + random_.below(std::min(n, repeat_window));
    else
        ++next_;
    auto const  record = records_ != 0 ? n % records_ : n;
    auto const& body = bodies_[record % bodies_.size()];
    std::memcpy(out, text_.data() + body.at, body.size);
    put_hex(out + body.id_at, (base_ + n) * 0x9E3779B97F4A7C15);  // odd: no two alike
    put_tid(out + body.rev_at, base_ + n);
    put_tid(out + body.key_at, records_ != 0 ? record + 1 : base_ + n);
    return body.size;
}

}  // namespace sluice::bench
