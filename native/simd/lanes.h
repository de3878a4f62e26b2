// Vectors of kLanes floats or 32-bit integers, one lane a pixel: 16 lanes with AVX-512, 8 with AVX2, else 4.
//
// Every lane does the same IEEE operations as scalar code would, so results do not depend on the width. Only for files
// under native/simd (each is compiled once per instruction set into its own namespace).
#pragma once
#include <stdint.h>
#include <string.h>

// GCC and Clang have vector types; other compilers take the arrays below (RIL_PLAIN_LANES asks for them, for tests).
#if defined(__GNUC__) && !defined(RIL_PLAIN_LANES)
#define RIL_VECTOR_TYPES 1
#endif

#if defined(RIL_VECTOR_TYPES) && (defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE4_1__))
#include <immintrin.h>
#else
#include <math.h>
#endif

#ifdef __GNUC__
#define RIL_INLINE inline __attribute__((always_inline))
#else
#define RIL_INLINE __forceinline
#endif

namespace rilievo::RIL_SIMD {

#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
constexpr int kLanes = 16;
#elif defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

#ifdef RIL_VECTOR_TYPES
typedef float F __attribute__((vector_size(kLanes * 4)));
typedef int32_t I __attribute__((vector_size(kLanes * 4)));
typedef uint32_t U __attribute__((vector_size(kLanes * 4)));
typedef I Mask;  // all bits of a lane set where true

RIL_INLINE F splat(float x) { return x - F{}; }
RIL_INLINE I splat_int(int32_t x) { return x - I{}; }
RIL_INLINE U splat_unsigned(uint32_t x) { return x - U{}; }
RIL_INLINE F to_float(I x) { return __builtin_convertvector(x, F); }
RIL_INLINE I truncate(F x) { return __builtin_convertvector(x, I); }
RIL_INLINE U as_unsigned(I x) { return (U)x; }
RIL_INLINE I as_int(U x) { return (I)x; }
RIL_INLINE F select(Mask m, F a, F b) { return m ? a : b; }
RIL_INLINE I select(Mask m, I a, I b) { return m ? a : b; }
#else
// A compiler without vector types: arrays with the same operators.
template <typename T>
struct Vec {
  T lane[kLanes];
  T& operator[](int l) { return lane[l]; }
  T operator[](int l) const { return lane[l]; }
};
typedef Vec<float> F;
typedef Vec<int32_t> I;
typedef Vec<uint32_t> U;
typedef I Mask;
#define RIL_OPERATOR(op)                                                \
  template <typename T>                                                 \
  RIL_INLINE Vec<T> operator op(const Vec<T>& a, const Vec<T>& b) {     \
    Vec<T> r;                                                           \
    for (int l = 0; l < kLanes; ++l) r.lane[l] = a.lane[l] op b.lane[l]; \
    return r;                                                           \
  }
RIL_OPERATOR(+) RIL_OPERATOR(-) RIL_OPERATOR(*) RIL_OPERATOR(/) RIL_OPERATOR(&) RIL_OPERATOR(|) RIL_OPERATOR(^)
#undef RIL_OPERATOR
#define RIL_COMPARISON(op)                                                       \
  template <typename T>                                                          \
  RIL_INLINE Mask operator op(const Vec<T>& a, const Vec<T>& b) {                \
    Mask r;                                                                      \
    for (int l = 0; l < kLanes; ++l) r.lane[l] = (a.lane[l] op b.lane[l]) ? -1 : 0; \
    return r;                                                                    \
  }
RIL_COMPARISON(<) RIL_COMPARISON(<=) RIL_COMPARISON(>) RIL_COMPARISON(>=) RIL_COMPARISON(==) RIL_COMPARISON(!=)
#undef RIL_COMPARISON
template <typename T>
RIL_INLINE Vec<T> operator>>(const Vec<T>& a, int n) {
  Vec<T> r;
  for (int l = 0; l < kLanes; ++l) r.lane[l] = a.lane[l] >> n;
  return r;
}
template <typename V, typename T>
RIL_INLINE V filled(T x) {
  V r;
  for (int l = 0; l < kLanes; ++l) r.lane[l] = x;
  return r;
}
RIL_INLINE F splat(float x) { return filled<F>(x); }
RIL_INLINE I splat_int(int32_t x) { return filled<I>(x); }
RIL_INLINE U splat_unsigned(uint32_t x) { return filled<U>(x); }
template <typename To, typename From>
RIL_INLINE To cast_lanes(const From& x) {
  To r;
  for (int l = 0; l < kLanes; ++l) r.lane[l] = static_cast<decltype(r.lane[0] + 0)>(x.lane[l]);
  return r;
}
RIL_INLINE F to_float(const I& x) { return cast_lanes<F>(x); }
RIL_INLINE I truncate(const F& x) { return cast_lanes<I>(x); }
RIL_INLINE U as_unsigned(const I& x) { return cast_lanes<U>(x); }
RIL_INLINE I as_int(const U& x) { return cast_lanes<I>(x); }
template <typename V>
RIL_INLINE V select_lanes(const Mask& m, const V& a, const V& b) {
  V r;
  for (int l = 0; l < kLanes; ++l) r.lane[l] = m.lane[l] ? a.lane[l] : b.lane[l];
  return r;
}
RIL_INLINE F select(const Mask& m, const F& a, const F& b) { return select_lanes(m, a, b); }
RIL_INLINE I select(const Mask& m, const I& a, const I& b) { return select_lanes(m, a, b); }
#endif

RIL_INLINE F load(const float* p) {
  F r;
  memcpy(&r, p, sizeof(r));
  return r;
}
RIL_INLINE void store(float* p, F x) { memcpy(p, &x, sizeof(x)); }
RIL_INLINE F minimum(F a, F b) { return select(a < b, a, b); }
RIL_INLINE I minimum(I a, I b) { return select(a < b, a, b); }
RIL_INLINE F maximum(F a, F b) { return select(a > b, a, b); }
RIL_INLINE F magnitude(F a) { return maximum(a, splat(0.0f) - a); }
RIL_INLINE F root(F a) {
#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
  return (F)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)a);
