// The two networks of the radiance field, forward and backward. See native/field.h.
#include "../field.h"
#include "field_gemm.h"
#include "lanes.h"

namespace rilievo::RIL_SIMD {
namespace {

RIL_INLINE F as_float(I x) {
  F r;
  memcpy(&r, &x, sizeof(r));
  return r;
}

// e^x to 2e-7 of its value for |x| <= 87 (the ends beyond), by x = k ln 2 + r and the Taylor series of e^r.
RIL_INLINE F exponential(F x) {
  x = minimum(splat(87.0f), maximum(splat(-87.0f), x));  // NaN stays NaN
  const F scaled = x * splat(1.44269504f);
  const I k = truncate(scaled + select(scaled < splat(0.0f), splat(-0.5f), splat(0.5f)));
  const F whole = to_float(k);
  const F r = (x - whole * splat(0.693359375f)) + whole * splat(2.12194440e-4f);
  F p = splat(1.0f / 5040.0f);
  p = p * r + splat(1.0f / 720.0f);
  p = p * r + splat(1.0f / 120.0f);
  p = p * r + splat(1.0f / 24.0f);
  p = p * r + splat(1.0f / 6.0f);
  p = p * r + splat(0.5f);
  p = p * r + splat(1.0f);
  p = p * r + splat(1.0f);
  return p * as_float((k + splat_int(127)) * splat_int(1 << 23));
}

}  // namespace

void field_density_block(const FieldForward& field, const float* features, int64_t n, float* hidden, float* out,
                         float* density) {
  const FieldShape& s = *field.shape;
  const int width = s.density_width;
  const float* w = field.weights;
  gemm<false, Finish::relu>(n, width, s.inputs(), features, s.inputs(), w + s.density1(), width, hidden, width);
  gemm<false, Finish::set>(n, kFieldOut, width, hidden, width, w + s.density2(), kFieldOut, out, kFieldOut);
  float logits[kLanes];
  for (int64_t i = 0; i < n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) logits[l] = out[(i + l) * kFieldOut];
    store(density + i, exponential(minimum(splat(kMaxLogDensity), maximum(splat(-kMaxLogDensity), load(logits)))));
  }
}

void field_color_block(const FieldForward& field, const float* inputs, int64_t n, float* hidden1, float* hidden2,
                       float* logits, float* color) {
  const FieldShape& s = *field.shape;
  const int width = s.color_width;
  const float* w = field.weights;
  gemm<false, Finish::relu>(n, width, kColorIn, inputs, kColorIn, w + s.color1(), width, hidden1, width);
  gemm<false, Finish::relu>(n, width, width, hidden1, width, w + s.color2(), width, hidden2, width);
  gemm<false, Finish::set>(n, kFieldOut, width, hidden2, width, w + s.color3(), kFieldOut, logits, kFieldOut);
  const F one = splat(1.0f);
  for (int64_t i = 0; i < n; i += kLanes)
    for (int c = 0; c < 3; ++c) {
      float channel[kLanes];
      for (int l = 0; l < kLanes; ++l) channel[l] = logits[(i + l) * kFieldOut + c];
      store(color + c * n + i, one / (one + exponential(splat(0.0f) - load(channel))));
    }
}

void field_color_backward(const FieldBackward& field, const float* inputs, const float* hidden1, const float* hidden2,
                          const float* d_logits, int64_t n, float* d_hidden, float* d_inputs) {
  const FieldShape& s = *field.shape;
  const int width = s.color_width;
  const float* t = field.transposed;
  float* g = field.weight_gradients;
  float *d2 = d_hidden, *d1 = d_hidden + n * width;
  gemm<true, Finish::add>(width, kFieldOut, n, hidden2, width, d_logits, kFieldOut, g + s.color3(), kFieldOut);
  gemm<false, Finish::mask>(n, width, 3, d_logits, kFieldOut, t + s.color3(), width, d2, width, hidden2);
  gemm<true, Finish::add>(width, width, n, hidden1, width, d2, width, g + s.color2(), width);
  gemm<false, Finish::mask>(n, width, width, d2, width, t + s.color2(), width, d1, width, hidden1);
  gemm<true, Finish::add>(kColorIn, width, n, inputs, kColorIn, d1, width, g + s.color1(), width);
  gemm<false, Finish::set>(n, kFieldOut, width, d1, width, t + s.color1(), kColorIn, d_inputs, kColorIn);
}

void field_density_backward(const FieldBackward& field, const float* features, const float* hidden, const float* d_out,
                            int64_t n, float* d_hidden, float* d_features) {
  const FieldShape& s = *field.shape;
  const int width = s.density_width, inputs = s.inputs();
  const float* t = field.transposed;
  float* g = field.weight_gradients;
  gemm<true, Finish::add>(width, kFieldOut, n, hidden, width, d_out, kFieldOut, g + s.density2(), kFieldOut);
  gemm<false, Finish::mask>(n, width, kFieldOut, d_out, kFieldOut, t + s.density2(), width, d_hidden, width, hidden);
  gemm<true, Finish::add>(inputs, width, n, features, inputs, d_hidden, width, g + s.density1(), width);
  gemm<false, Finish::set>(n, inputs, width, d_hidden, width, t + s.density1(), inputs, d_features, inputs);
}

void field_passed(const float* density, const float* delta, int64_t n, float* passed) {
  for (int64_t i = 0; i < n; i += kLanes)
    store(passed + i, exponential(splat(0.0f) - load(density + i) * load(delta + i)));
}

}  // namespace rilievo::RIL_SIMD
