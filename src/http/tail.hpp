// The log as it grows, for those who read along: GET /v1/stream as server-sent events.
//
// Everybody pulls from the log by sequence, and being live is only being at its end. So nothing is lost, repeated or
// reordered where a replay becomes live, and a slow reader costs no memory: it just reads later.
#pragma once

#include "http/message.hpp"
#include "log/event_log.hpp"

#include <sluice/clock.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace sluice::http {

struct TailOptions {
    std::size_t               readers_max{2'000};       // more are answered 503
    std::size_t               piece_bytes{8 * 1024};    // of what is sent at once: what a reader may hold unsent
    std::size_t               turn_bytes{1024 * 1024};  // of the log looked at before other readers have their turn
    std::size_t               cache_bytes{4 * 1024 * 1024};  // of parsed commits, shared by the readers; or one
    std::chrono::milliseconds heartbeat{15'000};        // after which a reader without news hears that it is connected
};

// Which events a reader wants. Empty lists take all.
struct TailFilter {
    std::vector<std::string>     types;  // one that ends in '*' takes all that begin so
    std::vector<std::string>     dids;   // sorted
    std::array<bool, tier_count> tiers{true, true, true, true};
    bool                         internal{false};  // also records that are not events

    bool takes(log::LoggedRecord const& record) const;
};

class Tail {
public:
    // What is referred to outlives it.
    Tail(boost::asio::io_context& io, log::EventLog const& log, Clock const& clock, TailOptions options = {});
    ~Tail();
    Tail(Tail const&) = delete;

    // The answer to GET /v1/stream: a stream, or why there is none. On the io thread. The Tail outlives its streams.
    Response open(Request const& request);

    // Everything up to `last` is durable. Any thread; never waits for a reader.
    void advance(Sequence last);

    // Returns when the turn in hand has ended; readers get nothing more. Idempotent.
    void stop();

    struct Stats {
        std::uint64_t readers{0};        // connected now
        std::uint64_t events{0}, bytes{0};  // given to readers so far
    };
    Stats stats() const noexcept;  // any thread

private:
    class Blocks;
    class ReaderStream;
    struct Reader;
    struct Turn;
    using ReaderPtr = std::shared_ptr<Reader>;

    void loop();
    void wake_readers();
    void take_turn(Reader& reader, Sequence last, Turn& turn);
    bool take_events(Reader& reader, log::StoredBlock const& block, Sequence last, Turn& turn);
    void finish_turn(ReaderPtr reader, Turn turn);

    boost::asio::io_context& io_;
    log::EventLog const&     log_;
    Clock const&             clock_;
    TailOptions const        options_;
    std::atomic<std::uint64_t> readers_{0}, events_{0}, bytes_{0};

    mutable std::mutex      mutex_;
    std::condition_variable changed_;
    // Guarded by mutex_.
    std::deque<ReaderPtr> ready_;    // have asked for a piece and may get one, in turn
    std::deque<ReaderPtr> waiting_;  // have asked for a piece and are at the end of the log
    Sequence              last_{};
    Clock::Mono           next_heartbeat_{};
    bool                  stopped_{false};

    std::unique_ptr<Blocks> blocks_;  // the thread's
    std::string             event_;   // the thread's: one event as it is sent
    std::thread             thread_;
};

}  // namespace sluice::http
