// The verbs that talk to a running server.
#include "app/client.hpp"
#include "app/commands.hpp"
#include "app/exit_codes.hpp"
#include "app/system_clock.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <thread>
#include <unistd.h>

namespace sluice::app {

namespace json = boost::json;

int fail(Error const& error)
{
    fmt::print(stderr, "sluice: {}\n", error.detail);
    return error.code == Errc::unavailable ? Exit::unreachable : Exit::usage;
}

int refused(ClientResponse const& response)
{
    boost::system::error_code bad;
    auto const                body = json::parse(response.body, bad);
    std::string               detail = "status " + std::to_string(response.status);
    if (!bad && body.is_object())
        if (auto const* text = body.as_object().if_contains("detail"); text != nullptr && text->is_string())
            detail += ": " + std::string(text->as_string());
    fmt::print(stderr, "sluice: the server refused, {}\n", detail);
    switch (response.status) {
    case 401:
    case 403: return Exit::refused_key;
    case 404: return Exit::not_found;
    case 429:
    case 503: return Exit::backpressure;
    default: return Exit::failure;
    }
}

namespace {

// How a load is going; drawn on a terminal only.
class Progress {
public:
    Progress(Clock const& clock, std::uint64_t total) : clock_(clock), total_(total), start_(clock.now()) {}

    double seconds() const { return std::chrono::duration<double>(clock_.now() - start_).count(); }

    void show(std::uint64_t bytes, std::uint64_t events)
    {
        if (!on_terminal_ || total_ == 0 || clock_.now() - shown_ < std::chrono::milliseconds(100)) return;
        shown_ = clock_.now();
        constexpr std::size_t width = 30;
        auto const            filled = std::min<std::size_t>(width, width * bytes / total_);
        fmt::print(stderr, "\r[{:<{}}] {:3}%  {} events  {:.0f}/s ", std::string(filled, '#'), width,
                   100 * bytes / total_, events, static_cast<double>(events) / std::max(seconds(), 1e-3));
    }
    void done()
    {
        if (on_terminal_ && total_ != 0) fmt::print(stderr, "\r{:<79}\r", "");
    }

private:
    Clock const&        clock_;
    std::uint64_t const total_;
    Clock::Mono const   start_;
    Clock::Mono         shown_{};
    bool const          on_terminal_{isatty(STDERR_FILENO) == 1};
};

constexpr std::size_t batch_bytes_max = 12u << 20;

// Lines for one request; empty at the end of the input.
std::string next_batch(std::istream& in, std::size_t events, std::uint64_t& lines)
{
    std::string body, line;
    for (std::size_t n = 0; n < events && body.size() < batch_bytes_max && std::getline(in, line);) {
        if (line.find_first_not_of(" \t\r") == line.npos) continue;
        body += line;
        body += '\n';
        ++n;
        ++lines;
    }
    return body;
}

}  // namespace

int state(Remote const& remote, bool as_json)
{
    auto client = Client::open(remote.url, remote.key);
    if (!client) return fail(client.error());
    auto const response = client->get("/v1/state");
    if (!response) return fail(response.error());
    if (response->status != 200) return refused(*response);
    if (as_json) {
        fmt::print("{}\n", response->body);
        return Exit::ok;
    }
    auto const body = json::parse(response->body);
    for (auto const& [name, value] : body.as_object())
        fmt::print("{:<14} {}\n", std::string_view(name.data(), name.size()),
                   value.is_string() ? std::string(value.as_string()) : json::serialize(value));
    return Exit::ok;
}

// Sends batches one after the other; a full server is waited for as long as it asks.
int ingest(Remote const& remote, std::string const& path, std::size_t batch, bool as_json)
{
    std::ifstream file;
    std::uint64_t total = 0;
    if (path != "-") {
        file.open(path, std::ios::binary | std::ios::ate);
        if (!file) return fail({Errc::invalid, "file", "cannot read " + path});
        total = static_cast<std::uint64_t>(file.tellg());
        file.seekg(0);
    }
    std::istream& in = path == "-" ? std::cin : file;
    auto          client = Client::open(remote.url, remote.key);
    if (!client) return fail(client.error());

    SystemClock const clock;
    Progress          progress(clock, total);
    std::uint64_t     events = 0, bytes = 0, accepted = 0, duplicates = 0, waits = 0;
    constexpr int     waits_max = 600;  // in a row, of at least a second
    for (std::string body; !(body = next_batch(in, batch, events)).empty();) {
        for (int in_a_row = 0;;) {
            auto const response = client->post("/internal/events/batch", "application/x-ndjson", body);
            if (!response) return fail(response.error());
            if (response->status == 503 && in_a_row++ < waits_max) {
                ++waits;
                auto const after = response->headers.find("retry-after");
                auto const seconds = after == response->headers.end() ? 1 : std::atoi(after->second.c_str());
                std::this_thread::sleep_for(std::chrono::seconds(std::clamp(seconds, 1, 60)));
                continue;
            }
            if (response->status != 202) {
                progress.done();
                fmt::print(stderr, "sluice: {} events were stored before this batch, which ends at line {}\n",
                           accepted + duplicates, events);
                return refused(*response);
            }
            auto const answer = json::parse(response->body);
            accepted += answer.at("accepted").to_number<std::uint64_t>();
            duplicates += answer.at("duplicates").as_array().size();
            break;
        }
        bytes += body.size();
        progress.show(bytes, events);
    }
    progress.done();
    auto const seconds = progress.seconds();
    auto const rate = static_cast<double>(events) / std::max(seconds, 1e-6);
    if (as_json)
        fmt::print(
            R"({{"events":{},"accepted":{},"duplicates":{},"seconds":{:.3f},"events_per_second":{:.0f},"waits":{}}})"
            "\n",
            events, accepted, duplicates, seconds, rate, waits);
    else
        fmt::print("{} events sent in {:.2f} s: {:.0f} events/s; {} accepted, {} duplicates\n", events, seconds, rate,
                   accepted, duplicates);
    return Exit::ok;
}

}  // namespace sluice::app
