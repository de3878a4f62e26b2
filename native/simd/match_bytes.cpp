// The same answer as match.cpp with the processor's dot product of four bytes at once (VNNI), where it has one: twice
// the values a register and half the instructions a value.
//
// The instruction multiplies unsigned with signed bytes. Targets stay unsigned, queries are moved down by 128, which
// takes 128 times the sum of the target's bytes off the dot product; `target_start` puts it back, exactly, in integers.
#include <cstdint>
#include <cstring>

#include "keypoints.h"

#if defined(RIL_X86) && (defined(__AVX512BW__) || defined(__AVX2__))
#include <immintrin.h>
#endif

namespace rilievo::RIL_SIMD {

#if defined(RIL_X86) && (defined(__AVX512BW__) || defined(__AVX2__))
namespace {

// These two functions alone are built for VNNI; match_nearest asks has_byte_dot() before it calls them.
#if defined(__AVX512BW__)
#ifdef _MSC_VER
#define RIL_BYTE_DOT
#else
#define RIL_BYTE_DOT __attribute__((target("avx512vnni")))
#endif
constexpr int kLanes = 16, kQueries = 12;
using V = __m512i;
inline V load(const void* p) { return _mm512_loadu_si512(p); }
inline void store(void* p, V v) { _mm512_storeu_si512(p, v); }
inline V set(int32_t v) { return _mm512_set1_epi32(v); }
inline V add(V a, V b) { return _mm512_add_epi32(a, b); }
inline unsigned greater(V a, V b) { return _mm512_cmpgt_epi32_mask(a, b); }
inline V choose_greater(V a, V b, V yes, V no) {
  return _mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(a, b), no, yes);
}
RIL_BYTE_DOT inline V dot(V sum, V bytes, V signed_bytes) { return _mm512_dpbusd_epi32(sum, bytes, signed_bytes); }
#else
#ifdef _MSC_VER
#define RIL_BYTE_DOT
#else
#define RIL_BYTE_DOT __attribute__((target("avxvnni")))
#endif
constexpr int kLanes = 8, kQueries = 6;
using V = __m256i;
inline V load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, V v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline V set(int32_t v) { return _mm256_set1_epi32(v); }
inline V add(V a, V b) { return _mm256_add_epi32(a, b); }
inline unsigned greater(V a, V b) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b))));
}
inline V choose_greater(V a, V b, V yes, V no) { return _mm256_blendv_epi8(no, yes, _mm256_cmpgt_epi32(a, b)); }
RIL_BYTE_DOT inline V dot(V sum, V bytes, V signed_bytes) { return _mm256_dpbusd_avx_epi32(sum, bytes, signed_bytes); }
#endif

constexpr int kTargets = 2;  // vectors of targets a query's broadcast serves

// Takes the values of one vector into the query's best and second best. Seldom called: a value that counts comes about
// twice the logarithm of the number of targets often.
void take(V values, unsigned which, int first, Best& r) {
  int32_t v[kLanes];
  store(v, values);
  for (int i = 0; i < kLanes; ++i) {
    if (!(which >> i & 1)) continue;
    if (v[i] > r.value) {
      r.second = r.value;
      r.value = v[i];
      r.row = first + i;
    } else if (v[i] > r.second) {
      r.second = v[i];
    }
  }
}

RIL_BYTE_DOT void against_all(const int8_t* queries, const int32_t* query_minus, int first_query,
                              const uint8_t* targets, const int32_t* target_start, int num_blocks, int quarter,
                              Best* rows, int32_t* column_value, int32_t* column_row) {
  for (int q = 0; q < kQueries; ++q) rows[q] = Best{kNoValue, kNoValue, -1};
  for (int block = 0; block < num_blocks; block += kTargets) {
    // Written out to memory before anything looks at single sums: in the loop they all stay in registers.
    V kept[kTargets * kQueries];
    {
      V sum[kTargets * kQueries];
      for (int q = 0; q < kQueries; ++q) {
        sum[2 * q] = load(target_start + block * kLanes);
        sum[2 * q + 1] = load(target_start + (block + 1) * kLanes);
      }
      const uint8_t* near = targets + static_cast<int64_t>(block) * quarter * kLanes * 4;
      const uint8_t* far = near + static_cast<int64_t>(quarter) * kLanes * 4;
      for (int k = 0; k < quarter; ++k) {
        const V a = load(near + k * kLanes * 4), b = load(far + k * kLanes * 4);
        for (int q = 0; q < kQueries; ++q) {
          int32_t four;
          std::memcpy(&four, queries + 4 * (k * kQueries + q), 4);
          const V query = set(four);
          sum[2 * q] = dot(sum[2 * q], a, query);
          sum[2 * q + 1] = dot(sum[2 * q + 1], b, query);
        }
      }
      for (int q = 0; q < kQueries; ++q) {
        store(kept + 2 * q, sum[2 * q]);
        store(kept + 2 * q + 1, sum[2 * q + 1]);
      }
    }
    for (int t = 0; t < kTargets; ++t) {
      const int first = (block + t) * kLanes;
      V value = load(column_value + first), row = load(column_row + first);
      for (int q = 0; q < kQueries; ++q) {
        const V v = load(kept + kTargets * q + t);
        const unsigned which = greater(v, set(rows[q].second));
        if (which) take(v, which, first, rows[q]);
        // The target's own half length is the same for all queries: it changes no comparison down a column.
        const V c = add(v, set(query_minus[q]));
        row = choose_greater(c, value, set(first_query + q), row);
        value = choose_greater(c, value, c, value);
      }
      store(column_value + first, value);
      store(column_row + first, row);
    }
  }
}

}  // namespace

ByteTile match_bytes_tile() { return {kLanes, kQueries, kTargets}; }

RIL_BYTE_DOT void match_bytes(const int8_t* queries, const int32_t* query_minus, int num_q, int first_query,
                              const uint8_t* targets, const int32_t* target_start, int num_blocks, int quarter,
                              Best* rows, int32_t* column_value, int32_t* column_row) {
  for (int q = 0; q < num_q; q += kQueries)
    against_all(queries + static_cast<int64_t>(q) * 4 * quarter, query_minus + q, first_query + q, targets,
                target_start, num_blocks, quarter, rows + q, column_value, column_row);
}
#else  // no such instruction at this level: has_byte_dot() is false and nobody calls
ByteTile match_bytes_tile() { return {1, 1, 1}; }
void match_bytes(const int8_t*, const int32_t*, int, int, const uint8_t*, const int32_t*, int, int, Best*, int32_t*,
                 int32_t*) {}
#endif

}  // namespace rilievo::RIL_SIMD
