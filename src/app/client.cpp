#include "app/client.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <utility>

namespace sluice::app {

namespace {

Error unreachable(std::string const& what)
{
    return {Errc::unavailable, "unreachable", what};
}

std::string lower(std::string_view text)
{
    std::string out(text);
    for (auto& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
    return out;
}

}  // namespace

Result<Address> Address::parse(std::string const& url)
{
    constexpr std::string_view scheme = "http://";
    if (!url.starts_with(scheme)) return Error{Errc::invalid, "url", url + " is not http://HOST:PORT"};
    auto rest = url.substr(scheme.size());
    while (!rest.empty() && rest.back() == '/') rest.pop_back();
    auto const colon = rest.rfind(':');
    if (rest.empty() || rest.find('/') != rest.npos)
        return Error{Errc::invalid, "url", url + " is not http://HOST:PORT"};
    bool const has_port = colon != rest.npos && rest.find(']', colon) == rest.npos;
    return Address{has_port ? rest.substr(0, colon) : rest, has_port ? rest.substr(colon + 1) : "80"};
}

Result<int> connect_to(Address const& address)
{
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    auto      host = address.host;
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    if (auto const error = getaddrinfo(host.c_str(), address.port.c_str(), &hints, &found); error != 0)
        return unreachable(address.host + ": " + gai_strerror(error));
    std::string why = "no address";
    int         socket = -1;
    for (auto* a = found; a != nullptr && socket < 0; a = a->ai_next) {
        socket = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (socket >= 0 && ::connect(socket, a->ai_addr, a->ai_addrlen) == 0) break;
        why = std::strerror(errno);
        if (socket >= 0) ::close(socket);
        socket = -1;
    }
    freeaddrinfo(found);
    if (socket < 0) return unreachable(address.text() + ": " + why);
    timeval const limit{.tv_sec = 60, .tv_usec = 0};
    int const     on = 1;
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return socket;
}

Result<Client> Client::open(std::string const& url, std::string key)
{
    auto address = Address::parse(url);
    if (!address) return address.error();
    return Client(std::move(*address), std::move(key));
}

Client::Client(Address address, std::string key) : address_(std::move(address)), key_(std::move(key)) {}

Client::Client(Client&& other) noexcept
    : address_(std::move(other.address_)), key_(std::move(other.key_)), socket_(std::exchange(other.socket_, -1)),
      buffer_(std::move(other.buffer_))
{
}

Client::~Client() { close(); }

void Client::close()
{
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
    buffer_.clear();
}

Result<ClientResponse> Client::get(std::string const& target) { return exchange("GET " + target + " HTTP/1.1", {}); }

Result<ClientResponse> Client::post(std::string const& target, std::string_view content_type, std::string_view body)
{
    return exchange(
        "POST " + target + " HTTP/1.1\r\nContent-Type: " + std::string(content_type) +
            "\r\nContent-Length: " + std::to_string(body.size()),
        body);
}

// A connection that the server closed while it was idle is opened again, once.
Result<ClientResponse> Client::exchange(std::string const& head, std::string_view body)
{
    auto const full = head + "\r\nHost: " + address_.text() +
                      (key_.empty() ? "" : "\r\nX-Internal-Key: " + key_) + "\r\n\r\n";
    bool const reused = socket_ >= 0;
    auto       response = try_exchange(full, body);
    if (!response && reused && response.error().reason == "closed_while_idle") response = try_exchange(full, body);
    return response;
}

Result<ClientResponse> Client::try_exchange(std::string const& head, std::string_view body)
{
    if (socket_ < 0) {
        auto const connected = connect_to(address_);
        if (!connected) return connected.error();
        socket_ = *connected;
    }
    for (std::string_view part : {std::string_view(head), body})
        while (!part.empty()) {
            auto const sent = ::send(socket_, part.data(), part.size(), MSG_NOSIGNAL);
            if (sent <= 0) {
                close();
                return unreachable(std::string("send: ") + std::strerror(errno));
            }
            part.remove_prefix(static_cast<std::size_t>(sent));
        }

    std::size_t end;
    while ((end = buffer_.find("\r\n\r\n")) == buffer_.npos)
        if (auto const more = read_more(); !more) return more.error();
    ClientResponse   response;
    std::string_view lines(buffer_.data(), end);
    if (lines.size() < 12 || std::from_chars(lines.data() + 9, lines.data() + 12, response.status).ec != std::errc{}) {
        close();
        return unreachable("the answer is not HTTP");
    }
    for (auto at = lines.find("\r\n"); at != lines.npos; at = lines.find("\r\n", at + 2)) {
        auto const line = lines.substr(at + 2, lines.find("\r\n", at + 2) - at - 2);
        auto const colon = line.find(": ");
        if (colon != line.npos) response.headers[lower(line.substr(0, colon))] = std::string(line.substr(colon + 2));
    }
    std::size_t length = 0;
    if (auto const field = response.headers.find("content-length"); field != response.headers.end())
        std::from_chars(field->second.data(), field->second.data() + field->second.size(), length);
    buffer_.erase(0, end + 4);
    while (buffer_.size() < length)
        if (auto const more = read_more(); !more) return more.error();
    response.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    auto const connection = response.headers.find("connection");
    if (connection != response.headers.end() && connection->second == "close") close();
    return response;
}

Result<> Client::read_more()
{
    char       chunk[64 * 1024];
    auto const got = ::recv(socket_, chunk, sizeof chunk, 0);
    if (got <= 0) {
        bool const idle = got == 0 && buffer_.empty();
        auto const why = got == 0 ? "the server closed the connection" : std::strerror(errno);
        close();
        if (idle) return Error{Errc::unavailable, "closed_while_idle", why};
        return unreachable(why);
    }
    buffer_.append(chunk, static_cast<std::size_t>(got));
    return {};
}

}  // namespace sluice::app
