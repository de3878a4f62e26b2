// Points of a fused cloud held against each other: those that say the same again, and those that stand alone.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

struct CloudView {
  const float* points = nullptr;   // n 3
  const float* normals = nullptr;  // n 3
  const float* spacing = nullptr;  // n
  const uint8_t* inferred = nullptr;  // n
  const int32_t* counts = nullptr;    // n: views
  const int32_t* owner = nullptr;     // n: the map a point comes from
  int64_t size = 0;
};

// 1 for each point that stays, 0 for each that repeats one that stays.
std::vector<uint8_t> distinct_points(const CloudView& cloud, double radius, double depth, double min_normal_cos);

// 1 for each point that has at least min_neighbours others within radius * spacing.
std::vector<uint8_t> crowded_points(const float* points, const float* spacing, int64_t n, double radius,
                                    int min_neighbours);

}  // namespace rilievo
