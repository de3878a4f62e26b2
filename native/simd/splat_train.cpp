// From gradients on the image plane to those of the Gaussians, and the step of Adam. See native/splats.h.
#include "splat_shape.h"

namespace rilievo::RIL_SIMD {
namespace {

// Gradients of one Gaussian's row from the sums over its slots; d: kSplatRow numbers. Returns how many harmonics have
// one. xy: dL/d(x, y) on the image plane, px.
RIL_INLINE int pull_back(const float* row, const SplatView& view, const float* sum, float* d, float* xy) {
  const SplatCamera& camera = view.camera;
  const SplatOptions& options = view.options;
  Shape s;
  for (int k = 0; k < kSplatRow; ++k) d[k] = 0.0f;
  xy[0] = xy[1] = 0.0f;
  if (!shape_of(row, camera, options, s)) return 0;
  float normal[3], sign = 1.0f;

  // Image plane: ln alpha = ln(shown) - (A dx^2 + 2 B dx dy + C dy^2) / 2.
  const float d_x = s.A * sum[1] + s.B * sum[3], d_y = s.B * sum[1] + s.C * sum[3];
  xy[0] = d_x, xy[1] = d_y;
  const float dA = -0.5f * sum[2], dB = -sum[4], dC = -0.5f * sum[5];
  // Covariance: -K G K with G the gradient of its inverse K.
  const float g01 = 0.5f * dB;
  const float m00 = s.A * dA + s.B * g01, m01 = s.A * g01 + s.B * dC;
  const float m10 = s.B * dA + s.C * g01, m11 = s.B * g01 + s.C * dC;
  float v00 = -(m00 * s.A + m01 * s.B), v01 = -(m00 * s.B + m01 * s.C), v11 = -(m10 * s.B + m11 * s.C);
  const float d_log_shown = sum[0];
  if (!s.light_held) {  // light = sqrt(det0 / det)
    const float share = s.det0 / s.det, scale = d_log_shown / (2.0f * share * s.det);
    const float c00 = s.a - kPixelVariance, c11 = s.c - kPixelVariance;
    v00 += scale * (c11 - share * s.c);
    v11 += scale * (c00 - share * s.a);
    v01 += scale * (share - 1.0f) * s.b;  // half of the derivative by the one number off the diagonal
  }
  d[3] = d_log_shown * (1.0f - s.opacity);

  // cov = T Sigma T^T
  const float* T = s.T;
  const float* S = s.sigma;
  float X[3], Y[3];
  X[0] = S[0] * T[0] + S[1] * T[1] + S[2] * T[2], Y[0] = S[0] * T[3] + S[1] * T[4] + S[2] * T[5];
  X[1] = S[1] * T[0] + S[3] * T[1] + S[4] * T[2], Y[1] = S[1] * T[3] + S[3] * T[4] + S[4] * T[5];
  X[2] = S[2] * T[0] + S[4] * T[1] + S[5] * T[2], Y[2] = S[2] * T[3] + S[4] * T[4] + S[5] * T[5];
  float dT[6], P[3], Q[3];  // P, Q: rows of V T
  for (int k = 0; k < 3; ++k) {
    dT[k] = 2.0f * (v00 * X[k] + v01 * Y[k]);
    dT[3 + k] = 2.0f * (v01 * X[k] + v11 * Y[k]);
    P[k] = v00 * T[k] + v01 * T[3 + k];
    Q[k] = v01 * T[k] + v11 * T[3 + k];
  }
  float G[9];  // dL/dSigma, symmetric
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) G[3 * i + j] = T[i] * P[j] + T[3 + i] * Q[j];

