#include "schema/field_names.hpp"

#include "base/assert.hpp"

#include <algorithm>

namespace sluice::schema {

FieldNames::FieldNames(std::string_view pointer, std::span<PayloadField const> fields) : pointer_(pointer)
{
    for (std::size_t field = 0; field < fields.size(); ++field) {
        auto rest = fields[field].names;
        while (!rest.empty()) {
            auto const spelling = canonical_name(rest);
            rest.remove_prefix(std::min(rest.size(), spelling.size() + 1));
            add(spelling, field);
        }
    }
}

void FieldNames::add(std::string_view path, std::size_t field)
{
    auto const dot = path.find('.');
    auto&      name = get(path.substr(0, dot));
    if (dot == std::string_view::npos) {
        SLUICE_ASSERT(name.field == FieldName::no_field);
        name.field = field;
    } else {
        if (!name.inside) name.inside.reset(new FieldNames(name.pointer));
        name.inside->add(path.substr(dot + 1), field);
    }
}

FieldName& FieldNames::get(std::string_view text)
{
    JsonName const name(text);
    auto const     known = std::find_if(names_.begin(), names_.end(), [&](auto const& n) { return n.name == name; });
    if (known != names_.end()) return *known;

    auto slot = name.hash() >> slots_shift;
    while (index_[slot] != 0) slot = (slot + 1) % slots;
    names_.push_back({.name = name, .inside = nullptr, .pointer = pointer_to(pointer_, text)});
    SLUICE_ASSERT(names_.size() < slots);
    index_[slot] = static_cast<std::uint8_t>(names_.size());
    return names_.back();
}

std::string_view canonical_name(std::string_view names) noexcept { return names.substr(0, names.find('|')); }

std::string pointer_to(std::string_view whole, std::string_view path)
{
    std::string pointer(whole);
    pointer += '/';
    pointer += path;
    std::replace(pointer.begin() + static_cast<std::ptrdiff_t>(whole.size()), pointer.end(), '.', '/');
    return pointer;
}

}  // namespace sluice::schema
