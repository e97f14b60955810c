// Time per event of each stage: stages --benchmark_filter=decode
#include "stage.hpp"

#include <benchmark/benchmark.h>

int main(int argc, char** argv)
{
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    for (auto const& named : sluice::bench::all_stages())
        benchmark::RegisterBenchmark(named.name, [named](benchmark::State& state) {
            auto const stage = named.make();
            for (auto _ : state) {
                state.PauseTiming();
                stage->prepare();
                state.ResumeTiming();
                stage->run();
            }
            state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(stage->events()));
        });
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
