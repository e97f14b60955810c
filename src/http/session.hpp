// One connection: reads requests, hands them over, writes answers. Internal to the server; io thread only.
#pragma once

#include "http/server.hpp"

#include <vector>

namespace sluice::http {

// What the sessions of a server share.
struct Commons {
    ServerOptions options;
    Callbacks     callbacks;
    Counters      counters;

    Clock::Mono                                 now{};  // as of this turn of the loop
    bool                                        draining{false};
    Clock::Mono                                 streams_end{Clock::Mono::max()};  // while draining
    std::shared_ptr<Responder>                  responder;
    std::string                                 out;      // where answers are put together
    std::vector<std::unique_ptr<RequestReader>> readers;  // at rest
    std::vector<std::uint64_t>                  closed;   // sessions to be deleted once none of them is running
    std::vector<std::uint64_t>                  unfinished;  // sessions that have read enough for one turn

    std::unique_ptr<RequestReader> take_reader();
    void                           give_back(std::unique_ptr<RequestReader> reader);
};

// The io thread is the only writer, which saves the locked addition.
inline void add(Counters::Count& counter, std::uint64_t amount)
{
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

class Session {
public:
    // Owns the descriptor, which must be non-blocking and watched for edges of both directions.
    Session(Commons& commons, int descriptor, std::uint64_t id);
    ~Session();
    Session(Session const&) = delete;

    void on_ready(std::uint32_t epoll_events);
    void go_on();  // after it was listed as unfinished
    void respond(Response const& response);  // to the request handed over; nothing happens when there is none
    void give(std::string_view piece, bool is_last);  // to the stream of the response, as respond()
    void abandon();                          // there will be no response to it, or no further piece
    void end_stream();                       // soon, if there is one
    void refuse(Refusal refusal);
    void sweep();  // ends it when its deadline has passed
    void close();

    std::uint64_t id() const noexcept { return id_; }
    bool          is_idle() const noexcept { return state_ == State::idle; }
    bool          is_closed() const noexcept { return state_ == State::closed; }

private:
    enum class State : std::uint8_t { idle, head, body, answering, writing, streaming, lingering, closed };

    using Step = RequestReader::Step;

    bool reading() const noexcept { return state_ <= State::body; }
    void read();
    bool receive(std::size_t& budget);
    void rest();
    bool count_body();
    void release_body();
    void release_reader();

    void                advance(Step step);
    std::optional<Step> process(Step step);
    std::optional<Step> take_head();
    std::optional<Step> hand_over();
    std::optional<Step> after_answer();
    void                begin_answer();
    void                ask_for_body();

    bool push(std::string const& bytes);
    void flush();
    void await_room();
    bool count_unsent();
    void release_unsent();
    Counters::Count& unsent_count();
    void sent_all();

    void begin_stream(std::shared_ptr<Stream> const& stream, Framing framing);
    void send(std::string& out);
    void ask_for_piece();
    void release_stream();
    void linger();
    void drain();

    Commons&                       commons_;
    std::unique_ptr<RequestReader> reader_;  // none while idle, lingering or closed
    std::string                    unsent_;
    std::shared_ptr<Stream>        stream_;  // of the answer under way, if it has one
    std::size_t                    sent_{0};
    Clock::Mono                    since_{};  // when the head, the body or the answer began
    Clock::Mono                    deadline_{};
    std::size_t                    body_counted_{0};
    std::size_t                    drained_{0};
    std::uint64_t                  id_;
    int                            descriptor_;
    State                          state_{State::idle};
    bool                           readable_{false};
    bool                           half_closed_{false};  // the client will send no more
    bool                           last_answer_{false};  // the connection ends after it
    bool                           last_piece_{false};   // of stream_ has been given
    Framing                        framing_{};           // of stream_
    bool                           advancing_{false};    // advance() is running, and goes on when an answer is sent
};

}  // namespace sluice::http
