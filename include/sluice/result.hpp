// What a function says when it could not do its work.
#pragma once

#include <boost/system/result.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace sluice {

// Named for what the caller does next.
enum class Errc : std::uint8_t {
    invalid,      // the input is wrong and stays wrong: tell its sender, dead-letter the event
    conflict,     // lost a race in a store: try again at once
    transient,    // failed this time: try again later, a few times
    unavailable,  // a dependency does not answer: wait for it, count nothing
    full,         // no space: refuse, nothing was written
    corrupt,      // stored bytes are not what was written: stop
};

struct Error {
    Errc        code{};
    std::string reason;  // a stable word for machines, such as "owner_not_participant"
    std::string detail;  // a sentence for people; never parsed
};

[[noreturn]] inline void throw_exception_from_error(Error const& error, boost::source_location const&)
{
    throw std::logic_error("unchecked Result: " + error.reason + ": " + error.detail);
}

template <class T = void>
using Result = boost::system::result<T, Error>;

}  // namespace sluice
