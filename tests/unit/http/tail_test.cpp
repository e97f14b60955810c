#include "http/tail.hpp"

#include "http/server.hpp"
#include "log/memory_log.hpp"
#include "schema/syntax.hpp"
#include "sim/forwarding.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <map>
#include <optional>
#include <vector>

namespace sluice::http {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 20s;  // until a test that waits in vain fails

class SteadyClock final : public Clock {
public:
    Mono     now() const noexcept override { return std::chrono::steady_clock::now(); }
    WallTime wall() const noexcept override { return {}; }
};

class CountingLog final : public sim::ForwardingLog {
public:
    using ForwardingLog::ForwardingLog;
    Result<std::shared_ptr<log::StoredBlock const>> read(Sequence sequence) const override
    {
        ++reads;
        if (on_read) on_read(sequence);
        return ForwardingLog::read(sequence);
    }
    mutable std::atomic<int>      reads{0};
    std::function<void(Sequence)> on_read;
};

struct Draft {
    std::string type{"relationship.created"};
    std::string did{"did:plc:one"};
    Tier        tier{Tier::normal};
    std::string payload{R"({"a":1})"};
    std::string rev{};
    std::string id{};
};

// Takes what readers are given.
class Inbox final : public Responder {
public:
    struct Given {
        std::string piece;
        bool        is_last;
    };
    std::map<std::uint64_t, std::optional<Given>> given;

    void respond(std::uint64_t, Response) override {}
    void abandon(std::uint64_t) noexcept override {}
    void give(std::uint64_t reader, std::string piece, bool is_last) override
    {
        given[reader] = Given{std::move(piece), is_last};
    }
};

// The test's thread is the io thread.
class LiveTail : public testing::Test {
protected:
    void commit(std::vector<Draft> const& drafts, bool is_announced = true)
    {
        log::Commit commit{
            .first = next(log_.last()), .count = static_cast<std::uint32_t>(drafts.size()),
            .chain_after = log_.last_chain(), .received_at = WallTime(1'700'000'000s), .parts = {}, .decisions = {}};
        log::BlockHeader const header{
            log::block_magic, commit.count, number(commit.first), commit.received_at.time_since_epoch().count(),
            commit.chain_after};
        commit.chain_after = header.chain_seed();
        std::vector<std::string> records;
        for (auto const& draft : drafts) {
            log::RecordDraft record;
            record.type = draft.type;
            record.did = draft.did;
            record.id = draft.id;
            record.tier = draft.tier;
            record.payload = draft.payload;
            if (!draft.rev.empty()) record.rev = schema::parse_tid(draft.rev).value();
            log::write_record(record, records.emplace_back());
            commit.chain_after = log::LoggedRecord(records.back().data()).chain_after(commit.chain_after);
            log::set_chain(records.back().data(), commit.chain_after);
        }
        std::vector<std::string_view> parts{{reinterpret_cast<char const*>(&header), sizeof header}};
        parts.insert(parts.end(), records.begin(), records.end());
        commit.parts = parts;
        ASSERT_TRUE(log_.append(commit));
        if (is_announced) tail().advance(log_.last());
    }
    Tail& tail()
    {
        if (!tail_) {
            tail_.emplace(io_, counting_, clock_, options_);
            tail_->advance(log_.last());
        }
        return *tail_;
    }
    Response open(std::string_view query, std::string_view last_event_id = {})
    {
        Header const header{"Last-Event-ID", last_event_id};
        Request      request;
        request.query = query;
        if (!last_event_id.empty()) request.headers = {&header, 1};
        return tail().open(request);
    }
    void ask(std::shared_ptr<Stream> const& stream, std::uint64_t reader = 1)
    {
        inbox_->given[reader].reset();
        stream->next(Piece(inbox_, reader));
    }
    // What the reader was given; fails when there is nothing in time.
    Inbox::Given take(std::uint64_t reader = 1)
    {
        auto const end = clock_.now() + patience;
        while (!inbox_->given[reader] && clock_.now() < end) {
            io_.restart();
            io_.run_for(2ms);
        }
        EXPECT_TRUE(inbox_->given[reader]) << "nothing came";
        return inbox_->given[reader].value_or(Inbox::Given{"", true});
    }
    // Whether the reader is given something within that time.
    bool hears(std::chrono::milliseconds within, std::uint64_t reader = 1)
    {
        io_.restart();
        io_.run_for(within);
        return inbox_->given[reader].has_value();
    }
    // Reads until the event of that sequence is there, whole.
    std::string read_up_to(std::shared_ptr<Stream> const& stream, std::uint64_t sequence)
    {
        auto const  mark = "id: " + std::to_string(sequence) + "\nevent: ";
        std::string text;
        for (std::size_t at; (at = text.find(mark)) == text.npos || text.find("\n\n", at) == text.npos;) {
            ask(stream);
            auto const given = take();
            text += given.piece;
            EXPECT_LE(given.piece.size(), options_.piece_bytes);
            if (given.is_last) break;
        }
        return text;
    }
    // The sequences of the events in the text.
    static std::vector<std::uint64_t> sequences(std::string_view text)
    {
        std::vector<std::uint64_t> found;
        constexpr std::string_view mark = "data: {\"sequence\":";
        for (auto at = text.find(mark); at != text.npos; at = text.find(mark, at + 1))
            found.push_back(std::strtoull(text.data() + at + mark.size(), nullptr, 10));
        return found;
    }

    SteadyClock             clock_;
    log::MemoryLog::Disk    disk_;
    log::MemoryLog          log_{disk_};
    CountingLog             counting_{log_};
    boost::asio::io_context io_{1};
    std::shared_ptr<Inbox>  inbox_ = std::make_shared<Inbox>();
    TailOptions             options_;
    std::optional<Tail>     tail_;
};

using Sequences = std::vector<std::uint64_t>;

TEST_F(LiveTail, SendsEachEventAsOneMessage)
{
    commit({{.tier = Tier::high, .payload = "{\"a\":\n1,\r\n\"b\":\r2}", .rev = "3jzfcijpj2z2a", .id = "one"},
            {.type = "free.type", .did = "did:web:example.org"}});
    auto const response = open("cursor=0");

    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.content_type, "text/event-stream");
    auto const own_id = log_.read(Sequence{2}).value()->record(1).id(Sequence{2});
    EXPECT_EQ(
        read_up_to(response.stream, 2),
        "retry: 2000\nid: 0\n\n"
        "id: 1\nevent: relationship.created\n"
        R"(data: {"sequence":1,"event_id":"one","event_type":"relationship.created","did":"did:plc:one",)"
        R"("tier":"high","rev":"3jzfcijpj2z2a","received_at":"2023-11-14T22:13:20.000000Z","payload":{"a":)"
        "\ndata: 1,\ndata: \"b\":\ndata: 2}}\n\n"
        "id: 2\nevent: free.type\n"
        R"(data: {"sequence":2,"event_id":")" +
            own_id +
            R"(","event_type":"free.type","did":"did:web:example.org","tier":"normal",)"
            R"("received_at":"2023-11-14T22:13:20.000000Z","payload":{"a":1}})"
            "\n\n");
}

