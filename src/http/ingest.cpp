#include "http/ingest.hpp"

#include "base/assert.hpp"
#include "schema/split.hpp"

#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <charconv>

namespace sluice::http {

using engine::Block;
using engine::RequestOutcome;

// A batch on its way: its body until it is decoded, then its block until it is answered. It counts what it holds
// beside the block, whose bytes are admitted, in `total`.
struct Ingest::Batch {
    Batch(Reply to, std::size_t& bytes) : reply(std::move(to)), total(bytes) {}
    ~Batch() { total -= counted; }
    Batch(Batch const&) = delete;
    Batch& operator=(Batch const&) = delete;

    void count()
    {
        auto const now = body.size() + refused.size() + refused_ends.size() * sizeof refused_ends[0] +
                         accepted_items.size() * sizeof accepted_items[0];
        total += now - counted;
        counted = now;
    }

    Reply                            reply;
    std::string                      body;
    bool                             ndjson{false};
    bool                             partial{false};
    std::size_t                      at{0};  // of the body, for NDJSON
    std::size_t                      events{0};
    std::optional<schema::ArraySplitter> array{};  // of the body otherwise, from the first slice on
    engine::BlockRef                 block{new Block};
    engine::Admission::Demand        demand{};  // of all events; of a partial batch only whose it is
    engine::Admission::Ticket        ticket{};
    std::size_t                      errors_listed{0};  // in `refused`
    std::string                      refused{};         // items of a partial reply, as they are sent, back to back
    std::vector<std::uint32_t>       refused_ends{};    // of each in `refused`
    std::vector<std::uint32_t>       accepted_items{};  // numbers of the others, in the block's order
    std::size_t&                     total;
    std::size_t                      counted{0};
};

Ingest::Ingest(
    boost::asio::io_context& io, engine::Engine& engine, Clock const& clock, Rates const& rates,
    schema::SchemaSet const& schemas, Submit submit, std::vector<Producer> const& producers, IngestLimits limits)
    : io_(io), engine_(engine), clock_(clock), rates_(rates), submit_(std::move(submit)), limits_(limits),
      decoder_(schemas), expiry_(io)
{
    SLUICE_ASSERT(producers.size() == engine.admission().producers());
    for (auto const& producer : producers) {
        auto& holder = holders_.emplace_back(Holder{.cap = producer.tier_cap});
        if (producer.quota) holder.limit.emplace(*producer.quota);
    }
    engine_.admission().on_room([this] { boost::asio::post(io_, [this] { serve_line(); }); });
}

Ingest::~Ingest() { engine_.admission().on_room(nullptr); }

std::uint64_t Ingest::wait(Waiting waiting)
{
    ++waiting_;
    if (free_slots_.empty()) {
        slots_.push_back(std::move(waiting));
        return slots_.size() - 1;
    }
    auto const token = free_slots_.back();
    free_slots_.pop_back();
    slots_[token] = std::move(waiting);
    return token;
}

void Ingest::count_refusal(engine::Producer producer, Problem const& problem)
{
    auto cause = Cause::log_failed;
    auto const is = [&](Cause other) { return problem.error == cause_names[static_cast<std::size_t>(other)]; };
    if (problem.status == 409)
        cause = Cause::conflict;
    else if (problem.error == "overload")
        cause = Cause::queue_full;
    else if (problem.status < 500 && problem.status != 429)
        cause = Cause::invalid;
    else
        for (std::size_t i = 0; i < cause_count; ++i)
            if (is(static_cast<Cause>(i))) cause = static_cast<Cause>(i);
    ++holders_[producer].counts.refused[static_cast<std::size_t>(cause)];
}

void Ingest::refuse(engine::Producer producer, Reply& reply, Problem const& problem)
{
    count_refusal(producer, problem);
    reply(to_response(problem));
}

namespace {

Problem draining()
{
    return {
        .status = 503, .error = "draining", .detail = "the server is stopping; nothing was stored", .retry_after = 1};
}

Problem overload()
{
    return {.status = 503, .error = "overload", .detail = "too many batches are under way; nothing was stored",
            .retry_after = 1};
}

Problem not_stored(RequestOutcome outcome)
{
    if (outcome == RequestOutcome::disk_full)
        return {.status = 503, .error = "disk_full",
                .detail = "free disk space is below the reserve; nothing was stored", .retry_after = 5};
    if (outcome == RequestOutcome::ids_behind)
        return {.status = 503, .error = "ids_behind",
                .detail = "the index of event ids is behind; nothing was stored", .retry_after = 1};
    if (outcome == RequestOutcome::read_failed)
        return {.status = 503, .error = "read_failed",
                .detail = "looking for the event_id failed and the server is stopping; nothing was stored",
                .retry_after = 5};
    return {.status = 503, .error = "log_failed",
            .detail = "writing failed and it is unknown whether the event is stored: send it again with the same "
                      "event_id",
            .retry_after = 5};
}

// At least one.
std::uint32_t whole_seconds(std::chrono::nanoseconds time)
{
    return static_cast<std::uint32_t>(std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(time).count()));
}

void append_number(std::string& out, std::uint64_t value)
{
    char buffer[20];
    auto const [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
    out.append(buffer, end);
}

// One event of a partial batch that was not taken.
std::string refused_item(std::size_t i, Problem const& problem)
{
    boost::json::object item{
        {"i", i}, {"status", problem.status}, {"error", problem.error}, {"detail", problem.detail}};
    if (!problem.errors.empty()) item["errors"] = errors_json(problem);
    if (!problem.tier.empty()) item["tier"] = problem.tier;
    if (problem.retry_after != 0) item["retry_after"] = problem.retry_after;
    return boost::json::serialize(item);
}

bool blank(std::string_view line)
{
    return std::all_of(line.begin(), line.end(), [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
}

}  // namespace

void Ingest::add_rate(engine::Producer producer, std::string& policy, std::string& limit)
{
    auto&       rate = *holders_[producer].limit;
    auto const  now = clock_.now();
    auto const& quota = rate.quota();
    policy = "\"ingest\";q=" + std::to_string(quota.events) + ";w=" + std::to_string(quota.window.count());
    limit = "\"ingest\";r=" + std::to_string(rate.remaining(now)) +
            ";t=" + std::to_string(whole_seconds(rate.until_more(now)));
}

void Ingest::add_rate(engine::Producer producer, Response& response)
{
    if (!holders_[producer].limit) return;
    std::string policy, limit;
    add_rate(producer, policy, limit);
    response.add_header("RateLimit-Policy", policy).add_header("RateLimit", limit);
}

Problem Ingest::rate_limited(engine::Producer producer, std::uint32_t events)
{
    auto&   rate = *holders_[producer].limit;
    Problem problem{.status = 429, .error = "rate_limited",
                    .detail = "the key has brought as many events as it may for now; nothing was stored"};
    if (rate.never_fits(events))
        problem = {.status = 413, .error = "batch_exceeds_rate_limit",
                   .detail = "the batch is larger than what the key may bring in its whole window: split it"};
    else
        problem.retry_after = whole_seconds(rate.until(clock_.now(), events));
    add_rate(producer, problem.rate_policy, problem.rate_limit);
    return problem;
}

Problem Ingest::to_problem(engine::Admission::Demand const& demand, No const& no)
{
    if (no.why == No::Why::rate) return rate_limited(demand.producer, demand.total());
    auto const& refusal = no.refusal;
    std::string const tier(tier_names[index(refusal.tier)]);
    if (refusal.never_fits)
        return {.status = 413, .error = "batch_exceeds_capacity",
                .detail = "the batch is larger than the places tier " + tier + " can ever have" +
                          (refusal.by_share ? " for one producer" : "") + ": split it"};
    if (refusal.by_share)
        return {.status = 429, .error = "producer_share",
                .detail = "the key holds its share of the places of tier " + tier + "; nothing was stored",
                .retry_after = rates_.seconds_to_drain(refusal.excess, demand.producer), .tier = tier};
    if (refusal.disk_is_low)
        return {.status = 503, .error = "disk_full",
                .detail = "tier " + tier + " is closed: free disk space is low; nothing was stored",
                .retry_after = 5, .tier = tier};
    auto const seconds = rates_.seconds_to_drain(engine_.admission().excess(refusal.tier));
    return {.status = 503, .error = "queue_full",
            .detail = "tier " + tier + " is closed: too many events are waiting; nothing was stored",
            .retry_after = seconds, .tier = tier};
}

// What no event of that producer can pass now is refused before anything is read.
std::optional<Problem> Ingest::refused_unread(engine::Producer producer)
{
    if (draining_) return draining();
    auto& limit = holders_[producer].limit;
    if (limit && limit->remaining(clock_.now()) == 0) return rate_limited(producer, 1);
    if (engine_.admission().is_closed() && !may_stand(producer, Tier::critical, 0))
        return to_problem({.events = {}, .bytes = 0, .producer = producer},
                          {.why = No::Why::places, .refusal = {.tier = Tier::critical}});
    return std::nullopt;
}

// Takes places, or says why there are none. Nobody overtakes who stands in line, unless he is the first of it himself.
std::optional<Ingest::No> Ingest::admit(
    engine::Admission::Demand const& demand, engine::Admission::Ticket& ticket, bool is_first)
{
    auto&      holder = holders_[demand.producer];
    auto const events = demand.total();
    if (holder.limit && !holder.limit->fits(clock_.now(), events)) return No{.why = No::Why::rate};
    bool is_behind = false;
    if (!is_first && line_.requests != 0)
        for (auto t = index(demand.lowest()); t < tier_count; ++t) is_behind = is_behind || !standing_[t].empty();
    auto const refusal =
        is_behind ? engine_.admission().would_refuse(demand) : engine_.admission().admit(demand, ticket);
    if (refusal) return No{.why = No::Why::places, .refusal = *refusal};
    if (is_behind) return No{.why = No::Why::turn, .refusal = {.tier = demand.lowest()}};
    if (holder.limit) holder.limit->count(clock_.now(), events);
    holder.counts.admitted += events;
    return std::nullopt;
}

void Ingest::single(Request& request, Reply reply)
{
    auto const producer = request.producer;
    if (auto const problem = refused_unread(producer)) return refuse(producer, reply, *problem);
    if (!open_) open_ = engine::BlockRef(new Block);
    auto&           block = *open_;
    auto const      before = block.data.size();
    schema::Decoded decoded;
    if (auto const error = decoder_.decode(request.body, block.data, decoded, holders_[producer].cap))
        return refuse(producer, reply, http::to_problem(*error));

    engine::Admission::Demand demand{.events = {}, .bytes = block.data.size() - before, .producer = producer};
    demand.events[index(decoded.tier)] = 1;
    engine::Admission::Ticket ticket;
    if (auto const no = admit(demand, ticket)) {
        bool const  stands = no->is_passing() && may_stand(producer, decoded.tier, demand.bytes);
        std::string record = stands ? block.data.substr(before) : std::string();
        block.data.resize(before);
        if (!stands) return refuse(producer, reply, to_problem(demand, *no));
        return stand({std::move(reply), nullptr, std::move(record), demand, demand.bytes, clock_.now()});
    }
    enter(std::move(reply), decoded.offset, decoded.tier, std::move(ticket), producer);
}

// The record is the last of the open block.
void Ingest::enter(
    Reply reply, std::uint32_t offset, Tier tier, engine::Admission::Ticket ticket, engine::Producer producer)
{
    auto& block = *open_;
    block.requests.push_back({.first = static_cast<std::uint32_t>(block.items.size()), .count = 1,
                              .token = wait({std::move(reply), nullptr}), .ticket = std::move(ticket)});
    block.items.push_back({.offset = offset, .tier = tier, .producer = producer});
    schedule_flush();
}

// Everything that arrives in one turn of the io thread goes to the appender together.
void Ingest::schedule_flush()
{
    if (flush_scheduled_) return;
    flush_scheduled_ = true;
    boost::asio::post(io_, [this] { flush(); });
}

void Ingest::flush()
{
    flush_scheduled_ = false;
    if (open_ && !open_->requests.empty()) submit_(std::exchange(open_, nullptr));
}

void Ingest::batch(Request& request, Form form, Reply reply)
{
    auto const producer = request.producer;
    if (auto const problem = refused_unread(producer)) return refuse(producer, reply, *problem);
    auto const query = Query::parse(request.query);
    auto const mode = query && query->only({"mode"}) ? query->get("mode").value_or("atomic") : "";
    if (mode != "atomic" && mode != "partial")
        return refuse(producer, reply, {.status = 400, .error = "bad_query", .detail = "?mode is atomic or partial"});
    if (batch_bytes_ + request.body.size() > limits_.waiting_bytes_max) return refuse(producer, reply, overload());
    auto const batch = std::make_shared<Batch>(std::move(reply), batch_bytes_);
    batch->body = std::move(request.body);
    batch->ndjson = form == Form::ndjson;
    batch->partial = mode == "partial";
    batch->demand.producer = producer;
    batch->count();
    undecoded_.push_back(batch);
    schedule_decode();
}

// Never called directly: answering a batch may bring the next one in.
void Ingest::schedule_decode()
{
    if (decode_scheduled_) return;
    decode_scheduled_ = true;
    boost::asio::post(io_, [this] { decode_next(); });
}

// One batch at a time, a slice a turn: memory is bounded, and other requests are served in between.
void Ingest::decode_next()
{
    decode_scheduled_ = false;
    auto const batch = undecoded_.front();
    auto const progress = decode_slice(*batch);
    if (progress != Progress::more) {
        undecoded_.pop_front();
        if (progress == Progress::decoded) submit(batch);
    }
    if (!undecoded_.empty()) schedule_decode();
}

Ingest::Progress Ingest::decode_slice(Batch& batch)
{
    if (batch.block->data.empty()) batch.block->data.reserve(batch.body.size() + batch.body.size() / 4);
    auto budget = limits_.slice_bytes;
    for (std::size_t events = 0; events < limits_.slice_events && budget > 0; ++events) {
        std::string_view event;
        auto const       progress = take_event(batch, budget, event);
        if (progress != Progress::event) return progress;
        if (batch.events == limits_.batch_events_max) {
            refuse(batch.demand.producer, batch.reply,
                   {.status = 413, .error = "too_many_events",
                    .detail = "a batch has at most " + std::to_string(limits_.batch_events_max) +
                              " events: split it"});
            return Progress::refused;
        }
        if (!decode_one(batch, event)) return Progress::refused;
        ++batch.events;
        batch.count();
        // A short event can be refused at length.
        if (batch.partial && batch_bytes_ > limits_.waiting_bytes_max) {
            refuse(batch.demand.producer, batch.reply, overload());
            return Progress::refused;
        }
    }
    return Progress::more;
}

// The text of the batch's next event.
Ingest::Progress Ingest::take_event(Batch& batch, std::size_t& budget, std::string_view& event)
{
    while (batch.ndjson && budget > 0) {
        if (batch.at == batch.body.size()) return Progress::decoded;
        event = schema::take_line(batch.body, batch.at);
        budget -= std::min(budget, event.size() + 1);
        if (!blank(event)) return Progress::event;
    }
    if (batch.ndjson) return Progress::more;

    if (!batch.array) batch.array.emplace(batch.body);
    using Step = schema::ArraySplitter::Step;
    switch (batch.array->next(budget)) {
    case Step::element: event = batch.array->element(); return Progress::event;
    case Step::more: return Progress::more;
    case Step::end: return Progress::decoded;
    case Step::refused: break;
    }
    refuse(batch.demand.producer, batch.reply,
           {.status = 400, .error = "bad_json", .detail = batch.array->complaint()});
    return Progress::refused;
}

// False: the batch was refused for this event.
bool Ingest::decode_one(Batch& batch, std::string_view event)
{
    auto&           block = *batch.block;
    auto const      before = block.data.size();
    schema::Decoded decoded;
    auto const      producer = batch.demand.producer;
    if (auto const error = decoder_.decode(event, block.data, decoded, holders_[producer].cap)) {
        auto problem = http::to_problem(*error, "/" + std::to_string(batch.events));
        if (event.size() > limits_.event_bytes_max) problem.status = 413;
        if (!batch.partial) {
            refuse(producer, batch.reply, problem);
            return false;
        }
        count_refusal(producer, problem);
        if (batch.errors_listed + problem.errors.size() > limits_.partial_errors_max) problem.errors.clear();
        batch.errors_listed += problem.errors.size();
        add_refused(batch, problem);
        return true;
    }
    if (batch.partial) return decode_partial(batch, decoded, before);
    block.items.push_back({.offset = decoded.offset, .tier = decoded.tier, .producer = producer});
    ++batch.demand.events[index(decoded.tier)];
    batch.demand.bytes += block.data.size() - before;
    return true;
}

// An event that stands alone takes its own place.
bool Ingest::decode_partial(Batch& batch, schema::Decoded const& decoded, std::size_t before)
{
    auto&                     block = *batch.block;
    auto const                producer = batch.demand.producer;
    engine::Admission::Demand demand{.events = {}, .bytes = block.data.size() - before, .producer = producer};
    demand.events[index(decoded.tier)] = 1;
    engine::Admission::Ticket ticket;
    if (auto const no = admit(demand, ticket)) {
        block.data.resize(before);
        auto const problem = to_problem(demand, *no);
        count_refusal(producer, problem);
        add_refused(batch, problem);
        return true;
    }
    batch.ticket.absorb(std::move(ticket));
    block.items.push_back({.offset = decoded.offset, .tier = decoded.tier, .producer = producer});
    batch.accepted_items.push_back(static_cast<std::uint32_t>(batch.events));
    return true;
}

void Ingest::add_refused(Batch& batch, Problem const& problem)
{
    batch.refused += refused_item(batch.events, problem);
    batch.refused_ends.push_back(static_cast<std::uint32_t>(batch.refused.size()));
}

void Ingest::submit(std::shared_ptr<Batch> batch)
{
    auto const producer = batch->demand.producer;
    if (draining_) return refuse(producer, batch->reply, draining());
    if (batch->events == 0)
        return refuse(producer, batch->reply,
                      {.status = 422, .error = "empty_batch", .detail = "the batch has no events"});
    batch->body = {};
    batch->array.reset();
    batch->refused.shrink_to_fit();
    batch->count();
    if (!batch->partial)
        if (auto const no = admit(batch->demand, batch->ticket)) {
            auto const bytes = batch->block->data.capacity() + batch->block->items.size() * sizeof(Block::Item);
            auto const tier = batch->demand.lowest();
            if (!no->is_passing() || !may_stand(producer, tier, bytes))
                return refuse(producer, batch->reply, to_problem(batch->demand, *no));
            auto       reply = std::move(batch->reply);
            auto const demand = batch->demand;
            return stand({std::move(reply), std::move(batch), {}, demand, bytes, clock_.now()});
        }
    auto reply = std::move(batch->reply);
    enter(std::move(reply), std::move(batch));
}

// The batch has its places.
void Ingest::enter(Reply reply, std::shared_ptr<Batch> batch)
{
    auto const block = batch->block;
    block->requests.push_back({.first = 0, .count = static_cast<std::uint32_t>(block->items.size()),
                               .atomic = !batch->partial, .ticket = std::move(batch->ticket)});
    if (block->items.empty()) return answer_batch(*block, *batch, reply);
    block->requests.front().token = wait({std::move(reply), std::move(batch)});
    submit_(block);
}

// ---- the line

// Whose turn it is; null: nobody stands.
std::deque<Ingest::Standing>* Ingest::first_line()
{
    for (auto t = tier_count; t-- > 0;)
        if (!standing_[t].empty()) return &standing_[t];
    return nullptr;
}

bool Ingest::may_stand(engine::Producer producer, Tier tier, std::size_t bytes) const noexcept
{
    auto const& holder = holders_[producer];
    auto const& places = engine_.admission().limits();
    auto const  requests_max = limits_.line_max * places.percent[index(tier)] / 100;
    auto const  bytes_max = limits_.line_bytes_max * places.percent[index(tier)] / 100;
    auto const  share = places.shares[producer];
    return limits_.line_wait.count() > 0 && line_.requests < requests_max && line_.bytes + bytes <= bytes_max &&
           holder.standing < requests_max * share / 100 && holder.standing_bytes + bytes <= bytes_max * share / 100;
}

void Ingest::stand(Standing standing)
{
    auto& line = standing_[index(standing.demand.lowest())];
    ++line_.requests;
    line_.bytes += standing.bytes;
    ++holders_[standing.demand.producer].standing;
    holders_[standing.demand.producer].standing_bytes += standing.bytes;
    line.push_back(std::move(standing));
    if (&line == first_line() && line.size() == 1) expect_room();
    await_expiry();
}

Ingest::Standing Ingest::leave(std::deque<Standing>& line)
{
    auto standing = std::move(line.front());
    line.pop_front();
    --line_.requests;
    line_.bytes -= standing.bytes;
    --holders_[standing.demand.producer].standing;
    holders_[standing.demand.producer].standing_bytes -= standing.bytes;
    auto const waited = clock_.now() - standing.since;
    line_.waits[index(standing.demand.lowest())].add(engine::Delays::bucket(waited), 1, waited);
    return standing;
}

// Wakes this thread once there is room for the first of the line.
void Ingest::expect_room()
{
    auto* const line = first_line();
    if (line == nullptr || engine_.admission().expect(line->front().demand)) return;
    boost::asio::post(io_, [this] { serve_line(); });  // there is room now
}

// A refusal may bring the next request in, so nothing is held across one.
void Ingest::serve_line()
{
    while (auto* const line = first_line()) {
        engine::Admission::Ticket ticket;
        auto const                no = admit(line->front().demand, ticket, true);
        if (no && no->is_passing()) return expect_room();
        auto standing = leave(*line);
        auto const& demand = standing.demand;
        if (no) {
            refuse(demand.producer, standing.reply, to_problem(demand, *no));
        } else if (standing.batch) {
            standing.batch->ticket = std::move(ticket);
            enter(std::move(standing.reply), std::move(standing.batch));
        } else {
            if (!open_) open_ = engine::BlockRef(new Block);
            auto const offset = static_cast<std::uint32_t>(open_->data.size());
            open_->data += standing.record;
            enter(std::move(standing.reply), offset, demand.lowest(), std::move(ticket), demand.producer);
        }
    }
}

void Ingest::expire()
{
    auto const late = clock_.now() - limits_.line_wait;
    for (auto& line : standing_)
        while (!line.empty() && line.front().since <= late) {
            auto       standing = leave(line);
            auto const tier = standing.demand.lowest();
            refuse(standing.demand.producer, standing.reply,
                   to_problem(standing.demand, {.why = No::Why::places, .refusal = {.tier = tier}}));
        }
    expect_room();
}

void Ingest::await_expiry()
{
    if (expiry_awaited_ || line_.requests == 0) return;
    auto first = Clock::Mono::max();
    for (auto const& line : standing_)
        if (!line.empty()) first = std::min(first, line.front().since);
    expiry_awaited_ = true;
    expiry_.expires_after(first + limits_.line_wait - clock_.now());
    expiry_.async_wait([this](boost::system::error_code error) {
        if (error) return;
        expiry_awaited_ = false;
        expire();
        await_expiry();
    });
}

void Ingest::drain()
{
    draining_ = true;
    while (auto* const line = first_line()) {
        auto standing = leave(*line);
        refuse(standing.demand.producer, standing.reply, draining());
    }
}

void Ingest::answered(std::vector<engine::BlockRef> const& blocks)
{
    for (auto const& block : blocks)
        for (auto const& request : block->requests) {
            auto waiting = std::move(slots_[request.token]);
            free_slots_.push_back(request.token);
            --waiting_;
            if (waiting.batch)
                answer_batch(*block, *waiting.batch, waiting.reply);
            else
                answer_single(*block, request, waiting.reply);
        }
}

void Ingest::answer_single(Block const& block, Block::Request const& request, Reply& reply)
{
    auto const& item = block.items[request.first];
    auto const  producer = item.producer;
    if (request.outcome == RequestOutcome::conflict)
        return refuse(producer, reply, {.status = 409, .error = "id_conflict",
                              .detail = "this event_id is stored with other content, at sequence " +
                                        std::to_string(number(item.sequence))});
    if (request.outcome != RequestOutcome::stored) return refuse(producer, reply, not_stored(request.outcome));

    auto const record = block.record(request.first);
    Response   response{.status = 202, .content_type = "application/json"};
    auto&      body = response.body;
    body.reserve(256);
    body += R"({"status":"enqueued","event_id":")";
    body += record.id(item.sequence);
    body += R"(","sequence":)";
    append_number(body, number(item.sequence));
    body += R"(,"tier":")";
    body += tier_names[index(item.tier)];
    body += item.state == Block::State::duplicate ? R"(","duplicate":true)" : R"(","duplicate":false)";
    if (record.header().id_size == 0) body += R"(,"dedupe":false)";
    body += '}';
    add_rate(producer, response);
    reply(std::move(response));
}

