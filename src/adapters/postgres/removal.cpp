#include "adapters/postgres/removal.hpp"

#include "adapters/postgres/rows.hpp"
#include "adapters/postgres/stamps.hpp"

#include "graph/record_digest.hpp"

#include <algorithm>

namespace sluice::adapters::postgres {

// The keys of a repository's records, a number of them at a time.
class Removal::Pages {
public:
    explicit Pages(std::string_view did) : key_("at://" + std::string(did)), next_(key_) {}

    Params params() const
    {
        return Params().add(next_).add(key_).add(key_ + '/').add(key_ + '0').add(size);  // '0' follows '/'
    }
    // False: there are no more.
    bool turn(std::string_view last, std::int64_t count)
    {
        next_ = std::string(last) + '\1';  // no text comes between
        return count == size;
    }

private:
    static constexpr std::int64_t size = 10'000;

    std::string const key_;
    std::string       next_;
};

Result<std::optional<graph::Outcome>> Removal::apply(Event const& event)
{
    graph::Guard guard;
    if (auto const known = guard_by_tombstone(event, guard); !known) return known.error();
    if (auto const outcome = guard.settles(event)) return outcome;
    if (auto const known = guard_by_records(event.did, guard); !known) return known.error();
    if (guard.gives_way(event)) return std::optional(graph::Outcome::stale);

    auto const floor = event.rev == Revision::none ? guard.rev() : event.rev;
    if (auto const removed = remove_records(event.did, floor); !removed) return removed.error();
    if (auto const put = put_tombstone(event, floor); !put) return put.error();
    return std::optional<graph::Outcome>();
}

Result<> Removal::guard_by_tombstone(Event const& event, graph::Guard& guard)
{
    Array dids(Array::Element::text);
    dids.add(event.did);
    Params params;
    params.add(std::move(dids));
    for (std::size_t i = 0; i < table_count; ++i) params.add(Array(Array::Element::text));
    auto const ends = connection_.run(sql_.guards, params);
    if (!ends) return ends.error();
    for (auto const& row : *ends) {
        auto const end = read_guard(row);
        guard.add(Kind::repository, end.sequence, end.version, end.rev);
        change_.leave(Kind::repository, true, end.digest);
    }
    return {};
}

Result<> Removal::guard_by_records(std::string_view did, graph::Guard& guard)
{
    for (std::size_t i = 0; i < table_count; ++i) {
        Pages pages(did);
        for (bool is_more = true; is_more;) {
            auto const rows = connection_.run(sql_.guard_all[i], pages.params());
            if (!rows) return rows.error();
            auto const row = (*rows)[0];
            guard.add(tables()[i].kind, Sequence::none, read_sequence(row[3]), read_rev(row[2]));
            is_more = pages.turn(read_text(row[0]), read_number(row[1]));
        }
    }
    return {};
}

Result<> Removal::remove_records(std::string_view did, Revision floor)
{
    for (std::size_t i = 0; i < table_count; ++i) {
        Pages pages(did);
        for (bool is_more = true; is_more;) {
            auto const removed = connection_.run(sql_.remove_all[i], pages.params().add(stored(floor)));
            if (!removed) return removed.error();
            std::string_view last;
            for (auto const& row : *removed) {
                last = std::max(last, read_text(row[0]));
                change_.leave(tables()[i].kind, read_flag(row[2]), read_hash(row[1]));
                for (int mention = 3; mention < 5; ++mention)
                    if (!row[mention].is_null()) places_.insert(Stamps::place(read_text(row[mention])));
            }
            is_more = pages.turn(last, static_cast<std::int64_t>(removed->size()));
        }
    }
    return {};
}

Result<> Removal::put_tombstone(Event const& event, Revision rev)
{
    Record const end{
        .kind = Kind::repository,
        .did = event.did,
        .key = event.did,
        .rev = rev,
        .sequence = event.sequence,
        .version = event.version == Sequence::none ? event.sequence : event.version,
        .removed = true,
        .payload_hash = {},
        .fields = {}};
    std::string scratch;
    auto const  digest = graph::record_digest(end, scratch);
    auto const  put = connection_.run(
        sql_.put_repository, Params()
                                  .add(end.did)
                                  .add(stored(end.rev))
                                  .add(stored(end.sequence))
                                  .add(stored(end.version))
                                  .add(stored(digest)));
    if (!put) return put.error();
    change_.enter(Kind::repository, true, digest);
    places_.insert(Stamps::place(event.did));
    return {};
}

}  // namespace sluice::adapters::postgres
