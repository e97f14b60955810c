#include "stage.hpp"

namespace sluice::bench {

std::vector<NamedStage> all_stages()
{
    std::vector<NamedStage> all;
    for (auto const& stages :
         {codec_stages(), decode_stages(), admission_stages(), append_stages(), lanes_stages(), apply_stages(),
          checkpoint_stages(), fold_stages(), conviction_stages(), digest_stages()})
        all.insert(all.end(), stages.begin(), stages.end());
    return all;
}

}  // namespace sluice::bench