#elif defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
  return (F)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE4_1__) && defined(RIL_VECTOR_TYPES)
  return (F)_mm_sqrt_ps((__m128)a);
#else
  F r;
  for (int l = 0; l < kLanes; ++l) r[l] = sqrtf(a[l]);
  return r;
#endif
}
// base[index[l]] in every lane.
RIL_INLINE U gather(const uint32_t* base, I index) {
#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
  return (U)_mm512_mask_i32gather_epi32(_mm512_setzero_si512(), (__mmask16)-1, (__m512i)index, base, 4);
#elif defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
  return (U)_mm256_i32gather_epi32((const int*)base, (__m256i)index, 4);
#else
  U r;
  for (int l = 0; l < kLanes; ++l) r[l] = base[index[l]];
  return r;
#endif
}
RIL_INLINE F gather(const float* base, I index) {
#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
  return (F)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), (__mmask16)-1, (__m512i)index, base, 4);
#elif defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
  return (F)_mm256_i32gather_ps(base, (__m256i)index, 4);
#else
  F r;
  for (int l = 0; l < kLanes; ++l) r[l] = base[index[l]];
  return r;
#endif
}
// Four signed bytes of a quad (two pixels and the two below them) weighed by the fractions of 16.16 fixed point positions:
// 255 * 255 times the value between them. Integer arithmetic: exact, whatever the instructions.
RIL_INLINE I blend(U quad, I x, I y) {
#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
  // Byte 1 of a position is the fraction in 1/256; f and 255 - f = f ^ 255 are the weights.
  const __m512i four = _mm512_set4_epi32(0x0D0D0D0D, 0x09090909, 0x05050505, 0x01010101);
  const __m512i two = _mm512_set4_epi32((int)0x800D800Du, (int)0x80098009u, (int)0x80058005u, (int)0x80018001u);
  const __m512i across = _mm512_xor_si512(_mm512_shuffle_epi8((__m512i)x, four), _mm512_set1_epi32(0x00FF00FF));
  const __m512i down = _mm512_xor_si512(_mm512_shuffle_epi8((__m512i)y, two), _mm512_set1_epi32(0x000000FF));
  return (I)_mm512_madd_epi16(_mm512_maddubs_epi16(across, (__m512i)quad), down);
#elif defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
  const __m256i four = _mm256_setr_epi32(0x01010101, 0x05050505, 0x09090909, 0x0D0D0D0D, 0x01010101, 0x05050505,
                                         0x09090909, 0x0D0D0D0D);
  const __m256i two = _mm256_setr_epi32((int)0x80018001u, (int)0x80058005u, (int)0x80098009u, (int)0x800D800Du,
                                        (int)0x80018001u, (int)0x80058005u, (int)0x80098009u, (int)0x800D800Du);
  const __m256i across = _mm256_xor_si256(_mm256_shuffle_epi8((__m256i)x, four), _mm256_set1_epi32(0x00FF00FF));
  const __m256i down = _mm256_xor_si256(_mm256_shuffle_epi8((__m256i)y, two), _mm256_set1_epi32(0x000000FF));
  return (I)_mm256_madd_epi16(_mm256_maddubs_epi16(across, (__m256i)quad), down);
#elif defined(__SSE4_1__) && defined(RIL_VECTOR_TYPES)
  const __m128i four = _mm_setr_epi32(0x01010101, 0x05050505, 0x09090909, 0x0D0D0D0D);
  const __m128i two = _mm_setr_epi32((int)0x80018001u, (int)0x80058005u, (int)0x80098009u, (int)0x800D800Du);
  const __m128i across = _mm_xor_si128(_mm_shuffle_epi8((__m128i)x, four), _mm_set1_epi32(0x00FF00FF));
  const __m128i down = _mm_xor_si128(_mm_shuffle_epi8((__m128i)y, two), _mm_set1_epi32(0x000000FF));
  return (I)_mm_madd_epi16(_mm_maddubs_epi16(across, (__m128i)quad), down);
#else
  I r;
  for (int l = 0; l < kLanes; ++l) {
    const int32_t fx = (x[l] >> 8) & 255, fy = (y[l] >> 8) & 255;
    const uint32_t q = quad[l];
    const int32_t top = (int8_t)(q & 255) * (255 - fx) + (int8_t)((q >> 8) & 255) * fx;
    const int32_t bottom = (int8_t)((q >> 16) & 255) * (255 - fx) + (int8_t)(q >> 24) * fx;
    r[l] = top * (255 - fy) + bottom * fy;
  }
  return r;
#endif
}
// a * b for 0 <= a, b < 32768.
RIL_INLINE I multiply_small(I a, I b) {
#if defined(__AVX512F__) && defined(RIL_VECTOR_TYPES)
  return (I)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__) && defined(RIL_VECTOR_TYPES)
  return (I)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE4_1__) && defined(RIL_VECTOR_TYPES)
  return (I)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  return a * b;
#endif
}
// 0, 1, 2, ...
RIL_INLINE I lane_index() {
  I r;
  for (int l = 0; l < kLanes; ++l) r[l] = l;
  return r;
}
RIL_INLINE bool any(Mask m) {
  int32_t r = 0;
  for (int l = 0; l < kLanes; ++l) r |= m[l];
  return r != 0;
}

}  // namespace rilievo::RIL_SIMD
