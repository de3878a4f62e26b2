// L1 and structural dissimilarity of a rendering and a photo, and their gradient. See native/splats.h.
//
// SSIM (Wang et al. 2004) with windows of 11 x 11, Gaussian of sigma 1.5, zeros outside of the image. With G the blur,
// mx = G x, my = G y, A1 = 2 mx my + C1, A2 = 2 (G xy - mx my) + C2, B1 = mx^2 + my^2 + C1,
// B2 = G x^2 - mx^2 + G y^2 - my^2 + C2, S = A1 A2 / (B1 B2); weighed by w the gradient at x is
// G(w dS/dmx) + 2 x G(w dS/dGx2) + y G(w dS/dGxy).
#include "../splats.h"
#include "splat_lanes.h"

namespace rilievo::RIL_SIMD {
namespace {

constexpr int kRadius = 5, kTaps = 11, kMargin = 16;
constexpr float kWindow[kRadius + 1] = {0.26601172f, 0.21300553f, 0.10936069f, 0.03600077f, 0.00759876f, 0.00102838f};
constexpr float kC1 = 1e-4f, kC2 = 9e-4f;

// out[x] = sum window[|k|] in[x + k]; `in` has room for the window and a register on either side.
RIL_INLINE void blur_row(const float* in, float* out, int width) {
  for (int x = 0; x < width; x += kLanes) {
    F sum = load(in + x) * splat(kWindow[0]);
    for (int k = 1; k <= kRadius; ++k) sum = fused(load(in + x - k) + load(in + x + k), splat(kWindow[k]), sum);
    store(out + x, sum);
  }
}
RIL_INLINE F blur_down(const float* const* rows, int x) {
  F sum = load(rows[kRadius] + x) * splat(kWindow[0]);
  for (int k = 1; k <= kRadius; ++k)
    sum = fused(load(rows[kRadius - k] + x) + load(rows[kRadius + k] + x), splat(kWindow[k]), sum);
  return sum;
}

// Sums over columns that do not depend on the width of registers: 16 running sums, added up by halves.
constexpr int kParts = 16 / kLanes;
struct Sum {
  F lanes[kParts];
};
RIL_INLINE Sum nothing() {
  Sum s;
  for (int v = 0; v < kParts; ++v) s.lanes[v] = splat(0.0f);
  return s;
}
RIL_INLINE double total(const Sum& s) {
  float t[16];
  for (int v = 0; v < kParts; ++v) store(t + v * kLanes, s.lanes[v]);
  for (int half = 8; half; half /= 2)
    for (int j = 0; j < half; ++j) t[j] += t[j + half];
  return t[0];
}

// Row r of one channel: x the rendering after its exposure, y the photo over the background, w the weight of a pixel,
// m whether it counts at all. Where it does not, y = x.
RIL_INLINE void read_row(const PhotoLoss& loss, int channel, int r, float* x, float* y, float* w, float* m) {
  const int width = loss.width;
  if (r < 0 || r >= loss.height) {
    for (int j = 0; j < width; ++j) x[j] = y[j] = w[j] = m[j] = 0.0f;
    return;
  }
  const int64_t at = static_cast<int64_t>(r) * width, plane = static_cast<int64_t>(width) * loss.height;
  const float* rendered = loss.rendered + channel * plane + at;
  const uint8_t* photo = loss.photo + 3 * at + channel;
  const float gain = loss.gain[channel], bias = loss.bias[channel], background = loss.background[channel];
  for (int j = 0; j < width; ++j) {
    x[j] = rendered[j] * gain + bias;
    y[j] = static_cast<float>(photo[3 * j]) * (1.0f / 255.0f);
    w[j] = m[j] = 1.0f;
  }
  if (loss.alpha)
    for (int j = 0; j < width; ++j) {
      const float alpha = static_cast<float>(loss.alpha[at + j]) * (1.0f / 255.0f);
      y[j] = background + (y[j] - background) * alpha;
    }
  if (loss.block_weights) {
    const float* weights = loss.block_weights + static_cast<int64_t>(r / kTile) * ((width + kTile - 1) / kTile);
    for (int j = 0; j < width; ++j) w[j] = weights[j / kTile];
  }
  if (loss.mask)
    for (int j = 0; j < width; ++j)
      if (!loss.mask[at + j]) y[j] = x[j], w[j] = m[j] = 0.0f;
}

}  // namespace

// Rows begin to end (begin a multiple of 16) of one channel. store: kLossRows rows of width + 64 zeros. What was read is
// kept for 16 rows, blurred rows in rings of 16 (11 are needed).
void loss_band(const PhotoLoss& loss, int channel, int begin, int end, float* store_, LossSums& sums) {
  const int width = loss.width, height = loss.height;
  const int64_t pitch = width + 64, plane = static_cast<int64_t>(width) * height;
  float* next = store_ + kMargin;
  const auto take = [&](int count) {
    float* p = next;
    next += count * pitch;
    return p;
  };
  constexpr int kRing = 16;
  float* xs = take(kRing);
  float* ys = take(kRing);
  float* ws = take(kRing);
  float* ms = take(kRing);
  float *blurred[4], *slopes[3], *product[3];
  for (auto& p : blurred) p = take(kRing);
  for (auto& p : slopes) p = take(kRing);
  for (auto& p : product) p = take(1);
  float* difference = take(1);
  const auto at = [&](float* ring, int row) { return ring + (row & (kRing - 1)) * pitch; };
  const float share = 1.0f / (3.0f * static_cast<float>(plane));
  const F c1 = splat(kC1), c2 = splat(kC2), one = splat(1.0f), two = splat(2.0f), zero = splat(0.0f);
  const F ssim_weight = splat(-loss.dssim * share), l1_weight = splat((1.0f - loss.dssim) * share);
  const bool structured = loss.dssim > 0;
  const int lead = structured ? 2 * kRadius : 0;

  for (int r = begin - lead; r < end + lead; ++r) {
    float *x = at(xs, r), *y = at(ys, r);
    read_row(loss, channel, r, x, y, at(ws, r), at(ms, r));
    if (structured) {
      for (int j = 0; j < width; j += kLanes) {
        const F a = load(x + j), b = load(y + j);
        store(product[0] + j, fused(a, a, b * b));
        store(product[1] + j, a * b);
      }
      blur_row(x, at(blurred[0], r), width);
      blur_row(y, at(blurred[1], r), width);
      blur_row(product[0], at(blurred[2], r), width);
      blur_row(product[1], at(blurred[3], r), width);
      const int s = r - kRadius;  // the row whose windows are complete
      if (s >= begin - kRadius) {
        const float* around[4][kTaps];
        for (int k = 0; k < 4; ++k)
          for (int t = 0; t < kTaps; ++t) around[k][t] = at(blurred[k], s - kRadius + t);
        const float *w = at(ws, s), *m = at(ms, s);
        const bool inside = s >= 0 && s < height;
        Sum similar = nothing();
        for (int j = 0; j < width; j += 16)
          for (int v = 0; v < kParts; ++v) {
            const int i = j + v * kLanes;
            const F mx = blur_down(around[0], i), my = blur_down(around[1], i);
            const F squares = blur_down(around[2], i), cross = blur_down(around[3], i);
            const F mxy = mx * my, mm = fused(mx, mx, my * my);
            const F a1 = fused(two, mxy, c1), a2 = fused(two, cross - mxy, c2);
            const F b1 = mm + c1, b2 = squares - mm + c2;
            const F inverse = one / (b1 * b2), S = a1 * a2 * inverse;
            const F weight = inside ? load(w + i) * ssim_weight : zero;
            similar.lanes[v] = similar.lanes[v] + (inside ? S * load(m + i) : zero);
            const F d_mean = two * (my * (a2 - a1) * inverse + mx * S * (one / b2 - one / b1));
            store(product[0] + i, weight * d_mean);
            store(product[1] + i, weight * (zero - S / b2));
            store(product[2] + i, weight * (two * a1 * inverse));
          }
        if (s >= begin && s < end) sums.ssim += total(similar);
        for (int k = 0; k < 3; ++k) blur_row(product[k], at(slopes[k], s), width);
      }
    }
    const int q = r - lead;
    if (q < begin) continue;
    const float *xq = at(xs, q), *yq = at(ys, q), *wq = at(ws, q), *mq = at(ms, q);
    const float* around[3][kTaps];
    if (structured)
      for (int k = 0; k < 3; ++k)
        for (int t = 0; t < kTaps; ++t) around[k][t] = at(slopes[k], q - kRadius + t);
    float* gradient = loss.gradient + channel * plane + static_cast<int64_t>(q) * width;
    Sum l1 = nothing(), squared = nothing(), weight = nothing(), d_bias = nothing(), d_gain = nothing();
    const F gain = splat(loss.gain[channel]), bias = splat(loss.bias[channel]);
    for (int j = 0; j < width; j += 16)
      for (int v = 0; v < kParts; ++v) {
        const int i = j + v * kLanes;
        const F a = load(xq + i), b = load(yq + i), m = load(mq + i), e = a - b;
        const F size = magnitude(e) * m;
        const F sign = select(e > zero, one, select(e < zero, zero - one, zero));
        F g = load(wq + i) * l1_weight * sign;
        if (structured) {
          const F g0 = blur_down(around[0], i), g1 = blur_down(around[1], i), g2 = blur_down(around[2], i);
          g = g + select(m > zero, fused(two * a, g1, fused(b, g2, g0)), zero);
        }
        l1.lanes[v] = l1.lanes[v] + size;
        squared.lanes[v] = fused(size, size, squared.lanes[v]);
        weight.lanes[v] = weight.lanes[v] + m;
        d_bias.lanes[v] = d_bias.lanes[v] + g;
        d_gain.lanes[v] = fused(g, (a - bias) / gain, d_gain.lanes[v]);
        store(difference + i, load(difference + i) + size);
        store(product[0] + i, g * gain);
      }
    memcpy(gradient, product[0], sizeof(float) * width);
    sums.l1 += total(l1), sums.squared += total(squared), sums.weight += total(weight);
    sums.d_bias[channel] += total(d_bias), sums.d_gain[channel] += total(d_gain);
    if (q % kTile == kTile - 1 || q == end - 1) {
      float* errors = loss.block_errors + static_cast<int64_t>(q / kTile) * ((width + kTile - 1) / kTile);
      for (int j = 0; j < width; j += kTile) {
        float sum = 0.0f;
        for (int i = j; i < j + kTile; ++i) sum += difference[i];
        errors[j / kTile] = sum;
        for (int i = j; i < j + kTile; ++i) difference[i] = 0.0f;
      }
    }
  }
}

}  // namespace rilievo::RIL_SIMD
