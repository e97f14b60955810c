// A ticket for each single event, and back.
#include "stage.hpp"
#include "support.hpp"

#include "engine/admission.hpp"

namespace sluice::bench {

namespace {

class Admit final : public Stage {
public:
    void run() override
    {
        for (std::size_t i = 0; i < events(); ++i) {
            engine::Admission::Demand demand{.events = {}, .bytes = 700};
            demand.events[i % tier_count] = 1;
            engine::Admission::Ticket ticket;
            if (admission_.admit(demand, ticket)) give_up("admission: refused");
        }
    }
    std::size_t events() const override { return 1000; }

private:
    engine::Admission admission_{engine::Admission::Limits{}};
};

}  // namespace

std::span<NamedStage const> admission_stages()
{
    static constexpr NamedStage stages[] = {{"admission", make_stage<Admit>}};
    return stages;
}

}  // namespace sluice::bench
