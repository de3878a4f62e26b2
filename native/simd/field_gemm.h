// Products of small matrices for the networks of the radiance field.
//
// Every number is a sum that runs over k in order, one multiplication and one addition a step, whatever the width of the
// registers and the tiling: the same bytes on every machine.
#pragma once
#include <stdint.h>

#include "lanes.h"

namespace rilievo::RIL_SIMD {

enum class Finish { set, relu, mask, add };

#if defined(RIL_SIMD_avx512)
constexpr int kTileVectors = 2, kTileRows = 8, kTallRows = 16;
#else
constexpr int kTileVectors = 2, kTileRows = 4, kTallRows = 8;
#endif

// C (rows, columns) from A and B (k, columns): C[m][n] = sum over k of A[m][k] B[k][n]. kAcross: A is stored k by k
// (A[k][m]).  mask (with Finish::mask): the answer is 0 where mask[m][n] is not above 0.
template <int MR, int NR, bool kAcross, Finish kFinish>
RIL_INLINE void gemm_tile(int64_t num_k, const float* A, int64_t lda, const float* B, int64_t ldb, float* C,
                          int64_t ldc, const float* mask) {
  F sum[MR][NR];
  for (int m = 0; m < MR; ++m)
    for (int n = 0; n < NR; ++n) sum[m][n] = kFinish == Finish::add ? load(C + m * ldc + n * kLanes) : splat(0.0f);
  for (int64_t k = 0; k < num_k; ++k) {
    F b[NR];
    for (int n = 0; n < NR; ++n) b[n] = load(B + k * ldb + n * kLanes);
    for (int m = 0; m < MR; ++m) {
      const F a = splat(kAcross ? A[k * lda + m] : A[m * lda + k]);
      for (int n = 0; n < NR; ++n) sum[m][n] = sum[m][n] + a * b[n];
    }
  }
  for (int m = 0; m < MR; ++m)
    for (int n = 0; n < NR; ++n) {
      F r = sum[m][n];
      if (kFinish == Finish::relu) r = maximum(splat(0.0f), r);  // NaN stays NaN
      if (kFinish == Finish::mask)
        r = select(load(mask + m * ldc + n * kLanes) > splat(0.0f), r, splat(0.0f));
      store(C + m * ldc + n * kLanes, r);
    }
}

// rows: a multiple of 16, columns: a multiple of 16.
template <bool kAcross, Finish kFinish>
inline void gemm(int64_t rows, int64_t columns, int64_t num_k, const float* A, int64_t lda, const float* B, int64_t ldb,
                 float* C, int64_t ldc, const float* mask = nullptr) {
  constexpr int kWide = kTileVectors * kLanes;
  const int64_t wide = columns / kWide * kWide;
  for (int64_t m = 0; m < rows; m += kTallRows) {
    for (int64_t n = 0; n < wide; n += kWide)
      for (int64_t i = m; i < m + kTallRows; i += kTileRows)
        gemm_tile<kTileRows, kTileVectors, kAcross, kFinish>(num_k, A + (kAcross ? i : i * lda), lda, B + n, ldb,
                                                             C + i * ldc + n, ldc, mask ? mask + i * ldc + n : nullptr);
    for (int64_t n = wide; n < columns; n += kLanes)
      gemm_tile<kTallRows, 1, kAcross, kFinish>(num_k, A + (kAcross ? m : m * lda), lda, B + n, ldb, C + m * ldc + n,
                                                ldc, mask ? mask + m * ldc + n : nullptr);
  }
}

}  // namespace rilievo::RIL_SIMD
