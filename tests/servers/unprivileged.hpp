// The user that servers of tests run as where the tests are root: PostgreSQL refuses root.
#pragma once

#include <stdexcept>

#include <pwd.h>
#include <sys/types.h>

namespace sluice::test {

struct User {
    uid_t uid{};
    gid_t gid{};
};

inline User unprivileged_user()
{
    auto const* const nobody = ::getpwnam("nobody");
    if (nobody == nullptr) throw std::runtime_error("there is no user `nobody`");
    return {nobody->pw_uid, nobody->pw_gid};
}

}  // namespace sluice::test
