#include "engine/decide.hpp"

#include <exception>

namespace sluice::engine {

Decider::Decider(schema::SchemaSet const& schemas) : schemas_(schemas), decoder_(schemas) {}

Event Decider::read(log::LoggedRecord const& record, Sequence sequence, WallTime received_at)
{
    auto const entry = schemas_.find(record.type());
    if (entry == nullptr || entry->processor->version == record.header().schema_version)
        return record.event(sequence, received_at);
    auto bytes = std::make_unique<std::string>();
    if (decoder_.redecode(record, *bytes)) {
        auto event = record.event(sequence, received_at);
        event.fields = {};
        return event;
    }
    fresh_.push_back(std::move(bytes));
    return log::LoggedRecord(fresh_.back()->data()).event(sequence, received_at);
}

Result<Effects> Decider::operator()(Event const& event, sluice::RecordView const& view)
{
    auto const entry = schemas_.find(event.type);
    if (entry == nullptr) return Error{Errc::invalid, unknown_type, "no processor for " + std::string(event.type)};
    auto const& processor = *entry->processor;
    if (event.fields.size() != processor.fields.size())
        return Error{Errc::invalid, "undecodable",
                     "the payload does not fit this version of " + std::string(processor.name)};
    try {
        return processor.process(event, view);
    } catch (std::bad_alloc const&) {
        throw;
    } catch (std::exception const& bug) {
        return Error{Errc::invalid, "processor_exception", bug.what()};
    } catch (...) {
        return Error{Errc::invalid, "processor_exception", "not a std::exception"};
    }
}

log::Decision verdict_on(Sequence sequence, Error const& error, std::uint32_t attempts, WallTime at)
{
    auto const verdict = error.reason == unknown_type ? log::Verdict::parked : log::Verdict::dead_letter;
    return {.sequence = sequence, .verdict = verdict, .attempts = attempts, .at = at,
            .reason = error.reason, .detail = error.detail};
}

}  // namespace sluice::engine
