// Steps of surface vertices onto the mean plane of the points around them.
#pragma once
#include <cstdint>

#include "point_tree.h"

namespace rilievo {

// Of each point of the cloud: n 3, n 3, n, n, n.
struct PointTraits {
  const float *points, *normals, *sigma, *confidence, *spacing;
};

// Lengths are in spacings of the nearest point. See snap_steps in kernels/reference/mesh.py.
struct SnapLimits {
  int neighbours, min_points;
  double reach, min_facing, min_agreement, max_step, residual, curved, min_sigma;
};

void snap_steps(const PointTree& tree, const PointTraits& cloud, const float* vertices, const float* normals,
                int64_t num_vertices, const SnapLimits& limits, double* step, uint8_t* held);

}  // namespace rilievo
