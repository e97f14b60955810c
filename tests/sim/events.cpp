#include "sim/events.hpp"

#include "base/assert.hpp"
#include "log/record.hpp"
#include "schema/syntax.hpp"

#include <deque>
#include <map>
#include <stdexcept>

namespace sluice::sim {
namespace {

constexpr EventType refused_types[] = {{.name = "sim.refused", .tier = Tier::normal}};
constexpr EventType thrown_types[] = {{.name = "sim.thrown", .tier = Tier::low}};

Result<Effects> refuse(Event const&, RecordView const&) { return Error{Errc::invalid, "sim_refused", "as always"}; }
Result<Effects> fail(Event const&, RecordView const&) { throw std::runtime_error("a processor's bug"); }

// Says so to whoever reads the payload: programs that are not upgraded refuse the event.
constexpr std::string_view refused_mark = "\"refused-";

Processor const& shipped(std::string_view type)
{
    static auto const by_type = [] {
        std::map<std::string_view, Processor const*> processors;
        for (auto const* processor : all_processors())
            for (auto const& event : processor->events) processors.emplace(event.name, processor);
        return processors;
    }();
    return *by_type.at(type);
}

template <bool is_upgraded>
Result<Effects> process(Event const& event, RecordView const& view)
{
    if (!is_upgraded && event.payload.find(refused_mark) != event.payload.npos)
        return Error{Errc::invalid, "sim_refused", "by a program that will be upgraded"};
    return shipped(event.type).process(event, view);
}

constexpr EventType late_types[] = {{.name = "sim.unknown", .tier = Tier::normal}};
Result<Effects>     leave_no_trace(Event const&, RecordView const&) { return Effects{}; }
constexpr Processor late{.name = "late", .events = late_types, .fields = {}, .process = leave_no_trace};

constexpr Processor refusing{.name = "refusing", .events = refused_types, .fields = {}, .process = refuse};
constexpr Processor throwing{.name = "throwing", .events = thrown_types, .fields = {}, .process = fail};

std::string did_of(std::size_t repository)
{
    constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz234567";
    std::string                did = "did:plc:" + std::string(24, 'a');
    for (auto at = did.size(); repository != 0; repository /= 32) did[--at] = alphabet[repository % 32];
    return did;
}

std::string quoted(std::string_view text) { return '"' + std::string(text) + '"'; }

struct Collection {
    Kind             kind;
    std::string_view type;
    std::string_view collection;
    Tier             tier;
};
constexpr Collection collections[] = {
    {Kind::relationship, "relationship", "net.rhiz.relationship.record", Tier::normal},
    {Kind::attestation, "attestation", "net.rhiz.relationship.attestation", Tier::high},
    {Kind::entity, "entity.profile", "net.rhiz.entity.profile", Tier::low},
};

class Generator {
public:
    Generator(EventMix const& mix, Random& random) : mix_(mix), random_(random) {}

    SimEvent make()
    {
        SimEvent event;
        // Some repositories are hotter than others.
        repository_ = std::min(random_.below(mix_.repositories), random_.below(mix_.repositories));
        event.did = did_of(repository_);
        ++nonce_;
        bool const is_poison = random_.chance(mix_.poison);
        event.is_refused = !is_poison && random_.chance(mix_.refused);
        event.cid = (event.is_refused ? "refused-" : "c") + std::to_string(nonce_);
        auto const dice = random_.below(100);
        if (is_poison)
            make_poison(event);
        else if (dice < 6)
            make_bare(event, "account.deleted", Fate::remove_repository, Tier::high);
        else if (dice < 9)
            make_bare(event, "trust.invalidated", Fate::none, Tier::low);
        else
            make_record_event(event, collections[dice < 60 ? 0 : dice < 85 ? 1 : 2]);
        make_envelope(event);
        return event;
    }

private:
    void make_poison(SimEvent& event)
    {
        switch (random_.below(3)) {
        case 0: return make_bare(event, "sim.refused", Fate::invalid, Tier::normal);
        case 1: return make_bare(event, "sim.thrown", Fate::invalid, Tier::low);
        default: return make_bare(event, "sim.unknown", Fate::parked, Tier::normal);
        }
    }

    void make_bare(SimEvent& event, std::string_view type, Fate fate, Tier tier)
    {
        event.type = type;
        event.fate = fate;
        event.tier = tier;
        event.payload = R"({"note":")" + event.cid + R"("})";
    }

    void make_record_event(SimEvent& event, Collection const& collection)
    {
        event.kind = collection.kind;
        event.uri = "at://" + event.did + '/' + std::string(collection.collection) + "/k" +
                    std::to_string(random_.below(mix_.records));
        auto const dice = random_.below(10);
        event.fate = dice < 7 ? Fate::put : Fate::remove;
        event.type = std::string(collection.type) + (dice < 4 ? ".created" : dice < 7 ? ".updated" : ".deleted");
        event.tier = event.fate == Fate::remove ? Tier::high : collection.tier;
        if (dice < 4 || (dice < 7 && random_.chance(0.3))) {
            event.created_at = 1'700'000'000'000'000 + static_cast<std::int64_t>(random_.below(1'000'000'000));
        }
        event.payload = "{\"uri\":" + quoted(event.uri) + ",\"cid\":" + quoted(event.cid);
        if (event.fate == Fate::put) add_fields(event);
        event.payload += '}';
    }

