#include "http/members.hpp"

#include <boost/json.hpp>

#include <algorithm>

namespace sluice::http {

namespace json = boost::json;

Document::Document(std::string_view text) : text_(text)
{
    json::parse_options options;
    options.max_depth = depth_max;
    boost::system::error_code failed;
    value_ = json::parse(text, failed, {}, options);
    if (failed)
        not_json_ = "the body is not JSON: " + failed.message();
    else if (!value_.is_object())
        fail("", "wrong_type", "must be an object");
}

void Document::fail(std::string pointer, std::string code, std::string detail)
{
    if (errors_.size() < errors_max) errors_.push_back({std::move(pointer), std::move(code), std::move(detail)});
}

std::optional<Problem> Document::problem() const
{
    if (!not_json_.empty()) return Problem{.status = 400, .error = "bad_json", .detail = not_json_};
    if (errors_.empty()) return std::nullopt;
    auto const& first = errors_.front();
    auto const  where = first.pointer.empty() ? std::string("the body") : first.pointer;
    return Problem{.status = 422, .error = first.code, .detail = where + ' ' + first.detail, .errors = errors_};
}

namespace {

// Behind a string that begins at `at`.
std::size_t end_of_string(std::string_view text, std::size_t at)
{
    for (++at; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\';
    return at + 1;
}

}  // namespace

// The text is known to be JSON.
std::optional<std::string_view> Document::raw(std::string_view name) const
{
    std::optional<std::string_view> found;
    std::size_t                     depth = 0, value = 0;
    std::string_view                key, last;  // of the outermost object; the last string of it
    for (std::size_t at = 0; at < text_.size();) {
        auto const c = text_[at];
        if (c == '"') {
            auto const end = end_of_string(text_, at);
            if (depth == 1) last = text_.substr(at + 1, end - at - 2);
            at = end;
            continue;
        }
        if (c == '}' || c == ']') --depth;
        bool const is_end = depth == 0 ? c == '}' : depth == 1 && c == ',';
        if (is_end && key == name && value != 0) {
            if (found) return std::nullopt;
            found = text_.substr(value, at - value);
        }
        if (is_end) value = 0;
        if (c == ':' && depth == 1) {
            key = last;
            value = at + 1;
        }
        if (c == '{' || c == '[') ++depth;
        ++at;
    }
    if (!found) return std::nullopt;
    auto const from = found->find_first_not_of(" \t\r\n"), to = found->find_last_not_of(" \t\r\n");
    return found->substr(from, to - from + 1);
}

Members::Members(Document& document)
    : document_(document), object_(document.is_object() ? &document.object() : nullptr)
{
}

Members::Members(Document& document, json::object const& object, std::string pointer)
    : document_(document), object_(&object), pointer_(std::move(pointer))
{
}

json::value const* Members::any(std::string_view name)
{
    known_.push_back(name);
    return object_ == nullptr ? nullptr : object_->if_contains(name);
}

bool Members::has(std::string_view name) { return any(name) != nullptr; }

void Members::fail(std::string_view name, std::string code, std::string detail)
{
    document_.fail(pointer_ + '/' + std::string(name), std::move(code), std::move(detail));
}

std::optional<std::string> Members::text(std::string_view name, std::size_t size_max)
{
    auto const* const value = any(name);
    if (value == nullptr) return std::nullopt;
    if (value->is_string() && !value->get_string().empty() && value->get_string().size() <= size_max)
        return std::string(value->get_string());
    auto const sizes = "1 to " + std::to_string(size_max) + " bytes";
    fail(name, value->is_string() ? "wrong_size" : "wrong_type", "must be a string of " + sizes);
    return std::nullopt;
}

std::optional<bool> Members::flag(std::string_view name)
{
    auto const* const value = any(name);
    if (value == nullptr) return std::nullopt;
    if (value->is_bool()) return value->get_bool();
    fail(name, "wrong_type", "must be true or false");
    return std::nullopt;
}

std::optional<std::uint64_t> Members::number(std::string_view name, std::uint64_t min, std::uint64_t max)
{
    auto const* const value = any(name);
    if (value == nullptr) return std::nullopt;
    boost::system::error_code failed;
    auto const                number = value->to_number<std::uint64_t>(failed);
    if (!failed && !value->is_double() && number >= min && number <= max) return number;
    fail(name, value->is_number() ? "out_of_range" : "wrong_type",
         "must be an integer from " + std::to_string(min) + " to " + std::to_string(max));
    return std::nullopt;
}

std::optional<double> Members::real(std::string_view name, double max)
{
    auto const* const value = any(name);
    if (value == nullptr) return std::nullopt;
    if (value->is_number())
        if (auto const number = value->to_number<double>(); number > 0 && number <= max) return number;
    fail(name, value->is_number() ? "out_of_range" : "wrong_type",
         "must be a number above 0 and up to " + std::to_string(static_cast<std::uint64_t>(max)));
    return std::nullopt;
}

std::optional<Members> Members::object(std::string_view name)
{
    auto const* const value = any(name);
    if (value == nullptr) return std::nullopt;
    if (value->is_object()) return Members(document_, value->get_object(), pointer_ + '/' + std::string(name));
    fail(name, "wrong_type", "must be an object");
    return std::nullopt;
}

void Members::done()
{
    if (object_ == nullptr) return;
    for (auto const& member : *object_)
        if (std::ranges::find(known_, std::string_view(member.key())) == known_.end()) {
            std::string name;
            for (char const c : std::string_view(member.key()))
                name += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
            fail(name, "unknown_member", "is no member of this object");
        }
}

}  // namespace sluice::http
