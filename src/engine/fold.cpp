#include "engine/fold.hpp"

#include "base/fault_stack.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace sluice::engine {

namespace {

using BlockPtr = std::shared_ptr<log::StoredBlock const>;

// What the log's decisions say, by sequence.
struct Verdicts {
    std::vector<Sequence> decided;  // ascending
    std::uint64_t         dead{0}, parked{0}, released{0};
};

// What no thread changes.
struct Given {
    FoldDeps const&  deps;
    Checkpoint const checkpoint;
    Verdicts         verdicts;
    Sequence         ahead_through{};  // of all repositories
    std::size_t      shares{1};
    std::size_t      batch_max{1};
};

// Applies the events of its share of the repositories, in the order of the log. One thread.
class Folder {
public:
    Folder(Given const& given, std::size_t share)
        : given_(given), share_(share),
          hand_(given.deps.suspects != nullptr ? given.deps.suspects->hand(share) : Suspects::Hand()),
          decider_(given.deps.schemas),
          decide_([this](Event const& event, sluice::RecordView const& view) { return decider_(event, view); })
    {
    }

    Result<> fold(BlockPtr const& block, Sequence after)
    {
        for (std::size_t i = 0; i < block->size(); ++i)
            if (block->sequence(i) > after && block->sequence(i) <= given_.deps.through)
                if (auto const done = fold(block, i); !done) return done;
        if (batch_.empty()) pass(std::min(block->sequence(block->size() - 1), given_.deps.through));
        return {};
    }

    Result<> fold(BlockPtr const& block, std::size_t item)
    {
        auto const record = block->record(item);
        auto const sequence = block->sequence(item);
        if (!is_mine(record)) return {};
        ++folded_.read;
        if (record.kind() == log::RecordKind::control) {
            given_.deps.controls.apply(record.type(), record.payload(), sequence);
            return {};
        }
        if (is_decided(sequence)) return {};
        hand_.note(sequence);
        auto const event = decider_.read(record, sequence, block->received_at());
        if (is_in_checkpoint(record, sequence)) {
            if (event.version != Sequence::none)
                given_.deps.parking.settled(record_key(event, given_.deps.schemas), event.version);
        } else if (given_.batch_max > 1) {
            if (held_.empty() || held_.back() != block) held_.push_back(block);
            batch_.push_back(event);
            return batch_.size() < given_.batch_max ? Result<>() : flush();
        } else if (auto const done = apply(event); !done) {
            return done;
        }
        if (batch_.empty()) {
            decider_.clear();
            hand_.clear();
        }
        return {};
    }

    // What is in hand is applied: many repositories in one call, each one's events in their order.
    Result<> flush()
    {
        if (batch_.empty()) return {};
        auto const last = batch_.back().sequence;
        std::ranges::stable_sort(batch_, {}, &Event::did);
        if (auto const done = apply_batch(); !done) return done;
        batch_.clear();
        held_.clear();
        decider_.clear();
        hand_.clear();
        pass(last);
        return {};
    }

    // Everything up to here that is its share is applied; behind an event whose verdict is not durable yet it stays.
    Sequence passed() const noexcept { return passed_.load(std::memory_order_acquire); }

    Folded const& folded() const noexcept { return folded_; }

private:
    bool is_mine(log::LoggedRecord const& record) const noexcept
    {
        return given_.shares == 1 || log::lane_key(record.header().tenant, record.did()) % given_.shares == share_;
    }

    bool is_decided(Sequence sequence)
    {
        auto const& decided = given_.verdicts.decided;
        while (decided_ < decided.size() && decided[decided_] < sequence) ++decided_;
        return decided_ < decided.size() && decided[decided_] == sequence;
    }

    bool is_in_checkpoint(log::LoggedRecord const& record, Sequence sequence) const
    {
        if (sequence > given_.ahead_through) return false;
        auto const repository = given_.checkpoint.ahead.find(record.did());
        return repository != given_.checkpoint.ahead.end() && sequence <= repository->second;
    }

    Result<> apply(Event const& event)
    {
        auto const& deps = given_.deps;
        auto const  key = deps.parking.is_empty() ? RecordKey{} : record_key(event, deps.schemas);
        if (deps.parking.follows(key, version_of(event), event.sequence)) {
            give_up(event, {Errc::invalid, follows_parked, "an earlier event of its record is parked"});
            return {};
        }
        auto const result = ask(event);
        if (result.error && result.from_store && result.error->code != Errc::invalid) return *result.error;
        if (result.error) {
            give_up(event, *result.error);
        } else {
            folded_.stale += result.outcomes.front() == graph::Outcome::stale;
            if (event.version != Sequence::none) deps.parking.settled(key, event.version);
        }
        return {};
    }

