// What is left of a colour step at a seam is spread into a strip beside it: at each texel the mean of the steps nearby,
// weighted by distance, fading to nothing at the strip's inner border (the membrane of Perez et al. 2003, "Poisson image
// editing", by scattered-data interpolation instead of a solver).
#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "texture.h"

namespace rilievo {

void blend_seams(uint8_t* texture, const int32_t* owner, int64_t height, int64_t width, const int32_t* patch_of_face,
                 int64_t num_faces, const float* sample_xy, const int32_t* sample_patch, const float* sample_shift,
                 int64_t num_samples, double radius) {
  constexpr int64_t kTile = 64;
  if (height < 1 || width < 1 || !(radius > 0)) return;
  const int64_t tiles_x = (width + kTile - 1) / kTile, tiles_y = (height + kTile - 1) / kTile;

  // Samples of each tile (with a border of `radius`), in order of their number.
  std::vector<int64_t> start(tiles_x * tiles_y + 1, 0);
  const auto each_tile = [&](int64_t s, auto&& body) {
    const double x = sample_xy[2 * s], y = sample_xy[2 * s + 1];
    if (!(x >= 0 && y >= 0 && x <= static_cast<double>(width) && y <= static_cast<double>(height))) return;
    for (int c = 0; c < 3; ++c) if (!std::isfinite(sample_shift[3 * s + c])) return;
    const auto tile = [&](double v, int64_t top) {
      return std::clamp<int64_t>(static_cast<int64_t>(std::floor(v / kTile)), 0, top - 1);
    };
    for (int64_t ty = tile(y - radius, tiles_y); ty <= tile(y + radius, tiles_y); ++ty)
      for (int64_t tx = tile(x - radius, tiles_x); tx <= tile(x + radius, tiles_x); ++tx) body(ty * tiles_x + tx);
  };
  for (int64_t s = 0; s < num_samples; ++s) each_tile(s, [&](int64_t tile) { ++start[tile + 1]; });
  for (int64_t i = 0; i < tiles_x * tiles_y; ++i) start[i + 1] += start[i];
  std::vector<int64_t> members(start.back());
  std::vector<int64_t> next(start.begin(), start.end() - 1);
  for (int64_t s = 0; s < num_samples; ++s) each_tile(s, [&](int64_t tile) { members[next[tile]++] = s; });

  const float r2 = static_cast<float>(radius * radius), sharp = 1.0f / static_cast<float>(0.08 * radius * radius);
  parallel_for(tiles_x * tiles_y, [&](int64_t tile) {
    if (start[tile] == start[tile + 1]) return;
    const int64_t row0 = tile / tiles_x * kTile, col0 = tile % tiles_x * kTile;
    const int64_t rows = std::min(kTile, height - row0), cols = std::min(kTile, width - col0);
    std::vector<int32_t> patch(rows * cols, -1);
    std::vector<float> sum(4 * rows * cols, 0.0f), nearest(rows * cols, r2);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const int32_t f = owner[(row0 + r) * width + col0 + c];
        if (f >= 0 && f < num_faces) patch[r * cols + c] = patch_of_face[f];
      }
    }
    for (int64_t m = start[tile]; m < start[tile + 1]; ++m) {
      const int64_t s = members[m];
      const float x = sample_xy[2 * s] - static_cast<float>(col0), y = sample_xy[2 * s + 1] - static_cast<float>(row0);
      const float reach = static_cast<float>(radius);
      const int64_t c0 = std::max<int64_t>(0, static_cast<int64_t>(x - reach)), c1 = std::min<int64_t>(cols, static_cast<int64_t>(std::max(0.0f, x + reach + 1)));
      const int64_t q0 = std::max<int64_t>(0, static_cast<int64_t>(y - reach)), q1 = std::min<int64_t>(rows, static_cast<int64_t>(std::max(0.0f, y + reach + 1)));
      for (int64_t r = q0; r < q1; ++r) {
        for (int64_t c = c0; c < c1; ++c) {
          const int64_t i = r * cols + c;
          if (patch[i] != sample_patch[s]) continue;
          const float dx = static_cast<float>(c) + 0.5f - x, dy = static_cast<float>(r) + 0.5f - y;
          const float d2 = dx * dx + dy * dy;
          if (d2 >= r2) continue;
          const float fall = 1.0f / (1.0f + d2 * sharp), weight = fall * fall;
          sum[4 * i] += weight;
          for (int k = 0; k < 3; ++k) sum[4 * i + 1 + k] += weight * sample_shift[3 * s + k];
          nearest[i] = std::min(nearest[i], d2);
        }
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const int64_t i = r * cols + c;
        if (sum[4 * i] <= 0) continue;
        // Half a texel of the distance is the texel's own size: at the seam the whole step is taken out.
        const float t = std::clamp((std::sqrt(nearest[i]) - 0.7f) / static_cast<float>(radius), 0.0f, 1.0f);
        const float fade = (1 - t) * (1 - t) * (1 + 2 * t);
        uint8_t* texel = texture + 3 * ((row0 + r) * width + col0 + c);
        for (int k = 0; k < 3; ++k) {
          const float v = static_cast<float>(texel[k]) + fade * sum[4 * i + 1 + k] / sum[4 * i];
          texel[k] = static_cast<uint8_t>(std::clamp(v + 0.5f, 0.0f, 255.0f));
        }
      }
    }
  });
}

}  // namespace rilievo
