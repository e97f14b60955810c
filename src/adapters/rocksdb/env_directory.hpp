// files::Directory in the file system.
#pragma once

#include "files/directory.hpp"

#include <memory>
#include <string>

namespace rocksdb {
class Env;
}

namespace sluice::adapters {

// Creates the directory, with mode 0700, when the first file is created in it; until then it is empty. What an
// unfinished writer of an earlier process left is removed by the next one.
std::unique_ptr<files::Directory> open_directory(std::string path);

// The same on `env`, for tests that bring their own disk; it outlives the directory.
std::unique_ptr<files::Directory> open_directory(std::string path, rocksdb::Env& env);

}  // namespace sluice::adapters
