#include "graph/resident_store.hpp"

#include "base/assert.hpp"
#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "graph/guard.hpp"
#include "graph/node_table.hpp"
#include "graph/record_digest.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <shared_mutex>

namespace sluice::graph {
namespace {

constexpr std::size_t shard_bits = 8;  // two threads rarely want the same one
constexpr std::size_t shard_count = std::size_t{1} << shard_bits;

std::uint32_t key_hash(std::string_view key) noexcept { return static_cast<std::uint32_t>(hash64(key)); }

void add(Guard& guard, StoredRecord const* record) noexcept
{
    if (record) guard.add(record->kind(), record->sequence(), record->version(), record->rev());
}

std::optional<Outcome> settles(Event const& event, StoredRecord const* tombstone, StoredRecord const* record) noexcept
{
    Guard guard;
    add(guard, tombstone);
    add(guard, record);
    return guard.settles(event);
}

}  // namespace

struct ResidentStore::Shard {
    mutable std::shared_mutex mutex;  // guards all below
    NodeTable                 nodes;
    Hash128                   digest{};
    Counts                    counts;
    std::string               scratch;

    // While a capture looks at records without the lock, those that are replaced stay.
    bool                   is_captured{false};
    std::vector<RecordRef> replaced;

    void keep(RecordRef const& record)
    {
        if (is_captured) replaced.push_back(record);
    }
    void count(StoredRecord const& record, std::uint64_t step) noexcept
    {
        (record.removed() ? counts.tombstones : counts.live[static_cast<std::size_t>(record.kind())]) += step;
    }
    Hash128 digest_of(StoredRecord const& record) { return record_digest(record.view(), scratch); }
    void    enter(StoredRecord const& record, Hash128 record_digest)
    {
        digest += record_digest;
        count(record, 1);
    }
    void leave(StoredRecord const& record)
    {
        digest -= digest_of(record);
        count(record, ~std::uint64_t{0});
    }
};

// The names an event touches, the repository first. Made, then locked, then used: making and locking each start to
// fetch what the next step needs, so that other work done in between hides the memory's latency.
class ResidentStore::Places {
public:
    Places(ResidentStore const& store, Name const& repository, StoredRecord::Mentions const& mentions)
    {
        add(store, repository);
        for (std::size_t i = 0; i < mentions.size(); ++i) {
            if (mentions[i].empty() || mentions[i] == repository.text) continue;
            mentioned_[i] = count_;
            add(store, Name(mentions[i]));
        }
    }

    // All shards, in one order everywhere.
    class Lock {
    public:
        explicit Lock(Places const& places)
        {
            for (std::size_t i = 0; i < places.count_; ++i) shards_[i] = places.places_[i].shard;
            auto const end = shards_.begin() + static_cast<std::ptrdiff_t>(places.count_);
            std::sort(shards_.begin(), end);
            std::fill(std::unique(shards_.begin(), end), shards_.end(), nullptr);
            for (auto* shard : shards_)
                if (shard) lock(shard->mutex);
            for (std::size_t i = 0; i < places.count_; ++i)
                places.places_[i].shard->nodes.prefetch_parts(places.places_[i].name);
        }
        ~Lock()
        {
            for (auto* shard : shards_)
                if (shard) shard->mutex.unlock();
        }
        Lock(Lock const&) = delete;
        Lock& operator=(Lock const&) = delete;

    private:
        // Who holds one soon lets it go: looking again is cheaper than sleeping and being woken.
        static void lock(std::shared_mutex& mutex)
        {
            for (int tries = 0; tries < 100; ++tries)
                if (mutex.try_lock()) return;
            mutex.lock();
        }

        std::array<Shard*, 3> shards_{};
    };

