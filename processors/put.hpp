// The effect most events have: the record becomes what the event says.
#pragma once

#include <sluice/processor.hpp>

#include <chrono>

namespace sluice::processors {

// The record at the event's field `uri` takes the event's fields, number by number as `table` lists them.
inline Effects put(Kind kind, Event const& event, std::size_t uri, std::span<PayloadField const> table)
{
    using Type = PayloadField::Type;
    Effects effects{
        .action = Effects::Action::put,
        .kind = kind,
        .key = *event.fields.text(uri),
        .fields = {},
        .field_count = table.size(),
    };
    for (std::size_t i = 0; i < table.size(); ++i) {
        auto const type = table[i].type;
        if (type == Type::integer || type == Type::choice || type == Type::datetime) {
            if (auto const value = event.fields.integer(i)) effects.fields[i] = *value;
        } else if (auto const text = event.fields.text(i)) {
            effects.fields[i] = *text;
        }
    }
    return effects;
}

// Senders' clocks may run a little ahead of ours.
inline constexpr auto clock_tolerance = std::chrono::minutes(5);

inline std::int64_t microseconds(WallTime time) { return time.time_since_epoch().count(); }

// The same, for a kind of record with a creation time. An update that does not repeat it keeps the record's. One that
// lies in the future, or that nobody stated, is the time of receipt.
inline Effects
put(Kind kind, Event const& event, std::size_t uri, std::span<PayloadField const> table, std::size_t created_at,
    RecordView const& view)
{
    auto  effects = put(kind, event, uri, table);
    auto& value = effects.fields[created_at];
    if (!event.fields.integer(created_at)) {
        auto const before = view.find(kind, effects.key);
        auto const kept = before ? before->fields.integer(created_at) : std::nullopt;
        value = kept.value_or(microseconds(event.received_at));
    }
    if (std::get<std::int64_t>(value) > microseconds(event.received_at + clock_tolerance))
        value = microseconds(event.received_at);
    return effects;
}

inline Effects remove(Kind kind, Event const& event, std::size_t uri)
{
    return {
        .action = Effects::Action::remove,
        .kind = kind,
        .key = *event.fields.text(uri),
        .fields = {},
        .field_count = 0,
    };
}

}  // namespace sluice::processors
