// The ./sluice script around the real binary, in a small checkout of its own: no packages, no compiler.
#include "harness.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <csignal>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t demo_ratings = 300;

std::uint16_t free_port()
{
    auto const  probe = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof here;
    bind(probe, reinterpret_cast<sockaddr*>(&here), size);
    getsockname(probe, reinterpret_cast<sockaddr*>(&here), &size);
    close(probe);
    return ntohs(here.sin_port);
}

class Wrapper : public testing::Test {
protected:
    Wrapper()
    {
        auto const& source = source_directory();
        fs::copy(source / "sluice", root_ / "sluice");
        fs::copy(source / "packaging", root_ / "packaging", fs::copy_options::recursive);
        fs::create_directories(root_ / "examples/bitcoin-otc");
        for (auto const* const name : {"convert.py", "tour.py"})
            fs::copy(source / "examples/bitcoin-otc" / name, root_ / "examples/bitcoin-otc" / name);
        fs::copy(source / "examples/relationship.json", root_ / "examples/relationship.json");
        auto        csv = read_file(source / "examples/bitcoin-otc/soc-sign-bitcoinotc.csv");
        std::size_t end = 0;
        for (std::size_t line = 0; line <= demo_ratings; ++line) end = csv.find('\n', end) + 1;
        write_file(root_ / "examples/bitcoin-otc/soc-sign-bitcoinotc.csv", csv.substr(0, end));

        fs::create_directories(root_ / "build/release");
        fs::create_symlink(binary(), root_ / "build/release/sluice");
        stand_in("cmake", "exit 0");
        stand_in("dpkg-query", "printf installed");
        stand_in("apt-get", "echo 'apt-get was called' >&2; exit 1");
    }
    ~Wrapper() override { sluice({"down"}); }

    // A program that is found before the machine's own.
    void stand_in(std::string const& name, std::string const& script)
    {
        auto const path = root_ / "bin" / name;
        fs::create_directories(path.parent_path());
        write_file(path, "#!/bin/sh\n" + script + "\n");
        fs::permissions(path, fs::perms::owner_all);
    }

    Environment environment() const { return {{"PATH", (root_ / "bin").string() + ":" + std::getenv("PATH")}}; }

    Finished sluice(std::vector<std::string> arguments)
    {
        arguments.insert(arguments.begin(), root_ / "sluice");
        return run(arguments, environment());
    }
    Finished up() { return sluice({"up", "--detach", "--port", std::to_string(port_)}); }
    Http     http() { return {{"127.0.0.1", port_}, key()}; }
    std::string key() { return read_file(root_ / ".sluice/key"); }

    TemporaryDirectory directory_;
    fs::path const     root_ = directory_.path();
    std::uint16_t      port_ = free_port();
};

TEST_F(Wrapper, UpLoadsTheDemoAndDownStopsIt)
{
    auto const done = up();
    ASSERT_EQ(done.code, 0) << done.output << done.error;
    EXPECT_NE(done.output.find("conviction"), done.output.npos);
    EXPECT_NE(done.output.find("events/s"), done.output.npos);
    EXPECT_NE(done.output.find("curl "), done.output.npos);
    EXPECT_EQ(fs::status(root_ / ".sluice/key").permissions(), fs::perms::owner_read | fs::perms::owner_write);
    EXPECT_EQ(key().size(), 64);

    auto       client = http();
    auto const s = settled_state(client);
    EXPECT_EQ(s.at("records").at("relationships"), demo_ratings);
    EXPECT_EQ(s.at("accepted"), s.at("applied"));

    EXPECT_EQ(sluice({"down"}).code, 0);
    EXPECT_FALSE(client.try_send("GET", "/health"));
}

TEST_F(Wrapper, ASecondUpFindsEverythingThere)
{
    ASSERT_EQ(up().code, 0);
    auto const running = up();
    EXPECT_EQ(running.code, 0);
    EXPECT_NE(running.output.find("already running"), running.output.npos);
    auto client = http();
    auto const before = settled_state(client);
    auto const first_key = key();
    ASSERT_EQ(sluice({"down"}).code, 0);

    auto const again = up();

    ASSERT_EQ(again.code, 0) << again.output << again.error;
    EXPECT_NE(again.output.find(" 0 accepted"), again.output.npos) << again.output;
    EXPECT_EQ(key(), first_key);
    EXPECT_EQ(settled_state(client), before);
}

TEST_F(Wrapper, ThePrintedCurlLinePostsAnEvent)
{
    auto const done = up();
    ASSERT_EQ(done.code, 0) << done.output << done.error;
    auto const begin = done.output.find("curl ");
    auto const line = done.output.substr(begin, done.output.find("stop it with", begin) - begin);

    auto const posted = run({"sh", "-c", line}, {{"no_proxy", "*"}});

    EXPECT_EQ(Json::parse(posted.output).at("status"), "enqueued") << posted.output << posted.error;
}

TEST_F(Wrapper, UpRunsUntilItIsInterrupted)
{
    Process up({root_ / "sluice", "up", "--port", std::to_string(port_)}, environment(), directory_.path() / "stderr");
    while (up.read_line().find("Ctrl-C") == std::string::npos) {}
    auto client = http();
    EXPECT_EQ(client.get("/health").status, 200);

    up.signal(SIGTERM);

    EXPECT_EQ(up.wait(), 0);
    EXPECT_FALSE(client.try_send("GET", "/health"));
}

