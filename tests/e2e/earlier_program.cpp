#include "earlier_program.hpp"

#include "adapters/rocksdb/rocksdb_log.hpp"
#include "app/system_clock.hpp"
#include "engine/engine.hpp"
#include "graph/resident_store.hpp"

#include <stdexcept>

namespace sluice::e2e {
namespace {

Processor const* shipped(std::string_view event_type)
{
    for (auto const* const processor : all_processors())
        for (auto const& event : processor->events)
            if (event.name == event_type) return processor;
    throw std::runtime_error("no such processor");
}

Result<Effects> refuse(Event const& event, RecordView const& view)
{
    auto const text = event.fields.text(relationship_field::context).value_or("");
    auto const word = text.substr(0, text.find(' '));
    if (word.starts_with("bad"))
        return Error{Errc::invalid, std::string(word), "no room for number " + std::to_string(number(event.sequence))};
    return shipped("relationship.created")->process(event, view);
}

void send(engine::Engine& engine, schema::Decoder& decoder, Json const& event)
{
    auto       text = event.dump();
    auto const size = text.size();
    text.append(schema::Decoder::padding, '\0');
    engine::BlockRef block(new engine::Block);
    schema::Decoded  decoded;
    if (auto const error = decoder.decode(std::string_view(text).substr(0, size), block->data, decoded))
        throw std::runtime_error("not an event: " + error->detail);
    block->items.push_back({.offset = decoded.offset, .tier = decoded.tier});
    block->requests.push_back({.first = 0, .count = 1});
    engine::Admission::Demand demand;
    demand.events[index(decoded.tier)] = 1;
    if (engine.admission().admit(demand, block->requests[0].ticket)) throw std::runtime_error("no place");
    engine.submit(std::move(block));
    for (int i = 0; i < 100; ++i) {
        engine.append_step();
        if (!engine.work_step(0)) throw std::runtime_error("a worker failed");
        if (engine.idle()) return;
    }
    throw std::runtime_error("the event does not settle");
}

}  // namespace

Json refused_relationship(
    std::uint64_t owner, std::uint64_t other, std::uint64_t n, int strength, std::string_view context)
{
    auto event = relationship(owner, other, n, strength);
    event["payload"]["context"] = context;
    return event;
}

void run_earlier_program(
    std::filesystem::path const& data, std::vector<Json> const& events, std::set<std::string, std::less<>> parked)
{
    Processor earlier = *shipped("relationship.created");
    earlier.process = refuse;
    Processor const* const processors[] = {&earlier};
    schema::SchemaSet const schemas(processors);
    schema::Decoder         decoder(schemas);
    app::SystemClock const  clock;
    auto log = adapters::open_rocksdb_log({.directory = data, .reserve_bytes = 0});
    if (!log) throw std::runtime_error(log.error().detail);
    auto const            graph = graph::make_resident_store();
    engine::EngineOptions options;
    options.parked = std::move(parked);
    engine::Engine engine({**log, *graph, schemas, clock}, options, [](auto const&) {});
    if (!engine.recover()) throw std::runtime_error("cannot be recovered");
    for (auto const& event : events) send(engine, decoder, event);
}

}  // namespace sluice::e2e
