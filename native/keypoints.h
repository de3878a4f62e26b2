// Keypoints with descriptors (SIFT) and their brute-force matching.
#pragma once
#include <cstdint>
#include <vector>

#include "dispatch.h"

namespace rilievo {

struct SiftOptions {
  int max_features = 8000;
  bool upsample = true;       // begin at twice the photo's size
  float min_contrast = 1.7f;  // of the difference of Gaussians, in grey levels 0..255
  float max_edge_ratio = 10;  // of the principal curvatures (Lowe 2004, section 4.1)
  int grid = 16;              // cells across the long side over which keypoints are spread
};

struct SiftResult {
  std::vector<float> keypoints, scales, orientations, scores;  // (n, 2), n, n, n
  std::vector<uint8_t> descriptors, colors;                    // (n, 128), (n, 3)
};

// rgb: (height, width, 3). mask: (height, width), 0 where no keypoint is wanted, or null.
SiftResult sift(const uint8_t* rgb, const uint8_t* mask, int height, int width, const SiftOptions& options);

// For every query the row of its nearest target, or -1: squared distance below ratio^2 times the second best's, and
// with `mutual` only if the query is the target's nearest as well. Equal distances: the lower row wins.
std::vector<int32_t> match_nearest(const uint8_t* queries, int64_t num_queries, const uint8_t* targets,
                                   int64_t num_targets, int dim, float max_ratio, bool mutual);

constexpr int kPatch = 20;          // samples across a patch of gradients
constexpr int kPatchIn = kPatch + 2;  // and of the intensities they are the differences of

// Best, second best and row of the best of one query, or of one target: value is dot(a, b) - |b|^2 / 2.
struct Best {
  int32_t value, second, row;
};
constexpr int32_t kNoValue = INT32_MIN / 2;  // below every such value

// What match_bytes works on together: targets a vector, queries, vectors of targets.
struct ByteTile {
  int lanes, queries, vectors;
};

}  // namespace rilievo

RIL_DECLARE_SIMD(
    // out(x0..x1, y0..y1) = in blurred by the symmetric kernel w[0..radius] along rows, then columns (1 <= radius <= 12).
    void blur_tile(const float* in, float* work, float* out, int stride, int x0, int x1, int y0, int y1, const float* w,
                   int radius);
    void subtract(const float* a, const float* b, float* out, int n);
    void store_u16(const float* in, uint16_t* out, int n);
    // Columns in [x0, x1) of a row that are extreme among their four neighbours and beyond +-threshold.
    int extreme_in_row(const float* row, int stride, int x0, int x1, float threshold, uint8_t* flags, int32_t* found);
    // Histogram of 36 directions of gradients around (cx, cy) with Gaussian weight of 1.5 sigma.
    void orientation_histogram(const uint16_t* image, int width, int height, float cx, float cy, float sigma,
                               float* histogram);
    // 128 values in the frame whose x axis is (ux, uy): RootSIFT times 512, as bytes.
    void describe(const uint16_t* image, int width, int height, float cx, float cy, float sigma, float ux,
                  float uy, uint8_t* out);
    // Lanes that match_block handles at once.
    int match_lanes();
    // Dot products of queries (num_q, 2 * half) with targets laid out [block][half][lane][2]; `minus` is what each
    // descriptor takes off a dot product: half its squared length, negative.
    void match_block(const int16_t* queries, const int32_t* query_minus, int num_q, int first_query,
                     const int16_t* targets, const int32_t* target_minus, int num_blocks, int half,
                     ::rilievo::Best* rows, int32_t* column_value, int32_t* column_row);
    ::rilievo::ByteTile match_bytes_tile();
    // The same by dot products of bytes; call it only where has_byte_dot(). queries: bytes minus 128, laid out
    // [tile][quarter][query][4], num_q a multiple of tile.queries. targets: bytes [block][quarter][lane][4], num_blocks a multiple of
    // tile.vectors. target_start: 128 times the sum of a target's bytes, minus half its squared length.
    void match_bytes(const int8_t* queries, const int32_t* query_minus, int num_q, int first_query,
                     const uint8_t* targets, const int32_t* target_start, int num_blocks, int quarter,
                     ::rilievo::Best* rows, int32_t* column_value, int32_t* column_row))
