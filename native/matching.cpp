// Nearest neighbours of byte descriptors with ratio test (Lowe 2004, section 7.1) and cross check.
#include <algorithm>
#include <climits>

#include "keypoints.h"
#include "parallel.h"

namespace rilievo {
namespace {

constexpr int64_t kChunk = 480;  // queries a chunk; the cut does not depend on the number of threads

int32_t half_length(const uint8_t* d, int dim) {
  int32_t sum = 0;
  for (int i = 0; i < dim; ++i) sum += static_cast<int32_t>(d[i]) * d[i];
  return sum / 2;
}

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// The best query of each target within each chunk, merged in the order of the chunks: ties go to the lower query.
struct Columns {
  int64_t width;
  std::vector<int32_t> value, row;
  Columns(int64_t num_chunks, int64_t w) : width(w), value(num_chunks * w, INT_MIN), row(num_chunks * w, -1) {}
};

// Products of 16-bit pairs (simd/match.cpp).
void search_pairs(const uint8_t* queries, int64_t num_queries, const uint8_t* targets, int64_t num_targets, int dim,
                  int lanes, int64_t num_blocks, std::vector<Best>& rows, Columns& columns) {
  const int half = (dim + 1) / 2;
  std::vector<int16_t> packed(num_blocks * half * lanes * 2, 0);
  std::vector<int32_t> target_minus(num_blocks * lanes, kNoValue);
  parallel_ranges(num_targets, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      int16_t* base = packed.data() + (t / lanes) * half * lanes * 2 + (t % lanes) * 2;
      const uint8_t* d = targets + t * dim;
      for (int i = 0; i < dim; ++i) base[(i / 2) * lanes * 2 + (i & 1)] = d[i];
      target_minus[t] = -half_length(d, dim);
    }
  });
  parallel_for((num_queries + kChunk - 1) / kChunk, [&](int64_t chunk) {
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
                  columns.value.data() + chunk * columns.width, columns.row.data() + chunk * columns.width);
  });
}

// Products of bytes, four at once (simd/match_bytes.cpp).
void search_bytes(const uint8_t* queries, int64_t num_queries, const uint8_t* targets, int64_t num_targets, int dim,
                  const ByteTile& tile, int64_t num_blocks, std::vector<Best>& rows, Columns& columns) {
  const int quarter = (dim + 3) / 4, lanes = tile.lanes;
  std::vector<uint8_t> packed(num_blocks * quarter * lanes * 4, 0);
  std::vector<int32_t> start(num_blocks * lanes, kNoValue);
  parallel_ranges(num_targets, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      uint8_t* base = packed.data() + (t / lanes) * quarter * lanes * 4 + (t % lanes) * 4;
      const uint8_t* d = targets + t * dim;
      int32_t sum = 0;
      for (int i = 0; i < dim; ++i) base[(i / 4) * lanes * 4 + (i & 3)] = d[i], sum += d[i];
      start[t] = 128 * sum - half_length(d, dim);
    }
  });
  parallel_for((num_queries + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t first = chunk * kChunk;
    const int n = static_cast<int>(std::min(kChunk, num_queries - first));
    const int padded = static_cast<int>(round_up(n, tile.queries));
    // Queries that fill up the last tile are zero, and so far from every target that no column takes one of them.
    std::vector<int8_t> moved(static_cast<size_t>(padded) * quarter * 4, -128);
    std::vector<int32_t> minus(padded, kNoValue);
    std::vector<Best> found(padded);
    for (int q = 0; q < n; ++q) {
      const uint8_t* d = queries + (first + q) * dim;
      const int64_t place = static_cast<int64_t>(q / tile.queries) * quarter * tile.queries + q % tile.queries;
      int8_t* base = moved.data() + place * 4;
      for (int i = 0; i < dim; ++i) base[(i / 4) * tile.queries * 4 + (i & 3)] = static_cast<int8_t>(d[i] - 128);
      minus[q] = -half_length(d, dim);
    }
    RIL_CALL_SIMD(match_bytes, moved.data(), minus.data(), padded, static_cast<int>(first), packed.data(),
                  start.data(), static_cast<int>(num_blocks), quarter, found.data(),
                  columns.value.data() + chunk * columns.width, columns.row.data() + chunk * columns.width);
    std::copy_n(found.begin(), n, rows.begin() + first);
  });
}

}  // namespace

std::vector<int32_t> match_nearest(const uint8_t* queries, int64_t num_queries, const uint8_t* targets,
                                   int64_t num_targets, int dim, float max_ratio, bool mutual) {
  std::vector<int32_t> result(num_queries, -1);
  if (num_queries == 0 || num_targets == 0) return result;
  const bool bytes = has_byte_dot();
  const ByteTile tile = bytes ? RIL_CALL_SIMD(match_bytes_tile) : ByteTile{RIL_CALL_SIMD(match_lanes), 1, 1};
  const int64_t num_blocks = round_up(num_targets, static_cast<int64_t>(tile.lanes) * tile.vectors) / tile.lanes;
  const int64_t num_chunks = (num_queries + kChunk - 1) / kChunk;
  Columns columns(num_chunks, num_blocks * tile.lanes);
  std::vector<Best> rows(num_queries);
  if (bytes)
    search_bytes(queries, num_queries, targets, num_targets, dim, tile, num_blocks, rows, columns);
  else
    search_pairs(queries, num_queries, targets, num_targets, dim, tile.lanes, num_blocks, rows, columns);
  std::vector<int32_t> best_query(num_targets, -1);
  if (mutual) {
    for (int64_t t = 0; t < num_targets; ++t) {
      int32_t value = INT_MIN;
      for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
        const int64_t at = chunk * columns.width + t;
        if (columns.value[at] > value) value = columns.value[at], best_query[t] = columns.row[at];
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
