#include "engine/derived_dedupe.hpp"

#include "base/random.hpp"
#include "files/memory_directory.hpp"
#include "log/memory_log.hpp"
#include "sim/forwarding.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

namespace sluice::engine {
namespace {

// A directory whose disk can fail, and that counts what is read.
class Disk final : public files::Directory {
public:
    files::MemoryDirectory files;
    bool                   is_full{false};
    mutable std::size_t    reads{0};
    std::uint64_t          damage_in{0};  // the read after so many returns a wrong bit; 0: none does

    Result<std::unique_ptr<files::Writer>> create(std::string const& name) override
    {
        if (is_full) return Error{Errc::full, "no_space", ""};
        return files.create(name);
    }
    Result<std::unique_ptr<files::Reader>> open(std::string const& name) const override
    {
        auto file = files.open(name);
        if (!file) return file.error();
        return std::unique_ptr<files::Reader>(std::make_unique<File>(const_cast<Disk&>(*this), std::move(*file)));
    }
    Result<std::vector<std::string>> list() const override { return files.list(); }
    Result<> remove(std::string const& name) override { return files.remove(name); }

private:
    class File final : public files::Reader {
    public:
        File(Disk& disk, std::unique_ptr<files::Reader> inner) : disk_(disk), inner_(std::move(inner)) {}
        std::uint64_t       size() const noexcept override { return inner_->size(); }
        Result<std::string> read(std::uint64_t offset, std::size_t size) const override
        {
            ++disk_.reads;
            auto bytes = inner_->read(offset, size);
            if (bytes && !bytes->empty() && disk_.damage_in != 0 && --disk_.damage_in == 0)
                (*bytes)[bytes->size() / 2] ^= 4;
            return bytes;
        }

    private:
        Disk&                          disk_;
        std::unique_ptr<files::Reader> inner_;
    };
};

class WatchedLog final : public sim::ForwardingLog {
public:
    using ForwardingLog::ForwardingLog;
    std::unique_ptr<Cursor> blocks(Sequence from) const override
    {
        starts.push_back(number(from));
        return inner_.blocks(from);
    }
    mutable std::vector<std::uint64_t> starts;
};

// A log, its index and what the index should say.
class World {
public:
    explicit World(std::uint32_t memory_ids) : options{.memory_ids = memory_ids, .merge_step = 7} { restart(); }

    Result<> restart()
    {
        index.reset();
        memory_log = std::make_unique<log::MemoryLog>(log_disk);
        log = std::make_unique<WatchedLog>(*memory_log);
        index = std::make_unique<DerivedDedupe>(disk, options);
        return index->recover(*log);
    }

    // 0: the log does not have it.
    Result<std::uint64_t> find(std::string const& id)
    {
        std::uint64_t sequence = 0;
        auto const    found = index->find(log::id_key(0, id), [&](Sequence candidate) -> Result<bool> {
            if (number(candidate) > ids.size()) return Error{Errc::corrupt, "beyond", ""};
            sequence = number(candidate);
            return ids[sequence - 1] == id;
        });
        if (!found) return found.error();
        return *found ? sequence : 0;
    }

    // As one commit; those in the log already are left out. Empty: an event without an id.
    Result<> append(std::vector<std::string> const& wanted)
    {
        auto const first = ids.size();
        for (auto const& id : wanted) {
            if (!id.empty()) {
                auto const known = find(id);
                if (!known) return known.error();
                if (*known != expected(id)) return Error{Errc::corrupt, "wrong_answer", id};
                if (*known != 0) continue;
            }
            ids.push_back(id);
            if (id.empty()) continue;
            model[id] = ids.size();
            index->insert(log::id_key(0, id), Sequence{ids.size()});
        }
        if (ids.size() == first) return {};
        commit(first);
        return {};
    }

    // A request that is refused after it had entered these ids.
    void refuse(std::vector<std::string> const& wanted)
    {
        auto sequence = ids.size();
        for (auto const& id : wanted) index->insert(log::id_key(0, id), Sequence{++sequence});
        sequence = ids.size();
        for (auto const& id : wanted) index->erase(log::id_key(0, id), Sequence{++sequence});
    }

    void settle()
    {
        for (int i = 0; i < 100'000; ++i) {
            auto const worked = index->maintain();
            ASSERT_TRUE(worked) << worked.error().detail;
            if (!*worked) return;
        }
        FAIL() << "maintenance never ends";
    }

    void fill(std::size_t count, std::size_t batch = 1)
    {
        while (count > 0) {
            std::vector<std::string> wanted;
            for (std::size_t i = 0; i < batch && count > 0; ++i, --count)
                wanted.push_back("id-" + std::to_string(ids.size() + i));
            ASSERT_TRUE(append(wanted));
            settle();
        }
    }

