#include "adapters/rocksdb/database.hpp"
#include "adapters/rocksdb/keys.hpp"
#include "adapters/rocksdb/rocksdb_log_on_env.hpp"
#include "contract/log_writer.hpp"
#include "durability/fault_file_system.hpp"
#include "durability/temp_directory.hpp"

#include <rocksdb/write_batch.h>

#include <cstdio>
#include <functional>

#include <gtest/gtest.h>

namespace sluice::test {
namespace {

constexpr std::size_t events_of_run = 300;
constexpr std::size_t group_max = 16;

// What a client knows: kept outside the disk that fails.
struct Ledger {
    History     history;
    std::size_t acked{0}, acked_decisions{0};
};

// Writes groups of events until all are stored or an append fails.
Result<> drive(log::EventLog& log, Ledger& ledger)
{
    std::mt19937_64 random(3);
    LogWriter       writer(log, ledger.history);
    while (ledger.acked < events_of_run) {
        auto const                 group = std::min(1 + random() % group_max, events_of_run - ledger.acked);
        std::vector<log::Decision> decisions;
        if (random() % 3 == 0 && ledger.acked > 0)
            decisions.push_back(decision_of(Sequence{1 + random() % ledger.acked}, std::to_string(random())));
        if (auto const stored = writer.append(group, decisions); !stored) return stored;
        ledger.acked = ledger.history.records.size();
        ledger.acked_decisions = ledger.history.decisions.size();
    }
    return {};
}

struct Audit {
    std::size_t lost{0};    // acknowledged, not there
    std::size_t changed{0};  // there, but other than sent
    std::string refused;    // why the log did not open
    bool        passed() const { return lost == 0 && changed == 0 && refused.empty(); }
};

void audit_decisions(std::vector<log::Decision> const& found, Ledger const& ledger, Audit& audit)
{
    if (found.size() < ledger.acked_decisions) audit.lost += ledger.acked_decisions - found.size();
    if (found.size() > ledger.history.decisions.size()) {
        audit.changed += found.size() - ledger.history.decisions.size();
        return;
    }
    auto const expected = ledger.history.sorted_decisions(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) audit.changed += !(found[i] == expected[i]);
}

Audit audit(Result<std::unique_ptr<log::EventLog>> const& log, Ledger const& ledger)
{
    Audit audit;
    if (!log) {
        audit.refused = log.error().reason + ": " + log.error().detail;
        return audit;
    }
    auto const records = read_records(**log);
    auto const decisions = (*log)->decisions();
    if (!records || !decisions) {
        audit.refused = !records ? records.error().detail : decisions.error().detail;
        return audit;
    }
    auto const& sent = ledger.history.records;
    if (records->size() < ledger.acked) audit.lost = ledger.acked - records->size();
    for (std::size_t i = 0; i < records->size(); ++i) audit.changed += i >= sent.size() || (*records)[i] != sent[i];
    audit.changed += number((*log)->last()) != records->size();
    audit_decisions(*decisions, ledger, audit);
    return audit;
}

struct Disk {
    explicit Disk(Faults faults = {})
        : files(std::make_shared<FaultFileSystem>(faults)), env(std::make_unique<FaultEnv>(files))
    {
    }
    std::shared_ptr<FaultFileSystem> files;
    std::unique_ptr<FaultEnv>        env;
};

class Machine {
public:
    adapters::RocksdbLogOptions options() const
    {
        return {.directory = temp_.path() / "data", .reserve_bytes = 1, .write_buffer_bytes = 64u << 10};
    }
    Result<std::unique_ptr<log::EventLog>> open(Disk& disk) const
    {
        return adapters::open_rocksdb_log(options(), *disk.env);
    }

private:
    TempDirectory temp_;
};

struct Totals {
    std::size_t runs{0}, acked{0}, lost{0}, changed{0}, refused{0};
    void        add(Audit const& audit, Ledger const& ledger)
    {
        ++runs;
        acked += ledger.acked;
        lost += audit.lost;
        changed += audit.changed;
        refused += !audit.refused.empty();
    }
    bool passed() const { return lost == 0 && changed == 0 && refused == 0; }
};

using OpenLog = std::function<Result<std::unique_ptr<log::EventLog>>(Machine const&, Disk&)>;

// One run with the power cut at a sync; whether it came that far.
bool run_to_cut(OpenLog const& open, std::uint64_t at, bool cut_after, Kept kept, Totals& totals)
{
    Machine const machine;
    Ledger        ledger;
    Disk          disk({.cut_at_sync = at, .cut_after = cut_after});
    if (auto const log = open(machine, disk)) (void)drive(**log, ledger);
    disk.files->restart(kept);

    Disk later;
    {
        auto const log = machine.open(later);
        auto const result = audit(log, ledger);
        totals.add(result, ledger);
        if (!result.passed()) return disk.files->syncs() >= at;
        ledger.history.records.resize(number((*log)->last()));
        ledger.history.decisions.resize((*log)->decisions()->size());
        EXPECT_TRUE(LogWriter(**log, ledger.history, 8).append(3));
        ledger.acked = ledger.history.records.size();
        ledger.acked_decisions = ledger.history.decisions.size();
    }
    later.files->restart(Kept::nothing);
    Disk       last;
    auto const result = audit(machine.open(last), ledger);
    EXPECT_TRUE(result.passed()) << "after going on from a cut at " << at << ": " << result.refused;
    return disk.files->syncs() >= at;
}

Totals cut_everywhere(OpenLog const& open, bool cut_after, Kept kept)
{
    Totals totals;
    for (std::uint64_t at = 1; run_to_cut(open, at, cut_after, kept, totals); ++at) {
    }
    return totals;
}

Result<std::unique_ptr<log::EventLog>> open_shipped(Machine const& machine, Disk& disk) { return machine.open(disk); }

TEST(PowerCut, AtAnySyncLosesNoAcknowledgedEvent)
{
    struct Case {
        bool cut_after;
        Kept kept;
    };
    Totals all;
    for (auto const& [cut_after, kept] :
         {Case{false, Kept::nothing}, Case{false, Kept::torn}, Case{false, Kept::everything},
          Case{true, Kept::nothing}}) {
        auto const totals = cut_everywhere(open_shipped, cut_after, kept);
        EXPECT_GT(totals.runs, 50u);
        EXPECT_TRUE(totals.passed()) << "lost " << totals.lost << ", changed " << totals.changed << ", refused "
                                     << totals.refused << " in case " << cut_after << static_cast<int>(kept);
        all.runs += totals.runs;
        all.acked += totals.acked;
        all.lost += totals.lost;
        all.refused += totals.refused;
    }
    std::printf(
        "PROMISE P1 %s syncs=%zu acked=%zu lost=%zu refused=%zu\n", all.lost == 0 && all.refused == 0 ? "pass" : "FAIL",
        all.runs, all.acked, all.lost, all.refused);
}

TEST(PowerCut, HeadIsOnDiskBeforeTheFirstAnswer)
{
    Machine const machine;
    Disk          disk;
    {
        History    history;
        auto const log = machine.open(disk).value();
        ASSERT_TRUE(LogWriter(*log, history).append(1));
        disk.files->cut_power();
    }
    disk.files->restart(Kept::nothing);
    for (auto const& entry : std::filesystem::directory_iterator(machine.options().directory + "/log"))
        if (entry.path().extension() == ".log") std::filesystem::remove(entry.path());
    Disk       later;
    auto const log = machine.open(later);
    ASSERT_FALSE(log);
    EXPECT_EQ(log.error().reason, "log_behind_head");
}

// Passes everything on; the twins below change one thing each.
class Twin : public log::EventLog {
public:
    explicit Twin(std::unique_ptr<log::EventLog> log)
        : log_(std::move(log)), last_(log_->last()), chain_(log_->last_chain()), received_at_(log_->last_received_at())
    {
    }
    log::Space                                      check_space() override { return log_->check_space(); }
    Result<std::shared_ptr<log::StoredBlock const>> read(Sequence sequence) const override
    {
        return log_->read(sequence);
    }
    Sequence                           first() const noexcept override { return log_->first(); }
    std::unique_ptr<Cursor>            blocks(Sequence from) const override { return log_->blocks(from); }
    Result<> visit_decisions(
        Sequence from, std::function<bool(log::Decision const&)> const& visit) const override
    {
        return log_->visit_decisions(from, visit);
    }
    Sequence                           last() const noexcept override { return last_; }
    std::uint64_t                      last_chain() const noexcept override { return chain_; }
    WallTime                           last_received_at() const noexcept override { return received_at_; }

protected:
    void moved_on(log::Commit const& commit)
    {
        last_ = Sequence{number(last_) + commit.count};
        chain_ = commit.chain_after;
        received_at_ = commit.received_at;
    }
    log::EventLog& log() { return *log_; }

private:
    std::unique_ptr<log::EventLog> log_;
    Sequence                       last_;
    std::uint64_t                  chain_;
    WallTime                       received_at_;
};

// Stores a commit only when the next one comes.
class AnswersFirst final : public Twin {
public:
    using Twin::Twin;

