// Gaussians onto the image plane and into its tiles. See native/splats.h.
#include "splat_shape.h"

namespace rilievo::RIL_SIMD {
namespace {

constexpr int kParts = kTile / kLanes;  // registers for the rows of a tile

}  // namespace

// depth[i]: z in the camera, or -1 where Gaussian i is not seen.
void project_range(const float* rows, int64_t begin, int64_t end, const SplatCamera& camera,
                   const SplatOptions& options, Splat2D* splats, float* depth) {
  const float w = static_cast<float>(camera.width), h = static_cast<float>(camera.height);
  for (int64_t i = begin; i < end; ++i) {
    const float* row = rows + i * kSplatRow;
    depth[i] = -1.0f;
    Shape s;
    if (!shape_of(row, camera, options, s)) continue;
    Splat2D out;
    out.x = camera.fx * s.p[0] / s.p[2] + camera.cx;
    out.y = camera.fy * s.p[1] / s.p[2] + camera.cy;
    out.lo = log2_scalar(s.shown);
    // Inside the ellipse dx^2 A + 2 dx dy B + dy^2 C <= k^2 alpha is at least 1/255; its box is k sqrt(covariance).
    const float k2 = 2.0f * (out.lo - kMinLogAlpha) / kLog2E;
    if (!(k2 > 0) || !is_finite(out.x) || !is_finite(out.y)) continue;
    out.reach_x = root_scalar(k2 * s.a), out.reach_y = root_scalar(k2 * s.c);
    if (!(out.x + out.reach_x > 0 && out.x - out.reach_x < w && out.y + out.reach_y > 0 && out.y - out.reach_y < h))
      continue;
    out.a = -0.5f * kLog2E * s.A, out.b = -kLog2E * s.B, out.c = -0.5f * kLog2E * s.C;
    float basis[16], color[3];
    const Look look = look_at(row, camera);
    color_of(row, options.degree, look, basis, color);
    if (!is_finite(color[0] + color[1] + color[2])) continue;
    for (int c = 0; c < 3; ++c) out.feature[c] = color[c] > 0 ? color[c] : 0.0f;
    out.feature[3] = s.p[2];
    out.feature[4] = out.feature[5] = out.feature[6] = 0.0f;
    if (options.channels > 4) {
      float sign;
      normal_of(s, camera, out.feature + 4, sign);
    }
    out.first_slot = 0;
    splats[i] = out;
    depth[i] = s.p[2];
  }
}

// Pairs of Gaussians (nearest first) and tiles: the number of the tile and the rows of it that the ellipse of
// alpha >= 1/255 touches (after Radl et al. 2024 and Hanson et al. 2024: exact intersection). Returns how many pairs
// there are; those beyond `capacity` are only counted.
int64_t cut_range(const Splat2D* splats, const uint32_t* order, int64_t count, int tiles_x, int tiles_y,
                  uint32_t* tiles, uint16_t* rows, uint32_t* num_slots, int64_t capacity) {
  int64_t total = 0;
  for (int64_t j = 0; j < count; ++j) {
#ifdef __GNUC__
    if (j + 12 < count) __builtin_prefetch(&splats[order[j + 12]]);
#endif
    const Splat2D& s = splats[order[j]];
    const int64_t before = total;
    // Numbers are held within the image first: a float beyond the range of int would be undefined.
    const float right = static_cast<float>(tiles_x * kTile), bottom = static_cast<float>(tiles_y * kTile);
    float x0 = s.x - s.reach_x, x1 = s.x + s.reach_x, y0 = s.y - s.reach_y, y1 = s.y + s.reach_y;
    x0 = x0 > 0 ? x0 : 0, y0 = y0 > 0 ? y0 : 0;
    x1 = x1 < right - 1 ? x1 : right - 1, y1 = y1 < bottom - 1 ? y1 : bottom - 1;
    const int tx0 = static_cast<int>(x0) / kTile, tx1 = static_cast<int>(x1) / kTile;
    const int ty0 = static_cast<int>(y0) / kTile, ty1 = static_cast<int>(y1) / kTile;
    // a dx^2 + (b dy) dx + c dy^2 >= -k: dx within (-b dy +- sqrt(D)) / 2a, D = -4 a k - (4 a c - b^2) dy^2.
    const float k = s.lo - kMinLogAlpha, minor = 4.0f * s.a * s.c - s.b * s.b, half = 0.5f / s.a;
    const F center_x = splat(s.x), tilt = splat(half * s.b), narrow = splat(0.0f - half), slack = splat(0.01f);
    const F top = splat(-4.0f * s.a * k), fall = splat(minor), zero = splat(0.0f);
    for (int ty = ty0; ty <= ty1; ++ty) {
      F left_edge[kParts], right_edge[kParts];
      Bool there[kParts];
      for (int v = 0; v < kParts; ++v) {
        const F row = to_float(lane_index()) + splat(static_cast<float>(ty * kTile + v * kLanes) + 0.5f);
        const F dy = row - splat(s.y), D = top - fall * dy * dy;
        there[v] = at_least(D, zero);
        const F spread = narrow * root(maximum(D, zero)) + slack, middle = center_x - tilt * dy;
        left_edge[v] = middle - spread, right_edge[v] = middle + spread;
      }
      for (int tx = tx0; tx <= tx1; ++tx) {
        const F low = splat(static_cast<float>(tx * kTile) + 0.5f), high = low + splat(kTile - 1);
        uint32_t touched = 0;
        for (int v = 0; v < kParts; ++v)
          touched |= bits_of(both(there[v], both(at_least(right_edge[v], low), at_least(high, left_edge[v]))))
                     << (v * kLanes);
        if (!touched) continue;
        if (total < capacity) {
          tiles[total] = static_cast<uint32_t>(ty * tiles_x + tx);
          rows[total] = static_cast<uint16_t>(touched);
        }
        ++total;
      }
    }
    num_slots[order[j]] = static_cast<uint32_t>(total - before);
  }
  return total;
}

}  // namespace rilievo::RIL_SIMD
