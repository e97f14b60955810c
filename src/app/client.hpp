// A small blocking HTTP client for the command line: one connection, one request at a time.
#pragma once

#include <sluice/result.hpp>

#include <map>
#include <string>
#include <string_view>

namespace sluice::app {

struct ClientResponse {
    int                                status{0};
    std::map<std::string, std::string> headers;  // names in lower case
    std::string                        body;
};

// A server's address, as text.
struct Address {
    std::string host, port;

    // Of "http://HOST:PORT"; `invalid` if it is none.
    static Result<Address> parse(std::string const& url);
    std::string text() const { return host + ":" + port; }
};

// A connected socket, the caller's to close. `unavailable` when nobody answers.
Result<int> connect_to(Address const& address);

class Client {
public:
    // As Address::parse.
    static Result<Client> open(std::string const& url, std::string key);

    Client(Client&& other) noexcept;
    Client& operator=(Client&&) = delete;
    ~Client();

    // Connects when needed. `unavailable` when the server cannot be reached or does not answer as HTTP within a minute.
    Result<ClientResponse> get(std::string const& target);
    Result<ClientResponse> post(std::string const& target, std::string_view content_type, std::string_view body);

private:
    Client(Address address, std::string key);
    Result<ClientResponse> exchange(std::string const& head, std::string_view body);
    Result<ClientResponse> try_exchange(std::string const& head, std::string_view body);
    void                   close();
    Result<>               read_more();

    Address     address_;
    std::string key_;
    int         socket_{-1};
    std::string buffer_;  // received and not consumed
};

}  // namespace sluice::app