    graph::ApplyResult ask(Event const& event)
    {
        for (;;) {
            auto result = given_.deps.graph.apply({&event, 1}, decide_);
            if (!result.error || !is_worth_waiting(result)) return result;
        }
    }

    // The store did not answer, or lost a race: whether to ask again.
    bool is_worth_waiting(graph::ApplyResult const& result) const
    {
        if (!result.from_store) return false;
        if (result.error->code == Errc::conflict) return true;
        return result.error->code == Errc::unavailable && given_.deps.unanswered &&
               given_.deps.unanswered(*result.error);
    }

    Result<> apply_batch()
    {
        using Events = std::span<Event const>;
        auto const is_alone = [&](Event const& event) {
            return !given_.deps.parking.is_empty() || event.version != Sequence::none;
        };
        std::vector<Events> runs;
        for (std::size_t from = 0, to = 0; from < batch_.size(); from = to) {
            bool alone = false;
            for (to = from; to < batch_.size() && batch_[to].did == batch_[from].did; ++to)
                alone = alone || is_alone(batch_[to]);
            auto const events = Events(batch_).subspan(from, to - from);
            if (!alone) runs.push_back(events);
            else if (auto const done = apply_one_by_one(events); !done) return done;
        }
        while (!runs.empty()) {
            auto const results = given_.deps.graph.apply_all(runs, decide_);
            for (std::size_t i = 0; i < runs.size(); ++i) {
                auto const& result = results[i];
                folded_.stale += static_cast<std::uint64_t>(
                    std::ranges::count(result.outcomes, graph::Outcome::stale));
                runs[i] = runs[i].subspan(result.outcomes.size());
                if (!result.error || is_worth_waiting(result)) continue;
                if (result.from_store && result.error->code != Errc::invalid) return *result.error;
                give_up(runs[i].front(), *result.error);
                // One that is parked now may have others behind it.
                if (auto const done = apply_one_by_one(runs[i].subspan(1)); !done) return done;
                runs[i] = {};
            }
            std::erase_if(runs, [](Events const& run) { return run.empty(); });
        }
        return {};
    }

    Result<> apply_one_by_one(std::span<Event const> events)
    {
        for (auto const& event : events)
            if (auto const done = apply(event); !done) return done;
        return {};
    }

    void pass(Sequence sequence)
    {
        if (folded_.undecided.empty()) passed_.store(sequence, std::memory_order_release);
    }

    void give_up(Event const& event, Error const& error)
    {
        auto const& deps = given_.deps;
        auto        verdict = verdict_on(event, error, 1, deps.clock.wall(), deps.schemas, deps.parked);
        if (verdict.verdict == log::Verdict::parked) {
            deps.parking.parked(verdict);
        } else {
            deps.dead_letters.add(verdict);
            if (event.version != Sequence::none) deps.parking.settled(record_key(event, deps.schemas), event.version);
        }
        folded_.undecided.push_back(std::move(verdict));
    }

    Given const&        given_;
    std::size_t const   share_;
    Suspects::Hand      hand_;
    Decider             decider_;
    graph::Decide const decide_;
    std::size_t           decided_{0};  // in verdicts.decided: what comes next
    Folded                folded_;
    std::vector<Event>    batch_;
    std::vector<BlockPtr> held_;  // what they are views of
    std::atomic<Sequence> passed_{};
};

// A folder on a thread of its own, a few blocks behind the reader.
class FolderThread {
public:
    FolderThread(Given const& given, std::size_t share)
        : folder_(given, share), after_(given.checkpoint.position.last), thread_([this] { run(); })
    {
    }

    // Waits for room. False once the folder has failed.
    bool push(BlockPtr block)
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return blocks_.size() < blocks_max || failed_; });
        if (failed_) return false;
        blocks_.push_back(std::move(block));
        changed_.notify_all();
        return true;
    }
    Sequence passed() const noexcept { return folder_.passed(); }

    // After everything that was pushed.
    Result<Folded> finish()
    {
        (void)push(nullptr);
        thread_.join();
        if (failed_) return *failed_;
        return folder_.folded();
    }

private:
    static constexpr std::size_t blocks_max = 4;

    void run()
    {
        FaultStack const stack;
        for (;;) {
            BlockPtr block;
            {
                std::unique_lock lock(mutex_);
                changed_.wait(lock, [&] { return !blocks_.empty(); });
                block = std::move(blocks_.front());
                blocks_.pop_front();
                changed_.notify_all();
            }
            auto const done = block ? folder_.fold(block, after_) : folder_.flush();
            if (!block && done) return;
            if (!done) {
                std::lock_guard const lock(mutex_);
                failed_ = done.error();
                changed_.notify_all();
                return;
            }
        }
    }

    Folder                  folder_;
    Sequence const          after_;
    std::mutex              mutex_;
    std::condition_variable changed_;
    std::deque<BlockPtr>    blocks_;  // guarded by mutex_
    std::optional<Error>    failed_;  // guarded by mutex_
    std::thread             thread_;
};

