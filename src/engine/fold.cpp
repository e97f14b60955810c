#include "engine/fold.hpp"

namespace sluice::engine {

namespace {

using Verdicts = std::unordered_map<std::uint64_t, log::Verdict>;

// The newest decision about each event.
Result<Verdicts> newest(log::EventLog const& log)
{
    auto const decisions = log.decisions();
    if (!decisions) return decisions.error();
    Verdicts verdicts;
    for (auto const& decision : *decisions) verdicts[number(decision.sequence)] = decision.verdict;
    return verdicts;
}

void count(Folded& folded, log::Verdict verdict)
{
    if (verdict == log::Verdict::parked)
        ++folded.parked;
    else
        ++folded.dead_lettered;
}

}  // namespace

Result<Folded> fold(
    log::EventLog const& log, schema::SchemaSet const& schemas, graph::GraphStore& graph, DedupeIndex* dedupe,
    Clock const& clock)
{
    auto verdicts = newest(log);
    if (!verdicts) return verdicts.error();

    Folded        folded;
    Decider       decider(schemas);
    graph::Decide decide = [&](Event const& event, sluice::RecordView const& view) { return decider(event, view); };

    auto const cursor = log.blocks(Sequence{1});
    for (;;) {
        auto const block = cursor->next();
        if (!block) return block.error();
        if (!*block) return folded;
        for (std::size_t i = 0; i < (*block)->size(); ++i) {
            auto const record = (*block)->record(i);
            auto const sequence = (*block)->sequence(i);
            ++folded.events;
            folded.last = sequence;
            if (dedupe != nullptr && record.header().id_size != 0)
                dedupe->insert(log::id_key(record.header().tenant, record.stored_id()), sequence);

            if (!verdicts->empty()) {
                auto const decided = verdicts->find(number(sequence));
                if (decided != verdicts->end() && decided->second != log::Verdict::released) {
                    count(folded, decided->second);
                    continue;
                }
            }
            auto const event = decider.read(record, sequence, (*block)->received_at());
            auto const result = graph.apply({&event, 1}, decide);
            decider.clear();
            if (!result.error) {
                ++folded.applied;
                folded.stale += result.outcomes.front() == graph::Outcome::stale;
                continue;
            }
            if (result.from_store) return *result.error;
            folded.undecided.push_back(verdict_on(sequence, *result.error, 1, clock.wall()));
            count(folded, folded.undecided.back().verdict);
        }
    }
}

}  // namespace sluice::engine
