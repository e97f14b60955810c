#include "http/operations.hpp"

#include "http/operations_json.hpp"
#include "schema/syntax.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <future>

namespace sluice::http {

namespace json = boost::json;

Operations::Operations(Deps deps)
    : deps_(std::move(deps)), successors_({deps_.log, deps_.schemas}), decider_(deps_.schemas)
{
}

void Operations::run(Request& request, Reply reply, Response (Operations::*work)(std::string const&))
{
    auto const* const by = &deps_.producers[request.producer].name;
    deps_.background.run(std::move(reply), [this, work, by, body = std::move(request.body)] {
        by_ = *by;
        return (this->*work)(body);
    });
}

void Operations::redrive(Request& request, Reply reply) { run(request, std::move(reply), &Operations::do_redrive); }
void Operations::drop(Request& request, Reply reply) { run(request, std::move(reply), &Operations::do_drop); }
void Operations::release(Request& request, Reply reply) { run(request, std::move(reply), &Operations::do_release); }
void Operations::stop_job(Request& request, Reply reply) { run(request, std::move(reply), &Operations::do_stop_job); }
void Operations::control(Request& request, Reply reply) { run(request, std::move(reply), &Operations::do_control); }
void Operations::drop_parked(Request& request, Reply reply)
{
    run(request, std::move(reply), &Operations::do_drop_parked);
}
void Operations::resume_job(Request& request, Reply reply)
{
    run(request, std::move(reply), &Operations::do_resume_job);
}

namespace {

constexpr double        rate_max = 1e6;
constexpr std::size_t   note_bytes_max = 1'000;
constexpr std::uint64_t number_max = ~std::uint64_t{0};

Response unknown_outcome()
{
    return to_response({.status = 503, .error = "unknown",
                        .detail = "writing did not end in time and it is unknown whether this was done: look again",
                        .retry_after = 5});
}

Response not_stored(engine::RequestOutcome outcome)
{
    using engine::RequestOutcome;
    Problem problem{.status = 503, .error = {}, .detail = {}, .retry_after = 5};
    if (outcome == RequestOutcome::log_failed) return unknown_outcome();
    if (outcome == RequestOutcome::disk_full) {
        problem.error = "disk_full";
        problem.detail = "free disk space is below the reserve; nothing was done";
    } else if (outcome == RequestOutcome::ids_behind) {
        problem.error = "ids_behind";
        problem.detail = "the index of event ids is behind; nothing was done";
        problem.retry_after = 1;
    } else {
        problem.error = "read_failed";
        problem.detail = "the log cannot be read and the server is stopping; nothing was done";
    }
    return to_response(problem);
}

Response refused(Error const& error)
{
    int const status = error.reason == "unchanged" || error.reason == "job_running" ? 409
                       : error.reason == "no_job"                                  ? 404
                                                                                   : 422;
    return to_response({.status = status, .error = error.reason, .detail = error.detail});
}

std::string with_author(json::object payload, std::string const& by, std::optional<std::string> const& note)
{
    payload["by"] = by;
    if (note) payload["note"] = *note;
    return json::serialize(payload);
}

}  // namespace

// Waits until it is durable, and done.
std::variant<Operations::Committed, Response> Operations::commit(engine::BlockRef block)
{
    auto const answer = std::make_shared<std::promise<Committed>>();
    auto       answered = answer->get_future();
    block->answered = [answer](engine::Block const& done) {
        Committed committed{.outcome = done.requests.front().outcome};
        if (!done.items.empty()) committed.first = done.items.front().sequence;
        if (!done.orders.empty()) committed.order = done.orders.front();
        answer->set_value(std::move(committed));
    };
    deps_.submit(std::move(block));
    if (answered.wait_for(patience) != std::future_status::ready) return unknown_outcome();
    auto committed = answered.get();
    if (committed.outcome != engine::RequestOutcome::stored) return not_stored(committed.outcome);
    return committed;
}

std::variant<Sequence, Response> Operations::append_control(std::string_view type, std::string const& payload)
{
    if (auto const checked = deps_.engine.controls().check(type, payload); !checked) return refused(checked.error());
    auto committed = commit(engine::make_control(type, payload, {}));
    if (auto* const response = std::get_if<Response>(&committed)) return std::move(*response);
    return std::get<Committed>(committed).first;
}

// ---- one event

Response Operations::take_up(Sequence sequence, engine::Successors::Wish const& wish, log::Verdict from)
{
    auto const newest = log::newest_verdict(deps_.log, sequence);
    if (!newest) return cannot_read(newest.error());
    if (*newest != from) return not_open(sequence, from);
    engine::BlockRef    block(new engine::Block);
    schema::DecodeError why;
    if (auto const added = successors_.add(*block, sequence, wish, deps_.clock.wall(), &why); !added) {
        if (added.error().code != Errc::invalid) return cannot_read(added.error());
        why.code = added.error().reason;
        why.detail = added.error().detail;
        return to_response(to_problem(why));
    }
    engine::Admission::Demand demand;
    for (auto const& item : block->items) ++demand.events[index(item.tier)];
    demand.bytes = block->data.size();
    if (demand.total() != 0)
        if (auto const full = deps_.engine.admission().admit(demand, block->requests.front().ticket))
            return to_response({.status = 503, .error = "queue_full",
                                .detail = "the event's tier is closed: too many events are waiting; nothing was done",
                                .retry_after = 1, .tier = std::string(tier_names[index(full->tier)])});
    auto const committed = commit(std::move(block));
    if (auto const* const response = std::get_if<Response>(&committed)) return *response;
    auto const& order = *std::get<Committed>(committed).order;
    if (!order.before) return not_open(sequence, from);  // another one came first
    json::object answered{{"status", verdict_name(wish.verdict)}, {"sequence", number(sequence)}};
    if (order.decision.successor != Sequence::none) answered["successor"] = number(order.decision.successor);
    return answer(answered, 202);
}

// 409 for one that was, 404 for one that never was.
Response Operations::not_open(Sequence sequence, log::Verdict wanted) const
{
    std::optional<log::Decision> newest;
    bool                         was = false;
    auto const visited = deps_.log.visit_decisions(sequence, [&](log::Decision const& decision) {
        if (decision.sequence != sequence) return false;
        was = was || decision.verdict == wanted;
        newest = decision;
        return true;
    });
    if (!visited) return cannot_read(visited.error());
    std::string const event = "event " + std::to_string(number(sequence));
    std::string const what = wanted == log::Verdict::parked ? "parked" : "a dead letter";
    if (!newest) return problem(404, "not_open", event + " is not " + what + ": nothing was decided about it");
    auto detail = event + " is " + std::string(verdict_name(newest->verdict));
    if (newest->successor != Sequence::none) detail += ", as event " + std::to_string(number(newest->successor));
    return problem(was ? 409 : 404, "not_open", detail + ", and not " + what);
}

Response Operations::do_redrive(std::string const& body) { return redrive_or_drop(body, log::Verdict::redriven); }
Response Operations::do_drop(std::string const& body) { return redrive_or_drop(body, log::Verdict::dropped); }

Response Operations::redrive_or_drop(std::string const& body, log::Verdict verdict)
{
    bool const is_redrive = verdict == log::Verdict::redriven;
    Document   document(body);
    Members    members(document);
    bool const is_one = members.has("sequence");
    if (is_one == members.has("filter") && document.is_object())
        document.fail("", "sequence_or_filter", "must have either a sequence or a filter; {} is everything");
    if (!is_one) {
        engine::Job job{.kind = is_redrive ? engine::Job::Kind::redrive : engine::Job::Kind::drop};
        if (auto filter = members.object("filter")) job.filter = read_filter(*filter);
        if (is_redrive) job.as_new = members.flag("as_new").value_or(false);
        return start_job(members, document, std::move(job),
                         {deps_.engine.dead_letters().count(job.filter), {{"groups", group_list(job.filter)}}});
    }
    engine::Successors::Wish wish{.verdict = verdict, .by = by_};
    auto const               sequence = members.number("sequence", 1, number_max);
    std::string              payload;
    if (is_redrive) {
        wish.as_new = members.flag("as_new").value_or(false);
        if (members.object("payload")) {
            auto const raw = document.raw("payload");
            if (!raw) document.fail("/payload", "ambiguous", "must be there once, its name written plainly");
            payload = raw.value_or("");
            wish.payload = payload;
        }
    }
    members.done();
    if (auto const wrong = document.problem()) return to_response(*wrong);
    return take_up(Sequence{*sequence}, wish, log::Verdict::dead_letter);
}

Response Operations::do_drop_parked(std::string const& body)
{
    Document   document(body);
    Members    members(document);
    auto const sequence = members.number("sequence", 1, number_max);
    members.done();
    if (!sequence && !document.problem()) members.fail("sequence", "missing", "is required");
    if (auto const wrong = document.problem()) return to_response(*wrong);
    return take_up(
        Sequence{*sequence}, {.verdict = log::Verdict::dropped, .by = by_},
        log::Verdict::parked);
}

Response Operations::do_release(std::string const& body)
{
    Document    document(body);
    Members     members(document);
    engine::Job job{.kind = engine::Job::Kind::release};
    if (auto filter = members.object("filter")) {
        job.filter.type = filter->text("type");
        job.filter.did = filter->text("did");
        filter->done();
        if (job.filter.type && deps_.schemas.find(*job.filter.type) == nullptr)
            filter->fail("type", "no_processor", "has no processor in this server: its events stay parked");
    } else if (!document.problem()) {
        members.fail("filter", "missing", "is required; {} is everything");
    }
    return start_job(members, document, std::move(job), {parked_matching(job.filter), {}});
}

// ---- jobs

Response Operations::start_job(Members& body, Document& document, engine::Job job, Preview preview)
{
    bool const is_dry = body.flag("dry_run").value_or(true);
    auto const note = body.text("note", note_bytes_max);
    if (auto const rate = body.real("rate", rate_max)) job.rate = *rate;
    body.done();
    if (auto const wrong = document.problem()) return to_response(*wrong);
    if (is_dry) {
        json::object dry{{"dry_run", true}, {"matching", preview.matching}};
        for (auto& [name, value] : preview.more) dry[name] = std::move(value);
        return answer(dry);
    }
    // What fails again is not tried again by the same job.
    job.filter.through = deps_.engine.state().last_sequence;
    job.by = by_;
    auto const payload = with_author(json::parse(to_payload(job)).as_object(), by_, note);
    auto       started = append_control(engine::control::job_started, payload);
    if (auto* const response = std::get_if<Response>(&started)) return std::move(*response);
    return answer(
        json::object{{"job", number(std::get<Sequence>(started))}, {"matching", preview.matching}}, 202);
}

Response Operations::do_stop_job(std::string const& body) { return change_job(body, engine::control::job_stopped); }
Response Operations::do_resume_job(std::string const& body)
{
    return change_job(body, engine::control::job_resumed);
}

Response Operations::change_job(std::string const& body, std::string_view type)
{
    Document   document(body);
    Members    members(document);
    auto const job = members.number("job", 1, number_max);
    auto const note = members.text("note", note_bytes_max);
    members.done();
    if (!job && !document.problem()) members.fail("job", "missing", "is required");
    if (auto const wrong = document.problem()) return to_response(*wrong);
    auto changed = append_control(type, with_author({{"job", *job}}, by_, note));
    if (auto* const response = std::get_if<Response>(&changed)) return std::move(*response);
    auto const now = deps_.engine.controls().state().job;
    if (!now || number(now->id) != *job) return problem(404, "no_job", "the job ended in the meantime");
    return answer(json::object{{"sequence", number(std::get<Sequence>(changed))}, {"job", *job},
                               {"state", now->is_stopped ? "stopped" : "running"}});
}

void Operations::jobs(Request&, Reply reply)
{
    deps_.background.run(std::move(reply), [this] {
        auto const now = deps_.engine.controls().state().job;
        auto       all = deps_.engine.jobs().progress();
        if (now && (all.empty() || all.front().job.id != now->id)) all.insert(all.begin(), {.job = *now});
        json::array list;
        for (auto const& progress : all) {
            auto const& job = progress.job;
            bool const  is_now = now && now->id == job.id;
            char const* const state = progress.is_finished     ? "finished"
                                      : is_now                 ? (now->is_stopped ? "stopped" : "running")
                                      : progress.job.is_stopped ? "replaced"
                                                                : "running";
            json::object shown{{"job", number(job.id)},
                               {"kind", engine::job_kinds[static_cast<std::size_t>(job.kind)]},
                               {"state", state},
                               {"filter", to_json(job.filter)},
                               {"rate", job.rate},
                               {"as_new", job.as_new},
                               {"by", job.by},
                               {"done", progress.done},
                               {"failed", progress.failed},
                               {"failure", progress.failure.empty() ? json::value() : json::value(progress.failure)},
                               {"started", time_or_null(progress.began)},
                               {"ended", time_or_null(progress.ended)}};
            if (is_now && job.kind != engine::Job::Kind::release)
                shown["matching"] = deps_.engine.dead_letters().count(job.filter);
            list.push_back(std::move(shown));
        }
        return answer(json::object{{"jobs", std::move(list)}});
    });
}

// ---- controls

namespace {

json::object limits_json(engine::Admission::Limits const& limits)
{
    return {{"capacity", limits.events}, {"bytes", limits.bytes},
            {"tier_limits", json::array(limits.percent.begin(), limits.percent.end())}};
}

}  // namespace

json::object Operations::control_state() const
{
    auto const  state = deps_.engine.controls().state();
    auto const& options = deps_.engine.options();
    json::array tiers;
    for (std::size_t t = tier_count; t-- > 0;)
        if (state.tiers[t]) tiers.push_back(json::string(tier_names[t]));
    auto limits = limits_json(deps_.engine.admission().limits());
    limits["configured"] = limits_json(options.admission);
    limits["is_overridden"] = state.limits.has_value();
    return {{"paused",
             {{"tiers", std::move(tiers)}, {"event_types", json::array(state.types.begin(), state.types.end())},
              {"dids", json::array(state.lanes.begin(), state.lanes.end())}}},
            {"workers",
             {{"now", deps_.engine.workers()}, {"configured", options.workers},
              {"is_overridden", state.workers.has_value()}}},
            {"limits", std::move(limits)},
            {"job", state.job ? json::value(number(state.job->id)) : json::value()},
            {"last_control", number(state.last)}};
}

void Operations::controls(Request&, Reply reply)
{
    deps_.background.run(std::move(reply), [this] { return answer(control_state()); });
}

namespace {

// What is paused or resumed: the type of the control record and its payload.
std::pair<std::string_view, json::object> read_pause(Members& members, bool is_pause)
{
    auto const tier = members.text("tier"), type = members.text("event_type", 255), did = members.text("did");
    if (int{tier.has_value()} + int{type.has_value()} + int{did.has_value()} != 1)
        members.fail("tier", "one_of", "or event_type or did must be there, and no other of them");
    if (tier && std::ranges::find(tier_names, *tier) == std::end(tier_names))
        members.fail("tier", "not_a_choice", "must be low, normal, high or critical");
    if (did && !schema::is_did(*did)) members.fail("did", "did_syntax", "must be a DID");
    using namespace engine::control;
    if (tier) return {is_pause ? tier_paused : tier_resumed, {{"tier", *tier}}};
    if (type) return {is_pause ? type_paused : type_resumed, {{"event_type", *type}}};
    return {is_pause ? lane_paused : lane_resumed, {{"did", did.value_or("")}}};
}

// Limits that are not named stay.
json::object read_limits(Members& limits, engine::Admission::Limits now)
{
    auto const capacity = limits.number("capacity", 10, 4'000'000);
    if (capacity) now.events = static_cast<std::uint32_t>(*capacity);
    if (auto const bytes = limits.number("bytes", 1u << 20, std::uint64_t{64} << 30)) now.bytes = *bytes;
    if (auto const* const tiers = limits.any("tier_limits")) {
        bool fits = tiers->is_array() && tiers->get_array().size() == tier_count;
        for (std::size_t t = 0; fits && t < tier_count; ++t) {
            boost::system::error_code failed;
            now.percent[t] = tiers->get_array()[t].to_number<std::uint32_t>(failed);
            fits = !failed && now.percent[t] >= 1 && now.percent[t] <= 100;
        }
        if (!fits)
            limits.fail(
                "tier_limits", "wrong_type", "must be four percentages from 1 to 100: LOW,NORMAL,HIGH,CRITICAL");
    }
    limits.done();
    return limits_json(now);
}

}  // namespace

Response Operations::do_control(std::string const& body)
{
    Document                                  document(body);
    Members                                   members(document);
    auto const                                action = members.text("action").value_or("");
    auto const                                note = members.text("note", note_bytes_max);
    std::pair<std::string_view, json::object> change;
    if (action == "pause" || action == "resume") {
        change = read_pause(members, action == "pause");
    } else if (action == "set") {
        auto const workers = members.number("workers", 1, engine::Controls::workers_max);
        auto       limits = members.object("limits");
        if (workers.has_value() == limits.has_value() && !document.problem())
            members.fail("workers", "one_of", "or limits must be there, and not both");
        if (limits)
            change = {engine::control::limits_set, read_limits(*limits, deps_.engine.admission().limits())};
        else
            change = {engine::control::workers_set, {{"workers", workers.value_or(0)}}};
    } else if (document.is_object()) {
        members.fail("action", "not_a_choice", "must be pause, resume or set");
    }
    if (!action.empty()) members.done();
    if (auto const wrong = document.problem()) return to_response(*wrong);
    auto done = append_control(change.first, with_author(std::move(change.second), by_, note));
    if (auto* const response = std::get_if<Response>(&done)) return std::move(*response);
    return answer(json::object{{"sequence", number(std::get<Sequence>(done))}, {"controls", control_state()}});
}

}  // namespace sluice::http
