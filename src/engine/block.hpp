// What travels from the io thread to the log and on to the workers: the records of a few requests, back to back.
#pragma once

#include "engine/admission.hpp"
#include "log/event_log.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace sluice::engine {

// Why a request was not stored, or that it was.
enum class RequestOutcome : std::uint8_t {
    open,        // not decided yet
    stored,      // durable; each item says where
    conflict,    // an id is known with other content; nothing of the request was stored
    disk_full,   // nothing was stored
    ids_behind,  // nothing was stored: the index of ids has no room, or is not complete yet
    read_failed, // nothing was stored: a lookup of ids failed, and nothing will be stored any more
    log_failed,  // unknown: send it again with the same ids
};

// Filled by the io thread until it is submitted, then by the appender until it is answered; afterwards constant.
// Shared ownership because the answer and the lanes let go of it in any order; its bytes count until the last does.
struct Block {
    enum class State : std::uint8_t {
        fresh,
        stored,
        duplicate,
        conflict,
        closed,  // what it was to take the place of is not open any more
    };

    struct Item {
        std::uint32_t offset{0};  // of the record in `data`
        Tier          tier{};
        State         state{State::fresh};
        Producer      producer{0};
        Sequence      sequence{};  // its own, or the one it duplicates
    };

    struct Request {
        std::uint32_t     first{0};  // items
        std::uint32_t     count{0};
        bool              atomic{true};  // false: items stand alone, a conflict refuses only itself
        RequestOutcome    outcome{RequestOutcome::open};
        std::uint32_t     conflict_at{0};  // item within the request
        std::uint64_t     token{0};        // the submitter's
        Admission::Ticket ticket{};
    };

    // A verdict about an event that has one already, made durable in the commit of the block; left out if the event is
    // not open any more, together with its successor.
    struct Order {
        static constexpr std::uint32_t no_item = ~std::uint32_t{0};

        log::Decision               decision{};
        std::uint32_t               item{no_item};  // its successor
        std::optional<log::Verdict> before{};       // the verdict it took the place of; none: it was left out
    };

    std::string          data;
    std::vector<Item>    items;
    std::vector<Request> requests;

    // Of blocks that come from the server itself.
    std::vector<Order>                orders;
    std::function<void(Block const&)> answered;  // on the appender's thread, instead of its listener

    log::LoggedRecord record(std::size_t i) const noexcept { return log::LoggedRecord(data.data() + items[i].offset); }

    friend void intrusive_ptr_add_ref(Block* block) noexcept { block->refs.fetch_add(1, std::memory_order_relaxed); }
    friend void intrusive_ptr_release(Block* block) noexcept
    {
        if (block->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete block;
    }
    std::atomic<std::uint32_t> refs{0};
};

using BlockRef = boost::intrusive_ptr<Block>;

}  // namespace sluice::engine
