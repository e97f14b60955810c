// A hint that somebody's trust should be computed again. Trust is computed from records when it is read, so there is
// nothing to write.
#include <sluice/processor.hpp>

namespace sluice::processors {
namespace {

constexpr PayloadField fields[] = {{.names = "did", .type = PayloadField::Type::did}};

constexpr EventType events[] = {{.name = "trust.invalidated", .tier = Tier::low}};

Result<Effects> process(Event const&, RecordView const&) { return Effects{}; }

}  // namespace

extern constinit Processor const trust{
    .name = "trust",
    .version = 1,
    .events = events,
    .fields = fields,
    .process = process,
};

}  // namespace sluice::processors
