// Yu & Sapiro, "DCT image denoising: a simple and effective image denoising algorithm", IPOL 2011; the second pass
// with a pilot is the empirical Wiener filter of Dabov et al. 2007 (eq. 9) on single blocks.
#include "../shrink.h"

namespace rilievo::RIL_SIMD {
namespace {

constexpr int kSide = 8;
// Row k: sqrt((k ? 2 : 1) / 8) cos(pi (2 x + 1) k / 16).
constexpr float kCosine[kSide][kSide] = {
    {0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f, 0.35355339f},
    {0.49039264f, 0.41573481f, 0.27778512f, 0.09754516f, -0.09754516f, -0.27778512f, -0.41573481f, -0.49039264f},
    {0.46193977f, 0.19134172f, -0.19134172f, -0.46193977f, -0.46193977f, -0.19134172f, 0.19134172f, 0.46193977f},
    {0.41573481f, -0.09754516f, -0.49039264f, -0.27778512f, 0.27778512f, 0.49039264f, 0.09754516f, -0.41573481f},
    {0.35355339f, -0.35355339f, -0.35355339f, 0.35355339f, 0.35355339f, -0.35355339f, -0.35355339f, 0.35355339f},
    {0.27778512f, -0.49039264f, 0.09754516f, 0.41573481f, -0.41573481f, -0.09754516f, 0.49039264f, -0.27778512f},
    {0.19134172f, -0.46193977f, 0.46193977f, -0.19134172f, -0.19134172f, 0.46193977f, -0.46193977f, 0.19134172f},
    {0.09754516f, -0.27778512f, 0.41573481f, -0.49039264f, 0.49039264f, -0.41573481f, 0.27778512f, -0.09754516f}};

struct Turned {
  float c[kSide][kSide];
};
constexpr Turned turned() {
  Turned t{};
  for (int i = 0; i < kSide; ++i)
    for (int j = 0; j < kSide; ++j) t.c[i][j] = kCosine[j][i];
  return t;
}
constexpr Turned kTurned = turned();

// out = left * block * right, both constant. Rows of 8 floats are the unit: written so that compilers keep them in
// registers.
inline void both_sides(const float (&left)[kSide][kSide], const float (&right)[kSide][kSide], const float* in,
                       int64_t pitch, float (&out)[kSide][kSide]) {
  float half[kSide][kSide];
  for (int k = 0; k < kSide; ++k) {
#pragma omp simd
    for (int x = 0; x < kSide; ++x)
      half[k][x] = ((left[k][0] * in[x] + left[k][1] * in[pitch + x]) +
                    (left[k][2] * in[2 * pitch + x] + left[k][3] * in[3 * pitch + x])) +
                   ((left[k][4] * in[4 * pitch + x] + left[k][5] * in[5 * pitch + x]) +
                    (left[k][6] * in[6 * pitch + x] + left[k][7] * in[7 * pitch + x]));
  }
  for (int k = 0; k < kSide; ++k) {
#pragma omp simd
    for (int x = 0; x < kSide; ++x)
      out[k][x] = ((half[k][0] * right[0][x] + half[k][1] * right[1][x]) +
                   (half[k][2] * right[2][x] + half[k][3] * right[3][x])) +
                  ((half[k][4] * right[4][x] + half[k][5] * right[5][x]) +
                   (half[k][6] * right[6][x] + half[k][7] * right[7][x]));
  }
}

}  // namespace

void shrink_band(const Shrink& job, int64_t channel, int64_t begin, int64_t end, float* sum, float* weight) {
  const int64_t h = job.height, w = job.width, step = job.step;
  const float* plane = job.planes + channel * h * w;
  const float* pilot = job.pilot ? job.pilot + channel * h * w : nullptr;
  const float* sigma = job.sigma + channel * kSide * kSide;
  const int64_t last_y = h - kSide, last_x = w - kSide;
  int64_t first = begin - (kSide - 1);
  if (first < 0) first = 0;
  first = (first + step - 1) / step * step;
  if (first > last_y) first = last_y;
  for (int64_t y = first;;) {
    if (y >= end) break;
    for (int64_t x = 0;;) {
      float c[kSide][kSide], g[kSide][kSide], out[kSide][kSide];
      both_sides(kCosine, kTurned.c, plane + y * w + x, w, c);
      float energy = 0.0f;
      if (pilot) {
        both_sides(kCosine, kTurned.c, pilot + y * w + x, w, g);
        for (int i = 0; i < kSide; ++i)
          for (int j = 0; j < kSide; ++j) {
            const float p = g[i][j] * g[i][j], s = sigma[i * kSide + j];
            const float gain = (i | j) ? p / (p + s * s + 1e-12f) : 1.0f;
            c[i][j] *= gain;
            g[i][j] = gain * gain;
          }
      } else {
        for (int i = 0; i < kSide; ++i)
          for (int j = 0; j < kSide; ++j) {
            const float t = job.hard * sigma[i * kSide + j];
            const float keep = (!(i | j) || c[i][j] > t || c[i][j] < -t) ? 1.0f : 0.0f;
            c[i][j] *= keep;
            g[i][j] = keep;
          }
      }
      for (int i = 0; i < kSide; ++i)
        for (int j = 0; j < kSide; ++j) energy += g[i][j];
      const float share = 1.0f / energy;  // DC is always kept: at least 1
      both_sides(kTurned.c, kCosine, &c[0][0], kSide, out);
      const int64_t from = y < begin ? begin - y : 0, to = y + kSide > end ? end - y : kSide;
      for (int64_t i = from; i < to; ++i) {
        float* s = sum + (y + i - begin) * w + x;
        float* q = weight + (y + i - begin) * w + x;
        for (int j = 0; j < kSide; ++j) {
          s[j] += share * out[i][j];
          q[j] += share;
        }
      }
      if (x == last_x) break;
      x = x + step > last_x ? last_x : x + step;
    }
    if (y == last_y) break;
    y = y + step > last_y ? last_y : y + step;
  }
}

}  // namespace rilievo::RIL_SIMD
