// The inner loops of SIFT: blur, extremes in a row, orientation histogram, descriptor.
//
// Lowe, "Distinctive image features from scale-invariant keypoints", 2004 (sections 3 to 6); Arandjelovic & Zisserman,
// "Three things everyone should know to improve object retrieval", 2012, section 3 (RootSIFT). Unlike Lowe's, patches
// are sampled on a grid that turns and grows with the keypoint (step 3/4 sigma for the descriptor): the image is blurred
// by sigma, so nothing is lost, and all weights become constants.
#include <cmath>
#include <cstdint>

#include "keypoints.h"

namespace rilievo::RIL_SIMD {
namespace {

template <int R>
void rows(const float* __restrict in, float* __restrict out, int n, const float* __restrict w) {
  float k[R + 1];
  for (int i = 0; i <= R; ++i) k[i] = w[i];
  for (int x = 0; x < n; ++x) {
    float s = k[0] * in[x];
    for (int i = 1; i <= R; ++i) s += k[i] * (in[x - i] + in[x + i]);
    out[x] = s;
  }
}

template <int R>
void columns(const float* __restrict in, float* __restrict out, int n, int stride, const float* __restrict w) {
  float k[R + 1];
  for (int i = 0; i <= R; ++i) k[i] = w[i];
  for (int x = 0; x < n; ++x) {
    float s = k[0] * in[x];
    for (int i = 1; i <= R; ++i) s += k[i] * (in[x - i * stride] + in[x + i * stride]);
    out[x] = s;
  }
}

template <int R>
void blur(const float* in, float* work, float* out, int stride, int x0, int x1, int y0, int y1, const float* w) {
  for (int y = y0 - R; y < y1 + R; ++y) rows<R>(in + y * stride + x0, work + y * stride + x0, x1 - x0, w);
  for (int y = y0; y < y1; ++y) columns<R>(work + y * stride + x0, out + y * stride + x0, x1 - x0, stride, w);
}

// Angle in turns (0..1) of (x, y); error below 2e-6 turns. A polynomial in the smaller over the larger component
// (Abramowitz & Stegun 4.4.49), then the octant.
inline float turns(float x, float y) {
  const float ax = x < 0 ? -x : x, ay = y < 0 ? -y : y;
  const float small = ax < ay ? ax : ay, large = ax < ay ? ay : ax;
  const float q = small / (large + 1e-20f), q2 = q * q;
  float a = ((((0.0208351f * q2 - 0.0851330f) * q2 + 0.1801410f) * q2 - 0.3302995f) * q2 + 0.9998660f) * q;
  a *= 0.15915494309f;
  a = ay > ax ? 0.25f - a : a;
  a = x < 0 ? 0.5f - a : a;
  a = y < 0 ? 1.0f - a : a;
  return a >= 1.0f ? 0.0f : a;
}

// Intensities on a grid of kPatchIn x kPatchIn around (cx, cy): column step (ux, uy), row step (-uy, ux).
void sample(const uint16_t* image, int width, int height, float cx, float cy, float ux, float uy, float* patch) {
  constexpr float middle = 0.5f * (kPatchIn - 1);
  const float max_x = static_cast<float>(width - 1), max_y = static_cast<float>(height - 1);
  for (int j = 0; j < kPatchIn; ++j) {
    int32_t at[kPatchIn], right[kPatchIn], down[kPatchIn];
    float fx[kPatchIn], fy[kPatchIn];
    const float v = static_cast<float>(j) - middle;
    const float bx = cx - v * uy, by = cy + v * ux;
    for (int i = 0; i < kPatchIn; ++i) {
      const float u = static_cast<float>(i) - middle;
      float x = bx + u * ux, y = by + u * uy;
      x = x < 0 ? 0 : x;
      x = x > max_x ? max_x : x;
      y = y < 0 ? 0 : y;
      y = y > max_y ? max_y : y;
      const int32_t ix = static_cast<int32_t>(x), iy = static_cast<int32_t>(y);
      fx[i] = x - static_cast<float>(ix);
      fy[i] = y - static_cast<float>(iy);
      at[i] = iy * width + ix;
      right[i] = ix + 1 < width ? 1 : 0;
      down[i] = iy + 1 < height ? width : 0;
    }
    float a[kPatchIn], b[kPatchIn], c[kPatchIn], d[kPatchIn];
    for (int i = 0; i < kPatchIn; ++i) {
      const uint16_t* p = image + at[i];
      a[i] = p[0];
      b[i] = p[right[i]];
      c[i] = p[down[i]];
      d[i] = p[down[i] + right[i]];
    }
    float* out = patch + j * kPatchIn;
    for (int i = 0; i < kPatchIn; ++i) {
      const float top = a[i] + (b[i] - a[i]) * fx[i], bottom = c[i] + (d[i] - c[i]) * fx[i];
      out[i] = top + (bottom - top) * fy[i];
    }
  }
}

// Size and direction (in turns) of the gradient on the inner kPatch x kPatch samples.
void gradients(const float* patch, float* size, float* direction) {
  for (int j = 0; j < kPatch; ++j) {
    const float* p = patch + (j + 1) * kPatchIn + 1;
    for (int i = 0; i < kPatch; ++i) {
      const float dx = p[i + 1] - p[i - 1], dy = p[i + kPatchIn] - p[i - kPatchIn];
      size[j * kPatch + i] = std::sqrt(dx * dx + dy * dy);
      direction[j * kPatch + i] = turns(dx, dy);
    }
  }
}

// exp(-r^2 / (2 s^2)) over the samples, r in steps of the grid.
struct Window {
  float weight[kPatch * kPatch];
  explicit Window(double s) {
    for (int j = 0; j < kPatch; ++j)
      for (int i = 0; i < kPatch; ++i) {
        const double u = i - 0.5 * (kPatch - 1), v = j - 0.5 * (kPatch - 1);
        weight[j * kPatch + i] = static_cast<float>(std::exp(-(u * u + v * v) / (2 * s * s)));
      }
  }
};

}  // namespace

void blur_tile(const float* in, float* work, float* out, int stride, int x0, int x1, int y0, int y1, const float* w,
               int radius) {
  switch (radius) {
#define RIL_BLUR(R) \
  case R: return blur<R>(in, work, out, stride, x0, x1, y0, y1, w)
    RIL_BLUR(1);
    RIL_BLUR(2);
    RIL_BLUR(3);
    RIL_BLUR(4);
    RIL_BLUR(5);
    RIL_BLUR(6);
    RIL_BLUR(7);
    RIL_BLUR(8);
    RIL_BLUR(9);
    RIL_BLUR(10);
    RIL_BLUR(11);
    RIL_BLUR(12);
#undef RIL_BLUR
    default: return;
  }
}

void subtract(const float* __restrict a, const float* __restrict b, float* __restrict out, int n) {
  for (int i = 0; i < n; ++i) out[i] = a[i] - b[i];
}

void store_u16(const float* __restrict in, uint16_t* __restrict out, int n) {
  for (int i = 0; i < n; ++i) {
    float v = in[i] * 256.0f + 0.5f;
    v = v < 0 ? 0 : v;
    v = v > 65535.0f ? 65535.0f : v;
    out[i] = static_cast<uint16_t>(static_cast<int32_t>(v));
  }
}

int extreme_in_row(const float* row, int stride, int x0, int x1, float threshold, uint8_t* flags, int32_t* found) {
  const float* up = row - stride;
  const float* down = row + stride;
  for (int x = x0; x < x1; ++x) {
    const float v = row[x], a = row[x - 1], b = row[x + 1], c = up[x], d = down[x];
    const int top = (v > threshold) & (v >= a) & (v >= b) & (v >= c) & (v >= d);
    const int low = (v < -threshold) & (v <= a) & (v <= b) & (v <= c) & (v <= d);
    flags[x] = static_cast<uint8_t>(top | low);
  }
  int n = 0;
  for (int x = x0; x < x1; ++x)
    if (flags[x]) found[n++] = x;
  return n;
}

void orientation_histogram(const uint16_t* image, int width, int height, float cx, float cy, float sigma,
                           float* histogram) {
  static const Window window(3.0);  // 1.5 sigma in steps of half a sigma
  float patch[kPatchIn * kPatchIn], size[kPatch * kPatch], direction[kPatch * kPatch];
  sample(image, width, height, cx, cy, 0.5f * sigma, 0.0f, patch);
  gradients(patch, size, direction);
  for (int i = 0; i < 36; ++i) histogram[i] = 0;
  for (int i = 0; i < kPatch * kPatch; ++i) {
    // Bin centres at 0, 10, 20 ... degrees, a sample shared by the two nearest.
    const float at = direction[i] * 36.0f, m = size[i] * window.weight[i];
    const int low = static_cast<int>(at);
    const float f = at - static_cast<float>(low);
    const int b0 = low >= 36 ? 0 : low, b1 = b0 == 35 ? 0 : b0 + 1;
    histogram[b0] += m * (1.0f - f);
    histogram[b1] += m * f;
  }
}

void describe(const uint16_t* image, int width, int height, float cx, float cy, float sigma, float ux, float uy,
              uint8_t* out) {
  static const Window window(8.0);  // half the width of 4 cells of 3 sigma, in steps of 3/4 sigma
  float patch[kPatchIn * kPatchIn], size[kPatch * kPatch], direction[kPatch * kPatch];
  const float step = 0.75f * sigma;
  sample(image, width, height, cx, cy, step * ux, step * uy, patch);
  gradients(patch, size, direction);
  // Cells 1..4 in each direction are the descriptor's, 0 and 5 catch what falls outside.
  float cells[6][48] = {};
  for (int j = 0; j < kPatch; ++j) {
    float row[6][8] = {};
    for (int i = 0; i < kPatch; ++i) {
      const float at = direction[j * kPatch + i] * 8.0f, m = size[j * kPatch + i] * window.weight[j * kPatch + i];
      const int low = static_cast<int>(at);
      const float f = at - static_cast<float>(low);
      const int b0 = low & 7, b1 = (low + 1) & 7;
      const int x = i >> 2;  // the centre of cell x is at column 4 x - 0.5
      const float fx = static_cast<float>(i & 3) * 0.25f + 0.125f;
      const float left = m * (1.0f - fx), right = m * fx;
      row[x][b0] += left * (1.0f - f);
      row[x][b1] += left * f;
      row[x + 1][b0] += right * (1.0f - f);
      row[x + 1][b1] += right * f;
    }
    const int y = j >> 2;
    const float fy = static_cast<float>(j & 3) * 0.25f + 0.125f;
    const float* r = &row[0][0];
    for (int i = 0; i < 48; ++i) cells[y][i] += r[i] * (1.0f - fy);
    for (int i = 0; i < 48; ++i) cells[y + 1][i] += r[i] * fy;
  }
  float v[128];
  for (int y = 0; y < 4; ++y)
    for (int i = 0; i < 32; ++i) v[y * 32 + i] = cells[y + 1][8 + i];
  float squares = 0;
  for (int i = 0; i < 128; ++i) squares += v[i] * v[i];
  const float limit = 0.2f * std::sqrt(squares);
  float sum = 0;
  for (int i = 0; i < 128; ++i) {
    v[i] = v[i] > limit ? limit : v[i];
    sum += v[i];
  }
  const float scale = sum > 0 ? 1.0f / sum : 0.0f;
  for (int i = 0; i < 128; ++i) {
    const float root = 512.0f * std::sqrt(v[i] * scale) + 0.5f;
    out[i] = static_cast<uint8_t>(root > 255.0f ? 255.0f : root);
  }
}

}  // namespace rilievo::RIL_SIMD
