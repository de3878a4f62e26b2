// Shrinkage of overlapping blocks of 8 x 8 in the domain of their cosine transform. See kernels/reference/shrink.py.
#pragma once
#include <cstdint>
#include <vector>

#include "dispatch.h"

namespace rilievo {

struct Shrink {
  const float* planes;  // channels x height x width
  const float* pilot;   // the same, or null: hard thresholds
  const float* sigma;   // channels x 8 x 8
  int64_t channels, height, width, step;
  float hard;
};

std::vector<float> shrink_blocks(const Shrink& job);

}  // namespace rilievo

// Rows [begin, end) of one plane. sum: (end - begin) x width, zeros; weight: the same.
RIL_DECLARE_SIMD(void shrink_band(const Shrink& job, int64_t channel, int64_t begin, int64_t end, float* sum,
                                  float* weight))
