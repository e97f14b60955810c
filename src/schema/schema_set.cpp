#include "schema/decoder.hpp"

#include "base/assert.hpp"
#include "schema/field_names.hpp"

namespace sluice::schema {

SchemaSet::SchemaSet(std::span<Processor const* const> processors) : processors_(processors)
{
    for (auto const* const processor : processors) {
        SLUICE_ASSERT(processor->fields.size() <= Fields::max);
        std::optional<std::size_t> uri;
        for (std::size_t i = 0; i < processor->fields.size(); ++i)
            if (canonical_name(processor->fields[i].names) == "uri") uri = i;
        for (auto const& type : processor->events) {
            bool const is_new = by_type_.emplace(type.name, Entry{processor, &type, uri}).second;
            SLUICE_ASSERT(is_new);
        }
    }
}

SchemaSet::Entry const* SchemaSet::find(std::string_view event_type) const noexcept
{
    auto const found = by_type_.find(event_type);
    return found == by_type_.end() ? nullptr : &found->second;
}

}  // namespace sluice::schema
