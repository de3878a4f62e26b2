#include "shrink.h"

#include <algorithm>

#include "parallel.h"

namespace rilievo {

// Bands of rows and channels are separate jobs; a band computes the blocks that reach into it from above again.
std::vector<float> shrink_blocks(const Shrink& job) {
  constexpr int64_t kBand = 64;
  const int64_t bands = (job.height + kBand - 1) / kBand;
  std::vector<float> out(static_cast<size_t>(job.channels * job.height * job.width), 0.0f);
  parallel_for(bands * job.channels, [&](int64_t i) {
    const int64_t channel = i / bands, begin = i % bands * kBand, end = std::min(begin + kBand, job.height);
    std::vector<float> weight(static_cast<size_t>((end - begin) * job.width), 0.0f);
    float* sum = out.data() + (channel * job.height + begin) * job.width;
    RIL_CALL_SIMD(shrink_band, job, channel, begin, end, sum, weight.data());
    for (size_t k = 0; k < weight.size(); ++k) sum[k] /= weight[k];
  });
  return out;
}

}  // namespace rilievo