TEST_F(Wrapper, UpSaysThatThePortIsTaken)
{
    TemporaryDirectory const other;
    Server                   server({.data = other.path() / "data"});
    port_ = server.address().port;

    auto const done = up();

    EXPECT_EQ(done.code, 1);
    EXPECT_NE(done.error.find("in use"), done.error.npos) << done.error;
}

TEST_F(Wrapper, UpShowsTheLogOfAServerThatDoesNotStart)
{
    ASSERT_EQ(up().code, 0);
    ASSERT_EQ(sluice({"down"}).code, 0);
    write_file(root_ / ".sluice/key", "short");

    auto const done = up();

    EXPECT_EQ(done.code, 1);
    EXPECT_NE(done.error.find("the key is"), done.error.npos) << done.error;
}

TEST_F(Wrapper, DownWithoutAServerIsFineAndSparesARecycledPid)
{
    EXPECT_EQ(sluice({"down"}).code, 0);
    Process bystander({"sleep", "60"});
    fs::create_directories(root_ / ".sluice");
    write_file(root_ / ".sluice/pid", std::to_string(bystander.pid()) + "\n");

    auto const done = sluice({"down"});

    EXPECT_EQ(done.code, 0);
    EXPECT_NE(done.output.find("not running"), done.output.npos);
    EXPECT_EQ(::kill(bystander.pid(), 0), 0);
}

TEST_F(Wrapper, PackagesAreNeverRemoved)
{
    stand_in("dpkg-query", "printf not-installed");
    stand_in(
        "apt-get", "case \"$*\" in *' -s '*|'install -s'*) echo 'Inst libboost1.81-dev (1)'; "
                   "echo 'Remv libboost-dev [1.74]';; *) touch \"$0.changed\";; esac");

    auto const done = sluice({"build"});

    EXPECT_EQ(done.code, 1);
    EXPECT_NE(done.error.find("libboost-dev"), done.error.npos) << done.error;
    EXPECT_NE(done.error.find("nothing was changed"), done.error.npos) << done.error;
    EXPECT_FALSE(fs::exists(root_ / "bin/apt-get.changed"));
}

// `apt-get install` of one package with a service, which notes what it finds while it installs.
class WrapperInstalls : public Wrapper {
protected:
    WrapperInstalls()
    {
        auto script = read_file(root_ / "sluice");
        for (auto const& [name, path] : {std::pair("policy=", policy_), std::pair("no_cluster=", no_cluster_)}) {
            auto const begin = script.find(std::string("\n") + name) + 1;
            script.replace(begin, script.find('\n', begin) - begin, name + path.string());
        }
        write_file(root_ / "sluice", script);
        stand_in("sudo", "exec \"$@\"");
        stand_in("dpkg-query", "printf not-installed");
        stand_in("dpkg", "echo /etc/init.d; echo /etc/init.d/a-server");
        stand_in("update-rc.d", "echo \"$@\" >>\"$0.said\"");
        installing("exit 0");
    }

    void installing(std::string const& end)
    {
        stand_in(
            "apt-get", "case \"$*\" in *' -s '*|'install -s'*) echo 'Inst a-server (1)'; echo 'Conf a-server (1)';;\n"
                       "install*) '" + policy_.string() + "'; { echo $?; cat '" + no_cluster_.string() +
                           "'; } >\"$0.found\"; " + end + ";;\nesac");
    }
    std::string found_while_installing() const { return read_file(root_ / "bin/apt-get.found"); }

    fs::path const policy_ = root_ / "policy-rc.d", no_cluster_ = root_ / "etc/createcluster.d/sluice.conf";
};

TEST_F(WrapperInstalls, NoServiceThatComesWithAPackageIsStartedOrEnabled)
{
    auto const done = sluice({"build"});

    EXPECT_EQ(done.code, 0) << done.error;
    EXPECT_EQ(found_while_installing(), "101\ncreate_main_cluster = false\n");
    EXPECT_EQ(read_file(root_ / "bin/update-rc.d.said"), "a-server disable\n");
    EXPECT_FALSE(fs::exists(policy_));
    EXPECT_FALSE(fs::exists(root_ / "etc"));
}

TEST_F(WrapperInstalls, TheMachinesOwnPolicyIsBackAlsoWhenInstallingFails)
{
    for (auto const* const end : {"exit 0", "exit 1", "kill -TERM $PPID", "kill -9 $PPID"}) {
        SCOPED_TRACE(end);
        write_file(policy_, "#!/bin/sh\nexit 104\n");
        fs::permissions(policy_, fs::perms::owner_all);
        installing(end);

        sluice({"build"});
        EXPECT_EQ(found_while_installing(), "101\ncreate_main_cluster = false\n");
        if (std::string(end).find("-9") != std::string::npos) {
            installing("exit 0");
            sluice({"build"});
        }

        EXPECT_EQ(read_file(policy_), "#!/bin/sh\nexit 104\n");
        EXPECT_EQ(fs::status(policy_).permissions(), fs::perms::owner_all);
        EXPECT_FALSE(fs::exists(no_cluster_));
    }
}

TEST_F(Wrapper, EveryOtherWordIsTheBinarys)
{
    EXPECT_EQ(sluice({"version"}).output, run({binary(), "version"}).output);
    EXPECT_EQ(sluice({"nonsense"}).code, 2);
}

}  // namespace
}  // namespace sluice::e2e
