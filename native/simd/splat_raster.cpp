// The inner loops of drawing Gaussians: one tile of 16 x 16 pixels, nearest Gaussian first. See native/splats.h.
//
// A Gaussian is drawn into the rows of the tile that its ellipse of alpha >= 1/255 touches. A pixel takes it where its
// alpha is at least 1/255 and light still comes through (transmittance >= 1e-4). The state of the tile stays in the
// first cache.
#include "../splats.h"
#include "splat_lanes.h"

namespace rilievo::RIL_SIMD {
namespace {

constexpr int kParts = kTile / kLanes;   // registers in a row of a tile
constexpr int kPixels = kTile * kTile;
constexpr int kCheckEvery = 8;           // Gaussians between two looks for rows that are full

RIL_INLINE F columns(int part) { return to_float(lane_index()) + splat(static_cast<float>(part * kLanes) + 0.5f); }

// Rows in which light still comes through somewhere.
RIL_INLINE uint32_t open_rows(const float* T, uint32_t rows) {
  uint32_t open = 0;
  for (uint32_t left = rows; left; left &= left - 1) {
    const int r = __builtin_ctz(left);
    Bool through = at_least(load(T + r * kTile), splat(kMinTransmittance));
    bool closed = none(through);
    for (int v = 1; v < kParts; ++v)
      closed = closed && none(at_least(load(T + r * kTile + v * kLanes), splat(kMinTransmittance)));
    if (!closed) open |= 1u << r;
  }
  return open;
}

RIL_INLINE uint32_t rows_inside(const SplatTile& tile) {
  const int rows = tile.height - tile.y0 < kTile ? tile.height - tile.y0 : kTile;
  return (1u << rows) - 1;
}

RIL_INLINE void prefetch(const SplatTile& tile, int64_t i) {
#ifdef __GNUC__
  if (i + 6 < tile.count) __builtin_prefetch(&tile.splats[tile.index[i + 6]]);
#endif
}

template <int C, bool kMedian>
RIL_INLINE void draw(const SplatTile& tile, float* features, float* transmittance, float* median_depth) {
  alignas(64) float T[kPixels], value[C][kPixels], median[kPixels];
  const int columns_inside = tile.width - tile.x0 < kTile ? tile.width - tile.x0 : kTile;
  for (int i = 0; i < kPixels; ++i) T[i] = i % kTile < columns_inside ? 1.0f : 0.0f, median[i] = 0.0f;
  for (int c = 0; c < C; ++c)
    for (int i = 0; i < kPixels; ++i) value[c][i] = 0.0f;
  const F limit = splat(kMaxAlpha), least = splat(kMinLogAlpha), open = splat(kMinTransmittance);
  uint32_t alive = rows_inside(tile);
  for (int64_t i = 0; i < tile.count; ++i) {
    if (i % kCheckEvery == kCheckEvery - 1 && !(alive = open_rows(T, alive))) break;
    prefetch(tile, i);
    const Splat2D& s = tile.splats[tile.index[i]];
    uint32_t rows = tile.rows[i] & alive;
    const float x = s.x - static_cast<float>(tile.x0), y = s.y - static_cast<float>(tile.y0);
    F dx[kParts];
    for (int v = 0; v < kParts; ++v) dx[v] = columns(v) - splat(x);
    const F a = splat(s.a);
    F feature[C];
    for (int c = 0; c < C; ++c) feature[c] = splat(s.feature[c]);
    for (; rows; rows &= rows - 1) {
      const int r = __builtin_ctz(rows);
      const float dy = static_cast<float>(r) + 0.5f - y;
      const F slope = splat(s.b * dy), constant = splat(fused(s.c * dy, dy, s.lo));
      for (int v = 0; v < kParts; ++v) {
        const int at = r * kTile + v * kLanes;
        const F e = fused(fused(a, dx[v], slope), dx[v], constant);
        const F light = load(T + at);
        const Bool takes = both(at_least(e, least), at_least(light, open));
        const F alpha = keep(takes, smaller(exp2_lanes(e), limit));
        const F weight = alpha * light, left = light - weight;
        store(T + at, left);
        for (int c = 0; c < C; ++c) store(value[c] + at, fused(weight, feature[c], load(value[c] + at)));
        if (kMedian) {
          const Bool before = at_least(light, splat(0.5f)), after = at_least(left, splat(0.5f));
          const F here = choose(after, load(median + at), splat(s.feature[3]));
          store(median + at, choose(before, here, load(median + at)));
        }
      }
    }
  }
  const int64_t plane = static_cast<int64_t>(tile.width) * tile.height;
  for (uint32_t left = rows_inside(tile); left; left &= left - 1) {
    const int r = __builtin_ctz(left);
    const int64_t out = static_cast<int64_t>(tile.y0 + r) * tile.width + tile.x0;
    for (int j = 0; j < columns_inside; ++j) {
      const float t = T[r * kTile + j];
      transmittance[out + j] = t;
      for (int c = 0; c < C; ++c) {
        const float behind = c < 3 ? t * tile.background[c] : 0.0f;
        features[c * plane + out + j] = value[c][r * kTile + j] + behind;
      }
      if (kMedian) median_depth[out + j] = median[r * kTile + j];
    }
  }
}

// The sums of 16 vectors of 16 numbers, each by halves: lane i with i + 8, then with i + 4, i + 2, i + 1.
#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
template <int K>
RIL_INLINE void sums(const F (&x)[K][kParts], float* out) {
  __m512 a[16], b[8], c[4], d[2];
  for (int k = 0; k < 16; ++k) a[k] = k < K ? (__m512)x[k < K ? k : 0][0] : _mm512_setzero_ps();
  const __mmask16 all = (__mmask16)-1;
  // Two vectors become one: halves of the first, then of the second.
  for (int k = 0; k < 8; ++k)
    b[k] = _mm512_maskz_shuffle_f32x4(all, a[2 * k], a[2 * k + 1], 0x44) +
           _mm512_maskz_shuffle_f32x4(all, a[2 * k], a[2 * k + 1], 0xEE);
  for (int k = 0; k < 4; ++k)
    c[k] = _mm512_maskz_shuffle_f32x4(all, b[2 * k], b[2 * k + 1], 0x88) +
           _mm512_maskz_shuffle_f32x4(all, b[2 * k], b[2 * k + 1], 0xDD);
  for (int k = 0; k < 2; ++k)
    d[k] = _mm512_maskz_shuffle_ps(all, c[2 * k], c[2 * k + 1], 0x44) +
           _mm512_maskz_shuffle_ps(all, c[2 * k], c[2 * k + 1], 0xEE);
  const __m512 e = _mm512_maskz_shuffle_ps(all, d[0], d[1], 0x88) + _mm512_maskz_shuffle_ps(all, d[0], d[1], 0xDD);
  // Group g of four lanes holds the sums k = 4 q + g ... of each quarter q: put them in order.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_ps(out, _mm512_maskz_permutexvar_ps(all, order, e));
}
#else
template <int K>
RIL_INLINE void sums(const F (&x)[K][kParts], float* out) {
  for (int k = 0; k < K; ++k) {
    float t[kTile];
    for (int v = 0; v < kParts; ++v) store(t + v * kLanes, x[k][v]);
    for (int half = kTile / 2; half; half /= 2)
      for (int j = 0; j < half; ++j) t[j] += t[j + half];
    out[k] = t[0];
  }
  for (int k = K; k < kSlot; ++k) out[k] = 0.0f;
}
#endif

// Slot: with v = dL / d(ln alpha) and (dx, dy) from the Gaussian to the pixel, the sums over the tile's pixels of
// v, v dx, v dx^2, v dy, v dx dy, v dy^2; then of weight * dL/d(feature) for each channel.
//
// Front to back, as in drawing: what lies behind Gaussian i, weighed by dL/d(pixel), is what remains of the whole pixel
// after taking off Gaussians 0 ... i. Then dL/d(alpha_i) = T_i (dL/dC . c_i) - behind_i / (1 - alpha_i), the derivative
// of C = sum c_i alpha_i T_i (Kerbl et al. 2023, appendix).
template <int C>
RIL_INLINE void draw_backward(const SplatTile& tile, const float* features, const float* transmittance,
                              const float* d_features, const float* d_transmittance, float* slots) {
  alignas(64) float T[kPixels], behind[kPixels], gradient[C][kPixels];
  const int64_t plane = static_cast<int64_t>(tile.width) * tile.height;
  const int columns_inside = tile.width - tile.x0 < kTile ? tile.width - tile.x0 : kTile;
  const uint32_t inside = rows_inside(tile);
  for (int r = 0; r < kTile; ++r) {
    const int64_t in = static_cast<int64_t>(tile.y0 + r) * tile.width + tile.x0;
    for (int j = 0; j < kTile; ++j) {
      const int at = r * kTile + j;
      const bool there = (inside >> r & 1) && j < columns_inside;
      T[at] = there ? 1.0f : 0.0f;  // no light outside of the image
      float sum = 0.0f;
      for (int c = 0; c < C; ++c) {
        gradient[c][at] = there ? d_features[c * plane + in + j] : 0.0f;
        if (there) sum = fused(gradient[c][at], features[c * plane + in + j], sum);
      }
      if (there && d_transmittance) sum = fused(d_transmittance[in + j], transmittance[in + j], sum);
      behind[at] = sum;
    }
  }
  const F limit = splat(kMaxAlpha), least = splat(kMinLogAlpha), open = splat(kMinTransmittance), one = splat(1.0f);
  uint32_t alive = inside;
  int64_t i = 0;
  for (; i < tile.count; ++i) {
    if (i % kCheckEvery == kCheckEvery - 1 && !(alive = open_rows(T, alive))) break;
    prefetch(tile, i);
    const Splat2D& s = tile.splats[tile.index[i]];
    uint32_t rows = tile.rows[i] & alive;
    const float x = s.x - static_cast<float>(tile.x0), y = s.y - static_cast<float>(tile.y0);
    F dx[kParts], total[6 + C][kParts];
    for (int v = 0; v < kParts; ++v) {
      dx[v] = columns(v) - splat(x);
      for (int k = 0; k < 6 + C; ++k) total[k][v] = splat(0.0f);
    }
    const F a = splat(s.a);
    F feature[C];
    for (int c = 0; c < C; ++c) feature[c] = splat(s.feature[c]);
    for (; rows; rows &= rows - 1) {
      const int r = __builtin_ctz(rows);
      const float dy = static_cast<float>(r) + 0.5f - y;
      const F slope = splat(s.b * dy), constant = splat(fused(s.c * dy, dy, s.lo)), down = splat(dy);
      for (int v = 0; v < kParts; ++v) {
        const int at = r * kTile + v * kLanes;
        const F e = fused(fused(a, dx[v], slope), dx[v], constant);
        const F light = load(T + at);
        const Bool takes = both(at_least(e, least), at_least(light, open));
        const F full = exp2_lanes(e);
        const Bool free = both(takes, at_least(limit, full));  // alpha follows the Gaussian
        const F alpha = keep(takes, smaller(full, limit));
        const F weight = alpha * light;
        F along = load(gradient[0] + at) * feature[0];
        total[6][v] = fused(weight, load(gradient[0] + at), total[6][v]);
        for (int c = 1; c < C; ++c) {
          const F g = load(gradient[c] + at);
          along = fused(g, feature[c], along);
          total[6 + c][v] = fused(weight, g, total[6 + c][v]);
        }
        const F rest = load(behind + at) - weight * along;
        store(behind + at, rest);
        store(T + at, light - weight);
        const F d = keep(free, weight * along - alpha * rest / (one - alpha));
        const F moment = d * down;
        total[0][v] = total[0][v] + d;
        total[3][v] = total[3][v] + moment;
        total[5][v] = fused(moment, down, total[5][v]);
      }
    }
    for (int v = 0; v < kParts; ++v) {
      total[1][v] = total[0][v] * dx[v];
      total[2][v] = total[1][v] * dx[v];
      total[4][v] = total[3][v] * dx[v];
    }
    sums(total, slots + static_cast<int64_t>(tile.slot[i]) * kSlot);
  }
  for (; i < tile.count; ++i) {
    float* out = slots + static_cast<int64_t>(tile.slot[i]) * kSlot;
    for (int k = 0; k < kSlot; ++k) out[k] = 0.0f;
  }
}

}  // namespace

void draw_tile(const SplatTile& tile, int channels, float* features, float* transmittance, float* median_depth) {
  if (channels == 3) draw<3, false>(tile, features, transmittance, nullptr);
  else if (channels == 4 && median_depth) draw<4, true>(tile, features, transmittance, median_depth);
  else if (channels == 4) draw<4, false>(tile, features, transmittance, nullptr);
  else if (median_depth) draw<7, true>(tile, features, transmittance, median_depth);
  else draw<7, false>(tile, features, transmittance, nullptr);
}

void draw_tile_backward(const SplatTile& tile, int channels, const float* features, const float* transmittance,
                        const float* d_features, const float* d_transmittance, float* slots) {
  if (channels == 3) draw_backward<3>(tile, features, transmittance, d_features, d_transmittance, slots);
  else if (channels == 4) draw_backward<4>(tile, features, transmittance, d_features, d_transmittance, slots);
  else draw_backward<7>(tile, features, transmittance, d_features, d_transmittance, slots);
}

}  // namespace rilievo::RIL_SIMD
