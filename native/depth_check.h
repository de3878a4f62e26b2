// Depth maps held against each other, and their connected pieces.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

struct DepthPair {
  const float* depth;  // (height, width), NaN unknown
  int height, width;
  const float* other;  // (other_height, other_width)
  int other_height, other_width;
  // Homogeneous array indices of one map times depth -> those of the other times depth: K_b [R | t] [K_a^-1 0; 0 1].
  const double* other_from_this;  // (3, 4)
  const double* this_from_other;  // (3, 4)
};

enum DepthVerdict : uint8_t { kUnseen = 0, kAgrees = 1, kSeenThrough = 2, kHidden = 3 };

// What the other map says of each pixel, and the depth it would give it (NaN where it says nothing).
void depth_agreement(const DepthPair& pair, double max_error_px, double max_relative, std::vector<uint8_t>& verdict,
                     std::vector<float>& depth_there);

// Number of pixels of the 4-connected piece that each pixel belongs to; neighbours are one piece when their depths
// differ by at most max_relative of the smaller one. 0 where depth is unknown.
void depth_pieces(const float* depth, int height, int width, float max_relative, std::vector<int32_t>& size);

}  // namespace rilievo