TEST_F(LiveTail, ResumesAfterTheEventThatWasSeenLast)
{
    for (int i = 0; i < 3; ++i) commit({{}, {}});

    EXPECT_EQ(sequences(read_up_to(open("cursor=0").stream, 6)), (Sequences{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(sequences(read_up_to(open("cursor=3").stream, 6)), (Sequences{4, 5, 6}));
    EXPECT_EQ(sequences(read_up_to(open("", "5").stream, 6)), Sequences{6});
    EXPECT_EQ(sequences(read_up_to(open("cursor=1", "4").stream, 6)), (Sequences{5, 6})) << "the header wins";
}

TEST_F(LiveTail, BeginsWithWhatComesNextWithoutACursor)
{
    commit({{}, {}});
    auto const stream = open("").stream;
    ask(stream);
    EXPECT_EQ(take().piece, "retry: 2000\nid: 2\n\n");
    ask(stream);
    EXPECT_FALSE(hears(20ms));

    commit({{}});

    EXPECT_EQ(sequences(take().piece), Sequences{3});
}

TEST_F(LiveTail, ShowsOnlyWhatIsDurable)
{
    auto const stream = open("cursor=0").stream;
    ask(stream);
    take();
    commit({{}}, false);
    ask(stream);
    EXPECT_FALSE(hears(20ms));

    tail().advance(Sequence{1});

    EXPECT_EQ(sequences(take().piece), Sequences{1});
}

TEST_F(LiveTail, SendsEveryEventOnceInBoundedPiecesWhileTheLogGrows)
{
    options_.piece_bytes = 512;
    std::string long_text(5'000, 'x');
    for (int i = 0; i < 50; ++i) commit({{}, {.payload = "{\"t\":\"" + long_text + "\"}"}, {}});
    auto const stream = open("cursor=0").stream;
    std::string text;
    for (int i = 0; i < 200; ++i) {
        ask(stream);
        text += take().piece;
        if (i % 4 == 0) commit({{}});
    }
    auto const last = number(log_.last());
    text += read_up_to(stream, last);

    Sequences expected(last);
    for (std::uint64_t i = 0; i < last; ++i) expected[i] = i + 1;
    EXPECT_EQ(sequences(text), expected);
    std::size_t whole = 0;
    for (auto at = text.find(long_text); at != text.npos; at = text.find(long_text, at + 1)) ++whole;
    EXPECT_EQ(whole, 50u);
}

TEST_F(LiveTail, SendsOnlyWhatTheReaderWants)
{
    commit({{.type = "relationship.created", .did = "did:plc:one", .tier = Tier::low},
            {.type = "relationship.deleted", .did = "did:plc:two", .tier = Tier::high},
            {.type = "attestation.created", .did = "did:plc:one", .tier = Tier::high},
            {.type = "free", .did = "did:plc:three", .tier = Tier::critical}});
    auto const wanted = [&](std::string const& query, std::uint64_t last) {
        return sequences(read_up_to(open("cursor=0&" + query).stream, last));
    };

    EXPECT_EQ(wanted("types=relationship.*", 2), (Sequences{1, 2}));
    EXPECT_EQ(wanted("types=free,relationship.deleted", 4), (Sequences{2, 4}));
    EXPECT_EQ(wanted("types=*", 4), (Sequences{1, 2, 3, 4}));
    EXPECT_EQ(wanted("dids=did:plc:two,did:plc:one", 3), (Sequences{1, 2, 3}));
    EXPECT_EQ(wanted("dids=did%3Aplc%3Athree", 4), Sequences{4});
    EXPECT_EQ(wanted("tier=HIGH,low", 3), (Sequences{1, 2, 3}));
    EXPECT_EQ(wanted("types=relationship.*&tier=high", 2), Sequences{2});
    EXPECT_EQ(wanted("internal=true", 4), (Sequences{1, 2, 3, 4}));
}

TEST_F(LiveTail, TellsAReaderWithoutNewsHowFarItCame)
{
    options_.heartbeat = 30ms;
    commit({{}, {}});
    auto const stream = open("cursor=0&types=nothing").stream;
    ask(stream);
    EXPECT_EQ(take().piece, "retry: 2000\nid: 0\n\n");

    ask(stream);
    EXPECT_EQ(take().piece, ":\nid: 2\n\n");
    commit({{}});
    ask(stream);
    EXPECT_EQ(take().piece, ":\nid: 3\n\n");
    ask(stream);
    EXPECT_EQ(take().piece, ":\nid: 3\n\n");
}

TEST_F(LiveTail, RefusesWhatItCannotRead)
{
    commit({{}, {}});
    std::string many = "dids=did:plc:a";
    for (int i = 0; i < 100; ++i) many += ",did:plc:a";

    for (auto const& query :
         {std::string("cursor=x"), std::string("cursor="), std::string("cursor=-1"), std::string("cursor=1x"),
          std::string("colour=red"), std::string("cursor=1&cursor=1"), std::string("types="), std::string("types=a,,b"),
          std::string("types=a,"), std::string("dids=me"), std::string("tier=urgent"), std::string("internal=1"), many,
          std::string("cursor=18446744073709551616")}) {
        auto const response = open(query);
        EXPECT_EQ(response.status, 400) << query;
        EXPECT_NE(response.body.find("bad_query"), std::string::npos) << query;
        EXPECT_EQ(response.stream, nullptr);
    }
    EXPECT_EQ(open("", "x").status, 400);
    for (auto const* cursor : {"3", "18446744073709551615"}) {
        auto const response = open("", cursor);
        EXPECT_EQ(response.status, 400);
        EXPECT_NE(response.body.find("future_cursor"), std::string::npos);
    }
    EXPECT_EQ(open("cursor=2").status, 200);
}

TEST_F(LiveTail, RefusesACursorBeforeTheBeginningOfTheLog)
{
    for (int i = 0; i < 3; ++i) commit({{}, {}});
    disk_.blocks.erase(Sequence{1});
    disk_.blocks.erase(Sequence{3});

    for (auto const* cursor : {"1", "3"}) {
        auto const response = open("", cursor);
        EXPECT_EQ(response.status, 410);
        EXPECT_NE(response.body.find("cursor_too_old"), std::string::npos);
    }
    EXPECT_EQ(sequences(read_up_to(open("cursor=4").stream, 6)), (Sequences{5, 6}));
    EXPECT_EQ(sequences(read_up_to(open("cursor=0").stream, 6)), (Sequences{5, 6})) << "0 takes what there is";
}

TEST_F(LiveTail, EndsWithAReasonWhenTheLogCannotBeRead)
{
    for (int i = 0; i < 2; ++i) commit({{}});
    disk_.blocks.rbegin()->second.back() ^= 1;
    auto const stream = open("cursor=1").stream;
    ask(stream);
    auto const given = take();

    EXPECT_TRUE(given.is_last);
    EXPECT_TRUE(given.piece.ends_with(": the log cannot be read\nid: 1\n\n")) << given.piece;
}

TEST_F(LiveTail, EndsReadersThatWaitAndThatAskLater)
{
    auto const first = open("").stream, second = open("").stream;
    for (std::uint64_t reader : {1u, 2u}) {
        ask(reader == 1 ? first : second, reader);
        take(reader);
    }
    ask(first, 1);
    EXPECT_FALSE(hears(10ms, 1));

    first->end();
    second->end();
    ask(second, 2);

    for (std::uint64_t reader : {1u, 2u}) {
        auto const given = take(reader);
        EXPECT_TRUE(given.is_last);
        EXPECT_EQ(given.piece, ": the server stops\nid: 0\n\n");
    }
}

TEST_F(LiveTail, HasRoomForSoManyReaders)
{
    options_.readers_max = 2;
    auto const first = open("");
    auto       second = open("");
    EXPECT_EQ(tail().stats().readers, 2u);

    auto const third = open("");
    EXPECT_EQ(third.status, 503);
    EXPECT_NE(third.headers.find("Retry-After"), std::string::npos);

    ask(second.stream);
    second.stream.reset();
    EXPECT_EQ(open("").status, 200);
}

TEST_F(LiveTail, ReadsACommitOnceForAllWhoAreLive)
{
    std::vector<std::shared_ptr<Stream>> streams;
    for (std::uint64_t reader = 1; reader <= 50; ++reader) {
        streams.push_back(open("").stream);
        ask(streams.back(), reader);
        take(reader);
        ask(streams.back(), reader);
    }
    counting_.reads = 0;
    for (int i = 0; i < 10; ++i) {
        commit({{}, {}, {}});
        for (std::uint64_t reader = 1; reader <= 50; ++reader) {
            EXPECT_EQ(sequences(take(reader).piece).size(), 3u);
            ask(streams[reader - 1], reader);
        }
    }

    EXPECT_EQ(counting_.reads, 10);
    EXPECT_EQ(tail().stats().events, 1'500u);
}

TEST_F(LiveTail, LetsOthersReadWhileOneLooksForWhatIsNotThere)
{
    options_.turn_bytes = 1;
    for (int i = 0; i < 200; ++i) commit({{}});
    std::promise<void> committed;
    std::uint64_t      sent_meanwhile = 0;
    counting_.on_read = [&](Sequence sequence) {
        if (sequence == Sequence{10}) committed.get_future().wait();
        if (sequence == Sequence{150}) sent_meanwhile = tail().stats().events;
    };
    auto const live = open("").stream, seeker = open("cursor=0&types=nothing").stream;
    ask(live, 2);
    take(2);
    ask(live, 2);
    ask(seeker, 1);
    take(1);
    ask(seeker, 1);
    commit({{}});
    committed.set_value();

    EXPECT_EQ(sequences(take(2).piece), Sequences{201});
    for (int i = 0; i < 2000 && counting_.reads < 200; ++i) std::this_thread::sleep_for(1ms);
    tail().stop();
    EXPECT_EQ(sent_meanwhile, 1u);
}

TEST_F(LiveTail, GivesNothingAfterItWasStopped)
{
    auto const stream = open("").stream;
    ask(stream);
    take();
    tail().stop();

    ask(stream);
    commit({{}});

    EXPECT_FALSE(hears(20ms));
}

}  // namespace
}  // namespace sluice::http
