// Closest triangle by a bounding volume hierarchy: boxes split at the median centroid of their longest side, searched
// nearest box first. The tree depends on the mesh only and each query stands alone, so threads never change a result.
#include "nearest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "parallel.h"

namespace rilievo {
namespace {

struct Vec {
  double x, y, z;
};
Vec operator-(const Vec& a, const Vec& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
Vec operator+(const Vec& a, const Vec& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
Vec operator*(const Vec& a, double s) { return {a.x * s, a.y * s, a.z * s}; }
double dot(const Vec& a, const Vec& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
Vec cross(const Vec& a, const Vec& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

double squared_to_segment(const Vec& p, const Vec& a, const Vec& b) {
  const Vec ab = b - a;
  const double length2 = dot(ab, ab);
  const double t = length2 > 0.0 ? std::clamp(dot(p - a, ab) / length2, 0.0, 1.0) : 0.0;
  const Vec d = p - (a + ab * t);
  return dot(d, d);
}

// The foot of the perpendicular when it lies inside the triangle, else the nearest point of the three sides.
// A triangle without area (below 1e-10 of its longest side squared: the normal is rounding noise) is its sides.
double squared_to_triangle(const Vec& p, const Vec& a, const Vec& b, const Vec& c) {
  const Vec n = cross(b - a, c - a);
  const double n2 = dot(n, n), side2 = std::max(dot(b - a, b - a), dot(c - a, c - a));
  if (n2 > 1e-20 * side2 * side2) {
    const bool inside = dot(cross(b - a, p - a), n) >= 0.0 && dot(cross(c - b, p - b), n) >= 0.0 &&
                        dot(cross(a - c, p - c), n) >= 0.0;
    if (inside) {
      const double height = dot(p - a, n);
      return height * height / n2;
    }
  }
  return std::min({squared_to_segment(p, a, b), squared_to_segment(p, b, c), squared_to_segment(p, c, a)});
}

struct Box {
  std::array<double, 3> low{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(),
                            std::numeric_limits<double>::infinity()};
  std::array<double, 3> high{-std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                             -std::numeric_limits<double>::infinity()};
  void add(const double* v) {
    for (int k = 0; k < 3; ++k) {
      low[k] = std::min(low[k], v[k]);
      high[k] = std::max(high[k], v[k]);
    }
  }
  double squared_distance(const double* p) const {
    double sum = 0.0;
    for (int k = 0; k < 3; ++k) {
      const double d = std::max({low[k] - p[k], 0.0, p[k] - high[k]});
      sum += d * d;
    }
    return sum;
  }
};

// Leaf: faces order[first .. first + count). Inner node: count is 0, children are `first` and `first + 1`.
struct Node {
  Box box;
  int32_t first = 0;
  int32_t count = 0;
};

class Tree {
 public:
  Tree(const double* vertices, const int32_t* faces, int64_t num_faces) : vertices_(vertices), faces_(faces) {
    order_.resize(static_cast<size_t>(num_faces));
    std::iota(order_.begin(), order_.end(), 0);
    centroids_.resize(order_.size());
    for (size_t f = 0; f < order_.size(); ++f)
      for (int k = 0; k < 3; ++k)
        centroids_[f][k] = vertex(f, 0)[k] / 3.0 + vertex(f, 1)[k] / 3.0 + vertex(f, 2)[k] / 3.0;
    nodes_.reserve(order_.size());
    nodes_.emplace_back();
    build(0, 0, static_cast<int32_t>(order_.size()));
    centroids_ = {};
  }

  // Smallest squared distance below `best`; `face` stays as it is when there is none.
  double search(const double* p, double best, int32_t& face) const {
    struct Entry {
      int32_t node;
      double squared;
    };
    std::array<Entry, 128> stack;  // the tree halves at every level: 2^31 faces need no more than 64 entries
    int depth = 0;
    stack[depth++] = {0, nodes_[0].box.squared_distance(p)};
    const Vec q{p[0], p[1], p[2]};
    while (depth > 0) {
      const Entry top = stack[--depth];
      if (!(top.squared < best)) continue;
      const Node& node = nodes_[top.node];
      if (node.count > 0) {
        for (int32_t i = node.first; i < node.first + node.count; ++i) {
          const double d = squared_to_triangle(q, corner(order_[i], 0), corner(order_[i], 1), corner(order_[i], 2));
          if (d < best) {
            best = d;
            face = order_[i];
          }
        }
        continue;
      }
      const double left = nodes_[node.first].box.squared_distance(p);
      const double right = nodes_[node.first + 1].box.squared_distance(p);
      const bool left_first = left <= right;
      stack[depth++] = {left_first ? node.first + 1 : node.first, left_first ? right : left};
      stack[depth++] = {left_first ? node.first : node.first + 1, left_first ? left : right};
    }
    return best;
  }

 private:
  const double* vertex(size_t face, int k) const { return vertices_ + 3 * static_cast<int64_t>(faces_[3 * face + k]); }
  Vec corner(size_t face, int k) const {
    const double* v = vertex(face, k);
    return {v[0], v[1], v[2]};
  }

  void build(int32_t index, int32_t begin, int32_t end) {
    Box box, middle;
    for (int32_t i = begin; i < end; ++i) {
      for (int k = 0; k < 3; ++k) box.add(vertex(order_[i], k));
      middle.add(centroids_[order_[i]].data());
    }
    nodes_[index].box = box;
    if (end - begin <= 4) {
      nodes_[index].first = begin;
      nodes_[index].count = end - begin;
      return;
    }
    int axis = 0;
    for (int k = 1; k < 3; ++k)
      if (middle.high[k] - middle.low[k] > middle.high[axis] - middle.low[axis]) axis = k;
    const int32_t half = begin + (end - begin) / 2;
    std::nth_element(order_.begin() + begin, order_.begin() + half, order_.begin() + end, [&](int32_t a, int32_t b) {
      const double ca = centroids_[a][axis], cb = centroids_[b][axis];
      return ca < cb || (ca == cb && a < b);
    });
    const auto left = static_cast<int32_t>(nodes_.size());
    nodes_.resize(nodes_.size() + 2);
    nodes_[index].first = left;
    build(left, begin, half);
    build(left + 1, half, end);
  }

  const double* vertices_;
  const int32_t* faces_;
  std::vector<int32_t> order_;
  std::vector<std::array<double, 3>> centroids_;
  std::vector<Node> nodes_;
};

}  // namespace

void closest_on_mesh(const double* points, int64_t num_points, const double* vertices, int64_t num_vertices,
                     const int32_t* faces, int64_t num_faces, double max_distance, double* distance, int32_t* face) {
  if (!(max_distance > 0.0)) throw std::invalid_argument("max_distance must be positive");
  for (int64_t i = 0; i < 3 * num_vertices; ++i)
    if (!std::isfinite(vertices[i])) throw std::invalid_argument("vertices must be finite");
  for (int64_t i = 0; i < 3 * num_faces; ++i)
    if (faces[i] < 0 || faces[i] >= num_vertices) throw std::invalid_argument("faces refer to a vertex that is not there");
  const Tree tree(vertices, faces, num_faces);
  parallel_ranges(num_points, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double* p = points + 3 * i;
      face[i] = -1;
      if (!std::isfinite(p[0]) || !std::isfinite(p[1]) || !std::isfinite(p[2])) {
        distance[i] = std::numeric_limits<double>::quiet_NaN();
        continue;
      }
      distance[i] = std::numeric_limits<double>::infinity();
      if (num_faces == 0) continue;
      const double best = tree.search(p, max_distance * max_distance, face[i]);
      if (face[i] >= 0) distance[i] = std::sqrt(best);
    }
  });
}

}  // namespace rilievo
