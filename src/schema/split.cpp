#include "schema/split.hpp"

#include <algorithm>
#include <cstring>

namespace sluice::schema {
namespace {

bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view trim(std::string_view text) noexcept
{
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return text;
}

}  // namespace

std::string_view take_line(std::string_view text, std::size_t& at) noexcept
{
    auto line = text.substr(at);
    line = line.substr(0, line.find('\n'));
    at = std::min(at + line.size() + 1, text.size());
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

ArraySplitter::ArraySplitter(std::string_view json) noexcept : json_(trim(json))
{
    if (json_.size() < 2 || json_.front() != '[' || json_.back() != ']')
        complaint_ = "must be an array";
    else
        ended_ = trim(json_.substr(1, json_.size() - 2)).empty();
    begin_ = at_ = 1;
}

ArraySplitter::Step ArraySplitter::next(std::size_t& budget) noexcept
{
    if (complaint_ != nullptr) return Step::refused;
    if (ended_) return Step::end;
    while (at_ < json_.size()) {
        if (budget == 0) return Step::more;
        if (in_string_) {
            skip_string(budget);
            continue;
        }
        --budget;
        switch (json_[at_]) {
        case '"': in_string_ = true; break;
        case '{':
        case '[': ++depth_; break;
        case '}':
        case ']':
            if (depth_ == 0) return finish_element();
            --depth_;
            break;
        case ',':
            if (depth_ == 0) return finish_element();
            break;
        default: break;
        }
        ++at_;
    }
    return refuse("the array does not end");
}

ArraySplitter::Step ArraySplitter::refuse(char const* complaint) noexcept
{
    complaint_ = complaint;
    return Step::refused;
}

// A comma or a bracket stands behind it.
ArraySplitter::Step ArraySplitter::finish_element() noexcept
{
    element_ = trim(json_.substr(begin_, at_ - begin_));
    if (element_.empty()) return refuse("an element is missing");
    if (json_[at_] == '}') return refuse("a bracket closes nothing");
    ended_ = json_[at_] == ']';
    if (ended_ && at_ + 1 != json_.size()) return refuse("something follows the array");
    begin_ = ++at_;
    return Step::element;
}

// To behind the string's end, as far as the budget goes.
void ArraySplitter::skip_string(std::size_t& budget) noexcept
{
    auto const        part = std::min(budget, json_.size() - at_);
    auto const* const found = static_cast<char const*>(std::memchr(json_.data() + at_, '"', part));
    auto const        quote = found == nullptr ? at_ + part : static_cast<std::size_t>(found - json_.data());
    budget -= found == nullptr ? part : quote + 1 - at_;
    at_ = quote;
    if (found == nullptr) return;
    auto escapes = quote;
    while (json_[escapes - 1] == '\\') --escapes;
    in_string_ = (quote - escapes) % 2 != 0;
    ++at_;
}

}  // namespace sluice::schema
