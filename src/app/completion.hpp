// Completion scripts, made from the command line's own tree of verbs and options.
#pragma once

#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace sluice::app {

// What `shell`, which is bash, zsh or fish, reads to complete the words of `cli`.
std::string completion(CLI::App const& cli, std::string_view shell);

}  // namespace sluice::app
