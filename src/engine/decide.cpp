#include "engine/decide.hpp"

#include "base/hash.hpp"

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

RecordKey record_key(Event const& event, schema::SchemaSet const& schemas)
{
    auto const repository = hash64(event.did);
    auto const entry = schemas.find(event.type);
    if (entry == nullptr || event.fields.size() != entry->processor->fields.size()) return {repository, 0};
    if (!entry->uri) return {repository, repository};
    auto const uri = event.fields.text(*entry->uri);
    return {repository, uri ? hash64(*uri) : 0};
}

log::Decision verdict_on(
    Event const& event, Error const& error, std::uint32_t attempts, WallTime at, schema::SchemaSet const& schemas,
    ParkedTypes const& parked)
{
    bool const waits = error.reason == unknown_type || error.reason == follows_parked || parked.contains(event.type);
    return {
        .sequence = event.sequence,
        .verdict = waits ? log::Verdict::parked : log::Verdict::dead_letter,
        .attempts = attempts,
        .at = at,
        .reason = error.reason,
        .detail = error.detail,
        .subject = {
            .type = std::string(event.type),
            .did = std::string(event.did),
            .tier = event.tier,
            .received_at = event.received_at,
            .bytes = static_cast<std::uint32_t>(event.payload.size()),
            .record = record_key(event, schemas).record,
            .version = version_of(event)}};
}

}  // namespace sluice::engine
