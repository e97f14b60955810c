// Real processes over a real log, one of whose events ends each process that runs it.
#include "adapters/posix/mapped_file.hpp"
#include "adapters/rocksdb/rocksdb_log.hpp"
#include "app/fault_note.hpp"
#include "base/fault_stack.hpp"
#include "durability/temp_directory.hpp"
#include "engine/runner.hpp"
#include "graph/resident_store.hpp"
#include "sim/manual_clock.hpp"
#include "unit/engine/support.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace sluice::test {
namespace {

using engine::Suspects;

constexpr EventType types[] = {{.name = "test.fine"}, {.name = "test.abort"}, {.name = "test.bad_access"},
                               {.name = "test.endless"}, {.name = "test.killed"}};

int* volatile nowhere = static_cast<int*>(::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

// Deeper than any stack.
int descend(int volatile* before)
{
    int volatile here[1024];
    here[0] = before == nullptr ? 0 : before[0] + 1;
    return here[0] < 0 ? 0 : descend(here) + here[0];
}

Result<Effects> process(Event const& event, RecordView const&)
{
    if (event.type == "test.abort") std::abort();
    if (event.type == "test.bad_access") *nowhere = 1;
    if (event.type == "test.endless") descend(nullptr);
    if (event.type == "test.killed") ::raise(SIGKILL);
    return Effects{};
}

constexpr Processor processor{.name = "test", .version = 0, .events = types, .fields = {}, .process = process};
constexpr Processor const* processors[] = {&processor};

constexpr std::size_t events = 40, poison_at = 20;  // of the events

class CrashLoop : public testing::Test {
protected:
    // One process: starts, stores the events if there are none, works until nothing is pending, ends with 0.
    int live(std::string const& poison)
    {
        std::fflush(nullptr);
        auto const child = ::fork();
        if (child == 0) {
            rlimit const no_core{};
            ::setrlimit(RLIMIT_CORE, &no_core);
            int const quiet = ::open("/dev/null", O_WRONLY);
            ::dup2(quiet, 2);  // a sanitizer's report
            ::_exit(live_here(poison));
        }
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }

    int live_here(std::string const& poison)
    {
        auto const              in_hand = adapters::MappedFile::open(place.path() / "in-hand", Suspects::bytes);
        auto const              log = adapters::open_rocksdb_log({.directory = place.path() / "data"});
        sim::ManualClock        clock;
        schema::SchemaSet const schemas{processors};
        graph::ResidentStore    graph;
        FaultStack const        stack;
        app::FaultNote const    note((*in_hand)->bytes());
        engine::Engine          engine(
            {**log, graph, schemas, clock, nullptr, nullptr, (*in_hand)->bytes()}, {.workers = 2, .fold_threads = 2},
            [](auto const&) {});
        if (!engine.recover()) return 3;
        if ((*log)->last() == Sequence::none) {
            for (std::size_t i = 0; i < events; ++i) submit(engine, i, i == poison_at ? poison : "test.fine");
            engine.append_step();
        }
        engine::Runner runner(engine, clock, [](Error const&) { ::_exit(4); });
        runner.start();
        while (!engine.idle()) std::this_thread::yield();
        runner.stop();
        return 0;
    }

    static void submit(engine::Engine& engine, std::size_t i, std::string type)
    {
        auto block = engine::test::make_block(
            {{.did = "did:plc:" + std::string(24, static_cast<char>('a' + i % 4)), .type = std::move(type)}});
        engine::Admission::Demand demand;
        demand.events[index(Tier::normal)] = 1;
        if (engine.admission().admit(demand, block->requests[0].ticket)) ::_exit(5);
        engine.submit(std::move(block));
    }

    std::vector<log::Decision> decisions()
    {
        return adapters::open_rocksdb_log({.directory = place.path() / "data"}).value()->decisions().value();
    }

    void is_left_behind(std::string const& poison)
    {
        int starts = 1;
        while (live(poison) != 0) ASSERT_LT(++starts, 10);
        EXPECT_EQ(starts, 4) << "three deaths, then it lives";
        auto const made = decisions();
        ASSERT_EQ(made.size(), 1u);
        EXPECT_EQ(number(made[0].sequence), poison_at + 1);
        EXPECT_EQ(made[0].verdict, log::Verdict::dead_letter);
        EXPECT_EQ(made[0].reason, "crash_loop");
        EXPECT_EQ(live(poison), 0);
        EXPECT_EQ(decisions().size(), 1u) << "one verdict is enough";
    }

    TempDirectory const place;
};

TEST_F(CrashLoop, AnEventThatAbortsIsLeftBehind) { is_left_behind("test.abort"); }
TEST_F(CrashLoop, AnEventThatTouchesWhatIsNotThereIsLeftBehind) { is_left_behind("test.bad_access"); }
TEST_F(CrashLoop, AnEventThatRunsOverTheStackIsLeftBehind) { is_left_behind("test.endless"); }

// As the OOM killer, which comes at the same event every time.
TEST_F(CrashLoop, AProcessThatIsKilledGivesUpNothing)
{
    for (int starts = 0; starts < 6; ++starts) EXPECT_EQ(live("test.killed"), 128 + SIGKILL);
    EXPECT_TRUE(decisions().empty());
}

TEST_F(CrashLoop, ASignalThatIsSentIsNoFault)
{
    auto const path = place.path() / "in-hand";
    int        ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    auto const child = ::fork();
    if (child == 0) {
        auto const           in_hand = adapters::MappedFile::open(path, Suspects::bytes);
        app::FaultNote const note((*in_hand)->bytes());
        Suspects const       suspects((*in_hand)->bytes());
        suspects.hand(0).note(Sequence{7});
        (void)!::write(ready[1], "x", 1);
        for (;;) ::pause();
    }
    char x = 0;
    ASSERT_EQ(::read(ready[0], &x, 1), 1);
    ::kill(child, SIGABRT);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WTERMSIG(status), SIGABRT);
    auto const in_hand = adapters::MappedFile::open(path, Suspects::bytes);
    EXPECT_TRUE(Suspects((*in_hand)->bytes()).suspects().empty());
}

TEST_F(CrashLoop, TheFileIsForItsOwnerOnlyAndReal)
{
    auto const path = (place.path() / "in-hand").string();
    std::ofstream(path) << "what an older version has left";
    {
        auto const file = adapters::MappedFile::open(path, Suspects::bytes);
        ASSERT_TRUE(file);
        EXPECT_TRUE(Suspects((*file)->bytes()).suspects().empty());
    }
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(static_cast<std::size_t>(info.st_size), Suspects::bytes);
    EXPECT_GE(static_cast<std::size_t>(info.st_blocks) * 512, Suspects::bytes);
    EXPECT_FALSE(adapters::MappedFile::open((place.path() / "nowhere" / "in-hand").string(), Suspects::bytes));
}

}  // namespace
}  // namespace sluice::test
