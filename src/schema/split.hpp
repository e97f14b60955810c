// Cuts the body of a batch into the texts of its events. Pure; the texts are views into the body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::schema {

// The next line of NDJSON: from `at`, which is moved behind it, to before its LF or CR LF, or to the end of the text.
std::string_view take_line(std::string_view text, std::size_t& at) noexcept;

// Finds the elements of a JSON array, checking only the outermost syntax: each element still has to be decoded. Work is
// done in portions, since one element may be as long as the text.
class ArraySplitter {
public:
    enum class Step : std::uint8_t {
        more,     // the budget is used up
        element,  // see element()
        end,      // of the array and of the text
        refused,  // see complaint(); nothing follows
    };

    explicit ArraySplitter(std::string_view json) noexcept;

    // Looks at about `budget` bytes at most, and takes what it looked at off it.
    Step next(std::size_t& budget) noexcept;

    std::string_view element() const noexcept { return element_; }
    char const*      complaint() const noexcept { return complaint_; }

private:
    Step refuse(char const* complaint) noexcept;
    Step finish_element() noexcept;
    void skip_string(std::size_t& budget) noexcept;

    std::string_view json_;
    std::size_t      begin_{0};  // of the element being looked at
    std::size_t      at_{0};
    std::size_t      depth_{0};  // of brackets inside the element
    bool             in_string_{false};
    bool             ended_{false};
    std::string_view element_;
    char const*      complaint_{nullptr};
};

}  // namespace sluice::schema