    std::uint64_t expected(std::string const& id) const
    {
        auto const it = model.find(id);
        return it == model.end() ? 0 : it->second;
    }
    void expect_all()
    {
        for (auto const& [id, sequence] : model) {
            auto const found = find(id);
            ASSERT_TRUE(found) << found.error().detail;
            ASSERT_EQ(*found, sequence) << id;
        }
        EXPECT_EQ(*find("never seen"), 0u);
    }
    std::vector<std::string> runs() const { return *disk.files.list(); }

    DedupeOptions                        options;
    Disk                                 disk;
    log::MemoryLog::Disk                 log_disk;
    std::unique_ptr<log::MemoryLog>      memory_log;
    std::unique_ptr<WatchedLog>          log;
    std::unique_ptr<DerivedDedupe>       index;
    std::vector<std::string>             ids;    // by sequence - 1
    std::map<std::string, std::uint64_t> model;

private:
    void commit(std::size_t first)
    {
        log::Commit commit{
            .first = Sequence{first + 1}, .count = static_cast<std::uint32_t>(ids.size() - first),
            .chain_after = log->last_chain(), .received_at = log->last_received_at(), .parts = {}, .decisions = {}};
        log::BlockHeader const header{log::block_magic, commit.count, first + 1,
                                      commit.received_at.time_since_epoch().count(), commit.chain_after};
        commit.chain_after = header.chain_seed();
        std::vector<std::string> records;
        for (auto at = first; at < ids.size(); ++at) {
            log::RecordDraft draft;
            draft.type = "test.event";
            draft.did = "did:plc:a";
            draft.id = ids[at];
            draft.payload = "{}";
            auto& bytes = records.emplace_back();
            log::write_record(draft, bytes);
            commit.chain_after = log::LoggedRecord(bytes.data()).chain_after(commit.chain_after);
            log::set_chain(bytes.data(), commit.chain_after);
        }
        std::vector<std::string_view> parts{{reinterpret_cast<char const*>(&header), sizeof header}};
        parts.insert(parts.end(), records.begin(), records.end());
        commit.parts = parts;
        ASSERT_TRUE(log->append(commit));
        index->committed(Sequence{ids.size()}, commit.chain_after);
    }
};

TEST(IdGeneration, IsWhatAMultimapIs)
{
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        Random       random(seed);
        IdGeneration table(Sequence{100}, 8);
        std::set<std::pair<std::uint64_t, std::uint64_t>> model;
        for (std::uint64_t sequence = 100; sequence < 400; ++sequence) {
            // Few homes, at both ends of the table, and equal hashes among them.
            auto const hash = (random.chance(0.5) ? 0 : ~std::uint64_t{0} << 58) + random.below(40);
            table.insert(hash, Sequence{sequence});
            model.emplace(hash, sequence);
            if (random.chance(0.45)) {
                auto it = model.begin();
                std::advance(it, random.below(model.size()));
                table.erase(it->first, Sequence{it->second});
                model.erase(it);
            }
        }
        EXPECT_EQ(table.size(), model.size());
        std::set<std::pair<std::uint64_t, std::uint64_t>> found, sorted;
        for (auto const& [hash, sequence] : model)
            ASSERT_FALSE(*table.find(hash, [&, h = hash](Sequence s) -> Result<bool> {
                found.emplace(h, number(s));
                return false;
            }));
        for (auto const& entry : table.sorted()) sorted.emplace(entry.hash, 100 + entry.place);
        EXPECT_EQ(found, model);
        EXPECT_EQ(sorted, model);
    }
}

TEST(IdFilter, ForgetsNothingAndLetsFewThrough)
{
    Random                     random(1);
    std::vector<std::uint64_t> hashes(50'000);
    IdFilter                   filter(std::string(IdFilter::bytes_for(hashes.size()), '\0'));
    for (auto& hash : hashes) filter.add(hash = random.next());
    for (auto const hash : hashes) ASSERT_TRUE(filter.may_have(hash));
    std::size_t passed = 0;
    for (std::size_t i = 0; i < hashes.size(); ++i) passed += filter.may_have(random.next());
    EXPECT_LT(passed, hashes.size() / 100);
}

std::string write_run(files::Directory& directory, IdRange const& range, std::vector<IdEntry> const& entries)
{
    auto writer = IdRunWriter::create(directory, range, entries.size());
    for (auto const& entry : entries) EXPECT_TRUE((*writer)->add(entry));
    EXPECT_TRUE((*writer)->commit());
    return run_name(range);
}

TEST(IdRun, FindsEveryEntryEvenWhereHashesAreEqualAcrossBlocks)
{
    files::MemoryDirectory directory;
    Random                 random(3);
    std::vector<IdEntry>   entries;
    for (std::uint32_t place = 0; place < 3'000; ++place)
        entries.push_back({place % 3 == 0 ? std::uint64_t{1} << 63 : random.next(), place});
    std::sort(entries.begin(), entries.end());
    auto const run = IdRun::open(directory, write_run(directory, {Sequence{1}, Sequence{3'000}, 7}, entries));
    ASSERT_TRUE(run);
    EXPECT_EQ((*run)->ids(), 3'000u);
    EXPECT_EQ((*run)->find(std::uint64_t{1} << 63)->size(), 1'000u);
    for (auto const& entry : entries) {
        auto const found = *(*run)->find(entry.hash);
        ASSERT_NE(std::find(found.begin(), found.end(), entry), found.end());
    }
    EXPECT_TRUE((*run)->find(1)->empty());
    EXPECT_TRUE((*run)->find(~std::uint64_t{0})->empty());
}

// Every single byte, and every length: what is not noticed at once is noticed by whoever reads it.
TEST(IdRun, NoticesEveryDamage)
{
    files::MemoryDirectory directory;
    IdRange const          range{Sequence{5}, Sequence{400}, 11};
    std::vector<IdEntry>   entries;
    for (std::uint32_t place = 0; place < 350; ++place) entries.push_back({place * 0x0123456789ABCDEFu, place});
    std::sort(entries.begin(), entries.end());
    auto const name = write_run(directory, range, entries);
    auto const whole = directory.content(name);
    auto const is_noticed = [&] {
        auto const run = IdRun::open(directory, name);
        return !run || !(*run)->read(0, 10);
    };
    ASSERT_FALSE(is_noticed());
    for (std::size_t at = 0; at < whole.size(); ++at) {
        directory.content(name)[at] ^= 1;
        ASSERT_TRUE(is_noticed()) << "byte " << at;
        directory.content(name) = whole;
    }
    for (std::size_t size = 0; size < whole.size(); size += 13) {
        directory.content(name).resize(size);
        ASSERT_TRUE(is_noticed()) << "size " << size;
        directory.content(name) = whole;
    }
    std::swap_ranges(directory.content(name).begin(), directory.content(name).begin() + id_block_bytes,
                     directory.content(name).begin() + id_block_bytes);
    EXPECT_TRUE(is_noticed());
}

TEST(DerivedDedupe, AnswersAsIfAllIdsWereInMemoryWhateverHappensToItsFiles)
{
    std::map<std::string, int> times;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Random     random(seed);
        World      world(static_cast<std::uint32_t>(4 + random.below(60)));
        auto const some_id = [&] { return "id-" + std::to_string(random.below(1'500)); };
        for (int i = 0; i < 400; ++i) {
            auto const dice = random.below(20);
            if (dice < 9) {
                std::vector<std::string> wanted;
                for (auto n = random.below(12); n > 0; --n) wanted.push_back(random.chance(0.05) ? "" : some_id());
                ASSERT_TRUE(world.append(wanted));
            } else if (dice < 10) {
                world.refuse({"refused-1", "refused-2", "refused-3"});
                ASSERT_EQ(*world.find("refused-2"), 0u);
            } else if (dice < 17) {
                ASSERT_TRUE(world.index->maintain());
            } else if (dice < 18) {
                world.disk.damage_in = 1 + random.below(4);
                auto const found = world.find(some_id());
                auto const worked = world.index->maintain();
                bool const is_noticed = !found || !worked;
                for (auto const& error : {found ? Error{} : found.error(), worked ? Error{} : worked.error()})
                    if (!error.reason.empty()) { ASSERT_EQ(error.reason, "damaged_ids") << error.detail; }
                if (is_noticed) ++times["damage noticed while running"];
                if (!is_noticed) world.disk.damage_in = 0;
                if (is_noticed) { ASSERT_TRUE(world.restart()); }
            } else {
                auto const runs = world.runs();
                if (!runs.empty() && random.chance(0.6)) {
                    auto const& name = runs[random.below(runs.size())];
                    auto const  how = random.below(3);
                    auto&       content = world.disk.files.content(name);
                    if (how == 0) (void)world.disk.remove(name);
                    if (how == 1) content.resize(random.below(content.size()));
                    // A damaged block is noticed by the lookup that reads it; the rest at once.
                    if (how == 2) content[content.size() - 1 - random.below(80)] ^= 2;
                    ++times["file damaged at a restart"];
                }
                auto const recovered = world.restart();
                ASSERT_TRUE(recovered) << recovered.error().detail;
            }
        }
        world.disk.damage_in = 0;
        world.expect_all();
        world.settle();
        world.expect_all();
        auto const stats = world.index->stats();
        EXPECT_EQ(stats.runs, world.runs().size());
        times["several runs"] += stats.runs > 1;
        times["a merged run"] += stats.run_ids > 8 * world.options.memory_ids / 4;
        times["lookups that read"] += stats.disk_lookups > 0;
    }
    for (auto const* const what : {"damage noticed while running", "file damaged at a restart", "several runs",
                                   "a merged run", "lookups that read"})
        EXPECT_GT(times[what], 0) << what;
}

TEST(DerivedDedupe, ToldApartBySequencesWhereHashesAreEqual)
{
    files::MemoryDirectory directory;
    DerivedDedupe          index(directory, {.memory_ids = 8});
    for (std::uint64_t sequence = 1; sequence <= 64; ++sequence) {
        index.insert({.low = 42, .high = sequence}, Sequence{sequence});
        index.committed(Sequence{sequence}, sequence);
        while (*index.maintain()) {}
    }
    for (std::uint64_t wanted = 1; wanted <= 64; ++wanted)
        EXPECT_TRUE(*index.find({42, 0}, [&](Sequence s) -> Result<bool> { return number(s) == wanted; })) << wanted;
    EXPECT_FALSE(*index.find({42, 0}, [](Sequence) -> Result<bool> { return false; }));
}

TEST(DerivedDedupe, ReadsOneBlockForAnOldIdAndNoneForARecentOne)
{
    World world(400);
    world.fill(5'000, 50);
    world.disk.reads = 0;
    for (std::size_t n = 4'700; n < 5'000; ++n) ASSERT_NE(*world.find("id-" + std::to_string(n)), 0u);
    EXPECT_EQ(world.disk.reads, 0u);
    for (std::size_t n = 0; n < 1'000; ++n) ASSERT_NE(*world.find("id-" + std::to_string(n)), 0u);
    EXPECT_GE(world.disk.reads, 1'000u);
    EXPECT_LT(world.disk.reads, 1'150u);
    world.disk.reads = 0;
    for (std::size_t n = 0; n < 1'000; ++n) ASSERT_EQ(*world.find("new-" + std::to_string(n)), 0u);
    EXPECT_LT(world.disk.reads, 150u);
    auto const stats = world.index->stats();
    EXPECT_GE(stats.memory_ids, 400u);
    EXPECT_LE(stats.memory_ids, 500u);
}

TEST(DerivedDedupe, KeepsFewRunsAndEveryIdInOneOfThem)
{
    World       world(4);  // a generation is one id
    std::size_t most = 0;
    for (int i = 0; i < 600; ++i) {
        world.fill(1);
        most = std::max(most, world.runs().size());
    }
    EXPECT_LE(most, 3u * 7u + 2);  // seven of each size: 1, 8 and 64
    EXPECT_EQ(world.index->stats().run_ids, 600u);
    EXPECT_EQ(world.index->stats().runs, world.runs().size());
}

TEST(DerivedDedupe, ReadsOnlyTheTailOfTheLogAtAStart)
{
    World world(400);
    world.fill(5'030, 10);
    ASSERT_TRUE(world.restart());
    EXPECT_EQ(world.log->starts, std::vector<std::uint64_t>{5'001});
    EXPECT_EQ(world.index->stats().memory_ids, 30u);
    world.expect_all();
}

TEST(DerivedDedupe, MakesAgainOnlyWhatIsLost)
{
    World world(400);
    world.fill(2'500, 10);
    auto const lost = world.runs().at(1);
    auto const range = *parse_run_name(lost);
    ASSERT_TRUE(world.disk.remove(lost));
    ASSERT_TRUE(world.restart());
    EXPECT_EQ(world.log->starts.front(), number(range.first));
    world.expect_all();
    ASSERT_TRUE(world.restart());
    EXPECT_TRUE(world.log->starts.empty());
}

TEST(DerivedDedupe, UsesNoRunOfAnotherLog)
{
    World world(400), other(400);
    world.fill(1'000, 10);
    for (int i = 0; i < 1'000; ++i) ASSERT_TRUE(other.append({"other-" + std::to_string(i)}));
    other.settle();
    for (auto const& name : world.runs()) ASSERT_TRUE(world.disk.remove(name));
    for (auto const& name : other.runs()) {
        (void)(*world.disk.create(name))->commit();
        world.disk.files.content(name) = other.disk.files.content(name);
    }
    ASSERT_TRUE(world.restart());
    world.expect_all();
    EXPECT_EQ(*world.find("other-5"), 0u);
}

TEST(DerivedDedupe, UsesNoRunThatGoesBeyondTheLog)
{
    World world(40);
    world.fill(100, 10);
    world.log_disk.blocks.erase(world.log_disk.blocks.lower_bound(Sequence{51}), world.log_disk.blocks.end());
    world.ids.resize(50);
    std::erase_if(world.model, [](auto const& entry) { return entry.second > 50; });
    ASSERT_TRUE(world.restart());
    world.expect_all();
    EXPECT_EQ(*world.find("id-70"), 0u);
}

TEST(DerivedDedupe, HasNoRoomWhileTooMuchWaitsToBeWritten)
{
    World world(40);
    world.disk.is_full = true;
    int appended = 0;
    while (world.index->has_room() && appended < 1'000) {
        ASSERT_TRUE(world.append({"id-" + std::to_string(appended++)}));
        auto const worked = world.index->maintain();
        if (!worked) { EXPECT_EQ(worked.error().code, Errc::full); }
    }
    EXPECT_EQ(appended, 40);
    EXPECT_GT(world.index->stats().write_failures, 0u);
    world.expect_all();
}

TEST(DerivedDedupe, StartsOnAFullDiskAndHasRoomWhenEveryIdIsIndexed)
{
    World world(40);
    world.fill(500, 10);
    auto const written = world.runs();
    for (std::size_t i = 0; i < written.size(); i += 2) ASSERT_TRUE(world.disk.remove(written[i]));
    world.disk.is_full = true;
    ASSERT_TRUE(world.restart());
    for (int i = 0; i < 50; ++i) {
        EXPECT_FALSE(world.index->has_room());
        EXPECT_FALSE(world.index->maintain());
    }
    EXPECT_LE(world.index->stats().memory_ids, 50u) << "what cannot be written must not grow in memory for ever";

    world.disk.is_full = false;
    int steps = 0;
    for (; !world.index->has_room() && steps < 1'000; ++steps) ASSERT_TRUE(world.index->maintain());
    EXPECT_GT(steps, 4);
    world.expect_all();
    world.settle();
    world.expect_all();
    world.fill(100, 10);
    world.expect_all();
}

TEST(DerivedDedupe, StartsOnAFullDiskWithNoRunAtAll)
{
    World world(40);
    world.disk.is_full = true;
    while (world.index->has_room()) ASSERT_TRUE(world.append({"id-" + std::to_string(world.ids.size())}));
    ASSERT_TRUE(world.restart());
    EXPECT_FALSE(world.index->has_room());
    world.disk.is_full = false;
    world.settle();
    EXPECT_TRUE(world.index->has_room());
    world.expect_all();
}

TEST(DerivedDedupe, StartsOnAFullDiskWhenWhatWaitsIsLittle)
{
    World world(40);
    world.fill(500, 10);
    world.disk.is_full = true;
    ASSERT_TRUE(world.disk.remove(world.runs().back()));
    ASSERT_TRUE(world.restart());
    world.expect_all();
}

TEST(DerivedDedupe, IsMaintainedWhileItIsUsed)
{
    constexpr std::uint64_t count = 20'000;
    files::MemoryDirectory  directory;
    DerivedDedupe           index(directory, {.memory_ids = 400, .merge_step = 1'000});
    std::atomic<bool>       stop{false};
    std::thread             background([&] {
        while (!stop) (void)index.maintain();
    });
    Random                  random(1);
    auto const              key = [](std::uint64_t n) { return Hash128{.low = Random(n).next(), .high = 0}; };
    std::uint64_t           missing = 0;
    for (std::uint64_t sequence = 1; sequence <= count; ++sequence) {
        while (!index.has_room()) (void)index.stats();
        index.insert(key(sequence), Sequence{sequence});
        index.committed(Sequence{sequence}, sequence);
        auto const wanted = 1 + random.below(sequence);
        missing += !*index.find(key(wanted), [&](Sequence s) -> Result<bool> { return number(s) == wanted; });
    }
    stop = true;
    background.join();
    EXPECT_EQ(missing, 0u);
    EXPECT_GT(index.stats().runs, 1u);
}

TEST(DerivedDedupe, LeavesForeignFilesAlone)
{
    World world(40);
    ASSERT_TRUE((*world.disk.create("README"))->commit());
    world.fill(100, 10);
    ASSERT_TRUE(world.restart());
    EXPECT_EQ(world.runs().back(), "README");
    world.expect_all();
}

}  // namespace
}  // namespace sluice::engine
