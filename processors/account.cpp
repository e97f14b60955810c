// The end of an account: everything its repository held goes.
#include <sluice/processor.hpp>

namespace sluice::processors {
namespace {

enum Field : std::size_t { did };

constexpr PayloadField fields[] = {{.names = "did", .type = PayloadField::Type::did}};

constexpr EventType events[] = {{.name = "account.deleted", .tier = Tier::high}};

Result<> check(Event const& event)
{
    auto const deleted = event.fields.text(did);
    if (deleted && deleted != event.did)
        return Error{Errc::invalid, "did_mismatch", "the payload names another account than the event"};
    return {};
}

Result<Effects> process(Event const&, RecordView const&)
{
    return Effects{.action = Effects::Action::remove_repository, .kind = Kind::repository, .key = {}};
}

}  // namespace

extern constinit Processor const account{
    .name = "account",
    .version = 1,
    .events = events,
    .fields = fields,
    .check = check,
    .process = process,
};

}  // namespace sluice::processors