    void add_fields(SimEvent& event)
    {
        auto const other = quoted(did_of(900 + random_.below(5)));
        switch (event.kind) {
        case Kind::relationship:
            event.number = static_cast<std::int64_t>(random_.below(101));
            event.payload += ",\"participants\":[" + quoted(event.did) + ',' + other +
                             "],\"type\":\"personal\",\"strength\":" + std::to_string(event.number);
            break;
        case Kind::attestation:
            event.number = static_cast<std::int64_t>(random_.below(101));
            event.payload += ",\"attester_did\":" + quoted(event.did) + ",\"target_uri\":\"at://" + did_of(901) +
                             "/net.rhiz.relationship.record/k1\",\"attestation_type\":\"verify\",\"confidence\":" +
                             std::to_string(event.number);
            break;
        default:
            event.number = static_cast<std::int64_t>(random_.below(std::size(entity_types)));
            event.payload += ",\"display_name\":\"somebody\",\"entity_type\":" +
                             quoted(entity_types[static_cast<std::size_t>(event.number)]);
        }
        if (event.created_at)
            event.payload += ",\"created_at\":" +
                             quoted(schema::format_datetime(WallTime(std::chrono::microseconds(*event.created_at))));
    }

    // Most revisions rise, some are old, some are missing; some ids are those of earlier events with other content.
    void make_envelope(SimEvent& event)
    {
        auto const dice = random_.below(10);
        auto&      rev = revs_[event.did];
        if (dice < 7) rev += 1 + random_.below(3);
        if (dice < 8) event.rev = Revision{1'000'000 + (dice < 7 ? rev : random_.below(rev + 1))};
        std::string json = "{\"event_type\":" + quoted(event.type) + ",\"did\":" + quoted(event.did);
        if (event.rev != Revision::none) json += ",\"rev\":" + quoted(schema::format_tid(event.rev));
        if (random_.chance(0.8)) {
            bool const is_taken = nonce_ > 1 && random_.chance(0.06);
            json += ",\"event_id\":\"e" + std::to_string(is_taken ? 1 + random_.below(nonce_ - 1) : nonce_) + '"';
        }
        if (random_.chance(0.6)) {
            event.tier = static_cast<Tier>(random_.below(tier_count));
            json += ",\"priority\":" + std::to_string(index(event.tier));
        }
        event.json = json + ",\"payload\":" + event.payload + '}';
        event.json.append(schema::Decoder::padding, '\0');
    }

    EventMix const&                      mix_;
    Random&                              random_;
    std::size_t                          repository_{0};
    std::size_t                          nonce_{0};
    std::map<std::string, std::uint64_t> revs_;
};

}  // namespace

std::span<Processor const* const> simulated_processors(bool is_upgraded)
{
    struct Processors {
        explicit Processors(bool is_upgraded)
        {
            for (auto const* processor : all_processors()) {
                auto& copy = copies.emplace_back(*processor);
                copy.process = is_upgraded ? process<true> : process<false>;
                copy.version += is_upgraded;
            }
            for (auto const& copy : copies) all.push_back(&copy);
            all.insert(all.end(), {&refusing, &throwing});
            if (is_upgraded) all.push_back(&late);
        }
        std::deque<Processor>         copies;
        std::vector<Processor const*> all;
    };
    static Processors const today(false), upgraded(true);
    return (is_upgraded ? upgraded : today).all;
}

std::vector<SimEvent> make_events(EventMix const& mix, Random& random, schema::Decoder& decoder)
{
    Generator             generator(mix, random);
    std::vector<SimEvent> events;
    for (std::size_t i = 0; i < mix.count; ++i) {
        auto            event = generator.make();
        std::string     record;
        schema::Decoded decoded;
        auto const      error = decoder.decode(event.text(), record, decoded);
        if (error) throw std::logic_error("a simulated event is refused: " + error->detail + ": " + event.json);
        event.id = log::LoggedRecord(record.data()).stored_id();
        events.push_back(std::move(event));
    }
    return events;
}

SimEvent edited(SimEvent const& event, std::string cid, bool is_refused)
{
    auto copy = event;
    copy.is_refused = is_refused && event.fate != Fate::invalid && event.fate != Fate::parked;
    copy.cid = (copy.is_refused ? "refused-edited-" : "edited-") + std::move(cid);
    copy.payload.replace(copy.payload.find(quoted(event.cid)), event.cid.size() + 2, quoted(copy.cid));
    copy.id.clear();
    copy.json.clear();
    return copy;
}

SimEvent make_simple_event(std::size_t repository, std::size_t nonce, Tier tier)
{
    SimEvent event;
    event.did = did_of(repository);
    event.type = "trust.invalidated";
    event.fate = Fate::none;
    event.tier = tier;
    event.payload = "{\"note\":" + std::to_string(nonce) + '}';
    event.json = "{\"event_type\":\"trust.invalidated\",\"did\":" + quoted(event.did) +
                 ",\"priority\":" + std::to_string(index(tier)) + ",\"payload\":" + event.payload + '}';
    event.json.append(schema::Decoder::padding, '\0');
    return event;
}

}  // namespace sluice::sim
