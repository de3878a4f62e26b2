// Nearest neighbours of byte descriptors with ratio test (Lowe 2004, section 7.1) and cross check.
#include <algorithm>
#include <climits>

#include "keypoints.h"
#include "parallel.h"

namespace rilievo {
namespace {

constexpr int64_t kChunk = 480;  // queries a chunk; the cut does not depend on the number of threads
constexpr int32_t kNone = INT32_MIN / 2;

int32_t half_length(const uint8_t* d, int dim) {
  int32_t sum = 0;
  for (int i = 0; i < dim; ++i) sum += static_cast<int32_t>(d[i]) * d[i];
  return sum / 2;
}

}  // namespace

std::vector<int32_t> match_nearest(const uint8_t* queries, int64_t num_queries, const uint8_t* targets,
                                   int64_t num_targets, int dim, float max_ratio, bool mutual) {
  std::vector<int32_t> result(num_queries, -1);
  if (num_queries == 0 || num_targets == 0) return result;
  const int lanes = RIL_CALL_SIMD(match_lanes);
  const int half = (dim + 1) / 2;
  const int64_t num_blocks = (num_targets + lanes - 1) / lanes;

  std::vector<int16_t> packed(num_blocks * half * lanes * 2, 0);
  std::vector<int32_t> target_minus(num_blocks * lanes, kNone);
  parallel_ranges(num_targets, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      int16_t* base = packed.data() + (t / lanes) * half * lanes * 2 + (t % lanes) * 2;
      const uint8_t* d = targets + t * dim;
      for (int i = 0; i < dim; ++i) base[(i / 2) * lanes * 2 + (i & 1)] = d[i];
      target_minus[t] = -half_length(d, dim);
    }
  });

  const int64_t num_chunks = (num_queries + kChunk - 1) / kChunk;
  std::vector<Best> rows(num_queries);
  // The best query of each target within each chunk, merged in the order of the chunks: ties go to the lower query.
  std::vector<int32_t> column_value(num_chunks * num_blocks * lanes, INT_MIN), column_row(column_value.size(), -1);
  parallel_for(num_chunks, [&](int64_t chunk) {
    const int64_t first = chunk * kChunk;
    const int n = static_cast<int>(std::min(kChunk, num_queries - first));
    std::vector<int16_t> wide(static_cast<size_t>(n) * half * 2, 0);
    std::vector<int32_t> minus(n);
    for (int q = 0; q < n; ++q) {
      const uint8_t* d = queries + (first + q) * dim;
      for (int i = 0; i < dim; ++i) wide[static_cast<size_t>(q) * half * 2 + i] = d[i];
      minus[q] = -half_length(d, dim);
    }
    RIL_CALL_SIMD(match_block, wide.data(), minus.data(), n, static_cast<int>(first), packed.data(),
                  target_minus.data(), static_cast<int>(num_blocks), half, rows.data() + first,
                  column_value.data() + chunk * num_blocks * lanes, column_row.data() + chunk * num_blocks * lanes);
  });
  std::vector<int32_t> best_query(num_targets, -1);
  if (mutual) {
    for (int64_t t = 0; t < num_targets; ++t) {
      int32_t value = INT_MIN;
      for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
        const int64_t at = chunk * num_blocks * lanes + t;
        if (column_value[at] > value) value = column_value[at], best_query[t] = column_row[at];
      }
    }
  }
  const double ratio2 = static_cast<double>(max_ratio) * max_ratio;
  for (int64_t q = 0; q < num_queries; ++q) {
    const Best& b = rows[q];
    if (b.row < 0 || b.row >= num_targets) continue;
    if (mutual && best_query[b.row] != q) continue;
    // Squared distances, up to the same rounding of the halves for best and second best.
    const int64_t length = 2 * static_cast<int64_t>(half_length(queries + q * dim, dim));
    const int64_t d1 = std::max<int64_t>(length - 2 * static_cast<int64_t>(b.value), 0);
    if (num_targets > 1) {
      const int64_t d2 = std::max<int64_t>(length - 2 * static_cast<int64_t>(b.second), 0);
      if (!(static_cast<double>(d1) < ratio2 * static_cast<double>(d2))) continue;
    }
    result[q] = b.row;
  }
  return result;
}

}  // namespace rilievo
