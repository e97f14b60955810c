#include "http/server.hpp"

#include "http/session.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cerrno>

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::http {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr int         events_per_turn = 256;
constexpr int         accepts_per_turn = 64;
constexpr std::size_t refused_at_once = 256;  // connections above the limit that are told so

}  // namespace

// Sessions are watched by an epoll instance of the server's own, which the io_context watches in turn. A request then
// costs one recv and one send: Asio's sockets would add an epoll_ctl, or a recv in vain, to each.
class Server::Core final : public Responder, public std::enable_shared_from_this<Core> {
public:
    Core(asio::io_context& context, Clock const& clock, ServerOptions options, Callbacks callbacks)
        : context_(context), clock_(clock), events_(std::in_place, context), sweeper_(std::in_place, context)
    {
        commons_.options = options;
        commons_.callbacks = std::move(callbacks);
        commons_.now = clock_.now();
        events_->assign(::epoll_create1(EPOLL_CLOEXEC));
    }

    void start()
    {
        commons_.responder = shared_from_this();
        await_events();
        await_sweep();
    }

    // Replies and pending handlers may hold the Core longer, even than the io_context: nothing of Asio stays in it.
    void stop()
    {
        stopped_ = true;
        stop_accepting();
        for (auto& slot : slots_)
            if (slot.session) slot.session->close();
        slots_.clear();
        sweeper_.reset();
        events_.reset();
        done_ = nullptr;
        commons_.callbacks = {};
        commons_.responder = nullptr;
    }

    Result<std::uint16_t> listen(std::string_view host, std::uint16_t port);
    void                  stop_accepting();
    void                  close_idle();
    void                  when_empty(std::function<void()> done);
    Counters const&       counters() const noexcept { return commons_.counters; }
    std::size_t           connections() const noexcept { return counters().open.load(std::memory_order_relaxed); }

    void respond(std::uint64_t request, Response response) override
    {
        if (auto* const session = find(request)) session->respond(response);
        if (!commons_.unfinished.empty()) post_turn();
    }
    void give(std::uint64_t request, std::string piece, bool is_last) override
    {
        if (auto* const session = find(request)) session->give(piece, is_last);
    }
    void abandon(std::uint64_t request) noexcept override
    {
        if (auto* const session = find(request)) session->abandon();
    }

private:
    struct Listener {
        tcp::acceptor acceptor;
        bool          paused{false};  // until the next sweep, since there are no descriptors left
    };
    struct Slot {
        std::unique_ptr<Session> session;
        std::uint32_t            generation{0};
    };

    void     await_accept(Listener& listener);
    void     accept(Listener& listener);
    void     open(int descriptor);
    Session* find(std::uint64_t id) noexcept;

    void await_events();
    void post_turn();
    void turn();
    void await_sweep();
    void sweep();
    void reap();

    asio::io_context&                      context_;
    Clock const&                           clock_;
    Commons                                commons_;
    std::optional<asio::posix::stream_descriptor> events_;  // the epoll instance
    std::optional<asio::steady_timer>             sweeper_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    std::vector<Slot>                      slots_;
    std::vector<std::uint32_t>             free_slots_;
    std::function<void()>                  done_;
    bool                                   turn_posted_{false};
    bool                                   stopped_{false};
};

// ---- listening

