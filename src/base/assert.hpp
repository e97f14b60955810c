#pragma once
// Facts only a bug can break. On in every build.
#include <cstdio>
#include <cstdlib>
#define SLUICE_ASSERT(condition)                                                                       \
    do {                                                                                               \
        if (!(condition)) [[unlikely]] {                                                               \
            std::fprintf(stderr, "%s:%d: assertion failed: %s\n", __FILE__, __LINE__, #condition);     \
            std::abort();                                                                              \
        }                                                                                              \
    } while (false)
