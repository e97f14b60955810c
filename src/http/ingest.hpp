// From a request's body to a durable answer: decode, admit, append. Lives on the io thread.
#pragma once

#include "engine/engine.hpp"
#include "http/message.hpp"
#include "http/problem.hpp"
#include "http/rates.hpp"
#include "http/server.hpp"
#include "schema/decoder.hpp"

#include <boost/asio/io_context.hpp>

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
};

// Why requests were refused, by cause.
struct Refusals {
    std::uint64_t invalid{0}, conflict{0}, queue_full{0}, disk_full{0}, ids_behind{0}, read_failed{0}, log_failed{0},
        draining{0};
};

class Ingest {
public:
    using Submit = std::function<void(engine::BlockRef)>;

    Ingest(boost::asio::io_context& io, engine::Engine& engine, Rates const& rates, schema::SchemaSet const& schemas,
           Submit submit, IngestLimits limits = {});

    enum class Form : std::uint8_t { array, ndjson };

    void single(Request& request, Reply reply);
    void batch(Request& request, Form form, Reply reply);

    // On the io thread, with blocks the engine has decided about.
    void answered(std::vector<engine::BlockRef> const& blocks);

    void drain() { draining_ = true; }  // from now on everything is refused
    std::size_t     waiting() const noexcept { return waiting_; }  // requests without an answer yet
    Refusals const& refusals() const noexcept { return refusals_; }

private:
    struct Batch;
    struct Waiting {
        Reply                  reply;
        std::shared_ptr<Batch> batch;  // null: a single event
    };

    std::uint64_t wait(Waiting waiting);
    void          count_refusal(Problem const& problem);
    void          refuse(Reply& reply, Problem const& problem);
    Problem       not_admitted(engine::Admission::Refusal const& refusal) const;
    void          flush();
    void          schedule_flush();

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
    Refusals                 refusals_;
};

}  // namespace sluice::http