    // Looks the nodes up.
    void find() noexcept
    {
        for (std::size_t i = 0; i < count_; ++i) places_[i].node = places_[i].shard->nodes.find(places_[i].name);
    }
    // Creates those that were not found. That moves other nodes of the same shard.
    void create()
    {
        for (std::size_t i = 0; i < count_; ++i) {
            auto& [name, shard, node] = places_[i];
            if (node) continue;
            node = &shard->nodes.create(name);
            for (std::size_t other = 0; other < count_; ++other)
                if (other != i && places_[other].shard == shard)
                    places_[other].node = shard->nodes.find(places_[other].name);
        }
    }

    Shard& home_shard() const noexcept { return *places_[0].shard; }
    Node*  home() const noexcept { return places_[0].node; }
    Node&  mentioned(std::size_t i) const noexcept { return *places_[mentioned_[i]].node; }

private:
    struct Place {
        Name   name;
        Shard* shard{nullptr};
        Node*  node{nullptr};
    };

    void add(ResidentStore const& store, Name const& name) noexcept
    {
        auto& shard = store.shard_of(name);
        shard.nodes.prefetch(name);
        places_[count_++] = {name, &shard};
    }

    std::array<Place, 3>       places_;
    std::size_t                count_{0};
    std::array<std::size_t, 2> mentioned_{};  // the place of each mention; the repository's unless it is another name
};

// The repository as the thread that applies to it sees it: nobody else replaces its records meanwhile.
class ResidentStore::View final : public RecordView {
public:
    View(Shard const& shard, Name const& repository) : shard_(shard), repository_(repository) {}

