// Multi-resolution hash encoding (Mueller et al. 2022, section 3), forward and backward. See native/field.h.
#include "../field.h"

#include "lanes.h"

namespace rilievo::RIL_SIMD {
namespace {

#ifdef RIL_VECTOR_TYPES
typedef float Row __attribute__((vector_size(16)));
RIL_INLINE Row scaled(Row a, float w) { return a * w; }
#else
struct Row {
  float f[4];
};
RIL_INLINE Row operator+(const Row& a, const Row& b) {
  return {{a.f[0] + b.f[0], a.f[1] + b.f[1], a.f[2] + b.f[2], a.f[3] + b.f[3]}};
}
RIL_INLINE Row scaled(const Row& a, float w) { return {{a.f[0] * w, a.f[1] * w, a.f[2] * w, a.f[3] * w}}; }
#endif
RIL_INLINE Row load_row(const float* p) {
  Row r;
  memcpy(&r, p, sizeof(r));
  return r;
}
RIL_INLINE void store_row(float* p, Row r) { memcpy(p, &r, sizeof(r)); }

// The eight corners around kLanes points: 4 * row in the level's table, and trilinear weight.
struct Corners {
  int32_t at[8][kLanes];
  float weight[8][kLanes];
};

RIL_INLINE void store_int(int32_t* p, I x) { memcpy(p, &x, sizeof(x)); }

// Axis by axis: the cell below and the fraction in it.
RIL_INLINE void split(F u, int resolution, I& cell, F& fraction) {
  const F top = splat(static_cast<float>(resolution));
  F x = u * top;
  x = minimum(maximum(x, splat(0.0f)), top);  // NaN becomes 0
  cell = minimum(truncate(x), splat_int(resolution - 1));
  fraction = x - to_float(cell);
}

RIL_INLINE void find_corners(const FieldLevel& level, F ux, F uy, F uz, Corners& corners) {
  I cx, cy, cz;
  F fx, fy, fz;
  split(ux, level.resolution, cx, fx);
  split(uy, level.resolution, cy, fy);
  split(uz, level.resolution, cz, fz);
  const F one = splat(1.0f);
  const F wx[2] = {one - fx, fx}, wy[2] = {one - fy, fy}, wz[2] = {one - fz, fz};
  const U four = splat_unsigned(4u);
  U x[2], y[2], z[2];
  x[0] = as_unsigned(cx);
  x[1] = x[0] + splat_unsigned(1u);
  if (level.hashed) {
    const U py = splat_unsigned(2654435761u), pz = splat_unsigned(805459861u);
    y[0] = as_unsigned(cy) * py;
    y[1] = y[0] + py;
    z[0] = as_unsigned(cz) * pz;
    z[1] = z[0] + pz;
    const U last = splat_unsigned(static_cast<uint32_t>(level.rows) - 1u);
    for (int k = 0; k < 8; ++k)
      store_int(corners.at[k], as_int(((x[k & 1] ^ y[(k >> 1) & 1] ^ z[k >> 2]) & last) * four));
  } else {
    const uint32_t side = static_cast<uint32_t>(level.resolution) + 1u;
    y[0] = as_unsigned(cy) * splat_unsigned(side);
    y[1] = y[0] + splat_unsigned(side);
    z[0] = as_unsigned(cz) * splat_unsigned(side * side);
    z[1] = z[0] + splat_unsigned(side * side);
    for (int k = 0; k < 8; ++k) store_int(corners.at[k], as_int((x[k & 1] + y[(k >> 1) & 1] + z[k >> 2]) * four));
  }
  for (int j = 0; j < 4; ++j) {
    const F w = wy[j & 1] * wz[j >> 1];
    store(corners.weight[2 * j], wx[0] * w);
    store(corners.weight[2 * j + 1], wx[1] * w);
  }
}

// kLanes points of u (n 3), axis by axis.
RIL_INLINE void load_points(const float* u, F& x, F& y, F& z) {
  float axis[3][kLanes];
  for (int l = 0; l < kLanes; ++l)
    for (int a = 0; a < 3; ++a) axis[a][l] = u[3 * l + a];
  x = load(axis[0]);
  y = load(axis[1]);
  z = load(axis[2]);
}

}  // namespace

void field_encode_block(const FieldShape& shape, const float* table, const float* u, int64_t n, float* features) {
  const int stride = shape.inputs();
  for (int64_t i = 0; i < n; i += kLanes) {
    F x, y, z;
    load_points(u + 3 * i, x, y, z);
    for (int v = 0; v < shape.num_levels; ++v) {
      const FieldLevel& level = shape.level[v];
      const float* rows = table + static_cast<int64_t>(kRowFloats) * level.first;
      Corners corners;
      find_corners(level, x, y, z, corners);
      for (int l = 0; l < kLanes; ++l) {
        Row sum = scaled(load_row(rows + corners.at[0][l]), corners.weight[0][l]);
        for (int k = 1; k < 8; ++k) sum = sum + scaled(load_row(rows + corners.at[k][l]), corners.weight[k][l]);
        store_row(features + (i + l) * stride + kRowFloats * v, sum);
      }
    }
  }
}

void field_scatter(const FieldLevel& level, const float* u, const float* gradients, int stride, int64_t n,
                   float* table_gradients) {
  float* rows = table_gradients + static_cast<int64_t>(kRowFloats) * level.first;
  for (int64_t i = 0; i < n; i += kLanes) {
    F x, y, z;
    load_points(u + 3 * i, x, y, z);
    Corners corners;
    find_corners(level, x, y, z, corners);
    for (int l = 0; l < kLanes; ++l) {
      const Row g = load_row(gradients + (i + l) * stride);
      for (int k = 0; k < 8; ++k) {
        float* row = rows + corners.at[k][l];
        store_row(row, load_row(row) + scaled(g, corners.weight[k][l]));
      }
    }
  }
}

void field_adam_range(float* values, float* gradients, float* mean, float* square, int64_t n, float rate, float beta1,
                      float beta2, float epsilon) {
  const F zero = splat(0.0f), b1 = splat(beta1), b2 = splat(beta2), c1 = splat(1.0f - beta1), c2 = splat(1.0f - beta2);
  const F step = splat(rate), small = splat(epsilon);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F g = load(gradients + i);
    const Mask touched = g != zero;
    if (!any(touched)) continue;
    const F m0 = load(mean + i), v0 = load(square + i), p = load(values + i);
    const F m = b1 * m0 + c1 * g, v = b2 * v0 + c2 * (g * g);
    store(mean + i, select(touched, m, m0));
    store(square + i, select(touched, v, v0));
    store(values + i, select(touched, p - step * (m / (root(v) + small)), p));
    store(gradients + i, zero);
  }
  if (i == n) return;
  float tail[4][kLanes] = {};
  for (int64_t l = i; l < n; ++l) {
    tail[0][l - i] = values[l];
    tail[1][l - i] = gradients[l];
    tail[2][l - i] = mean[l];
    tail[3][l - i] = square[l];
  }
  field_adam_range(tail[0], tail[1], tail[2], tail[3], kLanes, rate, beta1, beta2, epsilon);
  for (int64_t l = i; l < n; ++l) {
    values[l] = tail[0][l - i];
    gradients[l] = tail[1][l - i];
    mean[l] = tail[2][l - i];
    square[l] = tail[3][l - i];
  }
}

}  // namespace rilievo::RIL_SIMD
