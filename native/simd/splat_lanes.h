// What the splat kernels need beside lanes.h: fused multiply-add, 2^x, and truth values in mask registers where there
// are some. All of it gives the same bits whatever the instruction set.
#pragma once
#include "lanes.h"

#if !defined(RIL_VECTOR_TYPES) || !defined(__FMA__)
#include <math.h>
#endif

namespace rilievo::RIL_SIMD {

#if !(defined(RIL_VECTOR_TYPES) && (defined(__AVX512F__) || defined(__FMA__) || defined(__ARM_NEON)))
// a * b + c rounded once, in double precision: the sum is rounded to odd, so that rounding it again to float cannot go
// wrong (Boldo & Melquiond 2008, "Emulation of a FMA and correctly rounded sums", theorem 1).
RIL_INLINE float fused_exact(float a, float b, float c) {
  const double p = static_cast<double>(a) * b, q = c;
  double sum = p + q;
  const double back = sum - p, error = (p - (sum - back)) + (q - back);
  if (error != 0) {  // also false for NaN in neither: those pass through
    int64_t bits;
    memcpy(&bits, &sum, sizeof(bits));
    if (!(bits & 1)) {
      bits += (error > 0) == (sum > 0) ? 1 : -1;
      memcpy(&sum, &bits, sizeof(bits));
    }
  }
  return static_cast<float>(sum);
}
#endif

RIL_INLINE float fused(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_NEON)
  return __builtin_fmaf(a, b, c);
#else
  return fused_exact(a, b, c);
#endif
}

// a * b + c, rounded once.
RIL_INLINE F fused(F a, F b, F c) {
#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
  return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
  return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON) && defined(RIL_VECTOR_TYPES)
  F r;
  for (int l = 0; l < kLanes; ++l) r[l] = __builtin_fmaf(a[l], b[l], c[l]);
  return r;
#else
  F r;
  for (int l = 0; l < kLanes; ++l) r[l] = fused_exact(a[l], b[l], c[l]);
  return r;
#endif
}

// 2^x for -126 < x < 127 with a relative error below 3e-7: 2^n * p(x - n), n the nearest whole number, p the
// polynomial that interpolates 2^f at six Chebyshev nodes of [-1/2, 1/2].
constexpr float kExp2[6] = {1.000000075f, 6.931471880e-1f, 2.402210749e-1f, 5.550357114e-2f, 9.676031918e-3f, 1.339086336e-3f};
constexpr float kRoundMagic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
RIL_INLINE F exp2_lanes(F x) {
  const F shifted = x + splat(kRoundMagic);
  const F f = x - (shifted - splat(kRoundMagic));
  F p = splat(kExp2[5]);
  for (int k = 4; k >= 0; --k) p = fused(p, f, splat(kExp2[k]));
  I n, bits;
  memcpy(&n, &shifted, sizeof(n));
  memcpy(&bits, &p, sizeof(bits));
  const U shift = as_unsigned(n) * splat_unsigned(1u << 23);
  bits = as_int(as_unsigned(bits) + shift);
  F r;
  memcpy(&r, &bits, sizeof(r));
  return r;
}
RIL_INLINE float exp2_scalar(float x) {
  const float shifted = x + kRoundMagic;
  const float f = x - (shifted - kRoundMagic);
  float p = kExp2[5];
  for (int k = 4; k >= 0; --k) p = fused(p, f, kExp2[k]);
  uint32_t n, bits;
  memcpy(&n, &shifted, sizeof(n));
  memcpy(&bits, &p, sizeof(bits));
  bits += n << 23;
  float r;
  memcpy(&r, &bits, sizeof(r));
  return r;
}
RIL_INLINE float exp_scalar(float x) {
  x = x < -80.0f ? -80.0f : x > 80.0f ? 80.0f : x;
  return exp2_scalar(x * 1.44269504f);
}
// log2 of a positive, normal number with an error below 2e-7 (or 2 units in the last place): exponent, then the series
// of atanh for the mantissa in [1/sqrt(2), sqrt(2)).
RIL_INLINE float log2_scalar(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  int32_t e = static_cast<int32_t>(bits >> 23) - 127;
  bits = (bits & 0x007FFFFFu) | 0x3F800000u;
  float m;
  memcpy(&m, &bits, sizeof(m));
  if (m > 1.41421354f) m *= 0.5f, ++e;
  const float s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  float p = 0.3205989f;  // 2 log2(e) / (2k + 1), k = 4 ... 0
  p = fused(p, s2, 0.41219858f);
  p = fused(p, s2, 0.57707802f);
  p = fused(p, s2, 0.96179669f);
  p = fused(p, s2, 2.8853901f);
  return fused(p, s, static_cast<float>(e));
}

// Truth values of kLanes lanes.
#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
typedef __mmask16 Bool;
RIL_INLINE Bool at_least(F a, F b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ); }
RIL_INLINE Bool both(Bool a, Bool b) { return a & b; }
RIL_INLINE F keep(Bool m, F a) { return (F)_mm512_maskz_mov_ps(m, (__m512)a); }
RIL_INLINE F choose(Bool m, F a, F b) { return (F)_mm512_mask_mov_ps((__m512)b, m, (__m512)a); }
RIL_INLINE bool none(Bool m) { return m == 0; }
RIL_INLINE F smaller(F a, F b) { return (F)_mm512_maskz_min_ps((__mmask16)-1, (__m512)a, (__m512)b); }
RIL_INLINE uint32_t bits_of(Bool m) { return m; }
#else
typedef Mask Bool;
RIL_INLINE Bool at_least(F a, F b) { return a >= b; }
RIL_INLINE Bool both(Bool a, Bool b) { return a & b; }
RIL_INLINE F keep(Bool m, F a) { return select(m, a, splat(0.0f)); }
RIL_INLINE F choose(Bool m, F a, F b) { return select(m, a, b); }
RIL_INLINE bool none(Bool m) {
#if defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
  return _mm256_movemask_ps((__m256)m) == 0;
#else
  return !any(m);
#endif
}
RIL_INLINE F smaller(F a, F b) { return minimum(a, b); }
// Bit l is set where lane l is true.
RIL_INLINE uint32_t bits_of(Bool m) {
#if defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)m));
#else
  uint32_t bits = 0;
  for (int l = 0; l < kLanes; ++l) bits |= static_cast<uint32_t>(m[l] & 1) << l;
  return bits;
#endif
}
#endif

}  // namespace rilievo::RIL_SIMD