Result<std::uint16_t> Server::Core::listen(std::string_view host, std::uint16_t port)
{
    auto literal = std::string(host == "localhost" ? "127.0.0.1" : host);
    if (literal.starts_with('[') && literal.ends_with(']')) literal = literal.substr(1, literal.size() - 2);

    error_code error;
    auto const address = asio::ip::make_address(literal, error);
    if (error) return Error{Errc::invalid, "listen", "\"" + literal + "\" is not an IP address"};

    tcp::endpoint const endpoint(address, port);
    auto                listener = std::make_unique<Listener>(Listener{tcp::acceptor(context_)});
    auto&               acceptor = listener->acceptor;
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error && address.is_v6()) acceptor.set_option(asio::ip::v6_only(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (!error) acceptor.native_non_blocking(true, error);
    if (error)
        return Error{Errc::unavailable, "listen", literal + " port " + std::to_string(port) + ": " + error.message()};

    auto const actual = acceptor.local_endpoint(error).port();
    listeners_.push_back(std::move(listener));
    await_accept(*listeners_.back());
    return actual;
}

void Server::Core::stop_accepting()
{
    commons_.draining = true;
    commons_.streams_end = std::min(commons_.streams_end, clock_.now() + commons_.options.stream_end);
    listeners_.clear();
    for (auto& slot : slots_)
        if (slot.session) slot.session->end_stream();
}

void Server::Core::await_accept(Listener& listener)
{
    listener.acceptor.async_wait(tcp::acceptor::wait_read, [core = shared_from_this(), &listener](error_code error) {
        if (!error && !core->commons_.draining) core->accept(listener);
    });
}

void Server::Core::accept(Listener& listener)
{
    commons_.now = clock_.now();
    for (int i = 0; i < accepts_per_turn; ++i) {
        int const descriptor =
            ::accept4(listener.acceptor.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            open(descriptor);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            add(commons_.counters.accept_errors, 1);
            listener.paused = true;
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            break;
        }
    }
    await_accept(listener);
}

void Server::Core::open(int descriptor)
{
    if (connections() >= commons_.options.connections_max + refused_at_once) {
        ::close(descriptor);
        add(commons_.counters.refused_with(503), 1);
        return;
    }
    if (free_slots_.empty()) {
        free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
        slots_.emplace_back();
    }
    auto const index = free_slots_.back();
    auto&      slot = slots_[index];
    auto const id = std::uint64_t{++slot.generation} << 32 | index;

    int const no_delay = 1;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.u64 = id;
    if (::epoll_ctl(events_->native_handle(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
        ::close(descriptor);
        add(commons_.counters.accept_errors, 1);
        return;
    }
    free_slots_.pop_back();
    add(commons_.counters.accepted, 1);
    bool const full = connections() >= commons_.options.connections_max;
    slot.session = std::make_unique<Session>(commons_, descriptor, id);
    if (full) slot.session->refuse({503, "overload", "there are too many connections"});
}

// ---- running

Session* Server::Core::find(std::uint64_t id) noexcept
{
    auto const index = static_cast<std::uint32_t>(id);
    if (index >= slots_.size() || slots_[index].generation != id >> 32) return nullptr;
    return slots_[index].session.get();
}

void Server::Core::await_events()
{
    events_->async_wait(asio::posix::stream_descriptor::wait_read, [core = shared_from_this()](error_code error) {
        if (error || core->stopped_) return;
        core->turn();
        core->await_events();
    });
}

// For sessions that have more to read, of which epoll tells nothing any more.
void Server::Core::post_turn()
{
    if (std::exchange(turn_posted_, true)) return;
    asio::post(context_, [core = shared_from_this()] {
        core->turn_posted_ = false;
        if (!core->stopped_) core->turn();
    });
}

void Server::Core::turn()
{
    commons_.now = clock_.now();
    std::vector<std::uint64_t> unfinished;
    unfinished.swap(commons_.unfinished);
    for (auto const id : unfinished)
        if (auto* const session = find(id)) session->go_on();

    epoll_event events[events_per_turn];
    int const   count = ::epoll_wait(events_->native_handle(), events, events_per_turn, 0);
    for (int i = 0; i < count; ++i)
        if (auto* const session = find(events[i].data.u64)) session->on_ready(events[i].events);
    reap();
    if (!commons_.unfinished.empty()) post_turn();
}

void Server::Core::await_sweep()
{
    sweeper_->expires_after(commons_.options.sweep);
    sweeper_->async_wait([core = shared_from_this()](error_code error) {
        if (!error && !core->stopped_) core->sweep();
    });
}

void Server::Core::sweep()
{
    commons_.now = clock_.now();
    for (auto& slot : slots_)
        if (slot.session) slot.session->sweep();
    reap();
    for (auto& listener : listeners_)
        if (std::exchange(listener->paused, false)) await_accept(*listener);
    await_sweep();
}

// Never called with a session on the stack.
void Server::Core::reap()
{
    for (auto const id : commons_.closed) {
        auto const index = static_cast<std::uint32_t>(id);
        slots_[index].session = nullptr;
        free_slots_.push_back(index);
    }
    commons_.closed.clear();
    if (done_ && connections() == 0) std::exchange(done_, nullptr)();
}

void Server::Core::close_idle()
{
    for (auto& slot : slots_)
        if (slot.session && slot.session->is_idle()) slot.session->close();
}

void Server::Core::when_empty(std::function<void()> done)
{
    done_ = std::move(done);
    asio::post(context_, [core = shared_from_this()] {
        if (!core->stopped_) core->reap();
    });
}

// ---- Server

Server::Server(asio::io_context& context, Clock const& clock, ServerOptions options, Callbacks callbacks)
    : core_(std::make_shared<Core>(context, clock, options, std::move(callbacks)))
{
    core_->start();
}

Server::~Server() { core_->stop(); }

Result<std::uint16_t> Server::listen(std::string_view host, std::uint16_t port) { return core_->listen(host, port); }
void                  Server::stop_accepting() { core_->stop_accepting(); }
void                  Server::close_idle() { core_->close_idle(); }
void                  Server::when_empty(std::function<void()> done) { core_->when_empty(std::move(done)); }
std::size_t           Server::connections() const noexcept { return core_->connections(); }
Counters const&       Server::counters() const noexcept { return core_->counters(); }

}  // namespace sluice::http
