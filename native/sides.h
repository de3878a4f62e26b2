// On which side of a step in depth a pixel lies.
#pragma once
#include <cstdint>

namespace rilievo {

// A small map with its picture at the same size, and the large picture that it is enlarged to.
struct SmallMap {
  const float* values;    // height x width, finite
  const uint8_t* colors;  // height x width x 3
  const float* trust;     // height x width, > 0
  int64_t height, width;
};

// How candidates are weighed and told apart.
struct SideRules {
  const float* alike;  // weight by squared colour distance / 64, num_alike entries; the last holds for all beyond
  int64_t num_alike;
  int64_t reach;       // candidates lie within this many small pixels, 1 to 4
  float near;          // standard deviation of the weight by distance, small pixels
  float flat;          // standard deviation of values on one side: flat + slope * their mean
  float slope;
};

// out[i]: value at the pixel (rows[i], columns[i]) of the large picture.
void choose_sides(const SmallMap& map, const uint8_t* picture, int64_t height, int64_t width, const int32_t* rows,
                  const int32_t* columns, int64_t n, const SideRules& rules, float* out);

}  // namespace rilievo