  // T = J W with J = [fx/z, 0, -fx u/z; 0, fy/z, -fy v/z]
  const float z = s.p[2], inverse_z = 1.0f / z;
  float j00 = 0, j02 = 0, j11 = 0, j12 = 0;
  for (int k = 0; k < 3; ++k) {
    j00 += dT[k] * camera.R[k], j02 += dT[k] * camera.R[6 + k];
    j11 += dT[3 + k] * camera.R[3 + k], j12 += dT[3 + k] * camera.R[6 + k];
  }
  float d_p[3];
  const float fx_z = camera.fx * inverse_z, fy_z = camera.fy * inverse_z;
  d_p[0] = fx_z * d_x, d_p[1] = fy_z * d_y;
  d_p[2] = -inverse_z * (fx_z * s.p[0] * d_x + fy_z * s.p[1] * d_y);
  d_p[2] += inverse_z * (-fx_z * j00 - fy_z * j11 + fx_z * s.u * j02 + fy_z * s.v * j12);
  if (!s.held_u) d_p[0] -= fx_z * inverse_z * j02, d_p[2] += fx_z * inverse_z * s.u * j02;
  if (!s.held_v) d_p[1] -= fy_z * inverse_z * j12, d_p[2] += fy_z * inverse_z * s.v * j12;
  if (options.channels > 3) d_p[2] += sum[6 + 3];
  for (int k = 0; k < 3; ++k)
    d[k] = camera.R[k] * d_p[0] + camera.R[3 + k] * d_p[1] + camera.R[6 + k] * d_p[2];

  // Sigma = R D R^T
  float GR[9], dR[9];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      GR[3 * i + j] = G[3 * i] * s.R[j] + G[3 * i + 1] * s.R[3 + j] + G[3 * i + 2] * s.R[6 + j];
  for (int j = 0; j < 3; ++j) {
    const float d_variance = s.R[j] * GR[j] + s.R[3 + j] * GR[3 + j] + s.R[6 + j] * GR[6 + j];
    d[8 + j] = 2.0f * s.raw[j] * d_variance;
    if (row[11] > 0) d[8 + j] += d_log_shown * row[11] / s.variance[j];  // the filter leaves more of a larger one
    for (int i = 0; i < 3; ++i) dR[3 * i + j] = 2.0f * GR[3 * i + j] * s.variance[j];
  }
  if (options.channels > 4) {
    const int axis = normal_of(s, camera, normal, sign);
    for (int k = 0; k < 3; ++k)
      dR[3 * k + axis] += sign * (camera.R[k] * sum[10] + camera.R[3 + k] * sum[11] + camera.R[6 + k] * sum[12]);
  }
  const float w = s.q[0], x = s.q[1], y = s.q[2], q3 = s.q[3];
  float dq[4];
  dq[0] = 2 * (x * (dR[7] - dR[5]) + y * (dR[2] - dR[6]) + q3 * (dR[3] - dR[1]));
  dq[1] = 2 * (-2 * x * (dR[4] + dR[8]) + y * (dR[1] + dR[3]) + q3 * (dR[2] + dR[6]) + w * (dR[7] - dR[5]));
  dq[2] = 2 * (x * (dR[1] + dR[3]) - 2 * y * (dR[0] + dR[8]) + q3 * (dR[5] + dR[7]) + w * (dR[2] - dR[6]));
  dq[3] = 2 * (x * (dR[2] + dR[6]) + y * (dR[5] + dR[7]) - 2 * q3 * (dR[0] + dR[4]) + w * (dR[3] - dR[1]));
  const float along = dq[0] * w + dq[1] * x + dq[2] * y + dq[3] * q3;
  for (int k = 0; k < 4; ++k) d[4 + k] = (dq[k] - along * s.q[k]) / s.length;

