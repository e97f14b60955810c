#include "faults/load.hpp"

#include "e2e/events.hpp"

namespace sluice::e2e {

namespace {

using Steady = std::chrono::steady_clock;

constexpr std::size_t               events_a_request = 10;
constexpr std::chrono::milliseconds between_requests{20};

std::uint64_t owner_of(std::uint64_t producer, std::uint64_t i) { return 1'000 * (producer + 1) + i; }

// Event n of a producer.
Json event(std::uint64_t producer, std::uint64_t n)
{
    auto const owner = owner_of(producer, n % Load::repositories);
    auto const turn = n / Load::repositories;
    auto const record = turn % 8, rev = n + 1;
    Json       event;
    if (n % 997 == 996) {
        event = {{"event_type", "account.deleted"}, {"did", did(owner)}, {"rev", tid(rev)},
                 {"payload", Json::object()}};
    } else if (turn % 13 == 12) {
        event = relationship(owner, 9'000, record, 50, rev, "relationship.deleted");
    } else if (turn % 5 == 4) {
        auto const target = relationship_uri(did(owner_of(producer, (n + 1) % Load::repositories)), record);
        auto const* const verdict = turn % 2 == 0 ? "verify" : "dispute";
        event = attestation(owner, record, target, verdict, static_cast<int>(n % 101), rev);
    } else {
        event = relationship(owner, 9'000 + n % 7, record, static_cast<int>(n % 101), rev);
    }
    event["event_id"] = "load-" + std::to_string(producer) + "-" + std::to_string(n);
    return event;
}

}  // namespace

std::string repository(std::uint64_t i) { return did(owner_of(i / Load::repositories, i % Load::repositories)); }

void Load::start(Server const& server)
{
    is_stopping_ = false;
    for (std::uint64_t producer = 0; producer < producers; ++producer)
        threads_.emplace_back([this, &server, producer] {
            try {
                produce(server.http(), producer);
            } catch (std::exception const& error) {
                std::lock_guard const lock(mutex_);
                refusals_.emplace_back(error.what());
            }
        });
}

void Load::stop()
{
    is_stopping_ = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
}

void Load::produce(Http http, std::uint64_t producer)
{
    auto& n = next_[producer];
    for (auto due = Steady::now(); !is_stopping_; due += between_requests) {
        std::this_thread::sleep_until(due);
        std::string body;
        for (std::size_t i = 0; i < events_a_request; ++i) body += event(producer, n++).dump() + '\n';
        auto const since = Steady::now();
        auto const response = http.ndjson("/internal/events/batch", body);
        note(response, Steady::now() - since, events_a_request);
        due = std::max(due, since - between_requests);  // no burst after a slow answer
    }
}

void Load::note(Response const& response, std::chrono::nanoseconds took, std::size_t events)
{
    if (response.status == 202) accepted_ += events;
    std::lock_guard const lock(mutex_);
    if (response.status != 202) refusals_.push_back(response.body);
    slowest_ = std::max(slowest_, took);
}

std::vector<std::string> Load::refusals() const
{
    std::lock_guard const lock(mutex_);
    return refusals_;
}

std::chrono::milliseconds Load::slowest() const
{
    std::lock_guard const lock(mutex_);
    return std::chrono::ceil<std::chrono::milliseconds>(slowest_);
}

}  // namespace sluice::e2e
