#include "engine/jobs.hpp"

#include <algorithm>

namespace sluice::engine {

BlockRef make_control(std::string_view type, std::string_view payload, std::function<void(Block const&)> answered)
{
    BlockRef         block(new Block);
    log::RecordDraft draft;
    draft.type = type;
    draft.did = control::did;
    draft.payload = payload;
    draft.tier = Tier::normal;
    draft.kind = log::RecordKind::control;
    auto const offset = log::write_record(draft, block->data);
    block->items.push_back({.offset = offset, .tier = draft.tier});
    block->requests.push_back({.first = 0, .count = 1});
    block->answered = std::move(answered);
    return block;
}

Result<> Successors::add(
    Block& block, Sequence sequence, Wish const& wish, WallTime at, schema::DecodeError* why)
{
    auto const stored = deps_.log.read(sequence);
    if (!stored) return stored.error();
    if (!*stored) return Error{Errc::invalid, "no_event", "no event " + std::to_string(number(sequence))};
    auto const record = (*stored)->record_at(sequence);

    auto const   event = record.event(sequence, (*stored)->received_at());
    auto const   version = version_of(event);
    Block::Order order;
    order.decision = {
        .sequence = sequence,
        .verdict = wish.verdict,
        .at = at,
        .reason = "operator",
        .detail = wish.by,
        .subject = {.type = std::string(record.type()),
                    .did = std::string(record.did()),
                    .tier = record.tier(),
                    .received_at = event.received_at,
                    .bytes = static_cast<std::uint32_t>(record.payload().size()),
                    .version = version}};

    if (wish.verdict == log::Verdict::released && deps_.schemas.find(record.type()) == nullptr)
        return Error{Errc::invalid, "no_processor", "no processor for " + std::string(record.type())};
    // As its verdict knew it, whatever today's processors make of it: under that name others wait for it.
    auto const decided = deps_.log.visit_decisions(sequence, [&](log::Decision const& decision) {
        if (decision.sequence != sequence) return false;
        order.decision.subject.record = decision.subject.record;
        return true;
    });
    if (!decided) return decided.error();
    if (wish.verdict != log::Verdict::dropped) {
        bool const is_redrive = wish.verdict == log::Verdict::redriven;
        payload_.assign(wish.payload.value_or(record.payload()));
        auto const size = payload_.size();
        payload_.append(schema::Decoder::padding, '\0');
        schema::Decoded decoded;
        auto const      error = decoder_.succeed(
            record, is_redrive ? log::RecordKind::redrive : log::RecordKind::release,
            {.cause = sequence, .version = is_redrive && wish.as_new ? Sequence::none : version,
             .received_at = event.received_at},
            std::string_view(payload_).substr(0, size), block.data, decoded);
        if (error && why != nullptr) *why = *error;
        if (error) return Error{Errc::invalid, error->code, error->detail};
        order.item = static_cast<std::uint32_t>(block.items.size());
        block.items.push_back({.offset = decoded.offset, .tier = decoded.tier});
    }
    if (block.requests.empty()) block.requests.push_back({});
    block.requests.front().count = static_cast<std::uint32_t>(block.items.size());
    block.orders.push_back(std::move(order));
    return {};
}

Jobs::Jobs(Deps deps) : deps_(std::move(deps)), successors_({deps_.log, deps_.schemas}) {}

bool Jobs::step()
{
    if (answer_ && !is_answered()) return false;
    auto const job = deps_.controls.state().job;
    if (!job || job->is_stopped) {
        std::lock_guard const lock(mutex_);
        if (current_) current_->job.is_stopped = true;
        return false;
    }
    if (begin(*job)) return true;
    if (deps_.clock.now() < rest_until_ || is_finishing_) return false;
    auto const limit = allowance();
    if (limit == 0) return false;
    auto const before = cursor_;
    auto const sequences = next(limit);
    if (!sequences.empty()) return submit(sequences, before);
    if (is_at_end_) finish();
    return cursor_ != before;
}

// True when it is another one than before.
bool Jobs::begin(Job const& job)
{
    std::lock_guard const lock(mutex_);
    if (current_ && current_->job.id == job.id) {
        current_->job.is_stopped = false;
        return false;
    }
    if (current_) leave();  // stopped, and another took its place
    current_ = JobProgress{.job = job, .began = deps_.clock.wall()};
    cursor_ = Sequence::none;
    is_at_end_ = is_finishing_ = false;
    tokens_ = 0;
    batch_ = batch_max;
    refilled_ = deps_.clock.now();
    return true;
}

// Tokens for at most a second are kept.
std::size_t Jobs::allowance()
{
    auto const now = deps_.clock.now();
    auto const rate = current_->job.rate;
    tokens_ += rate * std::chrono::duration<double>(now - refilled_).count();
    tokens_ = std::min(tokens_, std::max(rate, 1.0));
    refilled_ = now;
    return std::min(batch_, static_cast<std::size_t>(tokens_));
}

std::vector<Sequence> Jobs::next(std::size_t limit)
{
    if (current_->job.kind == Job::Kind::release) return next_parked(limit);
    std::vector<Sequence> found;
    for (auto const& item : deps_.dead_letters.list(current_->job.filter, cursor_, limit, false))
        found.push_back(item.sequence);
    is_at_end_ = found.empty();
    return found;
}

// In the order of the log, which is that of the records' events.
std::vector<Sequence> Jobs::next_parked(std::size_t limit)
{
    auto const&           filter = current_->job.filter;
    std::vector<Sequence> found;
    std::size_t           seen = 0;
    std::optional<log::Decision> last;
    auto const take = [&](log::Decision const& newest) {
        auto const& subject = newest.subject;
        if (newest.verdict != log::Verdict::parked || newest.sequence > filter.through) return;
        if (filter.type && *filter.type != subject.type) return;
        if (filter.did && *filter.did != subject.did) return;
        found.push_back(newest.sequence);
    };
    is_at_end_ = true;
    auto const visited = deps_.log.visit_decisions(sluice::next(cursor_), [&](log::Decision const& decision) {
        if (last && last->sequence != decision.sequence) {
            take(*last);
            cursor_ = last->sequence;
            if (found.size() == limit || ++seen == scan_max) {
                is_at_end_ = false;
                last.reset();
                return false;
            }
        }
        last = decision;
        return true;
    });
    if (last) {
        take(*last);
        cursor_ = last->sequence;
    }
    if (!visited) {
        is_at_end_ = false;
        rest_until_ = deps_.clock.now() + std::chrono::seconds(1);
    }
    return found;
}

// `from`: where to look again if nothing comes of it.
bool Jobs::submit(std::vector<Sequence> const& sequences, Sequence from)
{
    auto const& job = current_->job;
    auto const  verdict = job.kind == Job::Kind::redrive ? log::Verdict::redriven
                          : job.kind == Job::Kind::drop  ? log::Verdict::dropped
                                                         : log::Verdict::released;
    BlockRef block(new Block);
    failures_.clear();
    for (auto const sequence : sequences) {
        auto const added = successors_.add(
            *block, sequence, {.verdict = verdict, .as_new = job.as_new, .by = job.by}, deps_.clock.wall());
        if (!added) failures_.push_back({sequence, added.error()});
    }
    if (block->orders.empty()) {
        leave_open();
        cursor_ = sequences.back();
        return true;
    }
    Admission::Demand demand;
    for (auto const& item : block->items) ++demand.events[index(item.tier)];
    demand.bytes = block->data.size();
    auto const refused = demand.total() == 0 ? std::nullopt
                                             : deps_.admission.admit(demand, block->requests.front().ticket);
    if (refused && refused->never_fits) {
        if (sequences.size() == 1) {
            failures_.push_back({sequences[0], {Errc::full, "too_large", "it has no place at any time"}});
            leave_open();
            return true;
        }
        batch_ = sequences.size() / 2;
    }
    if (refused) {
        cursor_ = from;
        rest_until_ = deps_.clock.now() + std::chrono::milliseconds(100);
        return false;
    }
    tokens_ -= static_cast<double>(block->orders.size());
    under_way_ = sequences;
    under_way_from_ = from;
    answer_ = std::make_shared<Answer>();
    block->answered = [answer = answer_](Block const& answered) {
        answer->outcome = answered.requests.front().outcome;
        for (auto const& order : answered.orders) ++(order.before ? answer->done : answer->closed);
        answer->is_there.store(true, std::memory_order_release);
    };
    deps_.submit(std::move(block));
    return true;
}

bool Jobs::is_answered()
{
    if (!answer_->is_there.load(std::memory_order_acquire)) return false;
    auto const answer = std::move(answer_);
    if (answer->outcome != RequestOutcome::stored) {
        rest_until_ = deps_.clock.now() + std::chrono::seconds(1);
        if (!is_finishing_) cursor_ = under_way_from_;
        is_at_end_ = is_finishing_ = false;
        return true;
    }
    if (is_finishing_) {
        end();
        return true;
    }
    leave_open();
    cursor_ = std::max(cursor_, under_way_.back());
    std::lock_guard const lock(mutex_);
    totals_.done += answer->done;
    if (current_) current_->done += answer->done;
    return true;
}

void Jobs::finish()
{
    std::string payload;
    {
        std::lock_guard const lock(mutex_);
        payload = R"({"job":)" + std::to_string(number(current_->job.id)) + R"(,"done":)" +
                  std::to_string(current_->done) + R"(,"failed":)" + std::to_string(current_->failed) + '}';
    }
    is_finishing_ = true;
    answer_ = std::make_shared<Answer>();
    deps_.submit(make_control(control::job_finished, payload, [answer = answer_](Block const& answered) {
        answer->outcome = answered.requests.front().outcome;
        answer->is_there.store(true, std::memory_order_release);
    }));
}

void Jobs::end()
{
    is_finishing_ = false;
    std::lock_guard const lock(mutex_);
    current_->is_finished = true;
    current_->ended = deps_.clock.wall();
    leave();
}

// Under mutex_.
void Jobs::leave()
{
    ended_.push_front(std::move(*current_));
    current_.reset();
    if (ended_.size() > ended_max) ended_.pop_back();
}

Jobs::Totals Jobs::totals() const
{
    std::lock_guard const lock(mutex_);
    return totals_;
}

void Jobs::leave_open()
{
    std::lock_guard const lock(mutex_);
    totals_.failed += failures_.size();
    for (auto const& [sequence, error] : failures_) {
        if (!current_) break;
        ++current_->failed;
        current_->failure = std::to_string(number(sequence)) + ": " + error.reason + ": " + error.detail;
    }
    failures_.clear();
}

std::vector<JobProgress> Jobs::progress() const
{
    std::lock_guard const    lock(mutex_);
    std::vector<JobProgress> all;
    if (current_) all.push_back(*current_);
    all.insert(all.end(), ended_.begin(), ended_.end());
    return all;
}

}  // namespace sluice::engine
