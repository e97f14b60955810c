// From a request's body to a durable answer: decode, admit, append. Lives on the io thread.
//
// What finds no place lines up for a moment, first come first served within its tier, and a higher tier goes first.
#pragma once

#include "engine/engine.hpp"
#include "http/message.hpp"
#include "http/problem.hpp"
#include "http/producer.hpp"
#include "http/rates.hpp"
#include "http/server.hpp"
#include "schema/decoder.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace sluice::http {

struct IngestLimits {
    std::size_t event_bytes_max{schema::Decoder::event_bytes_max};
    std::size_t batch_bytes_max{16u << 20};
    std::size_t batch_events_max{10'000};
    // Of a batch decoded in one turn, so that other requests are served between.
    std::size_t slice_events{128};
    std::size_t slice_bytes{128u << 10};  // and one line; what stands between events counts
    std::size_t partial_errors_max{1'000};  // listed by pointer in a partial answer; items after them have the first
    // Of bodies that wait to be decoded, and of items of partial answers that wait for a commit; more are refused.
    std::size_t waiting_bytes_max{64u << 20};
    // Requests without a place line up so long; 0: they are refused at once.
    std::chrono::milliseconds line_wait{100};
    // How many, and with how many bytes. As with places, a tier lines up only while its per cent are not reached, and
    // a producer has its share of that.
    std::size_t line_max{1'024};
    std::size_t line_bytes_max{64u << 20};
};

// Why a request or an item was refused.
enum class Cause : std::uint8_t {
    invalid, conflict, producer_share, rate_limited, queue_full, disk_full, ids_behind, read_failed, log_failed,
    draining
};
inline constexpr std::string_view cause_names[] = {
    "invalid", "conflict", "producer_share", "rate_limited", "queue_full", "disk_full", "ids_behind", "read_failed",
    "log_failed", "draining"};
inline constexpr std::size_t cause_count = std::size(cause_names);

// Of one producer.
struct Counts {
    std::uint64_t                          admitted{0};  // events
    std::array<std::uint64_t, cause_count> refused{};    // requests or items, by cause

    std::uint64_t operator[](Cause cause) const noexcept { return refused[static_cast<std::size_t>(cause)]; }
};

// Requests in the line for places.
struct Line {
    std::size_t                            requests{0}, bytes{0};
    std::array<engine::Delays, tier_count> waits{};  // of those that have left it, admitted or not
};

class Ingest {
public:
    using Submit = std::function<void(engine::BlockRef)>;

    // One producer for each that admission() has a share for.
    Ingest(boost::asio::io_context& io, engine::Engine& engine, Clock const& clock, Rates const& rates,
           schema::SchemaSet const& schemas, Submit submit, std::vector<Producer> const& producers,
           IngestLimits limits = {});
    ~Ingest();
    Ingest(Ingest const&) = delete;

    enum class Form : std::uint8_t { array, ndjson };

    void single(Request& request, Reply reply);
    void batch(Request& request, Form form, Reply reply);

    // On the io thread, with blocks the engine has decided about.
    void answered(std::vector<engine::BlockRef> const& blocks);

    void drain();  // from now on everything is refused, and so is who stands in line
    // Refuses who stood in line for too long. Called by a timer.
    void expire();

    std::size_t   waiting() const noexcept { return waiting_; }  // requests that wait for their commit
    Counts const& counts(engine::Producer producer) const noexcept { return holders_[producer].counts; }
    Line const&   line() const noexcept { return line_; }

private:
    struct Batch;
    struct Waiting {
        Reply                  reply;
        std::shared_ptr<Batch> batch;  // null: a single event
    };
    struct Holder {
        Tier                     cap{};
        std::optional<RateLimit> limit{};
        Counts                   counts{};
        std::size_t              standing{0}, standing_bytes{0};  // of its requests, in line
    };
    // A request in line.
    struct Standing {
        Reply                     reply;
        std::shared_ptr<Batch>    batch;   // null: a single event
        std::string               record;  // of that
        engine::Admission::Demand demand;
        std::size_t               bytes;
        Clock::Mono               since;
    };
    // Why a demand has no places.
    struct No {
        enum class Why : std::uint8_t { rate, places, turn } why{};
        engine::Admission::Refusal refusal{};

        bool is_passing() const noexcept
        {
            return why != Why::rate && !refusal.never_fits && !refusal.by_share && !refusal.disk_is_low;
        }
    };

    std::uint64_t wait(Waiting waiting);
    void          count_refusal(engine::Producer producer, Problem const& problem);
    void          refuse(engine::Producer producer, Reply& reply, Problem const& problem);
    Problem       rate_limited(engine::Producer producer, std::uint32_t events);
    Problem       to_problem(engine::Admission::Demand const& demand, No const& no);
    void          add_rate(engine::Producer producer, std::string& policy, std::string& limit);
    void          add_rate(engine::Producer producer, Response& response);
    void          flush();
    void          schedule_flush();

    std::optional<Problem> refused_unread(engine::Producer producer);
    std::optional<No>      admit(
             engine::Admission::Demand const& demand, engine::Admission::Ticket& ticket, bool is_first = false);
    void enter(Reply reply, std::uint32_t offset, Tier tier, engine::Admission::Ticket ticket,
               engine::Producer producer);
    void enter(Reply reply, std::shared_ptr<Batch> batch);

    std::deque<Standing>* first_line();
    bool                  may_stand(engine::Producer producer, Tier tier, std::size_t bytes) const noexcept;
    void                  stand(Standing standing);
    Standing              leave(std::deque<Standing>& line);
    void                  expect_room();
    void                  serve_line();
    void                  await_expiry();

    enum class Progress : std::uint8_t { event, more, decoded, refused };

    void     schedule_decode();
    void     decode_next();
    Progress decode_slice(Batch& batch);
    Progress take_event(Batch& batch, std::size_t& budget, std::string_view& event);
    bool     decode_one(Batch& batch, std::string_view event);
    bool     decode_partial(Batch& batch, schema::Decoded const& decoded, std::size_t before);
    void add_refused(Batch& batch, Problem const& problem);
    void submit(std::shared_ptr<Batch> batch);
    void answer_single(engine::Block const& block, engine::Block::Request const& request, Reply& reply);
    void answer_batch(engine::Block const& block, Batch& batch, Reply& reply);

    boost::asio::io_context& io_;
    engine::Engine&          engine_;
    Clock const&             clock_;
    Rates const&             rates_;
    Submit const             submit_;
    IngestLimits const       limits_;
    schema::Decoder          decoder_;
    engine::BlockRef         open_;             // single events of this turn
    bool                     flush_scheduled_{false};
    std::size_t              batch_bytes_{0};  // what batches count
    std::deque<std::shared_ptr<Batch>> undecoded_;  // the first is being decoded
    bool                     decode_scheduled_{false};
    std::vector<Waiting>     slots_;            // by token; bounded by connections
    std::vector<std::size_t> free_slots_;
    std::size_t              waiting_{0};
    bool                     draining_{false};
    std::vector<Holder>      holders_;  // by producer
    std::array<std::deque<Standing>, tier_count> standing_;  // by the lowest tier of each, in order of arrival
    Line                      line_;
    boost::asio::steady_timer expiry_;
    bool                      expiry_awaited_{false};
};

}  // namespace sluice::http