    std::optional<Record> find(Kind kind, std::string_view key) const override
    {
        auto const             hash = key_hash(key);
        std::shared_lock const lock(shard_.mutex);
        auto const* const      node = shard_.nodes.find(repository_);
        auto const* const      record = node ? node->records.find(hash, kind, key) : nullptr;
        if (!record || record->removed()) return std::nullopt;
        return record->view();
    }

private:
    Shard const& shard_;
    Name const&  repository_;
};

ResidentStore::ResidentStore() : shards_(std::make_unique<Shard[]>(shard_count)) {}
ResidentStore::~ResidentStore() = default;

ResidentStore::Shard& ResidentStore::shard_of(Name const& name) const noexcept
{
    return shards_[name.bits >> (64 - shard_bits)];
}

ApplyResult ResidentStore::apply(std::span<Event const> events, Decide const& decide)
{
    ApplyResult result;
    if (events.empty()) return result;
    result.outcomes.reserve(events.size());
    Name const repository(events.front().did);
    View const view(shard_of(repository), repository);
    shard_of(repository).nodes.prefetch(repository);
    for (auto const& event : events) {
        SLUICE_ASSERT(event.did == repository.text);
        auto const effects = decide(event, view);
        auto const outcome = effects ? execute(repository, event, *effects) : effects.error();
        if (!outcome) {
            result.error = outcome.error();
            break;
        }
        result.outcomes.push_back(*outcome);
    }
    return result;
}

Result<Outcome> ResidentStore::execute(Name const& repository, Event const& event, Effects const& effects)
{
    if (effects.action == Effects::Action::none) return Outcome::applied;
    if (auto const checked = check(event, effects); !checked) return checked.error();

    if (effects.action == Effects::Action::remove_repository) return remove_repository(repository, event);
    return write(repository, event, effects);
}

// Puts a record, or its tombstone, in place of the one before.
Outcome ResidentStore::write(Name const& repository, Event const& event, Effects const& effects)
{
    bool const   removed = effects.action == Effects::Action::remove;
    auto const   fields = std::span(effects.fields).first(removed ? 0 : effects.field_count);
    auto const   names = StoredRecord::mentions(effects.kind, fields);
    auto const   hash = key_hash(effects.key);
    Record const identity{
        .kind = effects.kind,
        .did = event.did,
        .key = effects.key,
        .rev = event.rev,
        .sequence = event.sequence,
        .version = event.version,
        .removed = removed,
        .payload_hash = removed ? Hash128{} : event.payload_hash,
        .fields = {}};

    RecordRef before;
    Places    places(*this, repository, names);
    auto      after = StoredRecord::make(identity, fields);
    {
        Places::Lock const lock(places);
        auto&              shard = places.home_shard();
        auto               digest = shard.digest_of(*after);
        places.find();
        if (auto const* home = places.home()) {
            before = home->records.find(hash, effects.kind, effects.key);
            if (auto const outcome = settles(event, home->tombstone.get(), before.get())) return *outcome;
        }
        if (before) {
            shard.leave(*before);
            shard.keep(before);
            if (before->rev() > after->rev()) {
                after->raise_rev(before->rev());
                digest = shard.digest_of(*after);
            }
        }
        shard.enter(*after, digest);
        places.create();
        auto& home = *places.home();
        home.records.put(hash, after);
        home.stamp = Stamp{2 * number(event.sequence)};
        home.written = 1;
        for (std::size_t i = 0; i < names.size(); ++i)
            if (!names[i].empty()) places.mentioned(i).mention(before.get(), after, i);
    }
    if (before) forget(*before, *after);
    return Outcome::applied;
}

Outcome ResidentStore::remove_repository(Name const& repository, Event const& event)
{
    std::vector<RecordRef> taken;
    {
        auto&                  shard = shard_of(repository);
        std::unique_lock const lock(shard.mutex);
        auto* const            found = shard.nodes.find(repository);
        auto&                  home = found ? *found : shard.nodes.create(repository);
        if (auto const outcome = settles(event, home.tombstone.get(), nullptr)) return *outcome;
        Guard all;
        add(all, home.tombstone.get());
        home.records.for_each([&](StoredRecord const& record) { add(all, &record); });
        if (all.gives_way(event)) return Outcome::stale;

        // Without a revision everything goes, and nothing seen so far may come back.
        auto const floor = event.rev == Revision::none ? all.rev() : event.rev;
        home.records.take_if(
            [&](StoredRecord const& record) { return record.rev() <= floor; },
            [&](RecordRef record) {
                shard.leave(*record);
                shard.keep(record);
                taken.push_back(std::move(record));
            });
        if (home.tombstone) {
            shard.leave(*home.tombstone);
            shard.keep(home.tombstone);
        }
        home.tombstone = StoredRecord::make(
            Record{
                .kind = Kind::repository,
                .did = event.did,
                .key = event.did,
                .rev = floor,
                .sequence = event.sequence,
                .version = event.version,
                .removed = true,
                .payload_hash = {},
                .fields = {}},
            {});
        shard.enter(*home.tombstone, shard.digest_of(*home.tombstone));
        home.stamp = Stamp{2 * number(event.sequence)};
        home.written = 1;
    }
    forget_all(taken, event.sequence);
    return Outcome::applied;
}

// Takes a record that was replaced out of the lists its successor is not in. Only the thread that applies to the
// record's repository comes here for it, so a record's changes reach every list in their order.
void ResidentStore::forget(StoredRecord const& before, StoredRecord const& after)
{
    auto const names = before.mentions();
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i].empty() || after.mention(names[i])) continue;
        Name const             name(names[i]);
        auto&                  shard = shard_of(name);
        std::unique_lock const lock(shard.mutex);
        auto* const            node = shard.nodes.find(name);
        node->forget(before, i, after.sequence());
        if (node->empty()) shard.nodes.erase(*node);
    }
}

// The same for records without successors. A list loses all of them at once: its stamp changes once.
void ResidentStore::forget_all(std::vector<RecordRef> const& records, Sequence by)
{
    struct Mention {
        std::string_view    name;
        StoredRecord const* record;
        std::size_t         i;
    };
    std::vector<Mention> mentions;
    for (auto const& record : records) {
        auto const names = record->mentions();
        for (std::size_t i = 0; i < names.size(); ++i)
            if (!names[i].empty()) mentions.push_back({names[i], record.get(), i});
    }
    std::ranges::sort(mentions, {}, &Mention::name);
    for (auto next = mentions.begin(); next != mentions.end();) {
        Name const             name(next->name);
        auto&                  shard = shard_of(name);
        std::unique_lock const lock(shard.mutex);
        auto* const            node = shard.nodes.find(name);
        for (; next != mentions.end() && next->name == name.text; ++next) node->forget(*next->record, next->i, by);
        if (node->empty()) shard.nodes.erase(*node);
    }
}