    Result<> append(log::Commit const& commit) override
    {
        if (auto const stored = store_waiting(); !stored) return stored;
        waiting_ = commit;
        bytes_.clear();
        for (auto const part : commit.parts) bytes_.append(part);
        decisions_.assign(commit.decisions.begin(), commit.decisions.end());
        moved_on(commit);
        return {};
    }

private:
    Result<> store_waiting()
    {
        if (!waiting_) return {};
        std::string_view const part = bytes_;
        waiting_->parts = {&part, 1};
        waiting_->decisions = decisions_;
        return log().append(*waiting_);
    }

    std::optional<log::Commit> waiting_;
    std::string                bytes_;
    std::vector<log::Decision> decisions_;
};

// Writes what the adapter writes, without the sync.
class Unsynced final : public Twin {
public:
    Unsynced(std::unique_ptr<log::EventLog> empty, std::unique_ptr<adapters::Database> database)
        : Twin(std::move(empty)), database_(std::move(database))
    {
    }

    Result<> append(log::Commit const& commit) override
    {
        std::string bytes;
        for (auto const part : commit.parts) bytes.append(part);
        rocksdb::WriteBatch batch;
        std::uint32_t       decision = 0;
        (void)batch.Put(database_->blocks(), adapters::BlockKey(commit.first).slice(), bytes);
        for (auto const& verdict : commit.decisions)
            (void)batch.Put(
                database_->decisions(),
                adapters::DecisionKey(verdict.sequence, 1000 * decision_count_++ + decision++).slice(),
                log::encode_decision(verdict));
        if (!database_->db().Write(rocksdb::WriteOptions(), &batch).ok())
            return Error{Errc::corrupt, "log_failed", "twin"};
        moved_on(commit);
        return {};
    }

private:
    std::unique_ptr<adapters::Database> database_;
    std::uint32_t                       decision_count_{0};
};

TEST(PowerCut, TheHarnessFindsALogThatAnswersFirst)
{
    auto const totals = cut_everywhere(
        [](Machine const& machine, Disk& disk) -> Result<std::unique_ptr<log::EventLog>> {
            auto log = machine.open(disk);
            if (!log) return log;
            return std::make_unique<AnswersFirst>(std::move(*log));
        },
        false, Kept::nothing);
    EXPECT_GT(totals.lost, 0u);
    std::printf("PROMISE P1 mutant=answers_first found=%s lost=%zu\n", totals.lost > 0 ? "yes" : "NO", totals.lost);
}

TEST(PowerCut, TheHarnessFindsALogThatDoesNotSync)
{
    OpenLog const open = [](Machine const& machine, Disk& disk) -> Result<std::unique_ptr<log::EventLog>> {
        {
            auto created = machine.open(disk);
            if (!created) return created;
        }
        auto const options = machine.options();
        auto const path = options.directory + "/log";
        auto       database =
            adapters::Database::open(path, *disk.env, adapters::Database::Mode::existing, options.write_buffer_bytes);
        if (!database) return database.error();
        auto reader = adapters::open_rocksdb_log({.directory = options.directory, .read_only = true}, *disk.env);
        if (!reader) return reader;
        return std::make_unique<Unsynced>(std::move(*reader), std::move(*database));
    };
    Machine const machine;
    Ledger        ledger;
    Disk          disk;
    {
        auto const log = open(machine, disk);
        ASSERT_TRUE(log) << log.error().detail;
        ASSERT_TRUE(drive(**log, ledger));
        disk.files->cut_power();
    }
    ASSERT_EQ(ledger.acked, events_of_run);
    disk.files->restart(Kept::nothing);
    Disk       later;
    auto const result = audit(machine.open(later), ledger);
    EXPECT_GT(result.lost, 0u) << result.refused;
    std::printf("PROMISE P1 mutant=no_sync found=%s lost=%zu\n", result.lost > 0 ? "yes" : "NO", result.lost);
}

// Runs with one fault after the other until none is met; each must poison the log and cost nothing acknowledged.
template <class MakeFaults>
Totals fail_everywhere(MakeFaults make_faults, Kept kept)
{
    Totals totals;
    for (std::uint64_t at = 1;; ++at) {
        Machine const machine;
        Ledger        ledger;
        Disk          disk(make_faults(at));
        {
            auto const log = machine.open(disk);
            auto const driven = log ? drive(**log, ledger) : Result<>(log.error());
            if (!disk.files->failure_injected()) return totals;
            if (log && !driven) {
                EXPECT_EQ(driven.error().reason, "log_failed") << driven.error().detail;
                History ignored;
                for (int i = 0; i < 3; ++i) {
                    auto const again = LogWriter(**log, ignored).append(1);
                    EXPECT_FALSE(again);
                    EXPECT_EQ(again.error().reason, "log_failed");
                }
            }
        }
        EXPECT_FALSE(disk.files->failed_sync_was_repeated()) << "at " << at;
        disk.files->restart(kept);
        Disk       later;
        auto const result = audit(machine.open(later), ledger);
        EXPECT_TRUE(result.passed()) << "at " << at << ": lost " << result.lost << ", " << result.refused;
        totals.add(result, ledger);
    }
}

void report(char const* fault, Totals const& totals)
{
    std::printf(
        "PROMISE P15 %s fault=%s cases=%zu acked=%zu lost=%zu\n", totals.passed() ? "pass" : "FAIL", fault, totals.runs,
        totals.acked, totals.lost);
}

TEST(FailedSync, PoisonsTheLogIsNotRepeatedAndLosesNothing)
{
    for (auto const kept : {Kept::nothing, Kept::everything}) {
        auto const totals = fail_everywhere([](std::uint64_t at) { return Faults{.fail_sync = at}; }, kept);
        EXPECT_GT(totals.runs, 40u);
        report("fsync_eio", totals);
    }
}

TEST(FullDisk, PoisonsTheLogAndLosesNothing)
{
    auto const totals =
        fail_everywhere([](std::uint64_t at) { return Faults{.full_at_append = at}; }, Kept::everything);
    EXPECT_GT(totals.runs, 50u);
    report("write_enospc", totals);
}

}  // namespace
}  // namespace sluice::test
