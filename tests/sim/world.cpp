#include "sim/world.hpp"

#include "base/hash.hpp"
#include "files/memory_directory.hpp"
#include "graph/resident_store.hpp"
#include "sim/lane_model.hpp"
#include "sim/operator.hpp"

#include <algorithm>
#include <deque>

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;
using engine::Block;
using engine::BlockRef;
using engine::RequestOutcome;

engine::EngineOptions draw_options(Random& random)
{
    engine::EngineOptions options;
    options.admission.events = static_cast<std::uint32_t>(6 + random.below(60));
    options.admission.bytes = 6'000 + random.below(60'000);
    options.admission.backlog = random.below(200);
    options.admission.shares = {100, 100};
    options.appender.commit_bytes_max = random.chance(0.3) ? 500 + random.below(4'000) : 8u << 20;
    options.scheduler.batch_max = 1 + random.below(32);
    options.scheduler.lane_batch_max = 1 + random.below(16);
    options.scheduler.aged_share = static_cast<std::uint32_t>(2 + random.below(7));
    options.scheduler.max_wait = {std::chrono::milliseconds(1 + random.below(60)),
                                  std::chrono::milliseconds(1 + random.below(30)),
                                  std::chrono::milliseconds(1 + random.below(10)), std::chrono::milliseconds::max()};
    options.scheduler.budget.saved_max = static_cast<std::uint32_t>(1 + random.below(2));
    options.scheduler.budget.per_second = static_cast<std::uint32_t>(30 + random.below(100));
    options.scheduler.read_span = static_cast<std::uint32_t>(1 + random.below(40));
    options.scheduler.slice_max = 1 + random.below(8);
    options.breaker.failures_in_row = static_cast<std::uint32_t>(1 + random.below(5));
    options.breaker.first_probe = std::chrono::milliseconds(1 + random.below(10));
    options.breaker.probe_max = options.breaker.first_probe * static_cast<int>(1 + random.below(6));
    options.retry.attempts_max = static_cast<std::uint32_t>(1 + random.below(3));
    options.retry.first_cap = std::chrono::milliseconds(1 + random.below(10));
    options.retry.unavailable = std::chrono::milliseconds(1 + random.below(10));
    options.retry.no_room = std::chrono::milliseconds(1 + random.below(10));
    if (random.chance(0.5)) options.dead_letters.events = 1 + random.below(5);
    if (random.chance(0.3)) options.parked_max = 1 + random.below(5);
    if (random.chance(0.6)) {
        constexpr std::string_view types[] = {"relationship.created", "relationship.updated", "attestation.created",
                                              "entity.profile.created", "attestation.deleted", "account.deleted",
                                              "sim.refused"};
        for (auto const type : types)
            if (random.chance(0.4)) options.parked.emplace(type);
    }
    options.workers = 1 + random.below(3);
    options.seed = random.next();
    options.checkpoint.events = 1 + random.below(60);
    options.position.interval = std::chrono::milliseconds(1 + random.below(50));
    options.position.copy_interval = std::chrono::seconds(random.below(2));
    options.position.unsettled_max = random.chance(0.3) ? random.below(4) : 1'000;
    options.queued_at_start_max = random.chance(0.3) ? random.below(40) : 1'000;
    options.checkpoint.interval = std::chrono::seconds(random.below(2));
    options.checkpoint.frame_bytes = 1 + random.below(2'000);
    options.checkpoint.visits = 1 + random.below(100);
    return options;
}

// Counts what lanes go through, and judges it. Twins do without, so that they are found by what they lead to.
class WatchedScheduler final : public ForwardingScheduler {
public:
    WatchedScheduler(std::unique_ptr<engine::Scheduler> inner, engine::SchedulerOptions const& options, Goals& goals)
        : ForwardingScheduler(std::move(inner)), model_(options), goals_(goals)
    {
    }
    ~WatchedScheduler() override
    {
        if (model_.aged_turns() > 0) ++goals_["turn of an overdue lane"];
        if (model_.tiers_in_one_lane() >= 3) ++goals_["three tiers in one lane"];
    }
    void push(std::span<engine::Pending const> events, Clock::Mono now) override
    {
        inner_->push(events, now);
        model_.pushed(events, now);
    }
    bool take(Clock::Mono now, engine::Batch& batch, std::size_t limit) override
    {
        auto const is_any = inner_->take(now, batch, limit);
        model_.taken(batch, is_any, now, limit);
        require(model_.violation().empty(), model_.violation());
        return is_any;
    }
    void finish(engine::Run const& run, std::uint32_t settled, engine::NextStep next, Clock::Mono now) override
    {
        inner_->finish(run, settled, next, now);
        model_.finished(run, settled, next);
    }
    bool released(engine::LaneId lane, Clock::Mono now) override
    {
        model_.released(lane);
        return inner_->released(lane, now);
    }
    void resume() override
    {
        model_.resumed();
        inner_->resume();
    }

private:
    LaneModel model_;
    Goals&    goals_;
};

// Judges retries, and counts what the log is read for again.
class RetryWatch final : public ForwardingScheduler {
public:
    RetryWatch(std::unique_ptr<engine::Scheduler> inner, engine::RetryBudgetOptions budget, Goals& goals)
        : ForwardingScheduler(std::move(inner)), budget_(budget), goals_(goals)
    {
    }
    bool take(Clock::Mono now, engine::Batch& batch, std::size_t limit) override
    {
        auto const is_any = inner_->take(now, batch, limit);
        for (auto const& run : batch.runs) {
            if (run.is_retry) happened_.push_back({now, 1, 0});
            if (batch.events[run.first].block == nullptr) ++goals_["read again from the log"];
        }
        check(now);
        return is_any;
    }
    void finish(engine::Run const& run, std::uint32_t settled, engine::NextStep next, Clock::Mono now) override
    {
        bool const is_untried = settled == 0 && next.kind == engine::NextStep::Kind::ready;
        if (run.is_retry && is_untried) {
            auto const retry = std::find_if(
                happened_.rbegin(), happened_.rend(), [](auto const& entry) { return entry.retries > 0; });
            if (retry != happened_.rend()) retry->retries = 0;
        }
        if (settled > 0) happened_.push_back({now, 0, settled - run.is_retry});
        if (next.kind == engine::NextStep::Kind::retry) ++goals_["retry"];
        inner_->finish(run, settled, next, now);
    }

private:
    static constexpr auto window = 100ms;
    struct Entry {
        Clock::Mono   at;
        std::uint64_t retries, settled;
    };

    void check(Clock::Mono now)
    {
        while (!happened_.empty() && now - happened_.front().at > window) happened_.pop_front();
        std::uint64_t retries = 0, settled = 0;
        for (auto const& entry : happened_) {
            retries += entry.retries;
            settled += entry.settled;
        }
        auto const most = settled * budget_.percent * 10 + budget_.per_second * 100 + budget_.saved_max * 1'000;
        require(retries * 1'000 <= most, "retries stay within their budget");
    }

    engine::RetryBudgetOptions const budget_;
    Goals&                           goals_;
    std::deque<Entry>                happened_;
};

class World {
public:
    World(std::uint64_t seed, Twin twin, Shared& shared)
        : random_(seed), twin_(twin), shared_(shared), faults_(Faults::draw(random_)), options_(draw_options(random_)),
          events_(make_events(draw_mix(), random_, shared.today.decoder)), storage_(twin),
          ledger_(events_, options_.parked),
          context_{.faults = faults_, .random = random_, .clock = clock_, .ledger = ledger_, .goals = report_.goals}
    {
        ledger_.retry = options_.retry;
        context_.breaker = options_.breaker;
        ids_options_ = {.memory_ids = static_cast<std::uint32_t>(4 + random_.below(61)),
                        .merge_step = 1 + random_.below(20)};
        producers_.resize(events_.size());
        for (std::size_t i = 0; i < events_.size(); ++i) waiting_.push_back(i);
        weights_ = {1 + random_.below(8), 1 + random_.below(8), 1 + random_.below(12), 1 + random_.below(4),
                    1 + random_.below(6), 1 + random_.below(6), 0, 0};
        is_operated_ = random_.chance(0.7);
        is_to_be_upgraded_ = random_.chance(0.6);
        choose_killer();
        if (is_operated_) weights_[6] = 1 + random_.below(4), weights_[7] = 1 + random_.below(4);
    }

    Report run()
    {
        try {
            live();
        } catch (Violation const& violation) {
            report_.violation = violation.what();
            if (report_.violation.empty()) report_.violation = "?";
        }
        process_.reset();
        report_.trace = trace_;
        return std::move(report_);
    }

private:
    // What ends with a crash.
    struct Process {
        std::unique_ptr<log::EventLog>     log;
        std::unique_ptr<FaultyLog>         faulty_log;
        std::unique_ptr<log::EventLog>     wrong_log;
        std::unique_ptr<FaultyGraph>       faulty_graph;
        std::unique_ptr<graph::GraphStore> wrong_graph;
        std::unique_ptr<WrongGate>         wrong_gate;
        std::unique_ptr<engine::Engine>    engine;
    };

    // What the producer of an event knows.
    struct Producer {
        std::size_t in_flight{0};
        bool        is_waiting{true};  // to be sent, or sent again
        bool        is_done{false};
        bool        is_refused{false};
    };

    struct Request {
        std::vector<std::size_t> events;
        bool                     is_atomic{true};
    };

    EventMix draw_mix()
    {
        return {.count = 90 + random_.below(40), .repositories = 1 + random_.below(6), .records = 1 + random_.below(4),
                .poison = random_.chance(0.5) ? 0.0 : 0.12,
                .refused = random_.chance(0.4) ? 0.0 : 0.02 * static_cast<double>(1 + random_.below(10))};
    }

    // Some lives have an event that ends the process whenever it is run. Nobody takes that up again, and no upgrade
    // mends it.
    void choose_killer()
    {
        auto const event = random_.below(events_.size());
        auto const fate = events_[event].fate;
        bool const is_possible = (fate == Fate::put || fate == Fate::remove || fate == Fate::none) &&
                                 !options_.parked.contains(events_[event].type);
        if (random_.chance(0.6) || !is_possible) return;
        is_operated_ = is_to_be_upgraded_ = false;
        ledger_.killer = event;
        context_.killer = events_[event].payload;
    }

    void note(std::uint64_t what)
    {
        trace_ = (trace_ ^ what) * 0x9E3779B97F4A7C15;
        trace_ ^= trace_ >> 29;
    }

    engine::Engine& engine() { return *process_->engine; }
    Program&        program() { return ledger_.is_upgraded() ? shared_.upgraded : shared_.today; }
    Operator::Site  site()
    {
        return {*process_->engine, *process_->log, program(), storage_.seen()};
    }

    // --- the run ---

    void live()
    {
        start();
        constexpr int steps_max = 4'000;
        for (int i = 0; i < steps_max && done_ < events_.size(); ++i) guarded([this] { step(); });
        for (auto i = is_operated_ ? random_.below(300) : 0; i > 0; --i) guarded([this] { step(); });
        faults_ = faults_.none();
        context_.disk_full_until = context_.outage_until = {};
        if (is_to_be_upgraded_ && !ledger_.is_upgraded()) {
            is_upgrade_due_ = true;
            crash();
        }
        settle_down();
        check_end();
    }

    template <class Action>
    void guarded(Action const& action)
    {
        ++report_.steps;
        try {
            action();
        } catch (Crash const&) {
            crash();
            return;
        }
        check_step();
    }

    void step()
    {
        auto const& [send_weight, append_weight, work_weight, checkpoint_weight, ids_weight, wait_weight,
                     operator_weight, job_weight] = weights_;
        auto dice = random_.below(send_weight + append_weight + work_weight + checkpoint_weight + ids_weight +
                                  wait_weight + operator_weight + job_weight);
        if (context_.chance(faults_.crash) || (engine().log_failed() && random_.chance(0.2))) throw Crash{};
        if (context_.chance(faults_.wall_jump))
            clock_.shift_wall(std::chrono::milliseconds(static_cast<std::int64_t>(random_.below(2'000)) - 1'000));
        if (dice < send_weight) return send();
        dice -= send_weight;
        if (dice < append_weight) return append();
        dice -= append_weight;
        if (dice < work_weight) return work(random_.below(options_.workers));
        dice -= work_weight;
        if (dice < checkpoint_weight) return checkpoint();
        dice -= checkpoint_weight;
        if (dice < ids_weight) return maintain_ids();
        dice -= ids_weight;
        if (dice < operator_weight) return operator_.act(site());
        dice -= operator_weight;
        if (dice < job_weight) return jobs();
        clock_.advance(std::chrono::microseconds(random_.chance(0.1) ? random_.below(30'000) : random_.below(2'000)));
    }

    // No more faults: everything must come to an end, and soon.
    void settle_down()
    {
        for (int i = 0;; ++i) {
            require(i < 6'000, "without faults everything comes to an end");
            if (engine().log_failed()) crash();
            guarded([this] { is_at_work_ = operator_.settle(site()); });
            bool const is_at_rest = done_ == events_.size() && requests_.empty() && engine().idle() && !is_at_work_;
            if (is_at_rest && !operator_.release_rest(site())) return;
            guarded([this] { send(); });
            guarded([this] { append(); });
            guarded([this] { jobs(); });
            guarded([this] { maintain_ids(); });
            if (faults_.keeps_position) guarded([this] { checkpoint(); });
            for (std::size_t worker = 0; worker < options_.workers; ++worker) guarded([&] { work(worker); });
            clock_.advance(1ms);
        }
    }

    // --- the process ---

    void start()
    {
        if (is_to_be_upgraded_ && !ledger_.is_upgraded() && (is_upgrade_due_ || random_.chance(0.2)) &&
            process_ == nullptr &&
            number(ledger_.last()) > 0) {
            ledger_.upgrade();
            ++report_.goals[storage_.seen().decisions.empty() ? "upgraded" : "upgraded after verdicts"];
        }
        for (int tries = 0;; ++tries) {
            ledger_.restart(storage_.seen(), faults_.graph_survives);
            misjudge(twin_, context_.in_hand);
            if (!graph_ || !faults_.graph_survives) {
                graph_ = make_graph(twin_);
                context_.position.clear();
                faults_.keeps_position = faults_.keeps_position && graph_->snapshots() != nullptr;
            } else
                sim::crash(twin_, *graph_);
            bool const may_fail = tries < 4 && number(ledger_.last()) > 0 && context_.chance(faults_.recovery_fails);
            context_.recovery_fails_at = may_fail ? 1 + random_.below(number(ledger_.last())) : 0;
            if (context_.chance(faults_.file_damaged)) ids_.damage_one();
            if (context_.chance(faults_.file_damaged)) checkpoints_.damage_one();
            try {
                open();
                if (recover()) break;
            } catch (Crash const&) {
            }
            process_.reset();
            storage_.crash();
        }
        auto const state = engine().state();
        dead_most_ = parked_most_ = ~std::uint64_t{0};
        dead_checked_ = ~std::uint64_t{0};
        controls_checked_ = ~std::uint64_t{0};
        if (faults_.keeps_position) {
            ledger_.recovery_ends(state, [this](Sequence sequence) { return engine().is_unsettled(sequence); });
            if (state.pending != decltype(state.pending){}) ++report_.goals["start that left events to the workers"];
        } else {
            ledger_.recovery_ends(state, *graph_);
        }
        check_controls();
        check_given_up();
        if (!engine().ids_have_room()) ++report_.goals["ids incomplete after a start"];
        note(number(state.last_sequence));
    }

    void open()
    {
        process_ = std::make_unique<Process>();
        auto& p = *process_;
        p.log = storage_.open();
        p.faulty_log = std::make_unique<FaultyLog>(*p.log, context_);
        p.wrong_log = storage_.wrong_view(*p.faulty_log, *p.log);
        p.faulty_graph = std::make_unique<FaultyGraph>(*graph_, context_);
        p.wrong_graph = wrong_view(twin_, *p.faulty_graph);
        p.wrong_gate = wrong_gate(twin_);
        auto parts = wrong_parts(twin_, options_);
        parts.dedupe = make_index(twin_, ids_, ids_options_);
        if (!parts.scheduler) parts.scheduler = std::make_unique<engine::LaneScheduler>(options_.scheduler);
        if (twin_ == Twin::none)
            parts.scheduler = std::make_unique<WatchedScheduler>(
                std::move(parts.scheduler), options_.scheduler, report_.goals);
        parts.scheduler = std::make_unique<RetryWatch>(
            std::move(parts.scheduler), options_.scheduler.budget, report_.goals);
        p.engine = std::make_unique<engine::Engine>(
            engine::Engine::Deps{
                p.wrong_log ? *p.wrong_log : *p.faulty_log, p.wrong_graph ? *p.wrong_graph : *p.faulty_graph,
                program().schemas, clock_, &checkpoints_, p.wrong_gate.get(), context_.in_hand},
            wrong_options(twin_, options_), [this](std::vector<BlockRef> blocks) { answered(blocks); },
            [this](log::Decision const& decision) { decided(decision); }, std::move(parts));
        if (p.wrong_gate) p.wrong_gate->watch(p.engine->controls());
    }

    bool recover()
    {
        context_.is_recovering = true;
        ledger_.recovery_begins(
            faults_.keeps_position || (!faults_.graph_survives && !checkpoints_.list()->empty()));
        Result<engine::Folded> folded = Error{};
        try {
            folded = engine().recover();
        } catch (Crash const&) {
            context_.is_recovering = false;
            throw;
        }
        context_.is_recovering = false;
        if (folded && !folded->undecided.empty()) ++report_.goals["verdict found by recovery"];
        return folded.has_value();
    }

    void crash()
    {
        ++report_.goals["crash"];
        note(7);
        process_.reset();
        for (auto const& [token, request] : requests_) {
            for (auto const event : request.events) {
                --producers_[event].in_flight;
                ledger_.left_open(event);
                send_again(event);
            }
        }
        requests_.clear();
        events_in_flight_ = 0;
        operator_.crash();
        job_places_ = 0;
        storage_.crash();
        start();
    }

    void checkpoint()
    {
        auto const done = engine().checkpoint_step();
        if (!done) {
            require(done.error().reason == "projection_unfit", "a graph is never behind what it said");
            ++report_.goals["graph of other processors, found when it was opened"];
            throw Crash{};
        }
        note(20 + *done);
    }

    void append()
    {
        note(engine().append_step());
        ledger_.read_log(storage_.seen());
        if (!engine().append_waits()) job_places_ = 0;
    }

    void jobs()
    {
        auto const before = engine().admission().use().events;
        bool const is_any = engine().jobs_step();
        note(40 + is_any);
        auto const after = engine().admission().use().events;
        if (after > before) job_places_ = after - before;
        if (!is_any) return;
        for (auto const& job : engine().jobs().progress()) {
            if (!job.is_finished) continue;
            ++report_.goals["job ended: " + std::string(engine::job_kinds[static_cast<std::size_t>(job.job.kind)])];
            if (job.done > 0) ++report_.goals["job that did something ended"];
        }
    }

    void maintain_ids()
    {
        auto const runs = engine().ids().runs;
        auto const worked = engine().maintain_ids_step();
        if (!worked && worked.error().code == Errc::corrupt) throw Crash{};
        require(worked || worked.error().code == Errc::full, "ids can be written unless the disk is full");
        auto const now = engine().ids();
        if (now.runs < runs) ++report_.goals["runs of ids merged"];
        if (now.disk_lookups > 0) ++report_.goals["id looked for in a run"];
        note(now.runs);
    }

    void work(std::size_t worker)
    {
        ledger_.work_begins(!engine().log_failed());
        auto const worked = engine().work_step(worker);
        require(worked.has_value(), "workers find nothing corrupt");
        note(10 + *worked);
    }

    void decided(log::Decision const& decision)
    {
        ledger_.decided(decision, storage_.seen());
        note(number(decision.sequence) * 31 + static_cast<std::uint64_t>(decision.verdict));
        using log::Verdict;
        if (decision.verdict != Verdict::parked && decision.verdict != Verdict::dead_letter) return;
        if (decision.verdict == Verdict::parked)
            ++report_.goals[decision.reason == engine::follows_parked ? "follows a parked event" : "parked"];
        else if (decision.reason == "crash_loop")
            ++report_.goals["dead letter of a crash loop"];
        else
            ++report_.goals[decision.reason.starts_with("store_") ? "dead letter after retries" : "dead letter"];
    }

    // --- producers ---

    void send()
    {
        BlockRef block(new Block);
        for (auto requests = 1 + random_.below(5) / 4; requests > 0; --requests) add_request(*block);
        if (!block->requests.empty()) engine().submit(std::move(block));
    }

    std::vector<std::size_t> choose()
    {
        std::vector<std::size_t> chosen;
        auto                     count = random_.chance(0.5) ? 1 : 1 + random_.below(8);
        if (!is_batch_allowed_) count = 1;
        for (; count > 0 && !waiting_.empty(); --count) {
            auto const among = std::min<std::size_t>(waiting_.size(), 16);
            auto const at = waiting_.begin() + static_cast<std::ptrdiff_t>(random_.below(among));
            chosen.push_back(*at);
            producers_[*at].is_waiting = false;
            waiting_.erase(at);
        }
        // Somebody sends again what was sent already, maybe answered, maybe twice at once.
        if (is_batch_allowed_ && random_.chance(0.1)) {
            auto const event = random_.below(events_.size());
            if (!producers_[event].is_waiting && !events_[event].id.empty()) chosen.push_back(event);
        }
        return chosen;
    }

    void add_request(Block& block)
    {
        Request request{choose(), random_.chance(0.7)};
        if (request.events.empty()) return;
        auto const        bytes_before = block.data.size();
        Block::Request    entry;
        Admission::Demand demand;
        entry.first = static_cast<std::uint32_t>(block.items.size());
        entry.count = static_cast<std::uint32_t>(request.events.size());
        entry.atomic = request.is_atomic;
        entry.token = ++token_;
        demand.producer = static_cast<engine::Producer>(token_ % options_.admission.shares.size());
        for (auto const event : request.events) {
            schema::Decoded decoded;
            auto const      error = program().decoder.decode(events_[event].text(), block.data, decoded);
            require(!error, "what decodes once always decodes");
            block.items.push_back({.offset = decoded.offset, .tier = decoded.tier, .state = {},
                                   .producer = demand.producer, .sequence = {}});
            ++demand.events[index(decoded.tier)];
        }
        demand.bytes = block.data.size() - bytes_before;

        auto const refusal = engine().admission().admit(demand, entry.ticket);
        note(refusal.has_value());
        if (refusal) {
            ++report_.goals[refusal->never_fits ? "batch that never fits" : "refused by admission"];
            require(!refusal->never_fits || entry.count > 1, "one event always fits");
            is_batch_allowed_ = !refusal->never_fits;
            block.data.resize(bytes_before);
            block.items.resize(entry.first);
            for (auto const event : request.events) send_again(event);
            return;
        }
        is_batch_allowed_ = true;
        for (auto const event : request.events) ++producers_[event].in_flight;
        events_in_flight_ += entry.count;
        block.requests.push_back(std::move(entry));
        requests_.emplace(token_, std::move(request));
    }

    void send_again(std::size_t event)
    {
        auto& producer = producers_[event];
        if (producer.is_waiting || producer.is_done) return;
        // Without an id a second try would be a second event.
        if (events_[event].id.empty() && ledger_.is_open(event)) return finish(event);
        producer.is_waiting = true;
        waiting_.push_back(event);
    }

    void finish(std::size_t event)
    {
        auto& producer = producers_[event];
        if (!producer.is_done) ++done_;
        producer.is_done = true;
        if (producer.is_waiting) std::erase(waiting_, event);
        producer.is_waiting = false;
    }

    void answered(std::vector<BlockRef> const& blocks)
    {
        if (blocks.size() > 1) ++report_.goals["several blocks in one commit"];
        ledger_.read_log(storage_.seen());
        for (auto const& block : blocks)
            for (auto const& entry : block->requests) {
                auto const found = requests_.find(entry.token);
                require(found != requests_.end(), "a request is answered once");
                auto const request = std::move(found->second);
                requests_.erase(found);
                events_in_flight_ -= entry.count;
                for (auto const event : request.events) --producers_[event].in_flight;
                note(static_cast<std::uint64_t>(entry.outcome) + 100);
                answered(*block, entry, request);
            }
    }

    void answered(Block const& block, Block::Request const& entry, Request const& request)
    {
        switch (entry.outcome) {
        case RequestOutcome::stored: return stored(block, entry, request);
        case RequestOutcome::conflict: return conflicted(entry, request);
        case RequestOutcome::disk_full:
        case RequestOutcome::ids_behind:
        case RequestOutcome::read_failed: break;
        case RequestOutcome::log_failed:
            ++report_.goals["log failed"];
            for (auto const event : request.events) ledger_.left_open(event);
            break;
        case RequestOutcome::open: require(false, "an answer says something");
        }
        for (auto const event : request.events) send_again(event);
    }

    void stored(Block const& block, Block::Request const& entry, Request const& request)
    {
        bool const is_reply_lost = context_.chance(faults_.reply_lost);
        if (is_reply_lost) ++report_.goals["reply lost"];
        for (std::uint32_t i = 0; i < entry.count; ++i) {
            auto const& item = block.items[entry.first + i];
            auto const  event = request.events[i];
            require(item.state != Block::State::fresh, "every item of a stored request has a state");
            if (item.state == Block::State::conflict) {
                require(!entry.atomic, "an atomic request is stored whole");
                refuse(event);
                continue;
            }
            if (item.state == Block::State::duplicate) ++report_.goals["duplicate"];
            ledger_.acknowledged(event, item.sequence);
            note(number(item.sequence));
            if (is_reply_lost && !events_[event].id.empty())
                send_again(event);
            else
                finish(event);
        }
    }

    void conflicted(Block::Request const& entry, Request const& request)
    {
        require(entry.atomic, "only atomic requests are refused whole");
        auto const event = request.events[entry.conflict_at];
        // A request that contradicts itself says nothing about the log.
        auto const is_own_twin = [&](std::size_t other) {
            return other != event && events_[other].id == events_[event].id;
        };
        if (std::any_of(request.events.begin(), request.events.end(), is_own_twin))
            is_batch_allowed_ = false;
        else
            refuse(event);
        for (auto const other : request.events) send_again(other);
    }

    void refuse(std::size_t event)
    {
        ++report_.goals["same id, other content"];
        ledger_.refused(event);
        finish(event);
    }

    // --- checks ---

    void check_step()
    {
        auto const state = engine().state();
        if (!engine().log_failed()) {
            ledger_.check(state);
            check_controls();
            check_given_up();
        }
        auto const  use = engine().admission().use();
        auto const  limits = engine().admission().limits();
        // What was in use when an operator lowered them stays.
        require((use.events <= limits.events || use.events <= last_use_.events) &&
                    (use.bytes <= limits.bytes || use.bytes <= last_use_.bytes),
                "admission never exceeds its capacity");
        last_use_ = use;
        std::uint64_t held = 0;
        for (engine::Producer i = 0; i < engine().admission().producers(); ++i)
            held += engine().admission().held(i).events;
        require(held == use.events, "every place is some producer's");
        auto const& p = state.pending;
        auto const  lanes = engine().lanes();
        auto const  places = p[0] + p[1] + p[2] + p[3] + events_in_flight_ + operator_.places();
        auto const  taken = use.events + lanes.backlog;
        // Nobody but the job knows whether its block was answered.
        require(taken == places || taken == places + job_places_,
                "every resident event holds one place, and no other does");
        require(use.backlog == lanes.backlog + lanes.backlog_lanes * engine::LaneScheduler::lane_entries,
                "every backlog entry is counted, and what its lane takes");
        if (use.backlog > limits.backlog + limits.events) ++report_.goals["backlog full"];
        auto const breaker = engine().graph_breaker();
        if (breaker.opened > 0) ++report_.goals["breaker opened"];
        if (breaker.opened > 0 && engine().graph_answers()) ++report_.goals["breaker closed again"];
        if (lanes.waiting_for_budget > 0) ++report_.goals["retry without budget"];
    }

    void check_controls()
    {
        if (ledger_.controls() == controls_checked_ && !context_.is_recovering) return;
        ledger_.check_controls(engine().controls().state());
        controls_checked_ = ledger_.controls();
    }

    // Recovery may have to give up more than there is room for: nothing comes to it before there is room.
    void check_given_up()
    {
        auto const check = [](std::uint64_t count, std::uint64_t limit, std::uint64_t& most, char const* promise) {
            require(count <= most, promise);
            most = std::max(limit, count);
        };
        auto const dead = ledger_.open_dead_letters(), parked = static_cast<std::uint64_t>(ledger_.parked_events());
        require(engine().parking().events() == parked, "what is parked is known");
        if (dead != dead_checked_)
            require(engine().dead_letters().stats().count == dead, "open dead letters are listed");
        dead_checked_ = dead;
        check(dead, options_.dead_letters.events, dead_most_, "dead letters never exceed their limit");
        check(parked, options_.parked_max, parked_most_, "parked events never exceed their limit");
        if (dead >= options_.dead_letters.events) ++report_.goals["dead letters full"];
        if (parked >= options_.parked_max) ++report_.goals["parked full"];
    }

    void check_end()
    {
        auto const state = engine().state();
        ledger_.check_log();
        ledger_.check_end(state);
        ledger_.check_graph(*graph_);
        auto const use = engine().admission().use();
        require(use.events == 0 && use.bytes == 0 && use.backlog == 0, "at rest nothing is held");
        for (engine::Producer i = 0; i < engine().admission().producers(); ++i) {
            auto const held = engine().admission().held(i);
            require(held.events == 0 && held.bytes == 0, "every place went back to the producer that held it");
        }

        graph::ResidentStore replayed;
        check_replay(replayed, 1);
        require(replayed.digest() == replayed.digest_by_scan(), "the digest is the sum over all records");
        note(replayed.digest().low);
        if (random_.chance(0.2)) {
            graph::ResidentStore on_threads;
            check_replay(on_threads, 3);
        }

        process_.reset();
        start();
        for (int i = 0; !engine().idle(); ++i) {
            require(i < 2'000, "what a start leaves to the workers comes to an end");
            checkpoint();
            for (std::size_t worker = 0; worker < options_.workers; ++worker) work(worker);
            clock_.advance(1ms);
        }
        auto const again = engine().state();
        require(again.accepted == state.accepted && again.applied == state.applied &&
                    again.dead_lettered == state.dead_lettered && again.parked == state.parked,
                "a restart changes no number");
        require(replayed.digest() == graph_->digest(), "a restart changes no record");
    }

    void check_replay(graph::ResidentStore& replayed, std::size_t threads)
    {
        engine::DeadLetters dead_letters({.events = ~std::size_t{0}, .bytes = ~std::uint64_t{0}});
        engine::Parking     parking(~std::size_t{0});
        engine::Controls    controls;
        auto const          folded = engine::fold(
            {*process_->log, program().schemas, replayed, clock_, options_.parked, dead_letters, parking, controls},
            threads);
        require(folded.has_value(), "the log can be replayed");
        ledger_.check_fold(*folded);
        ledger_.check_controls(controls.state());
        require(dead_letters.stats().count == ledger_.open_dead_letters(), "a replay knows the open dead letters");
        require(parking.events() == ledger_.parked_events(), "a replay knows what is parked");
        require(replayed.digest() == graph_->digest(), "replay equals live");
    }

    using Admission = engine::Admission;

    Random                       random_;
    Twin const                   twin_;
    Shared&                      shared_;
    Report                       report_;
    ManualClock                  clock_;
    Faults                       faults_;
    engine::EngineOptions const  options_;
    std::vector<SimEvent> const  events_;
    Storage                      storage_;
    Ledger                       ledger_;
    FaultContext                 context_;
    Operator                     operator_{events_, context_};
    engine::DedupeOptions        ids_options_;
    files::MemoryDirectory       ids_disk_, checkpoint_disk_;
    FaultyDirectory              ids_{"run of ids", ids_disk_, context_};
    FaultyDirectory              checkpoints_{"checkpoint", checkpoint_disk_, context_};
    std::array<std::uint64_t, 8> weights_{};
    std::uint64_t                trace_{0};

    std::vector<Producer>            producers_;  // by event
    std::vector<std::size_t>         waiting_;    // events to be sent
    std::map<std::uint64_t, Request> requests_;   // in flight, by token
    std::uint64_t                    token_{0};
    std::uint64_t                    events_in_flight_{0};
    std::size_t                      done_{0};
    bool                             is_operated_{false};
    engine::Admission::Use           last_use_{};
    bool                             is_to_be_upgraded_{false}, is_upgrade_due_{false};
    bool                             is_at_work_{false};  // the operator, on settling down
    std::size_t                      job_places_{0};      // of the job's block, while something waits for the appender
    std::uint64_t                    controls_checked_{0}, dead_checked_{0};
    std::uint64_t                    dead_most_{0}, parked_most_{0};
    bool                             is_batch_allowed_{true};

    std::unique_ptr<graph::GraphStore> graph_;
    std::unique_ptr<Process>           process_;
};

}  // namespace

Report simulate(std::uint64_t seed, Twin twin, Shared& shared) { return World(seed, twin, shared).run(); }

Report simulate_flood(std::uint64_t seed, Twin twin, Shared& shared)
{
    constexpr std::size_t low_count = 12, backlog = 48, flood_count = 2'000;
    constexpr auto        low_wait = 50ms;

    Random                random(seed);
    ManualClock           clock;
    Report                report;
    log::MemoryLog::Disk  disk;
    log::MemoryLog        log(disk);
    graph::ResidentStore  graph;
    engine::EngineOptions options;
    options.workers = 1;
    options.scheduler.batch_max = 16;
    options.scheduler.max_wait = {low_wait, 20ms, 10ms, std::chrono::milliseconds::max()};
    std::uint64_t nonce = 0;
    engine::Engine engine(
        {log, graph, shared.today.schemas, clock}, options, [](std::vector<BlockRef> const&) {}, {},
        wrong_parts(twin, options));

    auto const send = [&](std::size_t repository, Tier tier) {
        auto const                event = make_simple_event(repository, ++nonce, tier);
        BlockRef                  block(new Block);
        schema::Decoded           decoded;
        engine::Admission::Demand demand;
        require(!shared.today.decoder.decode(event.text(), block->data, decoded), "what is simple decodes");
        block->items.push_back({.offset = decoded.offset, .tier = decoded.tier, .state = {}, .sequence = {}});
        ++demand.events[index(tier)];
        Block::Request request{.first = 0, .count = 1, .ticket = {}};
        require(!engine.admission().admit(demand, request.ticket), "there is room");
        block->requests.push_back(std::move(request));
        engine.submit(std::move(block));
    };
    try {
        for (std::size_t i = 0; i < low_count; ++i) send(100 + i, Tier::low);
        auto const  start = clock.now();
        std::size_t served_overdue = 0;  // events since LOW is overdue
        for (std::size_t sent = 0; sent < flood_count;) {
            auto const before = engine.state();
            auto const pending = before.pending[index(Tier::critical)];
            for (auto n = pending; n < backlog; ++n, ++sent) send(random.below(64), Tier::critical);
            engine.append_step();
            require(engine.work_step(0).has_value(), "a flood breaks nothing");
            auto const after = engine.state();
            auto const served = after.applied - before.applied;
            if (clock.now() - start > low_wait) served_overdue += served;
            clock.advance(std::chrono::microseconds(100) * static_cast<std::int64_t>(served));
            ++report.steps;
            auto const done = low_count - after.pending[index(Tier::low)];
            auto const due = std::min<std::size_t>(low_count, served_overdue / options.scheduler.aged_share);
            require(done >= due, "an overdue lane gets one of eight turns");
        }
        require(engine.state().pending[index(Tier::low)] == 0, "no flood keeps LOW waiting for ever");
    } catch (Violation const& violation) {
        report.violation = violation.what();
    }
    return report;
}

}  // namespace sluice::sim
