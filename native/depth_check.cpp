#include "depth_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "parallel.h"

namespace rilievo {
namespace {

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

bool known(float depth) { return depth > 0.0f && depth < std::numeric_limits<float>::infinity(); }

void apply(const double* P, double x, double y, double z, double* out) {
  for (int r = 0; r < 3; ++r) out[r] = ((P[4 * r] * x + P[4 * r + 1] * y) + P[4 * r + 2]) * z + P[4 * r + 3];
}

// Depth of a map at (u, v): inverse depth between the four pixels around where they are one surface, else of the nearest.
double depth_at(const float* map, int height, int width, double u, double v, double max_relative) {
  const double cu = std::floor(u), cv = std::floor(v);
  const int64_t x0 = static_cast<int64_t>(cu), y0 = static_cast<int64_t>(cv);
  if (x0 >= 0 && y0 >= 0 && x0 + 1 < width && y0 + 1 < height) {
    const float* p = map + y0 * width + x0;
    const float d00 = p[0], d10 = p[1], d01 = p[width], d11 = p[width + 1];
    if (known(d00) && known(d10) && known(d01) && known(d11)) {
      const float low = std::min(std::min(d00, d10), std::min(d01, d11));
      const float high = std::max(std::max(d00, d10), std::max(d01, d11));
      if (double(high) - low <= 2.0 * max_relative * low) {
        const double fu = u - cu, fv = v - cv;
        const double top = (1.0 - fu) / d00 + fu / d10, bottom = (1.0 - fu) / d01 + fu / d11;
        return 1.0 / ((1.0 - fv) * top + fv * bottom);
      }
    }
  }
  const int64_t x = static_cast<int64_t>(std::floor(u + 0.5)), y = static_cast<int64_t>(std::floor(v + 0.5));
  if (x < 0 || y < 0 || x >= width || y >= height) return -1.0;
  const float d = map[y * width + x];
  return known(d) ? d : -1.0;
}

}  // namespace

void depth_agreement(const DepthPair& pair, double max_error_px, double max_relative, std::vector<uint8_t>& verdict,
                     std::vector<float>& depth_there) {
  for (int k = 0; k < 12; ++k)
    if (!std::isfinite(pair.other_from_this[k]) || !std::isfinite(pair.this_from_other[k]))
      throw std::invalid_argument("projections must be finite");
  if (!(max_error_px > 0) || !(max_relative > 0)) throw std::invalid_argument("limits must be positive");
  const int w = pair.width, h = pair.height;
  verdict.assign(size_t(w) * h, kUnseen);
  depth_there.assign(size_t(w) * h, kUnknown);
  parallel_ranges(h, 16, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      for (int x = 0; x < w; ++x) {
        const int64_t at = y * w + x;
        const float depth = pair.depth[at];
        if (!known(depth)) continue;
        double q[3];
        apply(pair.other_from_this, x, static_cast<double>(y), depth, q);
        if (!(q[2] > 1e-6 * depth)) continue;
        const double u = q[0] / q[2], v = q[1] / q[2];
        if (!(u > -0.5 && v > -0.5 && u < pair.other_width - 0.5 && v < pair.other_height - 0.5)) continue;
        const double z = depth_at(pair.other, pair.other_height, pair.other_width, u, v, max_relative);
        if (!(z > 0)) continue;
        double back[3];
        apply(pair.this_from_other, u, v, z, back);
        if (!(back[2] > 0)) continue;
        const double ex = back[0] / back[2] - x, ey = back[1] / back[2] - static_cast<double>(y);
        const bool agrees = ex * ex + ey * ey <= max_error_px * max_error_px &&
                            std::fabs(back[2] - depth) <= max_relative * depth;
        // A point well in front of what the other photo saw there would have hidden it.
        verdict[at] = agrees ? kAgrees : z > q[2] ? kSeenThrough : kHidden;
        depth_there[at] = static_cast<float>(back[2]);
      }
  });
}

void depth_pieces(const float* depth, int height, int width, float max_relative, std::vector<int32_t>& size) {
  if (!(max_relative > 0)) throw std::invalid_argument("max_relative must be positive");
  const int64_t n = int64_t(height) * width;
  if (n > std::numeric_limits<int32_t>::max()) throw std::invalid_argument("the map is too large");
  std::vector<int32_t> parent(n);
  for (int64_t i = 0; i < n; ++i) parent[i] = static_cast<int32_t>(i);
  const auto find = [&](int32_t i) {
    while (parent[i] != i) {
      parent[i] = parent[parent[i]];
      i = parent[i];
    }
    return i;
  };
  const auto join = [&](int64_t i, int64_t j) {
    const float a = depth[i], b = depth[j];
    if (!known(a) || !known(b) || !(std::fabs(a - b) <= max_relative * std::min(a, b))) return;
    const int32_t ri = find(static_cast<int32_t>(i)), rj = find(static_cast<int32_t>(j));
    if (ri < rj) parent[rj] = ri;
    else if (rj < ri) parent[ri] = rj;
  };
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const int64_t i = int64_t(y) * width + x;
      if (x > 0) join(i, i - 1);
      if (y > 0) join(i, i - width);
    }
  std::vector<int32_t> count(n, 0);
  for (int64_t i = 0; i < n; ++i)
    if (known(depth[i])) ++count[find(static_cast<int32_t>(i))];
  size.resize(n);
  for (int64_t i = 0; i < n; ++i) size[i] = known(depth[i]) ? count[find(static_cast<int32_t>(i))] : 0;
}

}  // namespace rilievo
