#include "engine/controls.hpp"

#include <boost/json.hpp>

#include <algorithm>

namespace sluice::engine {

namespace json = boost::json;

namespace {

Error bad(std::string detail) { return {Errc::invalid, "bad_control", std::move(detail)}; }
Error unchanged(std::string detail) { return {Errc::invalid, "unchanged", std::move(detail)}; }

std::optional<std::string> text_in(json::object const& object, std::string_view name)
{
    auto const* const value = object.if_contains(name);
    if (value == nullptr || !value->is_string()) return std::nullopt;
    return std::string(value->get_string());
}

std::optional<std::uint64_t> number_in(json::object const& object, std::string_view name)
{
    auto const* const value = object.if_contains(name);
    boost::system::error_code failed;
    auto const                number = value == nullptr ? 0 : value->to_number<std::uint64_t>(failed);
    if (value == nullptr || failed) return std::nullopt;
    return number;
}

json::value time_of(std::optional<WallTime> time)
{
    return time ? json::value(time->time_since_epoch().count()) : json::value();
}

std::optional<WallTime> time_in(json::object const& object, std::string_view name)
{
    auto const* const value = object.if_contains(name);
    if (value == nullptr || !value->is_int64()) return std::nullopt;
    return WallTime(std::chrono::microseconds(value->get_int64()));
}

json::object to_json(Job const& job)
{
    auto const&  f = job.filter;
    auto const   text = [](std::optional<std::string> const& t) { return t ? json::value(*t) : json::value(); };
    json::object filter{{"type", text(f.type)}, {"did", text(f.did)}, {"reason", text(f.reason)},
                        {"from", time_of(f.from)}, {"to", time_of(f.to)}, {"through", number(f.through)}};
    if (f.fingerprint) filter["fingerprint"] = *f.fingerprint;
    return {{"kind", job_kinds[static_cast<std::size_t>(job.kind)]}, {"filter", std::move(filter)}, {"rate", job.rate},
            {"as_new", job.as_new}, {"by", job.by}, {"job", number(job.id)}, {"stopped", job.is_stopped}};
}

Result<Job> job_in(json::object const& object, Sequence id)
{
    Job        job{.id = id};
    auto const kind = text_in(object, "kind");
    auto const at = std::find(std::begin(job_kinds), std::end(job_kinds), kind.value_or(""));
    if (at == std::end(job_kinds)) return bad("a job is a redrive, a drop or a release");
    job.kind = static_cast<Job::Kind>(at - std::begin(job_kinds));
    if (auto const* const filter = object.if_contains("filter"); filter != nullptr && filter->is_object()) {
        auto const& f = filter->get_object();
        job.filter = {.type = text_in(f, "type"), .did = text_in(f, "did"), .reason = text_in(f, "reason"),
                      .fingerprint = number_in(f, "fingerprint"), .from = time_in(f, "from"), .to = time_in(f, "to")};
        if (auto const through = number_in(f, "through")) job.filter.through = Sequence{*through};
    }
    if (auto const* const rate = object.if_contains("rate"); rate != nullptr && rate->is_number())
        job.rate = rate->to_number<double>();
    if (!(job.rate > 0)) return bad("a job needs a rate above 0");
    auto const is_true = [&](char const* name) {
        auto const* const value = object.if_contains(name);
        return value != nullptr && value->is_bool() && value->get_bool();
    };
    job.as_new = is_true("as_new");
    job.is_stopped = is_true("stopped");
    job.by = text_in(object, "by").value_or("");
    return job;
}

json::object to_json(Admission::Limits const& limits)
{
    return {{"capacity", limits.events}, {"bytes", limits.bytes},
            {"tier_limits", json::array(limits.percent.begin(), limits.percent.end())}};
}

Result<Admission::Limits> limits_in(json::object const& object)
{
    constexpr auto    bytes_max = std::uint64_t{64} << 30;
    Admission::Limits limits;
    auto const        events = number_in(object, "capacity"), bytes = number_in(object, "bytes");
    auto const* const percent = object.if_contains("tier_limits");
    if (!events || *events < 10 || *events > 4'000'000 || !bytes || *bytes < (1u << 20) || *bytes > bytes_max)
        return bad("limits are a capacity from 10 to 4000000 and from 1 MiB to 64 GiB of bytes");
    limits.events = static_cast<std::uint32_t>(*events);
    limits.bytes = *bytes;
    if (percent == nullptr || !percent->is_array() || percent->get_array().size() != tier_count)
        return bad("tier_limits are four percentages");
    for (std::size_t t = 0; t < tier_count; ++t) {
        boost::system::error_code failed;
        limits.percent[t] = percent->get_array()[t].to_number<std::uint32_t>(failed);
        if (failed || limits.percent[t] == 0 || limits.percent[t] > 100) return bad("a percentage is from 1 to 100");
    }
    return limits;
}

Result<> pause(std::set<std::string, std::less<>>& paused, std::string const& name, bool is_pause, std::size_t max)
{
    if (is_pause && !paused.contains(name) && paused.size() >= max) return bad("too many are paused already");
    if (is_pause ? !paused.insert(name).second : paused.erase(name) == 0)
        return unchanged(name + (is_pause ? " is paused already" : " is not paused"));
    return {};
}

}  // namespace

Result<> Controls::change(State& state, std::string_view type, std::string_view payload, Sequence sequence) const
{
    boost::system::error_code failed;
    auto const                parsed = json::parse(payload, failed);
    if (failed || !parsed.is_object()) return bad("not a JSON object");
    auto const& object = parsed.get_object();
    bool const  is_pause = type.ends_with("_paused");
    if (type == control::tier_paused || type == control::tier_resumed) {
        auto const name = text_in(object, "tier").value_or("");
        auto const at = std::find(std::begin(tier_names), std::end(tier_names), name);
        if (at == std::end(tier_names)) return bad("a tier is low, normal, high or critical");
        auto& paused = state.tiers[static_cast<std::size_t>(at - std::begin(tier_names))];
        if (paused == is_pause) return unchanged("tier " + name + (is_pause ? " is paused already" : " is not paused"));
        paused = is_pause;
    } else if (type == control::type_paused || type == control::type_resumed) {
        auto const name = text_in(object, "event_type");
        if (!name || name->empty()) return bad("event_type says what to pause");
        return pause(state.types, *name, is_pause, types_max);
    } else if (type == control::lane_paused || type == control::lane_resumed) {
        auto const name = text_in(object, "did");
        if (!name || name->empty()) return bad("did says which lane to pause");
        return pause(state.lanes, *name, is_pause, lanes_max);
    } else if (type == control::workers_set) {
        auto const workers = number_in(object, "workers");
        if (!workers || *workers == 0 || *workers > workers_max)
            return bad("workers is a number from 1 to " + std::to_string(workers_max));
        state.workers = *workers;
    } else if (type == control::limits_set) {
        auto const limits = limits_in(object);
        if (!limits) return limits.error();
        state.limits = *limits;
    } else if (type == control::job_started) {
        if (state.job && !state.job->is_stopped)
            return Error{Errc::invalid, "job_running", "one job at a time: stop the other first"};
        auto job = job_in(object, sequence);
        if (!job) return job.error();
        state.job = std::move(*job);
    } else {
        auto const id = number_in(object, "job");
        if (!state.job || id != number(state.job->id))
            return Error{Errc::invalid, "no_job", "there is no such job"};
        if (type == control::job_finished) {
            state.job.reset();
        } else if (type == control::job_stopped || type == control::job_resumed) {
            bool const stops = type == control::job_stopped;
            if (state.job->is_stopped == stops)
                return unchanged(stops ? "it is stopped already" : "it is not stopped");
            state.job->is_stopped = stops;
        } else {
            return bad("nothing is known by " + std::string(type));
        }
    }
    return {};
}

Result<> Controls::check(std::string_view type, std::string_view payload) const
{
    auto after = state();
    return change(after, type, payload, Sequence::none);
}

// Two requests may have been checked against the same state: the second one then finds nothing to change.
void Controls::apply(std::string_view type, std::string_view payload, Sequence sequence)
{
    auto before = state();
    if (sequence <= before.last) return;
    auto after = before;
    if (!change(after, type, payload, sequence)) after = std::move(before);
    after.last = sequence;
    ++after.count;
    set(std::move(after));
}

Controls::State Controls::state() const
{
    std::lock_guard lock(mutex_);
    return state_;
}

void Controls::restore(State state) { set(std::move(state)); }

void Controls::set(State state)
{
    std::lock_guard lock(mutex_);
    bool const      is_any = std::ranges::find(state.tiers, true) != state.tiers.end() || !state.types.empty() ||
                        !state.lanes.empty();
    state_ = std::move(state);
    any_.store(is_any, std::memory_order_release);
}

bool Controls::pauses(Tier listed_in, Event const& event) const
{
    if (!any()) return false;
    std::lock_guard lock(mutex_);
    return state_.tiers[index(listed_in)] || state_.types.contains(event.type) || state_.lanes.contains(event.did);
}

std::string to_text(Controls::State const& state)
{
    json::object object{{"last", number(state.last)}, {"count", state.count},
                        {"tiers", json::array(state.tiers.begin(), state.tiers.end())},
                        {"types", json::array(state.types.begin(), state.types.end())},
                        {"lanes", json::array(state.lanes.begin(), state.lanes.end())}};
    if (state.workers) object["workers"] = *state.workers;
    if (state.limits) object["limits"] = to_json(*state.limits);
    if (state.job) object["job"] = to_json(*state.job);
    return json::serialize(object);
}

Result<Controls::State> controls_from_text(std::string_view text)
{
    boost::system::error_code failed;
    auto const                parsed = json::parse(text, failed);
    if (failed || !parsed.is_object()) return bad("not a JSON object");
    try {
        auto const&     object = parsed.get_object();
        Controls::State state{.last = Sequence{object.at("last").to_number<std::uint64_t>()},
                              .count = object.at("count").to_number<std::uint64_t>()};
        auto const&     tiers = object.at("tiers").as_array();
        for (std::size_t t = 0; t < tier_count; ++t) state.tiers[t] = tiers.at(t).as_bool();
        for (auto const& type : object.at("types").as_array()) state.types.emplace(type.as_string());
        for (auto const& lane : object.at("lanes").as_array()) state.lanes.emplace(lane.as_string());
        if (object.contains("workers")) state.workers = object.at("workers").to_number<std::size_t>();
        if (object.contains("limits")) state.limits = limits_in(object.at("limits").as_object()).value();
        if (object.contains("job")) {
            auto const& job = object.at("job").as_object();
            state.job = job_in(job, Sequence{number_in(job, "job").value_or(0)}).value();
        }
        return state;
    } catch (std::exception const& error) {
        return bad(error.what());
    }
}

std::string to_payload(Job const& job)
{
    auto object = to_json(job);
    object.erase("job");
    object.erase("stopped");
    return json::serialize(object);
}

}  // namespace sluice::engine
