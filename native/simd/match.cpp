// Dot products of byte descriptors, all pairs, with the best and second best of every query and the best of every
// target kept on the way: nothing of size queries x targets is ever stored.
//
// Targets lie in blocks of as many as the vector has 32-bit lanes, two dimensions side by side, so that one multiply-add
// of 16-bit pairs serves a lane's target and no sum across lanes is needed.
#include <cstdint>
#include <cstring>

#include "keypoints.h"

#if defined(__AVX512BW__) || defined(__AVX2__) || defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace rilievo::RIL_SIMD {
namespace {

#if defined(__AVX512BW__)
constexpr int kLanes = 16;
using V = __m512i;
inline V load(const void* p) { return _mm512_loadu_si512(p); }
inline void store(void* p, V v) { _mm512_storeu_si512(p, v); }
inline V set(int32_t v) { return _mm512_set1_epi32(v); }
inline V add(V a, V b) { return _mm512_add_epi32(a, b); }
inline V madd(V a, V b) { return _mm512_madd_epi16(a, b); }
// The masked forms: g++ 12 warns of its own header for the plain ones.
inline V larger(V a, V b) { return _mm512_maskz_max_epi32(0xFFFF, a, b); }
inline V smaller(V a, V b) { return _mm512_maskz_min_epi32(0xFFFF, a, b); }
inline V choose_greater(V a, V b, V yes, V no) {
  return _mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(a, b), no, yes);
}
#elif defined(__AVX2__)
constexpr int kLanes = 8;
using V = __m256i;
inline V load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, V v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline V set(int32_t v) { return _mm256_set1_epi32(v); }
inline V add(V a, V b) { return _mm256_add_epi32(a, b); }
inline V madd(V a, V b) { return _mm256_madd_epi16(a, b); }
inline V larger(V a, V b) { return _mm256_max_epi32(a, b); }
inline V smaller(V a, V b) { return _mm256_min_epi32(a, b); }
inline V choose_greater(V a, V b, V yes, V no) { return _mm256_blendv_epi8(no, yes, _mm256_cmpgt_epi32(a, b)); }
#elif defined(__SSE4_1__)
constexpr int kLanes = 4;
using V = __m128i;
inline V load(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline void store(void* p, V v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); }
inline V set(int32_t v) { return _mm_set1_epi32(v); }
inline V add(V a, V b) { return _mm_add_epi32(a, b); }
inline V madd(V a, V b) { return _mm_madd_epi16(a, b); }
inline V larger(V a, V b) { return _mm_max_epi32(a, b); }
inline V smaller(V a, V b) { return _mm_min_epi32(a, b); }
inline V choose_greater(V a, V b, V yes, V no) { return _mm_blendv_epi8(no, yes, _mm_cmpgt_epi32(a, b)); }
#else  // plain loops over a small array: what arm64 and others compile to their own vectors
constexpr int kLanes = 8;
struct V {
  int32_t v[kLanes];
};
template <typename F>
inline V each(F f) {
  V r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = f(i);
  return r;
}
inline V load(const void* p) {
  V r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
inline void store(void* p, V v) { std::memcpy(p, &v, sizeof v); }
inline V set(int32_t v) {
  return each([=](int) { return v; });
}
inline V add(V a, V b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}
// All values are bytes (0..255), so the halves of a pair are the low and the high 16 bits of a non-negative number.
inline V madd(V a, V b) {
  return each([&](int i) { return (a.v[i] & 0xFFFF) * (b.v[i] & 0xFFFF) + (a.v[i] >> 16) * (b.v[i] >> 16); });
}
inline V larger(V a, V b) {
  return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline V smaller(V a, V b) {
  return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline V choose_greater(V a, V b, V yes, V no) {
  return each([&](int i) { return a.v[i] > b.v[i] ? yes.v[i] : no.v[i]; });
}
#endif

constexpr int32_t kNone = kNoValue;

// Q queries against all blocks of targets.
template <int Q>
void against_all(const int16_t* queries, const int32_t* query_minus, int first_query, const int16_t* targets,
                 const int32_t* target_minus, int num_blocks, int half, Best* rows, int32_t* column_value,
                 int32_t* column_row) {
  V best[Q], second[Q], which[Q];
  for (int q = 0; q < Q; ++q) best[q] = second[q] = set(kNone), which[q] = set(-1);
  for (int block = 0; block < num_blocks; ++block) {
    V sum[Q];
    for (int q = 0; q < Q; ++q) sum[q] = set(0);
    const int16_t* t = targets + static_cast<int64_t>(block) * half * kLanes * 2;
    for (int k = 0; k < half; ++k) {
      const V target = load(t + k * kLanes * 2);
      for (int q = 0; q < Q; ++q) {
        int32_t pair;
        std::memcpy(&pair, queries + 2 * (q * half + k), 4);
        sum[q] = add(sum[q], madd(set(pair), target));
      }
    }
    const V minus = load(target_minus + block * kLanes), here = set(block);
    V value = load(column_value + block * kLanes), row = load(column_row + block * kLanes);
    for (int q = 0; q < Q; ++q) {
      const V v = add(sum[q], minus);
      which[q] = choose_greater(v, best[q], here, which[q]);
      second[q] = larger(second[q], smaller(v, best[q]));
      best[q] = larger(best[q], v);
      const V c = add(sum[q], set(query_minus[q]));
      row = choose_greater(c, value, set(first_query + q), row);
      value = larger(value, c);
    }
    store(column_value + block * kLanes, value);
    store(column_row + block * kLanes, row);
  }
  for (int q = 0; q < Q; ++q) {
    int32_t b[kLanes], s[kLanes], w[kLanes];
    store(b, best[q]);
    store(s, second[q]);
    store(w, which[q]);
    Best r{kNone, kNone, -1};
    for (int i = 0; i < kLanes; ++i) {
      const int32_t at = w[i] < 0 ? -1 : w[i] * kLanes + i;
      const bool wins = at >= 0 && (b[i] > r.value || (b[i] == r.value && at < r.row));
      const int32_t lower = wins ? r.value : b[i];
      r.second = lower > r.second ? lower : r.second;
      r.second = s[i] > r.second ? s[i] : r.second;
      if (wins) r.value = b[i], r.row = at;
    }
    rows[q] = r;
  }
}

}  // namespace

int match_lanes() { return kLanes; }

void match_block(const int16_t* queries, const int32_t* query_minus, int num_q, int first_query,
                 const int16_t* targets, const int32_t* target_minus, int num_blocks, int half, Best* rows,
                 int32_t* column_value, int32_t* column_row) {
  constexpr int Q = kLanes == 16 ? 12 : 6;
  int q = 0;
  for (; q + Q <= num_q; q += Q)
    against_all<Q>(queries + static_cast<int64_t>(q) * 2 * half, query_minus + q, first_query + q, targets,
                   target_minus, num_blocks, half, rows + q, column_value, column_row);
  for (; q < num_q; ++q)
    against_all<1>(queries + static_cast<int64_t>(q) * 2 * half, query_minus + q, first_query + q, targets,
                   target_minus, num_blocks, half, rows + q, column_value, column_row);
}

}  // namespace rilievo::RIL_SIMD
