#include "adapters/postgres/connection.hpp"

#include <libpq-fe.h>
#include <pqxx/except>
#include <pqxx/nontransaction>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string_view>
#include <utility>

namespace sluice::adapters::postgres {
namespace {

// Beyond the server's own statement time-out: it does not fire in a server that hangs.
constexpr auto grace = std::chrono::seconds(1);

constexpr char const* read_only = "postgres_read_only";

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

// Without the server's words where they may repeat what was to be stored.
Error error_of(std::string_view sqlstate, std::string const& name, std::string_view words)
{
    auto const is = [&](std::string_view start) { return sqlstate.starts_with(start); };
    auto const where = "SQLSTATE " + std::string(sqlstate) + " in " + name;
    // What one event may be guilty of: too long, out of range, not to be encoded, against a constraint, a key too
    // large. Anything else of class 22 is a mistake of ours, for which no event is given up.
    for (auto const* const state : {"22001", "22003", "22021", "22P05", "23", "54000"})
        if (is(state)) return {Errc::invalid, "postgres_refused", where};
    if (is("40")) return {Errc::conflict, "postgres_conflict", where};
    if (is("25006")) return {Errc::unavailable, read_only, where};
    return {Errc::unavailable, "postgres_error", where + ": " + first_line(words)};
}

Error current_error(std::string const& name)
{
    try {
        throw;
    } catch (std::bad_alloc const&) {
        throw;
    } catch (pqxx::broken_connection const& error) {
        return {Errc::unavailable, Connection::lost, name + ": " + first_line(error.what())};
    } catch (pqxx::transaction_rollback const&) {
        return error_of("40", name, {});
    } catch (pqxx::sql_error const& error) {
        return error_of(error.sqlstate(), name, error.what());
    } catch (std::exception const& error) {
        return {Errc::unavailable, "postgres_error", name + ": " + first_line(error.what())};
    }
}

std::string milliseconds(std::chrono::milliseconds time) { return std::to_string(time.count()); }

// Every statement here looks up keys and names, also while tables are new and nothing is known about them.
std::string session_settings(PostgresOptions const& options)
{
    return "-c statement_timeout=" + milliseconds(options.statement_timeout) +
           " -c lock_timeout=" + milliseconds(options.lock_timeout) +
           " -c idle_in_transaction_session_timeout=" + milliseconds(options.idle_in_transaction_timeout) +
           " -c synchronous_commit=on -c default_transaction_isolation=read\\ committed -c bytea_output=hex"
           " -c plan_cache_mode=force_generic_plan -c jit=off"
           " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off";
}

std::string quoted(std::string_view value)
{
    std::string text = "'";
    for (char const c : value) {
        if (c == '\'' || c == '\\') text += '\\';
        text += c;
    }
    return text + '\'';
}

// Other programs put the name of their driver behind the scheme.
std::string without_driver(std::string url)
{
    auto const plus = url.find('+'), scheme = url.find("://");
    if (scheme != url.npos && plus < scheme) url.erase(plus, scheme - plus);
    return url;
}

}  // namespace

Result<std::string> connection_string(PostgresOptions const& options)
{
    Error const wrong{Errc::invalid, "bad_url", "not a connection string or URL of PostgreSQL"};
    if (options.url.empty()) return wrong;
    std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> const parsed(
        PQconninfoParse(without_driver(options.url).c_str(), nullptr), &PQconninfoFree);
    if (!parsed) return wrong;

    std::map<std::string, std::string> values{
        {"application_name", "sluice"},
        {"connect_timeout", std::to_string(options.connect_timeout.count())},
        {"keepalives", "1"},
        {"keepalives_idle", "5"},
        {"keepalives_interval", "2"},
        {"keepalives_count", "3"},
        {"tcp_user_timeout", milliseconds(options.tcp_user_timeout)}};
    for (auto const* option = parsed.get(); option->keyword != nullptr; ++option)
        if (option->val != nullptr) values[option->keyword] = option->val;
    values["client_encoding"] = "UTF8";
    auto& settings = values["options"];  // later ones win
    settings = session_settings(options) + ' ' + settings;

    std::string text;
    for (auto const& [name, value] : values) text += name + '=' + quoted(value) + ' ';
    return text;
}

void Usage::note(std::optional<Error> const& error)
{
    bool const            is_down = error && error->code == Errc::unavailable;
    std::lock_guard const lock(mutex_);
    was_asked_ = true;
    last_error_ = is_down ? error : std::nullopt;
}

bool Usage::is_up() const
{
    std::lock_guard const lock(mutex_);
    return was_asked_ && !last_error_;
}

std::optional<Error> Usage::last_error() const
{
    std::lock_guard const lock(mutex_);
    return last_error_;
}

Connection::Connection(Deps deps, std::string const& connection_string)
    : deps_(deps), connection_(connection_string), socket_(::fcntl(connection_.sock(), F_DUPFD_CLOEXEC, 0)),
      since_(deps.clock.now())
{
    if (socket_ < 0) throw pqxx::broken_connection("no file descriptor left");
#include <pqxx/internal/ignore-deprecated-pre.hxx>
    connection_.inhibit_reactivation(true);
#include <pqxx/internal/ignore-deprecated-post.hxx>
}

Connection::~Connection() { ::close(socket_); }

Result<std::unique_ptr<Connection>> Connection::open(Deps deps, std::string const& connection_string)
{
    try {
        std::unique_ptr<Connection> connection(new Connection(deps, connection_string));
        deps.usage.connected.fetch_add(1, std::memory_order_relaxed);
        deps.usage.note(std::nullopt);
        return connection;
    } catch (...) {
        auto error = current_error("connect");
        error.code = Errc::unavailable;
        error.reason = "postgres_unreachable";
        deps.usage.note(error);
        return error;
    }
}

template <class F>
Result<pqxx::result> Connection::guarded(std::string const& name, F const& call)
{
    auto const start = deps_.clock.now();
    auto const run = [&]() -> Result<pqxx::result> {
        try {
            Watchdog::Guard const guard(deps_.watchdog, socket_, deps_.options.statement_timeout + grace);
            pqxx::nontransaction  session(connection_);
            return call(session);
        } catch (...) {
            return current_error(name);
        }
    };
    auto       result = run();
    auto const took = deps_.clock.now() - start;
    auto&      usage = deps_.usage;
    usage.queries.fetch_add(1, std::memory_order_relaxed);
    usage.query_ns.fetch_add(static_cast<std::uint64_t>(took.count()), std::memory_order_relaxed);
    if (took >= deps_.options.slow_query) {
        usage.slow_queries.fetch_add(1, std::memory_order_relaxed);
        if (deps_.options.on_slow_query) deps_.options.on_slow_query(name, took);
    }
    if (!result && result.error().reason == read_only) is_read_only_ = true;
    if (!result && (result.error().reason == lost || !connection_.is_open())) {
        if (!std::exchange(is_lost_, true)) usage.lost.fetch_add(1, std::memory_order_relaxed);
        result = Error{Errc::unavailable, lost, result.error().detail};
    }
    usage.note(result ? std::nullopt : std::optional(result.error()));
    return result;
}

Result<pqxx::result> Connection::run(Statement const& statement, Params const& params)
{
    return guarded(statement.name, [&](pqxx::nontransaction& session) {
        connection_.prepare(statement.name, statement.sql);  // the server hears of it at its first use
        return session.exec_prepared(statement.name, pqxx::prepare::make_dynamic_params(params.values()));
    });
}

Result<pqxx::result> Connection::run(std::string const& name, std::string const& sql)
{
    return guarded(name, [&](pqxx::nontransaction& session) { return session.exec(sql); });
}

bool Connection::looks_closed() const noexcept
{
    char byte;
    auto const size = ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return size >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

Transaction::~Transaction()
{
    if (is_open_ && !connection_.is_lost()) connection_.run("rollback", "rollback");
}

Result<> Transaction::begin()
{
    auto const result = connection_.run("begin", "begin");
    if (!result) return result.error();
    is_open_ = true;
    return {};
}

Result<> Transaction::commit()
{
    auto const result = connection_.run("commit", "commit");
    if (!result) return result.error();
    is_open_ = false;
    return {};
}

}  // namespace sluice::adapters::postgres