void Ingest::answer_batch(Block const& block, Batch& batch, Reply& reply)
{
    auto const& request = block.requests.front();
    auto const  producer = batch.demand.producer;
    bool const  undecided = block.items.empty();  // a partial batch of which nothing came so far
    if (!batch.partial && request.outcome == RequestOutcome::conflict)
        return refuse(producer, reply,
                      {.status = 409, .error = "id_conflict",
                       .detail = "event " + std::to_string(request.conflict_at) +
                                 ": this event_id is known with other content; nothing was stored"});
    if (!undecided && request.outcome != RequestOutcome::stored)
        return refuse(producer, reply, not_stored(request.outcome));

    boost::json::array duplicates;
    std::string        items;  // of a partial batch: the refused ones are between the others
    std::size_t        listed = 0, refused = 0, refused_at = 0;
    auto const         add_item = [&](std::string_view item) {
        if (listed++ != 0) items += ',';
        items += item;
    };
    auto const add_refused_before = [&](std::size_t i) {
        for (; listed < i; refused_at = batch.refused_ends[refused++])
            add_item(std::string_view(batch.refused).substr(refused_at, batch.refused_ends[refused] - refused_at));
    };
    std::uint64_t      accepted = 0, first = 0, last = 0;
    for (std::size_t n = 0; n < block.items.size(); ++n) {
        auto const& item = block.items[n];
        auto const  i = batch.partial ? batch.accepted_items[n] : n;
        if (item.state == Block::State::duplicate)
            duplicates.push_back({{"i", i}, {"sequence", number(item.sequence)}});
        if (item.state == Block::State::stored) {
            ++accepted;
            if (first == 0) first = number(item.sequence);
            last = number(item.sequence);
        }
        if (!batch.partial) continue;
        add_refused_before(i);
        if (item.state == Block::State::conflict) {
            Problem const problem{.status = 409, .error = "id_conflict",
                                  .detail = "this event_id is known with other content"};
            count_refusal(producer, problem);
            add_item(refused_item(i, problem));
            continue;
        }
        add_item(boost::json::serialize(boost::json::object{
            {"i", i}, {"status", 202}, {"event_id", block.record(n).id(item.sequence)},
            {"sequence", number(item.sequence)}, {"duplicate", item.state == Block::State::duplicate}}));
    }

    auto const          or_null = [](std::uint64_t n) { return n == 0 ? boost::json::value() : boost::json::value(n); };
    boost::json::object body{{"status", batch.partial ? "partial" : "enqueued"}, {"accepted", accepted},
                             {"duplicates", std::move(duplicates)}, {"first_sequence", or_null(first)},
                             {"last_sequence", or_null(last)}};
    auto text = boost::json::serialize(body);
    if (batch.partial) {
        add_refused_before(batch.events);
        text.pop_back();
        text.append(R"(,"items":[)").append(items).append("]}");
    }
    Response response{
        .status = batch.partial ? 207 : 202, .content_type = "application/json", .body = std::move(text)};
    add_rate(producer, response);
    reply(std::move(response));
}

}  // namespace sluice::http
