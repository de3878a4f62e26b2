// Balanced k-d tree (Friedman, Bentley & Finkel 1977), cut at the middle point along the longer side of the box around
// the points; 17 bytes a point. The half that the place is in is searched first, the other one only if its box is near
// enough (distance to the box kept incrementally, Arya & Mount 1993).
#include "point_tree.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "parallel.h"

namespace rilievo {
namespace {

// Cuts the range of one node and says where.
int64_t cut(TreePoint* points, int64_t begin, int64_t end, float& split, uint8_t& axis) {
  float low[3], high[3];
  std::copy(points[begin].at, points[begin].at + 3, low);
  std::copy(low, low + 3, high);
  for (int64_t i = begin; i < end; ++i)
    for (int k = 0; k < 3; ++k)
      low[k] = std::min(low[k], points[i].at[k]), high[k] = std::max(high[k], points[i].at[k]);
  int a = 0;
  for (int k = 1; k < 3; ++k)
    if (high[k] - low[k] > high[a] - low[a]) a = k;
  const int64_t middle = (begin + end) / 2;
  std::nth_element(points + begin, points + middle, points + end, [a](const TreePoint& p, const TreePoint& q) {
    return p.at[a] < q.at[a] || (p.at[a] == q.at[a] && p.index < q.index);
  });
  split = points[middle].at[a];
  axis = static_cast<uint8_t>(a);
  return middle;
}

struct Search {
  const PointTree& tree;
  const double* place;
  int count;
  int32_t* index;
  double* distance2;
  int found = 0;
  double worst;

  void leaf(int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const TreePoint& p = tree.points[i];
      const double x = p.at[0] - place[0], y = p.at[1] - place[1], z = p.at[2] - place[2];
      const double d = x * x + y * y + z * z;
      if (!(d <= worst)) continue;
      if (found == count && d == distance2[count - 1] && p.index > index[count - 1]) continue;
      int at = found < count ? found++ : count - 1;
      while (at > 0 && (distance2[at - 1] > d || (distance2[at - 1] == d && index[at - 1] > p.index))) {
        distance2[at] = distance2[at - 1], index[at] = index[at - 1];
        --at;
      }
      distance2[at] = d, index[at] = p.index;
      if (found == count) worst = std::min(worst, distance2[count - 1]);
    }
  }

  void visit(int64_t node, int level, int64_t begin, int64_t end, double box2, double (&side)[3]) {
    if (level == tree.depth) return leaf(begin, end);
    const int64_t middle = (begin + end) / 2;
    const int a = tree.axes[node];
    const double off = place[a] - tree.splits[node];
    const bool second = off >= 0;
    if (second) visit(2 * node + 2, level + 1, middle, end, box2, side);
    else visit(2 * node + 1, level + 1, begin, middle, box2, side);
    const double before = side[a], beyond = box2 - before * before + off * off;
    if (beyond > worst * (1 + 1e-12)) return;
    side[a] = off;
    if (second) visit(2 * node + 1, level + 1, begin, middle, beyond, side);
    else visit(2 * node + 2, level + 1, middle, end, beyond, side);
    side[a] = before;
  }
};

}  // namespace

int tree_depth(int64_t n) {
  int depth = 0;
  while (n > kLeaf) n = (n + 1) / 2, ++depth;
  return depth;
}

void build_tree(TreePoint* points, int64_t n, std::vector<float>& splits, std::vector<uint8_t>& axes) {
  if (n > INT32_MAX) throw std::invalid_argument("point_tree: too many points");
  for (int64_t i = 0; i < n; ++i)
    for (float c : points[i].at)
      if (!std::isfinite(c)) throw std::invalid_argument("point_tree: points must be finite");
  const int depth = tree_depth(n);
  const size_t nodes = (size_t(1) << depth) - 1;
  splits.assign(nodes, 0.0f);
  axes.assign(nodes, 0);
  std::vector<int64_t> bounds{0, n};
  for (int level = 0; level < depth; ++level) {
    const auto width = static_cast<int64_t>(bounds.size()) - 1;
    std::vector<int64_t> finer(static_cast<size_t>(2 * width + 1), n);
    parallel_for(width, [&](int64_t k) {
      const int64_t begin = bounds[static_cast<size_t>(k)], end = bounds[static_cast<size_t>(k + 1)];
      const auto node = static_cast<size_t>(width - 1 + k);
      finer[static_cast<size_t>(2 * k)] = begin;
      finer[static_cast<size_t>(2 * k + 1)] = cut(points, begin, end, splits[node], axes[node]);
    });
    bounds.swap(finer);
  }
}

void find_nearest(const PointTree& tree, const double* place, int count, double limit2, int32_t* index,
                  double* distance2) {
  std::fill(index, index + count, -1);
  std::fill(distance2, distance2 + count, std::numeric_limits<double>::infinity());
  if (!tree.num_points || !std::isfinite(place[0] + place[1] + place[2])) return;
  Search search{tree, place, count, index, distance2, 0, limit2};
  double side[3] = {0, 0, 0};
  search.visit(0, 0, 0, tree.num_points, 0.0, side);
}

}  // namespace rilievo
