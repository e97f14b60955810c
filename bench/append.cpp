// A batch becomes a commit: duplicates, sequences, chain, and the log behind them.
#include "stage.hpp"
#include "support.hpp"

#include "adapters/rocksdb/rocksdb_log.hpp"
#include "engine/appender.hpp"

#include <filesystem>

namespace sluice::bench {

namespace {

// Keeps nothing: what is left is the appender's own work.
class NoLog final : public log::EventLog {
public:
    Result<> append(log::Commit const& commit) override
    {
        last_ = Sequence{number(commit.first) + commit.count - 1};
        chain_ = commit.chain_after;
        return {};
    }
    log::Space                                      check_space() override { return {}; }
    Result<std::shared_ptr<log::StoredBlock const>> read(Sequence) const override
    {
        return std::shared_ptr<log::StoredBlock const>();
    }
    Sequence                           first() const noexcept override { return {}; }
    std::unique_ptr<Cursor>            blocks(Sequence) const override { return nullptr; }
    Result<> visit_decisions(Sequence, std::function<bool(log::Decision const&)> const&) const override { return {}; }
    Sequence                           last() const noexcept override { return last_; }
    std::uint64_t                      last_chain() const noexcept override { return chain_; }
    WallTime                           last_received_at() const noexcept override { return {}; }

private:
    Sequence      last_{};
    std::uint64_t chain_{0};
};

// Remembers what was pushed and nothing else.
class NoLanes final : public engine::Scheduler {
public:
    void push(std::span<engine::Pending const> events, Clock::Mono) override
    {
        for (auto const& event : events) pushed.push_back(event.sequence);
    }
    void bind(engine::Admission&, engine::Breaker const&) override {}
    bool take(Clock::Mono, engine::Batch&, std::size_t) override { return false; }
    void finish(engine::Run const&, std::uint32_t, engine::NextStep, Clock::Mono) override {}
    bool released(engine::LaneId, Clock::Mono) override { return true; }
    void resume() override {}
    bool spill() override { return false; }
    bool is_ready() const override { return false; }
    std::optional<Clock::Mono>      next_due() const override { return std::nullopt; }
    engine::LaneStats               stats(Clock::Mono) const override { return {}; }
    engine::Delays const&           waits(Tier) const override { return waits_; }
    std::optional<engine::LaneInfo> lane(std::uint64_t, Clock::Mono) const override { return std::nullopt; }
    std::vector<engine::LaneInfo>   blocked(
          std::size_t, std::optional<std::uint64_t>, Clock::Mono, Clock::Mono) const override
    {
        return {};
    }

    std::vector<Sequence> pushed;

private:
    engine::Delays waits_;
};

class Append : public Stage {
public:
    explicit Append(std::unique_ptr<log::EventLog> log) : log_(std::move(log)) {}
    void prepare() override
    {
        watermark_.settled(lanes_.pushed, 0);
        lanes_.pushed.clear();
        block_ = source_.block(events());
    }
    void run() override
    {
        appender_.submit(std::move(block_));
        appender_.step();
        if (appender_.failed() || lanes_.pushed.size() != events()) give_up("append: " + appender_.failure().detail);
    }
    std::size_t events() const override { return 1000; }

private:
    Source                         source_;
    FixedClock                     clock_;
    std::unique_ptr<log::EventLog> log_;
    engine::MemoryDedupe           dedupe_;
    NoLanes                        lanes_;
    engine::DenseWatermark         watermark_;
    engine::Counters               counters_;
    engine::Appender               appender_{{*log_, dedupe_, lanes_, watermark_, counters_, clock_},
                               {},
                               {.answered = [](auto const&) {}, .decided = [](auto const&, auto, auto) {}}};
    engine::BlockRef               block_;
};

class Framing final : public Append {
public:
    Framing() : Append(std::make_unique<NoLog>()) {}
};

// Where the environment's TMPDIR says; a benchmark wants a disk there, not memory.
struct TemporaryDirectory {
    TemporaryDirectory()
    {
        auto name = (std::filesystem::temp_directory_path() / "sluice-bench-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) give_up("no temporary directory");
        path = name;
    }
    ~TemporaryDirectory()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string path;
};

std::unique_ptr<log::EventLog> open(std::string const& directory)
{
    auto log = adapters::open_rocksdb_log({.directory = directory});
    if (!log) give_up(log.error().detail);
    return std::move(*log);
}

class RocksDb final : private TemporaryDirectory, public Append {
public:
    RocksDb() : Append(open(path)) {}
};

}  // namespace

std::span<NamedStage const> append_stages()
{
    static constexpr NamedStage stages[] = {
        {"append/framing", make_stage<Framing>}, {"append/rocksdb", make_stage<RocksDb>}};
    return stages;
}

}  // namespace sluice::bench
