// A balanced k-d tree over points as plain arrays, and questions to it.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

// A point as the tree holds it: its place and its number.
struct TreePoint {
  float at[3];
  int32_t index;
};

// Node i (children 2 i + 1 and 2 i + 2) cuts its range of points in the middle: coordinates along axes[i] are at most
// splits[i] in the first half, at least splits[i] in the second. Halves of at most kLeaf points are not cut.
inline constexpr int64_t kLeaf = 12;
struct PointTree {
  const TreePoint* points = nullptr;
  int64_t num_points = 0;
  const float* splits = nullptr;
  const uint8_t* axes = nullptr;
  int depth = 0;
};

// Levels of nodes over n points.
int tree_depth(int64_t n);

// Sorts points into a tree. Throws std::invalid_argument where a point is not finite or there are more than 2^31 - 1.
void build_tree(TreePoint* points, int64_t n, std::vector<float>& splits, std::vector<uint8_t>& axes);

// The `count` points nearest to a place and not farther than `limit`, nearest first, of equal ones the lower number
// first: numbers (-1: none) and squared distances (infinity).
void find_nearest(const PointTree& tree, const double* place, int count, double limit2, int32_t* index,
                  double* distance2);

}  // namespace rilievo
