// One connection to the server, and what its errors mean.
#pragma once

#include "adapters/postgres/params.hpp"
#include "adapters/postgres/postgres_graph.hpp"
#include "adapters/postgres/tables.hpp"
#include "adapters/postgres/watchdog.hpp"

#include <pqxx/connection>
#include <pqxx/result>

#include <atomic>
#include <mutex>

namespace sluice::adapters::postgres {

// What a connection is made with: the URL, and our options where it says nothing. `invalid` bad_url.
Result<std::string> connection_string(PostgresOptions const& options);

// What all connections of a store have done, and what the server's last answer was. Any thread.
class Usage {
public:
    std::atomic<std::uint64_t> connected{0}, lost{0}, queries{0}, slow_queries{0}, query_ns{0};

    // An error that is not `unavailable` is an answer as well.
    void note(std::optional<Error> const& error);
    bool is_up() const;  // false until it was asked

    std::optional<Error> last_error() const;  // since it was up last

private:
    mutable std::mutex   mutex_;  // guards all below
    std::optional<Error> last_error_;
    bool                 was_asked_{false};
};

// One thread at a time. Nothing throws but running out of memory.
class Connection {
public:
    // All outlive it.
    struct Deps {
        PostgresOptions const& options;
        Clock const&           clock;
        Watchdog&              watchdog;
        Usage&                 usage;
    };

    // Takes up to the connect time-out; name resolution has one of its own.
    static Result<std::unique_ptr<Connection>> open(Deps deps, std::string const& connection_string);
    ~Connection();

    // The reason of an error after which it is unknown whether the statement was carried out, and the connection is of
    // no use any more. After any other it was not.
    static constexpr char const* lost = "postgres_lost";

    // Ends within the statement time-out and a little more.
    Result<pqxx::result> run(Statement const& statement, Params const& params);
    // Several statements without parameters; `name` stands for them.
    Result<pqxx::result> run(std::string const& name, std::string const& sql);

    bool is_lost() const noexcept { return is_lost_; }
    // Of no use any more: lost, or a session that cannot write. A new one may, such as when the server is no standby
    // any longer.
    bool        is_spent() const noexcept { return is_lost_ || is_read_only_; }
    Clock::Mono since() const noexcept { return since_; }
    // Looks without asking: the server has closed it, or says something nobody asked for.
    bool looks_closed() const noexcept;

private:
    Connection(Deps deps, std::string const& connection_string);

    template <class F>
    Result<pqxx::result> guarded(std::string const& name, F const& call);

    Deps const        deps_;
    pqxx::connection  connection_;
    int const         socket_;  // a second handle of the connection's socket, open for as long as this
    Clock::Mono const since_;
    bool              is_lost_{false}, is_read_only_{false};
};

// Rolls back unless committed.
class Transaction {
public:
    explicit Transaction(Connection& connection) : connection_(connection) {}
    ~Transaction();
    Transaction(Transaction const&) = delete;
    Transaction& operator=(Transaction const&) = delete;

    Result<> begin();
    Result<> commit();

private:
    Connection& connection_;
    bool        is_open_{false};
};

}  // namespace sluice::adapters::postgres
