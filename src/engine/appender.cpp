#include "engine/appender.hpp"

#include <algorithm>

namespace sluice::engine {

constexpr auto look_interval = std::chrono::seconds(1);

Appender::Appender(Deps deps, AppenderOptions options, Listener listener)
    : deps_(deps), options_(options), listener_(std::move(listener)), last_(deps.log.last()),
      chain_(deps.log.last_chain())
{
}

void Appender::submit(BlockRef block)
{
    std::lock_guard lock(mutex_);
    waiting_blocks_.push_back(std::move(block));
}

void Appender::submit(log::Decision decision, LaneId lane, Producer producer)
{
    std::lock_guard lock(mutex_);
    waiting_verdicts_.push_back({std::move(decision), lane, producer});
}

void Appender::find(std::string id, std::function<void(Result<Sequence>)> found)
{
    std::lock_guard lock(mutex_);
    waiting_searches_.push_back({std::move(id), std::move(found)});
}

bool Appender::idle() const
{
    std::lock_guard lock(mutex_);
    return waiting_blocks_.empty() && waiting_verdicts_.empty() && waiting_searches_.empty();
}

// Looks up what others want to know.
bool Appender::search()
{
    std::vector<Search> searches;
    {
        std::lock_guard lock(mutex_);
        searches.swap(waiting_searches_);
    }
    for (auto const& search : searches) {
        Sequence   at{};
        auto const is_it = [&](Sequence known) -> Result<bool> {
            auto const stored = deps_.log.read(known);
            if (!stored) return stored.error();
            if (!*stored || (*stored)->record_at(known).stored_id() != search.id)
                return false;
            at = known;
            return true;
        };
        if (failed() || !deps_.dedupe.has_room()) {
            search.found(Error{Errc::unavailable, "ids_behind", "the index of event ids is not complete"});
            continue;
        }
        auto const looked = deps_.dedupe.find(log::id_key(0, search.id), is_it);
        if (!looked && looked.error().code == Errc::corrupt) fail(looked.error(), RequestOutcome::read_failed);
        search.found(looked ? Result<Sequence>(at) : Result<Sequence>(looked.error()));
    }
    return !searches.empty();
}

// Control records, and orders without a successor.
static bool holds_no_event(BlockRef const& block)
{
    if (!block->answered) return false;
    for (std::size_t i = 0; i < block->items.size(); ++i)
        if (block->record(i).kind() != log::RecordKind::control) return false;
    return true;
}

bool Appender::step()
{
    bool const has_searched = search();
    if (!collect()) {
        if (!failed() && (!looked_at_ || deps_.clock.now() - *looked_at_ >= look_interval)) look_at_disk();
        return has_searched;
    }
    if (failed()) {
        answer_all(failed_outcome_);
        return true;
    }
    bool const is_full = look_at_disk();
    bool const has_ids = deps_.dedupe.has_room();
    if (is_full || !has_ids) {
        // What operators say is small, and may be what helps. But while the index of ids is not complete, nothing may
        // be committed to it, not even a record without an id: it would take the ids before for known.
        std::vector<BlockRef> controls;
        if (has_ids) {
            std::ranges::copy_if(group_.blocks, std::back_inserter(controls), holds_no_event);
            std::erase_if(group_.blocks, holds_no_event);
        }
        answer_all(is_full ? RequestOutcome::disk_full : RequestOutcome::ids_behind);
        group_.blocks = std::move(controls);
        if (group_.blocks.empty() && group_.verdicts.empty()) return true;
    }

    auto const received_at = std::max(deps_.clock.wall(), deps_.log.last_received_at());
    if (auto const ready = prepare(received_at); !ready)
        fail(ready.error(), RequestOutcome::read_failed);
    else if (auto const stored = write(received_at); !stored)
        fail(stored.error(), RequestOutcome::log_failed);
    else
        publish();
    return true;
}

// True: it is full, and the next group looks again.
bool Appender::look_at_disk()
{
    auto const space = deps_.log.check_space();
    looked_at_ = deps_.clock.now();
    if (listener_.looked) listener_.looked(space);
    return space.level == log::Space::Level::full;
}

// The group is half done, and nothing may follow it.
void Appender::fail(Error error, RequestOutcome outcome)
{
    failure_ = std::move(error);
    failed_outcome_ = outcome;
    failed_.store(true, std::memory_order_release);
    answer_all(outcome);
}

// Moves what waits into the group: every verdict, and blocks up to the byte limit.
bool Appender::collect()
{
    group_.blocks.clear();
    group_.verdicts.clear();
    std::lock_guard lock(mutex_);
    group_.verdicts.swap(waiting_verdicts_);
    std::size_t bytes = 0, taken = 0;
    while (taken < waiting_blocks_.size() && (taken == 0 || bytes < options_.commit_bytes_max))
        bytes += waiting_blocks_[taken++]->data.size();
    auto const end = waiting_blocks_.begin() + static_cast<std::ptrdiff_t>(taken);
    group_.blocks.assign(std::make_move_iterator(waiting_blocks_.begin()), std::make_move_iterator(end));
    waiting_blocks_.erase(waiting_blocks_.begin(), end);
    return !group_.blocks.empty() || !group_.verdicts.empty();
}

void Appender::answer_all(RequestOutcome outcome)
{
    for (auto const& block : group_.blocks)
        for (auto& request : block->requests) {
            request.outcome = outcome;
            request.ticket.release_places();
        }
    tell();
}

// Answers the group's blocks.
void Appender::tell()
{
    for (auto const& block : group_.blocks)
        if (block->answered) block->answered(*block);
    if (group_.blocks.empty()) return;
    std::erase_if(group_.blocks, [](BlockRef const& block) { return bool(block->answered); });
    listener_.answered(std::move(group_.blocks));
    group_.blocks.clear();
}

// Decides about every record of the group, and lays out the commit.
Result<> Appender::prepare(WallTime received_at)
{
    group_.parts.clear();
    group_.decisions.clear();
    group_.pending.clear();
    count_ = 0;
    bytes_ = sizeof header_;
    header_ = {log::block_magic, 0, number(next(last_)), received_at.time_since_epoch().count(), chain_};
    group_.parts.emplace_back(reinterpret_cast<char const*>(&header_), sizeof header_);

    for (auto const& block : group_.blocks) {
        if (auto const checked = check_orders(*block); !checked) return checked.error();
        if (auto const unique = dedupe_block(*block); !unique) return unique.error();
        for (auto& order : block->orders) {
            if (!order.before) continue;
            if (order.item != Block::Order::no_item) order.decision.successor = block->items[order.item].sequence;
            group_.decisions.push_back(order.decision);
        }
        seal_block(*block);
    }
    for (auto const& verdict : group_.verdicts) group_.decisions.push_back(verdict.decision);
    return {};
}

Result<> Appender::write(WallTime received_at)
{
    if (count_ == 0 && group_.decisions.empty()) return {};
    if (count_ == 0) group_.parts.clear();
    header_.count = count_;

    auto const start = deps_.clock.now();
    auto const stored = deps_.log.append({
        .first = Sequence{header_.first},
        .count = count_,
        .chain_after = chain_,
        .received_at = count_ == 0 ? deps_.log.last_received_at() : received_at,
        .parts = group_.parts,
        .decisions = group_.decisions,
    });
    add(deps_.counters.commit_ns, static_cast<std::uint64_t>((deps_.clock.now() - start).count()));
    add(deps_.counters.commits, 1);
    add(deps_.counters.committed_bytes, count_ == 0 ? 0 : bytes_);
    return stored;
}

// Looks whether what is ordered is still to be done; only this thread makes decisions.
Result<> Appender::check_orders(Block& block)
{
    for (std::size_t n = 0; n < block.orders.size(); ++n) {
        auto&       order = block.orders[n];
        auto const& wanted = order.decision;
        auto const  is_same = [&](log::Decision const& other) { return other.sequence == wanted.sequence; };
        auto const  is_taken = [&](Block::Order const& other) { return other.before && is_same(other.decision); };
        auto const  earlier = std::span(block.orders).first(n);
        auto const  newest = log::newest_verdict(deps_.log, wanted.sequence);
        if (!newest) return newest.error();
        bool const is_dead_letter = *newest == log::Verdict::dead_letter, is_parked = *newest == log::Verdict::parked;
        bool const is_open = wanted.verdict == log::Verdict::redriven   ? is_dead_letter
                             : wanted.verdict == log::Verdict::released ? is_parked
                                                                        : is_dead_letter || is_parked;
        if (is_open && std::ranges::none_of(group_.decisions, is_same) && std::ranges::none_of(earlier, is_taken))
            order.before = *newest;
        else if (order.item != Block::Order::no_item)
            block.items[order.item].state = Block::State::closed;
    }
    return {};
}

// Gives every new record its sequence, finds the duplicates, and refuses what conflicts.
Result<> Appender::dedupe_block(Block& block)
{
    for (auto& request : block.requests)
        if (auto const unique = dedupe_request(block, request); !unique) return unique.error();
    return {};
}

Result<> Appender::dedupe_request(Block& block, Block::Request& request)
{
    auto const before = last_;
    for (std::uint32_t i = 0; i < request.count; ++i) {
        auto& item = block.items[request.first + i];
        if (item.state == Block::State::closed) continue;
        auto const found = match(block, item);
        if (!found) return found.error();
        if (*found == Match::fresh) {
            item.state = Block::State::stored;
            item.sequence = last_ = next(last_);
            group_.pending.push_back(
                {.lane_key = 0, .block = &block, .item = request.first + i, .tier = item.tier,
                 .producer = item.producer, .sequence = item.sequence,
                 .received_at = WallTime(std::chrono::microseconds(header_.received_at))});
            auto const record = block.record(request.first + i);
            if (record.header().id_size != 0)
                deps_.dedupe.insert(log::id_key(record.header().tenant, record.stored_id()), item.sequence);
            continue;
        }
        item.state = *found == Match::duplicate ? Block::State::duplicate : Block::State::conflict;
        if (*found == Match::conflict && request.atomic) {
            forget(block, request);
            last_ = before;
            request.outcome = RequestOutcome::conflict;
            request.conflict_at = i;
            return {};
        }
    }
    request.outcome = RequestOutcome::stored;
    return {};
}

// A record already known is compared by its id and content: with one that is durable, or with one of this group.
Result<Appender::Match> Appender::match(Block& block, Block::Item& item)
{
    struct Probe {
        log::LoggedRecord record;
        Block::Item&      item;
        Match             match{Match::fresh};
    };
    Probe probe{log::LoggedRecord(block.data.data() + item.offset), item};
    if (probe.record.header().id_size == 0) return Match::fresh;

    // Two pointers: more would be allocated for every event.
    auto const is_it = [this, &probe](Sequence known) -> Result<bool> {
        auto const compare = [&](log::LoggedRecord const& other) {
            if (other.stored_id() != probe.record.stored_id() ||
                other.header().tenant != probe.record.header().tenant)
                return false;
            bool const is_same = other.content_hash() == probe.record.content_hash();
            probe.match = is_same ? Match::duplicate : Match::conflict;
            probe.item.sequence = known;
            return true;
        };
        if (number(known) >= header_.first) {
            auto const& twin = group_.pending[number(known) - header_.first];
            return compare(twin.block->record(twin.item));
        }
        auto const stored = deps_.log.read(known);
        if (!stored) return stored.error();
        if (!*stored)
            return Error{Errc::corrupt, "id_without_record", "the index names a sequence the log does not have"};
        return compare((*stored)->record_at(known));
    };
    auto const key = log::id_key(probe.record.header().tenant, probe.record.stored_id());
    if (auto const found = deps_.dedupe.find(key, is_it); !found) return found.error();
    return probe.match;
}

// Takes back the ids that a refused request had entered.
void Appender::forget(Block& block, Block::Request const& request)
{
    for (std::uint32_t i = 0; i < request.count; ++i) {
        auto& item = block.items[request.first + i];
        if (item.state != Block::State::stored) continue;
        item.state = Block::State::fresh;
        auto const record = block.record(request.first + i);
        if (record.header().id_size != 0)
            deps_.dedupe.erase(log::id_key(record.header().tenant, record.stored_id()), item.sequence);
        group_.pending.pop_back();
    }
}

// Chains the block's new records and lists their bytes, neighbours as one part.
void Appender::seal_block(Block& block)
{
    for (std::size_t i = 0; i < block.items.size(); ++i) {
        auto const& item = block.items[i];
        if (item.state != Block::State::stored) continue;
        auto* const bytes = block.data.data() + item.offset;
        log::LoggedRecord const record(bytes);
        chain_ = record.chain_after(count_ == 0 ? header_.chain_seed() : chain_);
        log::set_chain(bytes, chain_);
        group_.pending[count_].lane_key = log::lane_key(record.header().tenant, record.did());
        ++count_;
        bytes_ += record.header().size;
        auto& last = group_.parts.back();
        if (last.data() + last.size() == bytes)
            last = {last.data(), last.size() + record.header().size};
        else
            group_.parts.emplace_back(bytes, record.header().size);
    }
}

// The group is durable: events become pending, tickets of events that were not stored go back, everybody is told.
void Appender::publish()
{
    if (count_ != 0) {
        deps_.dedupe.committed(last_, chain_);
        deps_.watermark.logged(Sequence{header_.first}, count_);
    }
    std::uint64_t accepted = count_;
    for (auto const& block : group_.blocks) {
        for (auto const& order : block->orders)
            if (order.before) listener_.ordered(order);
        for (auto& request : block->requests) {
            std::uint32_t stored = 0, duplicates = 0;
            for (std::uint32_t i = request.first; i < request.first + request.count; ++i) {
                auto const state = block->items[i].state;
                duplicates += state == Block::State::duplicate;
                if (state != Block::State::stored) continue;
                ++stored;
                if (!block->answered) continue;  // a request's: an event
                auto const kind = block->record(i).kind();
                stored -= kind == log::RecordKind::control;
                accepted -= !log::is_accepted(kind);
            }
            if (request.outcome == RequestOutcome::conflict) {
                add(deps_.counters.conflicts, 1);
            } else {
                add(deps_.counters.duplicates, duplicates);
                request.ticket.hand_over(stored);
            }
            request.ticket.release_places();
        }
    }
    add(deps_.counters.accepted, accepted);
    if (std::ranges::any_of(group_.blocks, [](BlockRef const& block) { return bool(block->answered); }))
        settle_controls();
    deps_.scheduler.push(group_.pending, deps_.clock.now());
    tell();
    for (auto const& verdict : group_.verdicts) listener_.decided(verdict.decision, verdict.lane, verdict.producer);
}

// They are done once they are durable, and go into no lane.
void Appender::settle_controls()
{
    std::vector<Sequence> settled;
    std::erase_if(group_.pending, [&](Pending const& pending) {
        auto const record = pending.block->record(pending.item);
        if (record.kind() != log::RecordKind::control) return false;
        listener_.controlled(record, pending.sequence);
        settled.push_back(pending.sequence);
        return true;
    });
    if (!settled.empty()) deps_.watermark.settled(settled, 0);
}

}  // namespace sluice::engine
