#include "engine/fold.hpp"

#include <algorithm>

namespace sluice::engine {

namespace {

class Fold {
public:
    Fold(log::EventLog const& log, schema::SchemaSet const& schemas, graph::GraphStore& graph, Clock const& clock,
         Checkpoint checkpoint)
        : log_(log), graph_(graph), clock_(clock), checkpoint_(std::move(checkpoint)), decider_(schemas),
          decide_([this](Event const& event, sluice::RecordView const& view) { return decider_(event, view); })
    {
        for (auto const& [did, last] : checkpoint_.ahead) ahead_through_ = std::max(ahead_through_, last);
    }

    Result<Folded> run()
    {
        auto const decisions = log_.decisions();
        if (!decisions) return decisions.error();
        for (auto const& decision : *decisions) verdicts_[number(decision.sequence)] = decision.verdict;

        count_checkpoint();
        for (auto const sequence : checkpoint_.position.unsettled)
            if (auto const done = read_one(sequence); !done) return done.error();
        if (auto const done = read_rest(); !done) return done.error();
        return std::move(folded_);
    }

private:
    // What was settled when the checkpoint began.
    void count_checkpoint()
    {
        auto const& [last, stale, unsettled] = checkpoint_.position;
        folded_.events = number(last);
        folded_.last = last;
        folded_.stale = stale;
        for (auto const& [sequence, verdict] : verdicts_) {
            if (sequence > number(last) || verdict == log::Verdict::released) continue;
            if (!std::ranges::binary_search(unsettled, Sequence{sequence})) count(verdict);
        }
        folded_.applied = number(last) - unsettled.size() - folded_.parked - folded_.dead_lettered;
    }

    Result<> read_one(Sequence sequence)
    {
        auto const block = log_.read(sequence);
        if (!block) return block.error();
        if (!*block) return Error{Errc::corrupt, "gap", "no event " + std::to_string(number(sequence))};
        return apply((*block)->record(number(sequence) - number((*block)->first())), sequence, (*block)->received_at());
    }

    Result<> read_rest()
    {
        auto const last = checkpoint_.position.last;
        auto const cursor = log_.blocks(next(last));
        for (;;) {
            auto const block = cursor->next();
            if (!block) return block.error();
            if (!*block) return {};
            for (std::size_t i = 0; i < (*block)->size(); ++i) {
                auto const sequence = (*block)->sequence(i);
                if (sequence <= last) continue;
                ++folded_.events;
                folded_.last = sequence;
                if (auto const done = apply((*block)->record(i), sequence, (*block)->received_at()); !done) return done;
            }
        }
    }

    Result<> apply(log::LoggedRecord const& record, Sequence sequence, WallTime received_at)
    {
        ++folded_.read;
        if (!verdicts_.empty()) {
            auto const decided = verdicts_.find(number(sequence));
            if (decided != verdicts_.end() && decided->second != log::Verdict::released) {
                count(decided->second);
                return {};
            }
        }
        if (sequence <= ahead_through_) {
            auto const repository = checkpoint_.ahead.find(record.did());
            if (repository != checkpoint_.ahead.end() && sequence <= repository->second) {
                ++folded_.applied;
                return {};
            }
        }
        auto const event = decider_.read(record, sequence, received_at);
        auto const result = graph_.apply({&event, 1}, decide_);
        decider_.clear();
        if (!result.error) {
            ++folded_.applied;
            folded_.stale += result.outcomes.front() == graph::Outcome::stale;
            return {};
        }
        if (result.from_store) return *result.error;
        folded_.undecided.push_back(verdict_on(sequence, *result.error, 1, clock_.wall()));
        count(folded_.undecided.back().verdict);
        return {};
    }

    void count(log::Verdict verdict)
    {
        if (verdict == log::Verdict::parked)
            ++folded_.parked;
        else
            ++folded_.dead_lettered;
    }

    log::EventLog const&                            log_;
    graph::GraphStore&                              graph_;
    Clock const&                                    clock_;
    Checkpoint const                                checkpoint_;
    Sequence                                        ahead_through_{};
    Decider                                         decider_;
    graph::Decide const                             decide_;
    std::unordered_map<std::uint64_t, log::Verdict> verdicts_;  // the newest about each event
    Folded                                          folded_;
};

}  // namespace

Result<Folded> fold(
    log::EventLog const& log, schema::SchemaSet const& schemas, graph::GraphStore& graph, Clock const& clock,
    Checkpoint checkpoint)
{
    return Fold(log, schemas, graph, clock, std::move(checkpoint)).run();
}

}  // namespace sluice::engine