void add(Folded& sum, Folded const& part)
{
    sum.read += part.read;
    sum.stale += part.stale;
    sum.undecided.insert(sum.undecided.end(), part.undecided.begin(), part.undecided.end());
}

// What a copy that may have to pass yet waits for is known before the first event is looked at: versions decide what
// comes first, not when their verdicts were made.
Result<Verdicts> read_verdicts(FoldDeps const& deps, Position const& position)
{
    Verdicts verdicts;
    struct Copied {
        Sequence      parked, copy;
        std::uint64_t record;
        Sequence      version;
    };
    std::vector<Copied> copied;
    auto const take = [&](log::Decision const& newest) {
        verdicts.decided.push_back(newest.sequence);
        verdicts.dead += log::is_dead(newest.verdict);
        if (newest.verdict == log::Verdict::dead_letter) deps.dead_letters.add(newest);
        if (newest.verdict == log::Verdict::parked) {
            ++verdicts.parked;
            deps.parking.parked(newest);
        }
        if (newest.verdict == log::Verdict::released) {
            ++verdicts.released;
            copied.push_back({newest.sequence, newest.successor, newest.subject.record, newest.subject.version});
        }
    };
    std::optional<log::Decision> last;
    auto const visited = deps.log.visit_decisions(Sequence::none, [&](log::Decision const& decision) {
        if (last && last->sequence != decision.sequence) take(*last);
        last = decision;
        return true;
    });
    if (!visited) return visited.error();
    if (last) take(*last);
    for (auto const& [parked, copy, record, version] : copied) {
        bool const is_settled = copy <= position.last && !position.is_unsettled(copy);
        if (!is_settled && !std::ranges::binary_search(verdicts.decided, copy))
            deps.parking.expect_copy(parked, record, version);
    }
    return verdicts;
}

// Hands each block after the checkpoint to `take`, until that returns false.
template <class Take>
Result<> read_rest(log::EventLog const& log, Sequence through, Folded& folded, Take take)
{
    auto const cursor = log.blocks(next(folded.last));
    for (;;) {
        auto block = cursor->next();
        if (!block) return block.error();
        if (!*block || (*block)->first() > through) return {};
        folded.last = std::min((*block)->sequence((*block)->size() - 1), through);
        if (!take(std::make_shared<log::StoredBlock const>(std::move(**block)))) return {};
    }
}

Result<> fold_unsettled(log::EventLog const& log, Given const& given, Folder& folder)
{
    BlockPtr block;
    for (auto const& range : given.checkpoint.position.unsettled)
        for (auto sequence = range.first; sequence <= range.last(); sequence = next(sequence)) {
            if (!block || !block->holds(sequence)) {
                auto read = log.read(sequence);
                if (!read) return read.error();
                if (!*read) return Error{Errc::corrupt, "gap", "no event " + std::to_string(number(sequence))};
                block = std::move(*read);
            }
            auto const item = number(sequence) - number(block->first());
            if (auto const done = folder.fold(block, item); !done) return done;
        }
    return folder.flush();
}

Result<Folded> fold_here(log::EventLog const& log, Given const& given)
{
    Folder   folder(given, 0);
    Folded   folded{.last = given.checkpoint.position.last, .undecided = {}};
    auto const after = folded.last;
    Result<> done;
    auto const read = read_rest(log, given.deps.through, folded, [&](BlockPtr const& block) {
        done = folder.fold(block, after);
        if (given.deps.passed) given.deps.passed(folder.passed());
        return done.has_value();
    });
    if (!read) return read.error();
    if (done) done = folder.flush();
    if (!done) return done.error();
    add(folded, folder.folded());
    return folded;
}

Result<Folded> fold_on_threads(log::EventLog const& log, Given const& given)
{
    Folded                                     folded{.last = given.checkpoint.position.last, .undecided = {}};
    std::vector<std::unique_ptr<FolderThread>> threads;
    for (std::size_t share = 0; share < given.shares; ++share)
        threads.push_back(std::make_unique<FolderThread>(given, share));
    auto const read = read_rest(log, given.deps.through, folded, [&](BlockPtr const& block) {
        if (given.deps.passed) {
            auto least = threads.front()->passed();
            for (auto const& thread : threads) least = std::min(least, thread->passed());
            given.deps.passed(least);
        }
        return std::ranges::all_of(threads, [&](auto const& thread) { return thread->push(block); });
    });
    std::optional<Error> failed;
    for (auto const& thread : threads) {
        auto const part = thread->finish();
        if (part) add(folded, *part);
        else failed = part.error();
    }
    if (!read) return read.error();
    if (failed) return *failed;
    return folded;
}

