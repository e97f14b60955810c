// The strict reading of a request's JSON object: every member must be known and of its type, and whatever is wrong is
// named by a pointer.
#pragma once

#include "http/problem.hpp"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::http {

// A body and what is wrong with it.
class Document {
public:
    static constexpr std::size_t depth_max = 32;
    static constexpr std::size_t errors_max = 100;  // listed

    // `text` outlives it.
    explicit Document(std::string_view text);

    bool                       is_object() const noexcept { return value_.is_object(); }
    boost::json::object const& object() const { return value_.get_object(); }

    void fail(std::string pointer, std::string code, std::string detail);
    // 400 for what is no JSON, 422 for the first of the others; none: all was well so far.
    std::optional<Problem> problem() const;

    // The bytes of a member of the outermost object as they were sent; nullopt: its name was written with escapes, or
    // more than once.
    std::optional<std::string_view> raw(std::string_view name) const;

private:
    std::string_view                text_;
    boost::json::value              value_;
    std::string                     not_json_;
    std::vector<schema::FieldError> errors_;
};

// One object of a document. Reading a member makes it known; done() refuses the others. Readers return nullopt for a
// member that is not there, or wrong, which the document then knows. Must not outlive the document.
class Members {
public:
    explicit Members(Document& document);

    bool has(std::string_view name);

    std::optional<std::string>   text(std::string_view name, std::size_t size_max = 512);
    std::optional<bool>          flag(std::string_view name);
    std::optional<std::uint64_t> number(std::string_view name, std::uint64_t min, std::uint64_t max);
    std::optional<double>        real(std::string_view name, double max);  // above 0
    std::optional<Members>       object(std::string_view name);
    boost::json::value const*    any(std::string_view name);

    void fail(std::string_view name, std::string code, std::string detail);
    void done();

private:
    Members(Document& document, boost::json::object const& object, std::string pointer);

    Document&                     document_;
    boost::json::object const*    object_;  // null: there was none
    std::string                   pointer_;
    std::vector<std::string_view> known_;
};

}  // namespace sluice::http