  // Colour.
  const Look look = look_at(row, camera);
  float basis[16], color[3], d_color[3], weight[16];
  color_of(row, options.degree, look, basis, color);
  for (int c = 0; c < 3; ++c) d_color[c] = color[c] > 0 ? sum[6 + c] : 0.0f;
  const int count = (options.degree + 1) * (options.degree + 1);
  const float* sh = row + kSplatHarmonics;
  float* d_sh = d + kSplatHarmonics;
  for (int k = 0; k < count; ++k) {
    for (int c = 0; c < 3; ++c) d_sh[3 * k + c] = basis[k] * d_color[c];
    weight[k] = sh[3 * k] * d_color[0] + sh[3 * k + 1] * d_color[1] + sh[3 * k + 2] * d_color[2];
  }
  float slope[3];
  harmonics_slope(options.degree, look.d[0], look.d[1], look.d[2], weight, slope);
  const float radial = slope[0] * look.d[0] + slope[1] * look.d[1] + slope[2] * look.d[2];
  for (int i = 0; i < 3; ++i) d[i] += (slope[i] - radial * look.d[i]) / look.length;
  return count;
}

RIL_INLINE void add_slots(const float* slots, uint32_t first, uint32_t count, float* sum) {
  for (int k = 0; k < kSlot; ++k) sum[k] = 0.0f;
  const float* slot = slots + static_cast<int64_t>(first) * kSlot;
  for (uint32_t j = 0; j < count; ++j, slot += kSlot)
    for (int k = 0; k < kSlot; ++k) sum[k] += slot[k];
}

}  // namespace

void gradient_range(const float* rows, const SplatView& view, int64_t begin, int64_t end, const float* slots,
                    float* d_rows, float* d_xy) {
  for (int64_t i = begin; i < end; ++i) {
    if (!view.num_slots[i]) continue;
    float sum[kSlot];
    add_slots(slots, view.splats[i].first_slot, view.num_slots[i], sum);
    pull_back(rows + i * kSplatRow, view, sum, d_rows + i * kSplatRow, d_xy + 2 * i);
  }
}

void update_range(const SplatView& view, int64_t begin, int64_t end, const float* slots, const SplatUpdate& u) {
  const F beta1 = splat(u.beta1), beta2 = splat(u.beta2), rest1 = splat(1.0f - u.beta1), rest2 = splat(1.0f - u.beta2);
  const F epsilon = splat(u.epsilon);
  for (int64_t i = begin; i < end; ++i) {
#ifdef __GNUC__
    if (i + 8 < end && view.num_slots[i + 8])
      __builtin_prefetch(slots + static_cast<int64_t>(view.splats[i + 8].first_slot) * kSlot);
#endif
    if (!view.num_slots[i]) continue;
    float* row = u.rows + i * kSplatRow;
    float sum[kSlot];
    alignas(64) float d[kSplatRow];
    float xy[2];
    add_slots(slots, view.splats[i].first_slot, view.num_slots[i], sum);
    const int count = pull_back(row, view, sum, d, xy);
    const float opacity = sigmoid(row[3]);
    d[3] += u.opacity_weight * opacity * (1.0f - opacity);
    for (int k = 0; k < 3; ++k) d[8 + k] += u.scale_weight * exp_scalar(row[8 + k]);
    float check = 0.0f;
    for (int k = 0; k < kSplatRow; ++k) check += d[k] - d[k];
    if (check != 0.0f) continue;  // a gradient that is no number moves nothing
    float* score = u.score + 4 * i;
    score[0] += root_scalar(xy[0] * xy[0] + xy[1] * xy[1]);
    score[1] += 1.0f;
    const float reach = view.splats[i].reach_x > view.splats[i].reach_y ? view.splats[i].reach_x : view.splats[i].reach_y;
    if (reach > score[2]) score[2] = reach;
    float* first = u.first + i * kSplatRow;
    float* second = u.second + i * kSplatRow;
    const int64_t step = static_cast<int64_t>(first[12]);
    const float scale1 = step < u.num_bias ? u.bias1[step] : 1.0f, scale2 = step < u.num_bias ? u.bias2[step] : 1.0f;
    const int used = kSplatHarmonics + ((3 * count + 15) / 16) * 16;
    const F s1 = splat(scale1), s2 = splat(scale2);
    for (int k = 0; k < used; k += kLanes) {
      const F g = load(d + k);
      const F m = fused(beta1, load(first + k), rest1 * g), v = fused(beta2, load(second + k), rest2 * (g * g));
      store(first + k, m);
      store(second + k, v);
      store(row + k, load(row + k) - load(u.rates + k) * (m * s1) / (root(v * s2) + epsilon));
    }
    first[12] = static_cast<float>(step + 1);
    second[12] = 0.0f;
  }
}

}  // namespace rilievo::RIL_SIMD
