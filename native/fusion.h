// Fusion of depth maps into points: one reference map against its neighbours; then points that say the same.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

// One depth map with its PINHOLE camera: camera = fx fy cx cy, cam_from_world = [R | t] row-major.
struct MapView {
  const float* depth = nullptr;       // h w, NaN unknown
  const float* normals = nullptr;     // h w 3, camera axes, NaN unknown
  const float* confidence = nullptr;  // h w
  const float* sigma = nullptr;       // h w, NaN unknown
  const uint8_t* colors = nullptr;    // h w 3
  const uint8_t* inferred = nullptr;  // h w, or null: no pixel
  int64_t height = 0, width = 0;
  const double* camera = nullptr;          // 4
  const double* cam_from_world = nullptr;  // 12
};

struct FusionLimits {
  int min_views = 2;
  double max_relative_depth = 0.01;
  double max_reprojection_px = 1.0;
  double min_normal_cos = 0.8;
  double min_confidence = 0.1;
  double default_sigma_px = 0.5;
  double max_contradictions = 1.0;
  double max_sigmas = 3.0;
  double min_distance = 0.65;  // footprints
};

struct FusedPoints {
  std::vector<double> points;  // world
  std::vector<float> normals;  // world
  std::vector<uint8_t> colors;
  std::vector<float> confidence, sigma, spacing;
  std::vector<uint8_t> inferred;
  std::vector<int32_t> counts;  // views of each point
  std::vector<int32_t> views;   // 0 the reference, j + 1 neighbour j
};

// ranks: 1 + neighbours, which of two maps that see a place equally well has it (the lower).
FusedPoints fuse_map(const MapView& reference, const std::vector<MapView>& neighbours, const int32_t* ranks,
                     const FusionLimits& limits);

}  // namespace rilievo
