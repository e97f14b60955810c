// What operators do to the cache of answers.
#pragma once

#include "cache/answers.hpp"
#include "http/background.hpp"
#include "http/producer.hpp"

#include <boost/json/object.hpp>

#include <functional>
#include <string_view>
#include <vector>

namespace sluice::http {

// Slower while the fallback answers, and nothing else.
bool                is_degraded(cache::CacheStats const& stats);
boost::json::object to_json(cache::Answers const& answers);  // its state, as it was told last

// Handlers are called on the io thread; the cache is asked on the background thread, where it may wait.
class CacheOperations {
public:
    // Who removed what, and how much of it there was. No record of the log: nothing is different afterwards but speed.
    using Told = std::function<void(std::string_view by, std::string_view pattern, std::uint64_t removed)>;

    struct Deps {  // outlive the background thread
        cache::Answers&              answers;
        Background&                  background;
        std::vector<Producer> const& producers;  // by whom
        Told                         told;
    };

    explicit CacheOperations(Deps deps) : deps_(std::move(deps)) {}

    void show(Request& request, Reply reply);
    // {"pattern"} -> {"removed"}
    void clear(Request& request, Reply reply);

private:
    Response do_clear(std::string const& body, std::string const& by) const;

    Deps const deps_;
};

}  // namespace sluice::http
