#include "sim/faults.hpp"

#include <algorithm>

namespace sluice::sim {

Faults Faults::draw(Random& random)
{
    bool const graph_survives = random.chance(0.5);
    auto const up_to = [&](double most) {
        if (random.chance(0.5)) return 0.0;
        return most * static_cast<double>(1 + random.below(100)) / 100;
    };
    return {
        .crash = up_to(0.01),
        .crash_inside = up_to(0.015),
        .crash_in_recovery = up_to(0.9),
        .recovery_fails = up_to(0.8),
        .append_error = up_to(0.02),
        .disk_full = up_to(0.05),
        .disk_low = up_to(0.2),
        .conflict = up_to(0.5),
        .transient = up_to(0.4),
        .outage = up_to(0.05),
        .unknown = up_to(0.3),
        .reply_lost = up_to(0.2),
        .wall_jump = up_to(0.05),
        .file_damaged = up_to(0.5),
        .file_misread = up_to(0.01),
        .graph_survives = graph_survives,
        .keeps_position = graph_survives && random.chance(0.6),
    };
}

Faults Faults::none() const
{
    Faults faults;
    faults.graph_survives = graph_survives;
    faults.keeps_position = keeps_position;
    return faults;
}

// What becomes of the commit of an append that does not return, or returns an error, is a matter of chance.
Result<> FaultyLog::append(log::Commit const& commit)
{
    auto& c = context_;
    Error const failed{Errc::corrupt, "sim_io", "the disk failed"};
    if (is_broken_) return failed;
    if (c.chance(c.faults.append_error)) {
        is_broken_ = true;
        bool const is_kept = c.random.chance(0.5) && inner_.append(commit);
        ++c.goals[is_kept ? "append failed, commit kept" : "append failed, commit lost"];
        return failed;
    }
    if (c.chance(c.faults.crash_inside)) {
        bool const is_kept = c.random.chance(0.5) && inner_.append(commit);
        ++c.goals[is_kept ? "crash after a commit nobody heard of" : "crash before a commit"];
        throw Crash{};
    }
    return inner_.append(commit);
}

log::Space FaultyLog::check_space()
{
    using Level = log::Space::Level;
    auto& c = context_;
    if (c.chance(c.faults.disk_full)) c.disk_full_until = c.later(20);
    bool const is_full = c.clock.now() < c.disk_full_until, is_low = is_full || c.chance(c.faults.disk_low);
    if (is_low) ++c.goals[is_full ? "disk full" : "disk low"];
    return {.level = is_full ? Level::full : is_low ? Level::low : Level::ok, .free_bytes = 0};
}

class FaultyDirectory::File final : public files::Writer {
public:
    File(FaultyDirectory const& directory, std::unique_ptr<files::Writer> inner)
        : directory_(directory), inner_(std::move(inner))
    {
    }
    Result<> append(std::string_view bytes) override
    {
        if (auto const room = directory_.check_space("given up"); !room) return room;
        return inner_->append(bytes);
    }
    Result<> commit() override
    {
        directory_.maybe_crash("crash before it is there");
        auto& c = directory_.context_;
        if (!c.is_recovering && c.chance(c.faults.disk_full)) c.disk_full_until = c.later(20);
        if (auto const room = directory_.check_space("given up at its end"); !room) {
            if (c.random.chance(0.5)) (void)inner_->commit();  // renamed, but not known to be
            return room;
        }
        auto const done = inner_->commit();
        ++directory_.goal("written");
        directory_.maybe_crash("crash after it is there");
        return done;
    }

private:
    FaultyDirectory const&               directory_;
    std::unique_ptr<files::Writer> const inner_;
};

class FaultyDirectory::View final : public files::Reader {
public:
    View(FaultyDirectory const& directory, std::unique_ptr<files::Reader> inner)
        : directory_(directory), inner_(std::move(inner))
    {
    }
    std::uint64_t       size() const noexcept override { return inner_->size(); }
    Result<std::string> read(std::uint64_t offset, std::size_t size) const override
    {
        auto& c = directory_.context_;
        auto  bytes = inner_->read(offset, size);
        if (bytes && !bytes->empty() && !c.is_recovering && c.chance(c.faults.file_misread)) {
            ++directory_.goal("misread");
            (*bytes)[c.random.below(bytes->size())] ^= static_cast<char>(1 << c.random.below(8));
        }
        return bytes;
    }

private:
    FaultyDirectory const&               directory_;
    std::unique_ptr<files::Reader> const inner_;
};

std::uint64_t& FaultyDirectory::goal(char const* what) const { return context_.goals[name_ + ": " + what]; }

void FaultyDirectory::maybe_crash(char const* what) const
{
    auto& c = context_;
    if (!c.chance(c.is_recovering ? c.faults.crash_in_recovery / 10 : c.faults.crash_inside)) return;
    ++goal(what);
    throw Crash{};
}

Result<> FaultyDirectory::check_space(char const* otherwise) const
{
    if (context_.clock.now() >= context_.disk_full_until) return {};
    ++goal(otherwise);
    return Error{Errc::full, "no_space", "no space"};
}

Result<std::unique_ptr<files::Writer>> FaultyDirectory::create(std::string const& name)
{
    auto const room = check_space(context_.is_recovering ? "no space for it at a start" : "no space for it");
    if (!room) return room.error();
    auto file = inner_.create(name);
    if (!file) return file.error();
    return std::unique_ptr<files::Writer>(std::make_unique<File>(*this, std::move(*file)));
}

Result<std::unique_ptr<files::Reader>> FaultyDirectory::open(std::string const& name) const
{
    auto file = inner_.open(name);
    if (!file) return file.error();
    return std::unique_ptr<files::Reader>(std::make_unique<View>(*this, std::move(*file)));
}

Result<> FaultyDirectory::remove(std::string const& name)
{
    maybe_crash("crash before it is removed");
    return inner_.remove(name);
}

void FaultyDirectory::damage_one()
{
    auto const names = inner_.list();
    if (!names || names->empty()) return;
    auto&       random = context_.random;
    auto const& name = (*names)[random.below(names->size())];
    auto&       content = inner_.content(name);
    switch (content.empty() ? 0 : random.below(3)) {
    case 0:
        (void)inner_.remove(name);
        ++goal("lost");
        break;
    case 1:
        content.resize(random.below(content.size()));
        ++goal("cut off");
        break;
    default:
        content[random.below(content.size())] ^= static_cast<char>(1 << random.below(8));
        ++goal("damaged");
    }
}

graph::ApplyResult FaultyGraph::fail(Event const& event, Errc error, char const* reason)
{
    context_.ledger.failed_by_store(event, error);
    return {.outcomes = {}, .error = Error{error, reason, ""}, .from_store = true};
}

graph::ApplyResult FaultyGraph::apply(std::span<Event const> events, graph::Decide const& decide)
{
    auto& c = context_;
    if (c.is_recovering) return ask(events, decide);
    if (away_in_row_ >= c.breaker.failures_in_row) {
        std::chrono::nanoseconds pause = c.breaker.first_probe;
        for (auto n = away_in_row_; n > c.breaker.failures_in_row && pause < c.breaker.probe_max; --n) pause *= 2;
        pause = std::min<std::chrono::nanoseconds>(pause, c.breaker.probe_max);
        require(c.clock.now() - away_at_ >= pause / 2, "a graph that is away is asked now and then, ever less often");
        require(events.size() == 1, "a graph that is away is asked with one event");
        ++c.goals["probe of a graph that was away"];
    }
    auto result = ask(events, decide);
    bool const is_away = result.error && result.from_store && result.error->code == Errc::unavailable;
    away_in_row_ = is_away ? away_in_row_ + 1 : 0;
    away_at_ = c.clock.now();
    return result;
}

graph::ApplyResult FaultyGraph::ask(std::span<Event const> events, graph::Decide const& decide)
{
    auto&       c = context_;
    auto const& head = events.front();
    c.ledger.applying(events);

    if (c.is_recovering && c.recovery_fails_at != 0 && --c.recovery_fails_at == 0) {
        maybe_die(events, decide);
        if (c.random.chance(0.5)) pass(events, decide);
        if (c.chance(c.faults.crash_in_recovery)) {
            ++c.goals["crash during recovery"];
            throw Crash{};
        }
        ++c.goals["graph away during recovery"];
        return fail(head, Errc::unavailable, "store_unavailable");
    }
    if (c.faults.keeps_position && !positions_.is_open()) {
        ++c.goals["graph asked before it was open"];
        return fail(head, Errc::unavailable, "store_unavailable");
    }
    if (!c.is_recovering) {
        if (c.chance(c.faults.crash_inside)) throw Crash{};
        if (c.chance(c.faults.outage)) c.outage_until = c.later(60);
        if (c.clock.now() < c.outage_until) {
            ++c.goals["graph away"];
            return fail(head, Errc::unavailable, "store_unavailable");
        }
        if (c.chance(c.faults.conflict)) return fail(head, Errc::conflict, "store_conflict");
        if (c.chance(c.faults.transient)) return fail(head, Errc::transient, "store_transient");
        if (c.chance(c.faults.unknown)) {
            maybe_die(events, decide);
            auto const result = pass(events, decide);
            if (!result.outcomes.empty()) ++c.goals["applied, but reported as failed"];
            return fail(head, Errc::unavailable, "store_unknown");
        }
    }
    maybe_die(events, decide);
    auto result = pass(events, decide);
    if (!c.is_recovering && c.chance(c.faults.crash_inside)) {
        ++c.goals["crash between apply and its report"];
        throw Crash{};
    }
    c.ledger.settled(events.first(result.outcomes.size()));
    if (result.error) c.ledger.refused_by_processor(events[result.outcomes.size()]);
    for (auto const outcome : result.outcomes)
        if (outcome == graph::Outcome::stale) ++c.goals["stale"];
    return result;
}

// What stands before the killer is applied, and nobody is told.
void FaultyGraph::maybe_die(std::span<Event const> events, graph::Decide const& decide)
{
    auto& c = context_;
    if (c.killer.empty()) return;
    auto const killer = std::ranges::find(events, c.killer, &Event::payload);
    if (killer == events.end()) return;
    if (killer != events.begin()) {
        ++c.goals["killed in company"];
        pass(events.first(static_cast<std::size_t>(killer - events.begin())), decide);
    }
    ++c.goals[c.is_recovering ? "killed by an event during recovery" : "killed by an event"];
    require(++c.killed <= 3, "after three deaths the event that causes them is not run again");
    engine::Suspects::note_fault(c.in_hand);
    throw Crash{};
}

bool FaultyGraph::capture(Capture& capture, std::string& bytes)
{
    if (context_.chance(context_.faults.crash_inside)) {
        ++context_.goals["crash during a checkpoint"];
        throw Crash{};
    }
    return inner_.snapshots()->capture(capture, bytes);
}

Result<> FaultyGraph::restore(
    std::string_view bytes, std::uint32_t number, std::function<void(Restored const&)> const& restored)
{
    ++context_.goals["restored from a checkpoint"];
    return inner_.snapshots()->restore(bytes, number, restored);
}

void FaultyGraph::clear()
{
    ++context_.goals["checkpoint refused halfway"];
    inner_.snapshots()->clear();
}

Result<std::string> FaultyGraph::FaultyPositions::begin()
{
    auto& c = graph_.context_;
    if (c.chance(c.faults.outage * 8)) {
        ++c.goals[c.is_recovering ? "graph away at a start" : "graph away when it was to be opened"];
        return Error{Errc::unavailable, "store_unavailable", ""};
    }
    return c.position;
}

Result<> FaultyGraph::FaultyPositions::save(std::string_view position, Sequence)
{
    auto& c = graph_.context_;
    bool const is_failing = c.chance(c.faults.outage * 4);
    if (!is_failing || c.random.chance(0.5)) c.position = position;
    ++c.goals[is_failing ? "position not saved" : "position saved"];
    if (c.chance(c.faults.crash_inside)) throw Crash{};
    return is_failing ? Result<>(Error{Errc::unavailable, "store_unavailable", ""}) : Result<>();
}

Result<> FaultyGraph::FaultyPositions::clear()
{
    auto& c = graph_.context_;
    ++c.goals["graph of other processors cleared"];
    graph_.inner_.snapshots()->clear();
    c.position.clear();
    c.ledger.graph_cleared();
    return {};
}

// Events that the graph has already are given to it one by one: that must change nothing.
graph::ApplyResult FaultyGraph::pass(std::span<Event const> events, graph::Decide const& decide)
{
    graph::ApplyResult whole;
    while (!events.empty()) {
        bool const  is_again = context_.ledger.is_in_graph(events.front());
        auto const  part = events.first(is_again ? 1 : events.size());
        auto const  before = is_again ? inner_.digest() : Hash128{};
        auto        result = inner_.apply(part, decide);
        if (is_again) {
            ++context_.goals["applied again"];
            require(!result.error, "an event that was applied can be applied again");
            require(inner_.digest() == before, "applying again changes nothing");
        }
        require(result.error || result.outcomes.size() == part.size(), "a graph answers for every event");
        for (std::size_t i = 0; i < result.outcomes.size(); ++i) context_.ledger.applied(part[i]);
        whole.outcomes.insert(whole.outcomes.end(), result.outcomes.begin(), result.outcomes.end());
        whole.error = std::move(result.error);
        if (whole.error) return whole;
        events = events.subspan(part.size());
    }
    return whole;
}

}  // namespace sluice::sim
