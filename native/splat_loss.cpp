#include <algorithm>
#include <vector>

#include "parallel.h"
#include "splats.h"

namespace rilievo {

// Bands of rows and the three colours are separate jobs; a band reads 10 rows more on either side for the windows of
// SSIM. Sums are added up in the order of the jobs.
LossSums photo_loss(const PhotoLoss& loss) {
  constexpr int64_t kBand = 96;
  const int64_t bands = (loss.height + kBand - 1) / kBand;
  std::vector<LossSums> sums(bands * 3);
  const int64_t blocks_x = (loss.width + kTile - 1) / kTile, blocks_y = (loss.height + kTile - 1) / kTile;
  std::vector<float> errors(3 * blocks_x * blocks_y, 0.0f);
  const int64_t pitch = loss.width + 64;
  parallel_for(bands * 3, [&](int64_t job) {
    const int channel = static_cast<int>(job % 3);
    const int64_t begin = job / 3 * kBand, end = std::min<int64_t>(begin + kBand, loss.height);
    std::vector<float> store(kLossRows * pitch, 0.0f);
    PhotoLoss own = loss;
    own.block_errors = errors.data() + channel * blocks_x * blocks_y;
    RIL_CALL_SIMD(loss_band, own, channel, static_cast<int>(begin), static_cast<int>(end), store.data(), sums[job]);
  });
  for (int64_t i = 0; i < blocks_x * blocks_y; ++i) {
    const int64_t w = std::min<int64_t>(kTile, loss.width - i % blocks_x * kTile);
    const int64_t h = std::min<int64_t>(kTile, loss.height - i / blocks_x * kTile);
    loss.block_errors[i] = (errors[i] + errors[blocks_x * blocks_y + i] + errors[2 * blocks_x * blocks_y + i]) /
                           static_cast<float>(3 * w * h);
  }
  LossSums total;
  for (const LossSums& s : sums) {
    total.l1 += s.l1, total.ssim += s.ssim, total.squared += s.squared, total.weight += s.weight;
    for (int c = 0; c < 3; ++c) total.d_gain[c] += s.d_gain[c], total.d_bias[c] += s.d_bias[c];
  }
  return total;
}

}  // namespace rilievo
