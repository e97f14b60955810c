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

class Client {
public:
    // "http://HOST:PORT"; `invalid` if it is none.
    static Result<Client> open(std::string const& url, std::string key);

    Client(Client&& other) noexcept;
    Client& operator=(Client&&) = delete;
    ~Client();

    // Connects when needed. `unavailable` when the server cannot be reached or does not answer as HTTP within a minute.
    Result<ClientResponse> get(std::string const& target);
    Result<ClientResponse> post(std::string const& target, std::string_view content_type, std::string_view body);

private:
    Client(std::string host, std::string port, std::string key);
    Result<ClientResponse> exchange(std::string const& head, std::string_view body);
    Result<ClientResponse> try_exchange(std::string const& head, std::string_view body);
    Result<>               connect();
    void                   close();
    Result<>               read_more();

    std::string host_, port_, key_;
    int         socket_{-1};
    std::string buffer_;  // received and not consumed
};

}  // namespace sluice::app
