#include "adapters/redis/redis_address.hpp"

#include <charconv>
#include <optional>

namespace sluice::adapters {
namespace {

Error bad(std::string_view what)
{
    return {Errc::invalid, "redis_url",
            std::string(what) + "; a Redis is redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] or "
                                "unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE]"};
}

template <class T>
bool read_number(std::string_view text, T& number)
{
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size();
}

std::optional<std::string> decoded(std::string_view text)
{
    std::string out;
    for (; !text.empty(); text.remove_prefix(1)) {
        if (text[0] != '%') {
            out += text[0];
            continue;
        }
        unsigned   byte = 0;
        auto const digits = text.substr(1, 2);
        auto const [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
        if (digits.size() != 2 || error != std::errc{} || end != digits.data() + 2) return std::nullopt;
        out += static_cast<char>(byte);
        text.remove_prefix(2);
    }
    return out;
}

// What stands before `separator` is taken off `text`; nullopt, and nothing is, if that is not there.
std::optional<std::string_view> take_until(std::string_view& text, char separator)
{
    auto const at = text.find(separator);
    if (at == text.npos) return std::nullopt;
    auto const taken = text.substr(0, at);
    text.remove_prefix(at + 1);
    return taken;
}

}  // namespace

Result<RedisAddress> RedisAddress::parse(std::string_view url)
{
    constexpr std::string_view tcp = "redis://", unix = "unix://";
    bool const                 is_tcp = url.starts_with(tcp);
    if (!is_tcp && !url.starts_with(unix)) return bad("the URL begins with neither redis:// nor unix://");
    auto         rest = url.substr(is_tcp ? tcp.size() : unix.size());
    RedisAddress address;
    // A password may have an @ in it that was not encoded.
    if (auto const at = rest.rfind('@'); at != rest.npos) {
        auto       credentials = rest.substr(0, at);
        auto const user = take_until(credentials, ':');
        if (!user) return bad("a user needs a password");
        auto const name = decoded(*user), password = decoded(credentials);
        if (!name || !password) return bad("user and password are percent-encoded, and this is not");
        if (password->empty()) return bad("the password is empty");
        address.user = *name;
        address.password = *password;
        rest.remove_prefix(at + 1);
    }
    if (!is_tcp) {
        auto const query = rest.find('?');
        address.socket = rest.substr(0, query);
        if (!address.socket.starts_with('/')) return bad("the path of a Unix socket begins with /");
        if (query == rest.npos) return address;
        auto const database = rest.substr(query + 1);
        if (!database.starts_with("db=") || !read_number(database.substr(3), address.database))
            return bad("of the database only db=NUMBER can be said");
        return address;
    }
    auto place = rest;
    if (auto const slash = rest.find('/'); slash != rest.npos) {
        auto const database = rest.substr(slash + 1);
        if (!database.empty() && !read_number(database, address.database)) return bad("the database is a number");
        place = rest.substr(0, slash);
    }
    // An IPv6 address stands in brackets, for it has colons of its own.
    bool const is_bracketed = place.starts_with('[') && place.find(']') != place.npos;
    auto const host_end = is_bracketed ? place.find(']') + 1 : std::min(place.find(':'), place.size());
    address.host = is_bracketed ? place.substr(1, host_end - 2) : place.substr(0, host_end);
    auto const port = place.substr(host_end);
    if (address.host.empty()) return bad("the host is missing");
    if (!port.empty() && (port[0] != ':' || !read_number(port.substr(1), address.port) || address.port == 0))
        return bad("the port is a number up to 65535");
    return address;
}

}  // namespace sluice::adapters
