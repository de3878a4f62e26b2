// One Gaussian: from its row to the image plane, and gradients back. Scalar; shared by drawing and training.
#pragma once
#include "../splats.h"
#include "splat_lanes.h"

namespace rilievo::RIL_SIMD {
namespace {

RIL_INLINE float root_scalar(float x) { return __builtin_sqrtf(x); }
RIL_INLINE bool is_finite(float x) { return x - x == 0.0f; }
RIL_INLINE float sigmoid(float x) { return 1.0f / (1.0f + exp_scalar(-x)); }

constexpr float kLog2E = 1.44269504f;
constexpr float kLeastLight = 1e-6f;  // smallest square of the share of light that the pixel filter leaves

// Everything that projecting needs again for the gradients.
struct Shape {
  float p[3];             // mean in the camera
  float u, v;             // x / z and y / z, held within 1.3 half images for the Jacobian
  bool held_u, held_v;
  float q[4], length;     // unit quaternion; length of the one in the row
  float R[9];
  float variance[3];      // of the scales, 3D filter included
  float raw[3];           // without it
  float sigma[6];         // covariance in the world: xx xy xz yy yz zz
  float T[6];             // J W, 2 x 3
  float a, b, c, det;     // covariance on the image plane with the pixel filter, and its determinant
  float det0;             // without the filter
  float light;            // share of light left by the pixel filter (1 where not antialiased)
  bool light_held;
  float opacity, shown;   // sigmoid of the logit; and what is drawn
  float A, B, C;          // inverse covariance
};

RIL_INLINE void rotation(const float* q, float* R) {
  const float w = q[0], x = q[1], y = q[2], z = q[3];
  R[0] = 1 - 2 * (y * y + z * z), R[1] = 2 * (x * y - w * z), R[2] = 2 * (x * z + w * y);
  R[3] = 2 * (x * y + w * z), R[4] = 1 - 2 * (x * x + z * z), R[5] = 2 * (y * z - w * x);
  R[6] = 2 * (x * z - w * y), R[7] = 2 * (y * z + w * x), R[8] = 1 - 2 * (x * x + y * y);
}

// False where the Gaussian cannot be seen (behind the near plane, no opacity, not finite).
RIL_INLINE bool shape_of(const float* row, const SplatCamera& camera, const SplatOptions& options, Shape& s) {
  for (int i = 0; i < 3; ++i)
    s.p[i] = camera.R[3 * i] * row[0] + camera.R[3 * i + 1] * row[1] + camera.R[3 * i + 2] * row[2] + camera.t[i];
  if (!(s.p[2] > camera.near)) return false;
  float sum = 0.0f;
  for (int k = 0; k < 12; ++k) sum += row[k] - row[k];
  if (sum != 0.0f) return false;  // NaN or infinite somewhere
  s.opacity = sigmoid(row[3]);
  s.length = root_scalar(row[4] * row[4] + row[5] * row[5] + row[6] * row[6] + row[7] * row[7]);
  if (!(s.length > 1e-12f) || !is_finite(s.length)) return false;
  for (int k = 0; k < 4; ++k) s.q[k] = row[4 + k] / s.length;
  rotation(s.q, s.R);
  float kept = 1.0f;
  for (int k = 0; k < 3; ++k) {
    const float scale = exp_scalar(row[8 + k]);
    s.raw[k] = scale * scale;
    s.variance[k] = s.raw[k] + row[11];
    if (row[11] > 0) kept *= s.raw[k] / s.variance[k];
  }
  if (row[11] > 0) kept = root_scalar(kept);
  for (int i = 0, at = 0; i < 3; ++i)
    for (int j = i; j < 3; ++j, ++at)
      s.sigma[at] = s.R[3 * i] * s.R[3 * j] * s.variance[0] + s.R[3 * i + 1] * s.R[3 * j + 1] * s.variance[1] +
                    s.R[3 * i + 2] * s.R[3 * j + 2] * s.variance[2];
  const float inverse_z = 1.0f / s.p[2];
  // The linearisation is only good near the image; further out it is that of 1.3 half images (Kerbl et al. 2023).
  const float w = static_cast<float>(camera.width), h = static_cast<float>(camera.height);
  const float low_u = (-0.15f * w - camera.cx) / camera.fx, high_u = (1.15f * w - camera.cx) / camera.fx;
  const float low_v = (-0.15f * h - camera.cy) / camera.fy, high_v = (1.15f * h - camera.cy) / camera.fy;
  s.u = s.p[0] * inverse_z, s.v = s.p[1] * inverse_z;
  s.held_u = s.u < low_u || s.u > high_u, s.held_v = s.v < low_v || s.v > high_v;
  s.u = s.u < low_u ? low_u : s.u > high_u ? high_u : s.u;
  s.v = s.v < low_v ? low_v : s.v > high_v ? high_v : s.v;
  const float jx = camera.fx * inverse_z, jy = camera.fy * inverse_z;
  for (int k = 0; k < 3; ++k) {
    s.T[k] = jx * (camera.R[k] - s.u * camera.R[6 + k]);
    s.T[3 + k] = jy * (camera.R[3 + k] - s.v * camera.R[6 + k]);
  }
  const float* S = s.sigma;
  const float* T = s.T;
  float X[3], Y[3];  // sigma T^T
  X[0] = S[0] * T[0] + S[1] * T[1] + S[2] * T[2], Y[0] = S[0] * T[3] + S[1] * T[4] + S[2] * T[5];
  X[1] = S[1] * T[0] + S[3] * T[1] + S[4] * T[2], Y[1] = S[1] * T[3] + S[3] * T[4] + S[4] * T[5];
  X[2] = S[2] * T[0] + S[4] * T[1] + S[5] * T[2], Y[2] = S[2] * T[3] + S[4] * T[4] + S[5] * T[5];
  const float c00 = T[0] * X[0] + T[1] * X[1] + T[2] * X[2], c01 = T[3] * X[0] + T[4] * X[1] + T[5] * X[2];
  const float c11 = T[3] * Y[0] + T[4] * Y[1] + T[5] * Y[2];
  s.det0 = c00 * c11 - c01 * c01;
  if (s.det0 < 0) s.det0 = 0;
  s.a = c00 + kPixelVariance, s.b = c01, s.c = c11 + kPixelVariance;
  s.det = s.det0 + kPixelVariance * (c00 + c11) + kPixelVariance * kPixelVariance;
  if (!is_finite(s.det) || !(s.det > 0)) return false;
  s.A = s.c / s.det, s.B = -s.b / s.det, s.C = s.a / s.det;
  s.light = 1.0f;
  s.light_held = true;
  if (options.antialiased) {
    const float share = s.det0 / s.det;
    s.light_held = share < kLeastLight;
    s.light = root_scalar(s.light_held ? kLeastLight : share);
  }
  s.shown = s.opacity * kept * s.light;
  return s.shown > 1.0f / 255.0f;
}

// Real spherical harmonics up to degree 3 of a unit direction, and their derivatives by x, y, z (Sloan 2013,
// "Efficient spherical harmonic evaluation"; signs as in the usual files).
RIL_INLINE void harmonics(int degree, float x, float y, float z, float* basis) {
  basis[0] = 0.28209479f;
  if (degree < 1) return;
  basis[1] = -0.48860251f * y, basis[2] = 0.48860251f * z, basis[3] = -0.48860251f * x;
  if (degree < 2) return;
  const float xx = x * x, yy = y * y, zz = z * z;
  basis[4] = 1.09254843f * x * y, basis[5] = -1.09254843f * y * z;
  basis[6] = 0.31539157f * (2 * zz - xx - yy), basis[7] = -1.09254843f * x * z;
  basis[8] = 0.54627422f * (xx - yy);
  if (degree < 3) return;
  basis[9] = -0.59004359f * y * (3 * xx - yy), basis[10] = 2.89061144f * x * y * z;
  basis[11] = -0.45704580f * y * (4 * zz - xx - yy), basis[12] = 0.37317633f * z * (2 * zz - 3 * xx - 3 * yy);
  basis[13] = -0.45704580f * x * (4 * zz - xx - yy), basis[14] = 1.44530572f * z * (xx - yy);
  basis[15] = -0.59004359f * x * (xx - 3 * yy);
}

// Gradient of sum(weight[k] * basis[k]) by the direction.
RIL_INLINE void harmonics_slope(int degree, float x, float y, float z, const float* w, float* slope) {
  slope[0] = slope[1] = slope[2] = 0.0f;
  if (degree < 1) return;
  slope[0] = -0.48860251f * w[3], slope[1] = -0.48860251f * w[1], slope[2] = 0.48860251f * w[2];
  if (degree < 2) return;
  slope[0] += 1.09254843f * (y * w[4] - z * w[7]) - 2 * 0.31539157f * x * w[6] + 2 * 0.54627422f * x * w[8];
  slope[1] += 1.09254843f * (x * w[4] - z * w[5]) - 2 * 0.31539157f * y * w[6] - 2 * 0.54627422f * y * w[8];
  slope[2] += -1.09254843f * (y * w[5] + x * w[7]) + 4 * 0.31539157f * z * w[6];
  if (degree < 3) return;
  const float xx = x * x, yy = y * y, zz = z * z;
  slope[0] += -0.59004359f * (6 * x * y * w[9] + 3 * (xx - yy) * w[15]) + 2.89061144f * y * z * w[10] +
              0.45704580f * (2 * x * y * w[11] + (3 * xx + yy - 4 * zz) * w[13]) - 6 * 0.37317633f * x * z * w[12] +
              2 * 1.44530572f * x * z * w[14];
  slope[1] += -0.59004359f * (3 * (xx - yy) * w[9] - 6 * x * y * w[15]) + 2.89061144f * x * z * w[10] +
              0.45704580f * ((xx + 3 * yy - 4 * zz) * w[11] + 2 * x * y * w[13]) - 6 * 0.37317633f * y * z * w[12] -
              2 * 1.44530572f * y * z * w[14];
  slope[2] += 2.89061144f * x * y * w[10] - 8 * 0.45704580f * z * (y * w[11] + x * w[13]) +
              0.37317633f * (6 * zz - 3 * xx - 3 * yy) * w[12] + 1.44530572f * (xx - yy) * w[14];
}

struct Look {
  float d[3], length;  // from the camera's centre to the mean, unit
};

RIL_INLINE Look look_at(const float* row, const SplatCamera& camera) {
  Look look;
  float d[3];
  for (int i = 0; i < 3; ++i) d[i] = row[i] - camera.center[i];
  look.length = root_scalar(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
  for (int i = 0; i < 3; ++i) look.d[i] = d[i] / look.length;
  return look;
}

// Colour before it is kept from being negative.
RIL_INLINE void color_of(const float* row, int degree, const Look& look, float* basis, float* color) {
  harmonics(degree, look.d[0], look.d[1], look.d[2], basis);
  const int count = (degree + 1) * (degree + 1);
  color[0] = color[1] = color[2] = 0.5f;
  const float* sh = row + kSplatHarmonics;
  for (int k = 0; k < count; ++k)
    for (int c = 0; c < 3; ++c) color[c] += basis[k] * sh[3 * k + c];
}

// The axis of least extent in the camera, pointing at it; returns which axis, with the sign in `sign`.
RIL_INLINE int normal_of(const Shape& s, const SplatCamera& camera, float* normal, float& sign) {
  int axis = 0;
  for (int k = 1; k < 3; ++k)
    if (s.raw[k] < s.raw[axis]) axis = k;
  for (int i = 0; i < 3; ++i)
    normal[i] = camera.R[3 * i] * s.R[axis] + camera.R[3 * i + 1] * s.R[3 + axis] + camera.R[3 * i + 2] * s.R[6 + axis];
  sign = normal[0] * s.p[0] + normal[1] * s.p[1] + normal[2] * s.p[2] > 0 ? -1.0f : 1.0f;
  for (int i = 0; i < 3; ++i) normal[i] *= sign;
  return axis;
}

}  // namespace
}  // namespace rilievo::RIL_SIMD
