#include "cache/pattern.hpp"

#include <algorithm>

namespace sluice::cache {

Result<Pattern> Pattern::parse(std::string_view text)
{
    std::string kept;
    for (auto const c : text)
        if (c != '*' || !kept.ends_with('*')) kept += c;
    if (kept.empty()) return Error{Errc::invalid, "empty_pattern", "a pattern is not empty; * is every key"};
    if (kept.size() > size_max)
        return Error{Errc::invalid, "long_pattern", "a pattern has at most " + std::to_string(size_max) + " bytes"};
    if (static_cast<std::size_t>(std::ranges::count(kept, '*')) > stars_max)
        return Error{Errc::invalid, "many_stars", "a pattern has at most " + std::to_string(stars_max) + " stars"};
    return Pattern(std::move(kept));
}

// Only the last star is ever tried again: whatever an earlier one could take instead, the last one can as well.
bool Pattern::matches(std::string_view key) const noexcept
{
    std::size_t at = 0, in_key = 0, after_star = text_.npos, retry = 0;
    while (in_key < key.size()) {
        if (at < text_.size() && text_[at] == '*') {
            after_star = ++at;
            retry = in_key;
        } else if (at < text_.size() && text_[at] == key[in_key]) {
            ++at;
            ++in_key;
        } else if (after_star != text_.npos) {
            at = after_star;
            in_key = ++retry;
        } else {
            return false;
        }
    }
    return at == text_.size() || (at + 1 == text_.size() && text_[at] == '*');
}

std::string Pattern::glob() const
{
    std::string glob;
    for (auto const c : text_) {
        if (c == '?' || c == '[' || c == ']' || c == '\\') glob += '\\';
        glob += c;
    }
    return glob;
}

}  // namespace sluice::cache
