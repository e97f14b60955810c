// The files of schemas/graph/, which the build puts into the program.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace sluice::adapters::postgres {

struct Migration {
    std::uint32_t    number{0};  // its file's name begins with it; dense from 1
    std::string_view name;
    std::string_view sql;
};

std::span<Migration const> migrations();

}  // namespace sluice::adapters::postgres
