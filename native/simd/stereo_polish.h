// One Gauss-Newton step of a plane: least squares matching over all views at once. Only for files under native/simd.
#pragma once
#include "stereo_match.h"

namespace rilievo::RIL_SIMD {

// Slopes are central differences (none where a neighbour has no picture).
RIL_INLINE void sample_slopes(Slopes& slopes, const Patch& patch, const StereoReference& reference, int y, int parity,
                              int i) {
  const F zero = splat(0.0f), half = splat(0.5f);
  const float* same = reference.grey[parity].data();
  const float* other = reference.grey[1 - parity].data();
  for (int k = 0; k < 3; ++k) slopes.sum_x[k] = slopes.sum_y[k] = slopes.with_x[k] = slopes.with_y[k] = zero;
  for (int k = 0; k < 6; ++k) slopes.xx[k] = slopes.xy[k] = slopes.yy[k] = zero;
  for (int j = 0; j < 5; ++j) {
    const int64_t row = reference.row(y + 2 * j - kRadius);
    // Sums over the row: linear ones with 1 and dx, quadratic ones with 1, dx and dx dx.
    F linear[4][2], quadratic[3][3];
    for (int n = 0; n < 4; ++n) linear[n][0] = linear[n][1] = zero;
    for (int n = 0; n < 3; ++n) quadratic[n][0] = quadratic[n][1] = quadratic[n][2] = zero;
    for (int n = 0; n < 5; ++n) {
      const int k = 5 * j + n;
      const int64_t at = row + i + n - 2;
      const F left = load(other + at + parity - 1), right = load(other + at + parity);
      const F above = load(same + at - reference.pitch), below = load(same + at + reference.pitch);
      const F gx = select((left > zero) & (right > zero), (right - left) * half, zero);
      const F gy = select((above > zero) & (below > zero), (below - above) * half, zero);
      slopes.x[k] = patch.weight[k] * gx;
      slopes.y[k] = patch.weight[k] * gy;
      const F dx = splat(0.5f * (n - 2)), dx2 = splat(0.25f * (n - 2) * (n - 2));
      const F terms[4] = {slopes.x[k], slopes.y[k], patch.centred[k] * gx, patch.centred[k] * gy};
      for (int t = 0; t < 4; ++t) {
        linear[t][0] = linear[t][0] + terms[t];
        linear[t][1] = linear[t][1] + terms[t] * dx;
      }
      const F squares[3] = {slopes.x[k] * gx, slopes.x[k] * gy, slopes.y[k] * gy};
      for (int t = 0; t < 3; ++t) {
        quadratic[t][0] = quadratic[t][0] + squares[t];
        quadratic[t][1] = quadratic[t][1] + squares[t] * dx;
        quadratic[t][2] = quadratic[t][2] + squares[t] * dx2;
      }
    }
    const F dy = splat(0.5f * (j - 2)), dy2 = splat(0.25f * (j - 2) * (j - 2));
    F* const sums[4] = {slopes.sum_x, slopes.sum_y, slopes.with_x, slopes.with_y};
    for (int t = 0; t < 4; ++t) {
      sums[t][0] = sums[t][0] + linear[t][0];
      sums[t][1] = sums[t][1] + linear[t][1];
      sums[t][2] = sums[t][2] + linear[t][0] * dy;
    }
    F* const pairs[3] = {slopes.xx, slopes.xy, slopes.yy};
    for (int t = 0; t < 3; ++t) {
      pairs[t][0] = pairs[t][0] + quadratic[t][0];
      pairs[t][1] = pairs[t][1] + quadratic[t][1];
      pairs[t][2] = pairs[t][2] + quadratic[t][0] * dy;
      pairs[t][3] = pairs[t][3] + quadratic[t][2];
      pairs[t][4] = pairs[t][4] + quadratic[t][1] * dy;
      pairs[t][5] = pairs[t][5] + quadratic[t][0] * dy2;
    }
  }
}

// The change that the pull asks for, at most one step each; directions that texture does not fix stay as they are.
RIL_INLINE void solve(const Pull& pull, F total_weight, F* change) {
  const F* m = pull.matrix;
  const F least = splat(1e-3f) * total_weight + splat(1e-12f);
  const F m00 = m[0] * splat(1.02f) + least, m11 = m[3] * splat(1.02f) + least, m22 = m[5] * splat(1.02f) + least;
  const F i0 = splat(1.0f) / m00;
  const F l1 = m[1] * i0, l2 = m[2] * i0;
  const F i1 = splat(1.0f) / maximum(m11 - l1 * m[1], least);
  const F cross = m[4] - l1 * m[2];
  const F l3 = cross * i1;
  const F i2 = splat(1.0f) / maximum((m22 - l2 * m[2]) - l3 * cross, least);
  const F y1 = pull.right[1] - l1 * pull.right[0];
  const F y2 = (pull.right[2] - l2 * pull.right[0]) - l3 * y1;
  const F c2 = y2 * i2;
  const F c1 = y1 * i1 - l3 * c2;
  const F c0 = (pull.right[0] * i0 - l1 * c1) - l2 * c2;
  change[0] = minimum(maximum(c0, splat(-1.0f)), splat(1.0f));
  change[1] = minimum(maximum(c1, splat(-1.0f)), splat(1.0f));
  change[2] = minimum(maximum(c2, splat(-1.0f)), splat(1.0f));
}

}  // namespace rilievo::RIL_SIMD
