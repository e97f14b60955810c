// Which keys an operator means: text in which `*` stands for any bytes, none included, and nothing else is special.
#pragma once

#include <sluice/result.hpp>

#include <string>
#include <string_view>

namespace sluice::cache {

class Pattern {
public:
    static constexpr std::size_t size_max = 4'096;
    static constexpr std::size_t stars_max = 4;  // each multiplies what a server that matches naively has to try

    // `invalid`: empty, too long, or with too many stars; several in a row are one.
    static Result<Pattern> parse(std::string_view text);

    bool matches(std::string_view key) const noexcept;

    // As Redis reads patterns: what is special to it, and not to us, is escaped.
    std::string glob() const;

    std::string const& text() const noexcept { return text_; }

private:
    explicit Pattern(std::string text) : text_(std::move(text)) {}

    std::string text_;
};

}  // namespace sluice::cache
