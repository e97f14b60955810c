// Records and blocks, made without the decoder.
#pragma once

#include "engine/block.hpp"
#include "engine/scheduler.hpp"

#include <string>

namespace sluice::engine::test {

struct Draft {
    std::string did{"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"};
    std::string id{};
    std::string payload{"{}"};
    std::string type{"test.event"};
    Tier        tier{Tier::normal};
    Revision    rev{};
};

inline void add_item(Block& block, Draft const& draft)
{
    log::RecordDraft record;
    record.type = draft.type;
    record.did = draft.did;
    record.id = draft.id;
    record.payload = draft.payload;
    record.tier = draft.tier;
    record.rev = draft.rev;
    auto const offset = log::write_record(record, block.data);
    block.items.push_back({.offset = offset, .tier = draft.tier, .state = {}, .sequence = {}});
}

// Adds a request to the block.
inline Block::Request& add_request(Block& block, std::vector<Draft> const& drafts, bool atomic = true)
{
    Block::Request request;
    request.first = static_cast<std::uint32_t>(block.items.size());
    request.count = static_cast<std::uint32_t>(drafts.size());
    request.atomic = atomic;
    for (auto const& draft : drafts) add_item(block, draft);
    block.requests.push_back(std::move(request));
    return block.requests.back();
}

inline BlockRef make_block(std::vector<Draft> const& drafts, bool atomic = true)
{
    BlockRef block(new Block);
    add_request(*block, drafts, atomic);
    return block;
}

}  // namespace sluice::engine::test
