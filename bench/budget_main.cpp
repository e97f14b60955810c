// One run of one stage for callgrind, which counts nothing but the run: budget.py starts it.
//   budget           prints every stage
//   budget STAGE     runs it and prints how many events that was
#include "stage.hpp"

#include <cstdio>
#include <string_view>
#include <valgrind/callgrind.h>

int main(int argc, char** argv)
{
    for (auto const& named : sluice::bench::all_stages()) {
        if (argc < 2) std::puts(named.name);
        if (argc < 2 || std::string_view(argv[1]) != named.name) continue;
        auto const stage = named.make();
        stage->prepare();
        stage->run();  // buffers grow once
        stage->prepare();
        CALLGRIND_START_INSTRUMENTATION;
        stage->run();
        CALLGRIND_STOP_INSTRUMENTATION;
        std::printf("%zu\n", stage->events());
        return 0;
    }
    return argc < 2 ? 0 : 2;
}
