// The spellings of fields, arranged as the objects they are found in.
#pragma once

#include "schema/json.hpp"

#include <sluice/processor.hpp>

#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::schema {

class FieldNames;

struct FieldName {
    static constexpr std::size_t no_field = std::numeric_limits<std::size_t>::max();

    JsonName                    name;
    std::size_t                 field{no_field};
    std::unique_ptr<FieldNames> inside;   // of the object this name stands for, if it does
    std::string                 pointer;  // JSON pointer of the member
};

// The known names of one object. Immutable after construction: any thread.
class FieldNames {
public:
    // Names of a processor's fields. The field table must live as long.
    FieldNames(std::string_view pointer, std::span<PayloadField const> fields);

    // Null: not one of them.
    FieldName const* find(JsonName const& name) const noexcept
    {
        for (auto slot = name.hash() >> slots_shift;; slot = (slot + 1) % slots) {
            auto const i = index_[slot];
            if (i == 0) return nullptr;
            if (names_[i - 1].name == name) return &names_[i - 1];
        }
    }

private:
    explicit FieldNames(std::string_view pointer) : pointer_(pointer) {}
    void       add(std::string_view path, std::size_t field);
    FieldName& get(std::string_view name);

    static constexpr int         slots_shift = 58;
    static constexpr std::size_t slots = std::size_t{1} << (64 - slots_shift);

    std::string                     pointer_;
    std::vector<FieldName>          names_;
    std::array<std::uint8_t, slots> index_{};  // by hash: one more than a position in names_; 0: free
};

// "a.b|c" -> "a.b"
std::string_view canonical_name(std::string_view names) noexcept;

// The member a path such as "a.b" leads to, as a JSON pointer below `whole`.
std::string pointer_to(std::string_view whole, std::string_view path);

}  // namespace sluice::schema
