#include "graph/guard.hpp"

#include "graph/record_layout.hpp"

namespace sluice::graph {

Result<> check(Event const& event, Effects const& effects)
{
    constexpr std::size_t key_size_max = 0xffff;

    auto const wrong = [](char const* reason, std::string_view detail) {
        return Error{Errc::invalid, reason, std::string(detail)};
    };
    if (effects.action == Effects::Action::remove_repository) return {};
    auto const layout = record_layout(effects.kind);
    if (layout.count == 0) return wrong("unknown_kind", "No record of this kind can be stored.");
    if (effects.key.size() > key_size_max || authority(effects.key) != event.did)
        return wrong("key_outside_repository", effects.key);
    if (effects.action == Effects::Action::remove) return {};
    if (effects.field_count > layout.count) return wrong("too_many_fields", effects.key);
    for (std::size_t i = 0; i < effects.field_count; ++i) {
        auto const& value = effects.fields[i];
        auto const  fits = layout.is_text(i) ? std::holds_alternative<std::string_view>(value)
                                             : std::holds_alternative<std::int64_t>(value);
        if (!fits && !std::holds_alternative<std::monostate>(value)) return wrong("wrong_field_type", effects.key);
    }
    return {};
}

}  // namespace sluice::graph
