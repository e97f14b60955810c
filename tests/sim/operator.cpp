#include "sim/operator.hpp"

#include <algorithm>

namespace sluice::sim {

using engine::Block;
using engine::BlockRef;
using engine::Job;
using engine::RequestOutcome;
using log::Verdict;
namespace control = engine::control;

std::size_t Operator::places() const
{
    std::size_t sum = 0;
    for (auto const& [token, flight] : in_flight_) sum += flight.places;
    return sum;
}

void Operator::act(Site site)
{
    switch (context_.random.below(10)) {
    case 0:
    case 1:
    case 2: return pause_or_resume(site);
    case 3: return set_something(site);
    case 4:
    case 5: return steer_job(site);
    default: return take_up(site);
    }
}

// Usually what is open, now and then what is not, or the same twice at once.
void Operator::take_up(Site site)
{
    auto&      random = context_.random;
    auto&      ledger = context_.ledger;
    BlockRef   block(new Block);
    auto const one_of = [&](auto const& from) { return from[random.below(from.size())]; };
    for (auto count = random.chance(0.8) ? 1 : 2 + random.below(4); count > 0; --count) {
        auto const dead = site.engine.dead_letters().list({}, Sequence::none, 100, random.chance(0.5));
        auto const parked = ledger.parked();
        bool const is_dead = !dead.empty() && (parked.empty() || random.chance(0.5));
        Sequence   sequence{};
        if (random.chance(0.1) && number(ledger.last()) > 0)
            sequence = Sequence{1 + random.below(number(ledger.last()))};
        else if (is_dead)
            sequence = one_of(dead).sequence;
        else if (!parked.empty())
            sequence = one_of(parked);
        if (sequence == Sequence::none || !ledger.is_event(sequence)) continue;
        auto const otherwise = is_dead ? Verdict::redriven : Verdict::released;
        add(site, *block, sequence, random.chance(0.2) ? Verdict::dropped : otherwise);
        if (random.chance(0.1)) add(site, *block, sequence, otherwise);
    }
    if (!block->orders.empty()) submit(site, std::move(block));
}

bool Operator::is_open(Sequence sequence, Verdict wanted) const
{
    auto const now = context_.ledger.verdict(sequence);
    return (now == Verdict::dead_letter && wanted != Verdict::released) ||
           (now == Verdict::parked && wanted != Verdict::redriven);
}

bool Operator::add(Site site, Block& block, Sequence sequence, Verdict verdict)
{
    auto&                      random = context_.random;
    if (!successors_) successors_.emplace(engine::Successors::Deps{site.log, site.program.schemas});
    engine::Successors::Wish   wish{.verdict = verdict, .by = "somebody"};
    if (verdict == Verdict::redriven) {
        wish.as_new = random.chance(0.3);
        if (random.chance(0.3)) wish.payload = context_.ledger.edited(sequence, nonce(), random.chance(0.3));
    }
    auto const added = successors_->add(block, sequence, wish, context_.clock.wall());
    if (added) return true;
    require(verdict == Verdict::released && added.error().reason == "no_processor",
            "what was an event can be taken up", added.error().reason);
    ++context_.goals["release without a processor"];
    return false;
}

void Operator::submit(Site site, BlockRef block)
{
    engine::Admission::Demand demand;
    if (!block->orders.empty())
        for (auto const& item : block->items) ++demand.events[index(item.tier)];
    demand.bytes = demand.total() == 0 ? 0 : block->data.size();
    if (demand.total() != 0 && site.engine.admission().admit(demand, block->requests.front().ticket)) {
        ++context_.goals["operator refused by admission"];
        return;
    }
    auto const token = ++nonce_;
    auto&      flight = in_flight_[token];
    flight.places = demand.total();
    for (auto const& order : block->orders)
        if (is_open(order.decision.sequence, order.decision.verdict)) flight.open.insert(order.decision.sequence);
    block->answered = [this, site, token](Block const& answer) { answered(site, token, answer); };
    site.engine.submit(std::move(block));
}

void Operator::answered(Site site, std::uint64_t token, Block const& block)
{
    auto& ledger = context_.ledger;
    auto& goals = context_.goals;
    auto const flight = in_flight_.extract(token);
    require(!flight.empty(), "an operator is answered once");
    if (block.requests.front().outcome != RequestOutcome::stored) {
        ++goals["operator: not stored"];
        return;
    }
    ledger.read_log(site.disk);
    for (auto const& order : block.orders) {
        auto const& wanted = order.decision;
        auto const  now = ledger.verdict(wanted.sequence);
        if (!order.before) {
            ++goals["taken up too late"];
            bool const was_open = flight.mapped().open.contains(wanted.sequence);
            require(!was_open || !is_open(wanted.sequence, wanted.verdict), "what is open can be taken up");
            continue;
        }
        require(now == wanted.verdict, "what was taken up is so for good");
        require(ledger.successor(wanted.sequence) == wanted.successor, "an answer names the successor");
        bool const is_edited = order.item != Block::Order::no_item && ledger.is_edited(wanted.successor);
        bool const is_new = order.item != Block::Order::no_item &&
                            block.record(order.item).origin().version == Sequence::none;
        if (now == Verdict::dropped)
            ++goals[order.before == Verdict::parked ? "parked event dropped" : "dead letter dropped"];
        else if (now == Verdict::released)
            ++goals["released"];
        else
            ++goals[is_edited ? "redriven, edited" : is_new ? "redriven as new" : "redriven"];
    }
}

void Operator::say(Site site, Control control, std::string payload, bool even_if_useless)
{
    bool const is_useful = site.engine.controls().check(control.type, payload).has_value();
    if (!is_useful && !even_if_useless) return;
    if (!is_useful) ++context_.goals["control that changes nothing"];
    ++context_.goals["control: " + control.type];
    auto const type = control.type;
    context_.ledger.controlling(payload, std::move(control));
    submit(site, engine::make_control(type, payload, {}));
}

void Operator::pause_or_resume(Site site)
{
    auto& random = context_.random;
    bool const  is_pause = random.chance(0.5);
    auto const& event = events_[random.below(events_.size())];
    std::string name, what, member;
    switch (random.below(3)) {
    case 0: name = tier_names[random.below(tier_count)], what = "tier", member = "tier"; break;
    case 1: name = event.type, what = "type", member = "event_type"; break;
    default: name = event.did, what = "lane", member = "did";
    }
    say(site, {.type = "admin." + what + (is_pause ? "_paused" : "_resumed"), .name = name},
        "{\"" + member + "\":\"" + name + "\",\"n\":" + nonce() + '}', random.chance(0.1));
}

void Operator::set_something(Site site)
{
    auto const many = 1 + context_.random.below(100);
    if (context_.random.chance(0.5))
        return say(site, {.type = std::string(control::workers_set), .workers = many},
                   "{\"workers\":" + std::to_string(many) + ",\"n\":" + nonce() + '}', false);
    say(site, {.type = std::string(control::limits_set), .capacity = many},
        "{\"capacity\":" + std::to_string(many) + ",\"bytes\":1048576,\"tier_limits\":[70,80,90,100],\"n\":" + nonce() +
            '}',
        false);
}

void Operator::steer_job(Site site)
{
    auto&      random = context_.random;
    auto const under_way = site.engine.controls().state().job;
    if (under_way && random.chance(0.7)) {
        auto const id = number(under_way->id);
        auto const type = under_way->is_stopped ? control::job_resumed : control::job_stopped;
        return say(site, {.type = std::string(type), .job = id},
                   "{\"job\":" + std::to_string(id) + ",\"n\":" + nonce() + '}', false);
    }
    auto const& event = events_[random.below(events_.size())];
    Job         job{.kind = static_cast<Job::Kind>(random.below(3)),
                    .rate = 1.0 + static_cast<double>(random.below(5'000)),
                    .as_new = random.chance(0.2)};
    if (random.chance(0.2)) job.filter.type = event.type;
    if (random.chance(0.2)) job.filter.did = event.did;
    start_job(site, job);
}

void Operator::start_job(Site site, Job job)
{
    job.filter.through = context_.ledger.last();
    job.by = "job " + nonce();
    say(site, {.type = std::string(control::job_started)}, engine::to_payload(job), context_.random.chance(0.1));
}

bool Operator::settle(Site site)
{
    if (!in_flight_.empty()) return true;
    auto const state = site.engine.controls().state();
    auto const resume = [&](std::string_view type, std::string const& member, std::string const& name) {
        say(site, {.type = std::string(type), .name = name},
            "{\"" + member + "\":\"" + name + "\",\"n\":" + nonce() + '}', false);
        return true;
    };
    for (std::size_t t = 0; t < tier_count; ++t)
        if (state.tiers[t]) return resume(control::tier_resumed, "tier", std::string(tier_names[t]));
    for (auto const& type : state.types) return resume(control::type_resumed, "event_type", type);
    for (auto const& did : state.lanes) return resume(control::lane_resumed, "did", did);
    if (state.job && state.job->is_stopped) {
        auto const id = number(state.job->id);
        say(site, {.type = std::string(control::job_resumed), .job = id},
            "{\"job\":" + std::to_string(id) + ",\"n\":" + nonce() + '}', false);
        return true;
    }
    // Only what waits needs room.
    auto const& p = site.engine.state().pending;
    bool const  is_waiting = p[0] + p[1] + p[2] + p[3] > 0;
    BlockRef    block(new Block);
    auto const  dead = site.engine.dead_letters().list({}, Sequence::none, 1, false);
    auto const  parked = context_.ledger.parked();
    if (is_waiting && !dead.empty() && site.engine.dead_letters().stats().is_full)
        add(site, *block, dead.front().sequence, Verdict::dropped);
    else if (is_waiting && !parked.empty() && !site.engine.parking().has_room())
        add(site, *block, parked.front(), Verdict::dropped);
    if (!block->orders.empty()) submit(site, std::move(block));
    return state.job || !in_flight_.empty();
}

bool Operator::release_rest(Site site)
{
    auto const parked = context_.ledger.parked();
    if (std::ranges::none_of(parked, [&](Sequence sequence) { return context_.ledger.is_releasable(sequence); }))
        return false;
    start_job(site, {.kind = Job::Kind::release, .rate = 10'000});
    return true;
}

}  // namespace sluice::sim