bool ResidentStore::capture(Capture& capture, std::string& bytes)
{
    constexpr std::size_t homes = 64;  // per visit: microseconds under the lock
    struct Found {
        std::string did;
        std::size_t end;  // of its records
    };
    std::vector<Found>               found;
    std::vector<StoredRecord const*> records;
    if (capture.shard == shard_count) return false;
    auto& shard = shards_[capture.shard];
    {
        // Under the lock records are listed, not looked at: a large repository would take long.
        std::shared_lock const lock(shard.mutex);
        shard.is_captured = true;  // only this thread and, under the whole lock, writers look at it
        capture.cursor = shard.nodes.scan(capture.cursor, homes, [&](Node const& node) {
            if (!node.is_repository() || node.captured == capture.number || (!capture.all && !node.written)) return;
            node.captured = capture.number & 0x7fffffff;
            node.written = 0;
            if (node.tombstone) records.push_back(node.tombstone.get());
            node.records.for_each([&](StoredRecord const& record) { records.push_back(&record); });
            found.push_back({std::string(node.name()), records.size()});
        });
    }
    if (capture.cursor == 0) ++capture.shard;
    std::size_t at = 0;
    for (auto const& [did, end] : found) {
        std::uint32_t count = 0;
        append_number<std::uint32_t>(bytes, static_cast<std::uint32_t>(did.size()));
        auto const count_at = bytes.size();
        append_number<std::uint32_t>(bytes, count);
        bytes += did;
        for (; at < end; ++at) {
            if (records[at]->sequence() <= capture.after) continue;
            records[at]->write(bytes);
            ++count;
        }
        std::memcpy(bytes.data() + count_at, &count, sizeof count);
    }
    std::vector<RecordRef> replaced;  // gone after the lock
    std::unique_lock const lock(shard.mutex);
    shard.is_captured = false;
    replaced.swap(shard.replaced);
    return capture.shard < shard_count;
}

Result<> ResidentStore::restore(
    std::string_view bytes, std::uint32_t number, std::function<void(Restored const&)> const& restored)
{
    auto const             wrong = Error{Errc::invalid, "not_a_capture", "bytes that are no repository"};
    std::vector<RecordRef> records;
    while (!bytes.empty()) {
        auto const did_size = take_number<std::uint32_t>(bytes), count = take_number<std::uint32_t>(bytes);
        if (!did_size || !count || bytes.size() < *did_size) return wrong;
        auto const did = bytes.substr(0, *did_size);
        bytes.remove_prefix(did.size());
        records.clear();
        for (std::uint32_t i = 0; i < *count; ++i) {
            records.push_back(StoredRecord::read(bytes, did));
            if (!records.back()) return wrong;
        }

        Sequence last{};
        for (auto& record : records) {
            last = std::max(last, record->sequence());
            restore_record(Name(did), std::move(record), number);
        }
        if (last != Sequence::none) restored({did, last});
    }
    return {};
}

void ResidentStore::restore_record(Name const& repository, RecordRef record, std::uint32_t number)
{
    auto const         names = record->mentions();
    auto const         hash = key_hash(record->key());
    Places             places(*this, repository, names);
    Places::Lock const lock(places);
    places.find();
    if (auto const* home = places.home()) {
        if (record->kind() == Kind::repository ? home->tombstone != nullptr
                                               : home->records.find(hash, record->kind(), record->key()) != nullptr)
            return;
        auto const* const end = home->tombstone.get();
        if (end && record->sequence() < end->sequence() && record->rev() <= end->rev()) return;
    }
    places.create();
    auto& shard = places.home_shard();
    auto& home = *places.home();
    if (record->kind() == Kind::repository)
        home.tombstone = record;
    else
        home.records.put(hash, record);
    home.captured = number & 0x7fffffff;
    shard.enter(*record, shard.digest_of(*record));
    home.stamp = std::max(home.stamp, Stamp{2 * sluice::number(record->sequence())});
    for (std::size_t i = 0; i < names.size(); ++i)
        if (!names[i].empty()) places.mentioned(i).mention(nullptr, record, i);
}

