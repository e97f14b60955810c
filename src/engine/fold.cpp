#include "engine/fold.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace sluice::engine {

namespace {

using BlockPtr = std::shared_ptr<log::StoredBlock const>;
using Verdicts = std::unordered_map<std::uint64_t, log::Verdict>;

// What no thread changes.
struct Given {
    schema::SchemaSet const& schemas;
    graph::GraphStore&       graph;
    Clock const&             clock;
    Checkpoint const         checkpoint;
    Verdicts                 verdicts;         // the newest about each event
    Sequence                 ahead_through{};  // of all repositories
    std::size_t              shares{1};
};

void count(Folded& folded, log::Verdict verdict)
{
    if (verdict == log::Verdict::parked)
        ++folded.parked;
    else
        ++folded.dead_lettered;
}

// Applies the events of its share of the repositories. One thread.
class Folder {
public:
    Folder(Given const& given, std::size_t share)
        : given_(given), share_(share), decider_(given.schemas),
          decide_([this](Event const& event, sluice::RecordView const& view) { return decider_(event, view); })
    {
    }

    Result<> fold(log::StoredBlock const& block, Sequence after)
    {
        for (std::size_t i = 0; i < block.size(); ++i) {
            auto const sequence = block.sequence(i);
            if (sequence <= after) continue;
            if (auto const done = fold(block.record(i), sequence, block.received_at()); !done) return done;
        }
        return {};
    }

    Result<> fold(log::LoggedRecord const& record, Sequence sequence, WallTime received_at)
    {
        if (!is_mine(record)) return {};
        ++folded_.read;
        if (!given_.verdicts.empty()) {
            auto const decided = given_.verdicts.find(number(sequence));
            if (decided != given_.verdicts.end() && decided->second != log::Verdict::released) {
                count(folded_, decided->second);
                return {};
            }
        }
        if (sequence <= given_.ahead_through) {
            auto const& ahead = given_.checkpoint.ahead;
            auto const  repository = ahead.find(record.did());
            if (repository != ahead.end() && sequence <= repository->second) {
                ++folded_.applied;
                return {};
            }
        }
        auto const event = decider_.read(record, sequence, received_at);
        auto const result = given_.graph.apply({&event, 1}, decide_);
        decider_.clear();
        if (!result.error) {
            ++folded_.applied;
            folded_.stale += result.outcomes.front() == graph::Outcome::stale;
            return {};
        }
        if (result.from_store) return *result.error;
        folded_.undecided.push_back(verdict_on(sequence, *result.error, 1, given_.clock.wall()));
        count(folded_, folded_.undecided.back().verdict);
        return {};
    }

    Folded const& folded() const noexcept { return folded_; }

private:
    bool is_mine(log::LoggedRecord const& record) const noexcept
    {
        return given_.shares == 1 || log::lane_key(record.header().tenant, record.did()) % given_.shares == share_;
    }

    Given const&        given_;
    std::size_t const   share_;
    Decider             decider_;
    graph::Decide const decide_;
    Folded              folded_;
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
        for (;;) {
            BlockPtr block;
            {
                std::unique_lock lock(mutex_);
                changed_.wait(lock, [&] { return !blocks_.empty(); });
                block = std::move(blocks_.front());
                blocks_.pop_front();
                changed_.notify_all();
            }
            if (!block) return;
            if (auto const done = folder_.fold(*block, after_); !done) {
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
    sum.applied += part.applied;
    sum.stale += part.stale;
    sum.dead_lettered += part.dead_lettered;
    sum.parked += part.parked;
    sum.undecided.insert(sum.undecided.end(), part.undecided.begin(), part.undecided.end());
}

// What was settled when the checkpoint began.
Folded folded_before(Given const& given)
{
    auto const& [last, stale, unsettled] = given.checkpoint.position;
    Folded folded{.events = number(last), .stale = stale, .last = last, .undecided = {}};
    for (auto const& [sequence, verdict] : given.verdicts) {
        if (sequence > number(last) || verdict == log::Verdict::released) continue;
        if (!std::ranges::binary_search(unsettled, Sequence{sequence})) count(folded, verdict);
    }
    folded.applied = number(last) - unsettled.size() - folded.parked - folded.dead_lettered;
    return folded;
}

// Hands each block after the checkpoint to `take`, until that returns false.
template <class Take>
Result<> read_rest(log::EventLog const& log, Folded& folded, Take take)
{
    auto const after = number(folded.last);
    auto const cursor = log.blocks(next(folded.last));
    for (;;) {
        auto block = cursor->next();
        if (!block) return block.error();
        if (!*block) return {};
        folded.last = (*block)->sequence((*block)->size() - 1);
        folded.events += number(folded.last) - std::max(after, number((*block)->first()) - 1);
        if (!take(std::make_shared<log::StoredBlock const>(std::move(**block)))) return {};
    }
}

Result<> fold_unsettled(log::EventLog const& log, Given const& given, Folder& folder)
{
    for (auto const sequence : given.checkpoint.position.unsettled) {
        auto const block = log.read(sequence);
        if (!block) return block.error();
        if (!*block) return Error{Errc::corrupt, "gap", "no event " + std::to_string(number(sequence))};
        auto const record = (*block)->record(number(sequence) - number((*block)->first()));
        if (auto const done = folder.fold(record, sequence, (*block)->received_at()); !done) return done;
    }
    return {};
}

Result<Folded> fold_here(log::EventLog const& log, Given const& given, Folder& folder)
{
    auto     folded = folded_before(given);
    auto const after = folded.last;
    Result<> done;
    auto const read = read_rest(log, folded, [&](BlockPtr const& block) {
        done = folder.fold(*block, after);
        return done.has_value();
    });
    if (!read) return read.error();
    if (!done) return done.error();
    add(folded, folder.folded());
    return folded;
}

Result<Folded> fold_on_threads(log::EventLog const& log, Given const& given)
{
    auto                                       folded = folded_before(given);
    std::vector<std::unique_ptr<FolderThread>> threads;
    for (std::size_t share = 0; share < given.shares; ++share)
        threads.push_back(std::make_unique<FolderThread>(given, share));
    auto const read = read_rest(log, folded, [&](BlockPtr const& block) {
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

}  // namespace

Result<Folded> fold(
    log::EventLog const& log, schema::SchemaSet const& schemas, graph::GraphStore& graph, Clock const& clock,
    std::size_t threads, Checkpoint checkpoint)
{
    Given given{schemas, graph, clock, std::move(checkpoint), {}};
    for (auto const& [did, last] : given.checkpoint.ahead) given.ahead_through = std::max(given.ahead_through, last);
    auto const decisions = log.decisions();
    if (!decisions) return decisions.error();
    for (auto const& decision : *decisions) given.verdicts[number(decision.sequence)] = decision.verdict;

    Folder folder(given, 0);
    if (auto const done = fold_unsettled(log, given, folder); !done) return done.error();
    if (threads <= 1) return fold_here(log, given, folder);
    given.shares = threads;
    auto folded = fold_on_threads(log, given);
    if (!folded) return folded;
    add(*folded, folder.folded());
    std::ranges::sort(folded->undecided, {}, &log::Decision::sequence);
    return folded;
}

}  // namespace sluice::engine