// Every record ends as one of these, so that what is left was applied.
void count(Folded& folded, Verdicts const& verdicts, std::uint64_t controls)
{
    folded.dead_lettered = verdicts.dead;
    folded.parked = verdicts.parked;
    for (auto const& decision : folded.undecided)
        ++(decision.verdict == log::Verdict::parked ? folded.parked : folded.dead_lettered);
    folded.events = number(folded.last) - controls - verdicts.released;  // each of those has a copy
    folded.applied = folded.events - folded.dead_lettered - folded.parked;
}

}  // namespace

Result<Folded> fold(FoldDeps const& deps, std::size_t threads, Checkpoint checkpoint)
{
    Given given{deps, std::move(checkpoint), {}};
    for (auto const& [did, last] : given.checkpoint.ahead) given.ahead_through = std::max(given.ahead_through, last);
    deps.controls.restore(given.checkpoint.controls);
    auto verdicts = read_verdicts(deps, given.checkpoint.position);
    if (!verdicts) return verdicts.error();
    given.verdicts = std::move(*verdicts);
    if (deps.graph.repositories_at_once() > 1 && deps.suspects == nullptr)
        given.batch_max = deps.batch;
    else if (deps.graph.repositories_at_once() > 1 && !deps.suspects->careful())
        given.batch_max = Suspects::marks;

    Folder unsettled(given, 0);
    if (auto const done = fold_unsettled(deps.log, given, unsettled); !done) return done.error();
    given.shares = std::max<std::size_t>(threads, 1);
    auto folded = given.shares == 1 ? fold_here(deps.log, given) : fold_on_threads(deps.log, given);
    if (!folded) return folded;
    folded->stale += given.checkpoint.position.stale;
    add(*folded, unsettled.folded());
    std::ranges::sort(folded->undecided, {}, &log::Decision::sequence);
    count(*folded, given.verdicts, deps.controls.state().count);
    return folded;
}

Result<Folded> queue_rest(FoldDeps const& deps, Checkpoint checkpoint, Scheduler& scheduler, Watermark& watermark)
{
    auto const& position = checkpoint.position;
    deps.controls.restore(checkpoint.controls);
    auto const verdicts = read_verdicts(deps, position);
    if (!verdicts) return verdicts.error();

    Folded folded{.stale = position.stale, .last = watermark_of(position), .undecided = {}};
    watermark.start(folded.last, position.stale);
    auto const is_settled = [&](log::LoggedRecord const& record, Sequence sequence) {
        if (record.kind() == log::RecordKind::control) {
            deps.controls.apply(record.type(), record.payload(), sequence);
            return true;
        }
        return (sequence <= position.last && !position.is_unsettled(sequence)) ||
               std::ranges::binary_search(verdicts->decided, sequence);
    };
    std::vector<Pending>  pending;
    std::vector<Sequence> settled;
    auto const            read = read_rest(deps.log, deps.through, folded, [&](BlockPtr const& block) {
        pending.clear();
        settled.clear();
        auto const first = std::max(block->first(), next(watermark.last()));
        for (auto sequence = first; block->holds(sequence); sequence = next(sequence)) {
            auto const  record = block->record_at(sequence);
            auto const& header = record.header();
            if (is_settled(record, sequence))
                settled.push_back(sequence);
            else
                pending.push_back({.lane_key = log::lane_key(header.tenant, record.did()), .tier = record.tier(),
                                   .sequence = sequence, .received_at = block->received_at()});
        }
        watermark.logged(first, settled.size() + pending.size());
        watermark.settled(settled, 0);
        scheduler.push(pending, deps.clock.now());
        folded.read += pending.size();
        return true;
    });
    if (!read) return read.error();
    count(folded, *verdicts, deps.controls.state().count);
    folded.applied -= folded.read;
    return folded;
}

Result<Folded> fold(
    log::EventLog const& log, schema::SchemaSet const& schemas, graph::GraphStore& graph, Clock const& clock,
    std::size_t threads, Checkpoint checkpoint)
{
    constexpr auto    unbounded = ~std::size_t{0};
    ParkedTypes const none;
    DeadLetters       dead_letters({.events = unbounded, .bytes = unbounded});
    Parking           parking(unbounded);
    Controls          controls;
    return fold({log, schemas, graph, clock, none, dead_letters, parking, controls}, threads, std::move(checkpoint));
}

}  // namespace sluice::engine