void ResidentStore::clear() { shards_ = std::make_unique<Shard[]>(shard_count); }

Result<std::optional<OwnedRecord>> ResidentStore::find(Kind kind, std::string_view uri) const
{
    Name const  repository(authority(uri));
    auto const& shard = shard_of(repository);
    RecordRef   record;
    {
        std::shared_lock const lock(shard.mutex);
        if (auto const* node = shard.nodes.find(repository)) record = node->records.find(key_hash(uri), kind, uri);
    }
    if (!record || record->removed()) return std::optional<OwnedRecord>();
    return std::optional<OwnedRecord>(record->view());
}

std::vector<OwnedRecord> ResidentStore::mentions(Kind kind, std::string_view text) const
{
    Name const             name(text);
    auto const&            shard = shard_of(name);
    std::vector<RecordRef> found;
    {
        std::shared_lock const lock(shard.mutex);
        if (auto const* node = shard.nodes.find(name)) found.assign(node->mentions().begin(), node->mentions().end());
    }
    std::erase_if(found, [kind](RecordRef const& record) { return record->kind() != kind; });
    std::ranges::sort(found, {}, [](RecordRef const& record) { return record->key(); });
    std::vector<OwnedRecord> owned;
    owned.reserve(found.size());
    for (auto const& record : found) owned.emplace_back(record->view());
    return owned;
}

Result<std::vector<OwnedRecord>> ResidentStore::relationships_of(std::string_view did) const
{
    return mentions(Kind::relationship, did);
}

Result<std::vector<OwnedRecord>> ResidentStore::attestations_of(std::string_view target) const
{
    return mentions(Kind::attestation, target);
}

Stamp ResidentStore::stamp(std::string_view text) const
{
    Name const             name(text);
    auto const&            shard = shard_of(name);
    std::shared_lock const lock(shard.mutex);
    auto const* const      node = shard.nodes.find(name);
    return node ? node->stamp : Stamp::none;
}

Hash128 ResidentStore::digest() const
{
    Hash128 sum;
    for (std::size_t i = 0; i < shard_count; ++i) {
        std::shared_lock const lock(shards_[i].mutex);
        sum += shards_[i].digest;
    }
    return sum;
}

void ResidentStore::visit(RecordVisitor const& visitor) const
{
    for (std::size_t i = 0; i < shard_count; ++i) {
        std::shared_lock const lock(shards_[i].mutex);
        shards_[i].nodes.for_each([&](Node const& node) {
            auto const show = [&](StoredRecord const& record) {
                auto view = record.view();
                view.did = node.name();
                visitor(view);
            };
            if (node.tombstone) show(*node.tombstone);
            node.records.for_each(show);
        });
    }
}

Hash128 ResidentStore::digest_by_scan() const
{
    Hash128     sum;
    std::string scratch;
    visit([&](Record const& record) { sum += record_digest(record, scratch); });
    return sum;
}

Counts ResidentStore::counts() const
{
    Counts sum;
    for (std::size_t i = 0; i < shard_count; ++i) {
        std::shared_lock const lock(shards_[i].mutex);
        for (std::size_t kind = 0; kind < kind_count; ++kind) sum.live[kind] += shards_[i].counts.live[kind];
        sum.tombstones += shards_[i].counts.tombstones;
    }
    return sum;
}

std::unique_ptr<GraphStore> make_resident_store() { return std::make_unique<ResidentStore>(); }

}  // namespace sluice::graph
