// Incremental Delaunay tetrahedralisation (Bowyer 1981, Watson 1981) in biased randomised order (Amenta et al. 2003),
// each round along a Hilbert curve (index after Skilling 2004). With exact predicates and strict comparison the cavity
// of a new point is star-shaped without any perturbation: a point that lies in the plane of a border face and strictly
// inside the sphere behind it is strictly inside the face's circle, hence inside the sphere in front as well.
#include "delaunay.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "predicates.h"

namespace rilievo {
namespace {

constexpr int kHilbertBits = 20;

// Place along the Hilbert curve of a point with coordinates of kHilbertBits bits.
uint64_t hilbert_index(uint32_t x, uint32_t y, uint32_t z) {
  uint32_t axis[3] = {x, y, z};
  for (uint32_t q = 1u << (kHilbertBits - 1); q > 1; q >>= 1) {
    const uint32_t low = q - 1;
    for (uint32_t& a : axis) {
      if (a & q) {
        axis[0] ^= low;
      } else {
        const uint32_t t = (axis[0] ^ a) & low;
        axis[0] ^= t;
        a ^= t;
      }
    }
  }
  axis[1] ^= axis[0];
  axis[2] ^= axis[1];
  uint32_t t = 0;
  for (uint32_t q = 1u << (kHilbertBits - 1); q > 1; q >>= 1)
    if (axis[2] & q) t ^= q - 1;
  uint64_t index = 0;
  for (int bit = kHilbertBits - 1; bit >= 0; --bit)
    for (uint32_t a : axis) index = index << 1 | (((a ^ t) >> bit) & 1u);
  return index;
}

uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

std::vector<int32_t> insertion_order(const double* points, int64_t n) {
  double low[3] = {INFINITY, INFINITY, INFINITY}, extent = 1;
  for (int64_t i = 0; i < 3 * n; ++i) low[i % 3] = std::min(low[i % 3], points[i]);
  for (int64_t i = 0; i < 3 * n; ++i) extent = std::max(extent, points[i] - low[i % 3]);
  const double scale = ((1u << kHilbertBits) - 1) / extent;
  std::vector<std::pair<uint64_t, int32_t>> keys(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    uint32_t c[3];
    for (int k = 0; k < 3; ++k) c[k] = static_cast<uint32_t>((points[3 * i + k] - low[k]) * scale);
    // Round r of R has about n / 2^(R - r) points: r falls by the number of leading coin tosses that came up heads.
    uint64_t coins = mix(static_cast<uint64_t>(i)), tail = 0;
    while (tail < 3 && (coins & 7) == 0) ++tail, coins >>= 3;
    keys[static_cast<size_t>(i)] = {(3 - tail) << 60 | hilbert_index(c[0], c[1], c[2]), static_cast<int32_t>(i)};
  }
  std::sort(keys.begin(), keys.end());
  std::vector<int32_t> order;
  order.reserve(keys.size());
  for (const auto& [key, i] : keys) order.push_back(i);
  return order;
}

class Builder {
 public:
  Builder(const double* points, int64_t n) : points_(points) {
    const size_t expected = static_cast<size_t>(7 * n + 16);
    vertex_.reserve(4 * expected);
    neighbour_.reserve(4 * expected);
    mark_.reserve(expected);
    const auto first = static_cast<int32_t>(n - 4);
    const int32_t t = allocate();
    for (int i = 0; i < 4; ++i) vertex_[4 * t + i] = first + i, neighbour_[4 * t + i] = -1;
    edges_.resize(1024);
  }

  void insert(int32_t v) {
    const double* p = point(v);
    const int32_t start = locate(p);
    for (int i = 0; i < 4; ++i) {
      const double* q = point(vertex_[4 * start + i]);
      if (p[0] == q[0] && p[1] == q[1] && p[2] == q[2]) return;
    }
    find_cavity(p, start);
    fill_cavity(v);
  }

  // The tetrahedra in the order of their lowest vertex: neighbours in space are then near in memory, when points are.
  Tetrahedra finish() {
    std::vector<uint8_t> used(mark_.size(), 1);
    for (int32_t t : free_) used[static_cast<size_t>(t)] = 0;
    std::vector<std::pair<int32_t, int32_t>> order;
    order.reserve(mark_.size());
    for (size_t t = 0; t < mark_.size(); ++t)
      if (used[t])
        order.emplace_back(*std::min_element(&vertex_[4 * t], &vertex_[4 * t] + 4), static_cast<int32_t>(t));
    std::sort(order.begin(), order.end());
    std::vector<int32_t> place(mark_.size(), -1);
    for (size_t k = 0; k < order.size(); ++k) place[static_cast<size_t>(order[k].second)] = static_cast<int32_t>(k);
    Tetrahedra out;
    out.vertices.resize(4 * order.size());
    out.neighbours.resize(4 * order.size());
    for (size_t k = 0; k < order.size(); ++k) {
      const auto t = static_cast<size_t>(order[k].second);
      for (size_t i = 0; i < 4; ++i) {
        const int32_t nb = neighbour_[4 * t + i];
        out.vertices[4 * k + i] = vertex_[4 * t + i];
        out.neighbours[4 * k + i] = nb < 0 ? -1 : place[static_cast<size_t>(nb)];
      }
    }
    return out;
  }

 private:
  struct Border {
    int32_t a, b, c, outside;
  };
  struct Edge {
    uint64_t key = 0;
    uint32_t stamp = 0;
    int32_t tet = 0, slot = 0;
  };

  const double* point(int32_t v) const { return points_ + 3 * static_cast<int64_t>(v); }

  int32_t allocate() {
    if (!free_.empty()) {
      const int32_t t = free_.back();
      free_.pop_back();
      return t;
    }
    if (mark_.size() > INT32_MAX / 4) throw std::invalid_argument("delaunay: too many points");
    vertex_.insert(vertex_.end(), 4, 0);
    neighbour_.insert(neighbour_.end(), 4, -1);
    mark_.push_back(0);
    return static_cast<int32_t>(mark_.size() - 1);
  }

  // Visibility walk from the last tetrahedron made; it ends because the tetrahedra are Delaunay (Edelsbrunner 1989).
  int32_t locate(const double* p) {
    int32_t t = last_, before = -1;
    for (;;) {
      walk_ = walk_ * 1664525u + 1013904223u;
      const unsigned turn = walk_ >> 30;
      bool moved = false;
      for (unsigned k = 0; k < 4 && !moved; ++k) {
        const unsigned i = (k + turn) & 3u;
        const int32_t nb = neighbour_[4 * static_cast<size_t>(t) + i];
        if (nb == before && nb >= 0) continue;
        const int32_t* v = &vertex_[4 * static_cast<size_t>(t)];
        if (orient3d(point(v[kFace[i][0]]), point(v[kFace[i][1]]), point(v[kFace[i][2]]), p) > 0) {
          if (nb < 0) throw std::invalid_argument("delaunay: a point lies outside the tetrahedron of the last four");
          before = t;
          t = nb;
          moved = true;
        }
      }
      if (!moved) return t;
    }
  }

  bool in_conflict(int32_t t, const double* p) const {
    const int32_t* v = &vertex_[4 * static_cast<size_t>(t)];
    return in_sphere(point(v[0]), point(v[1]), point(v[2]), point(v[3]), p) > 0;
  }

  void find_cavity(const double* p, int32_t start) {
    stamp_ += 2;
    if (stamp_ >= UINT32_MAX - 4) {
      std::fill(mark_.begin(), mark_.end(), 0u);
      stamp_ = 2;
    }
    cavity_.assign(1, start);
    border_.clear();
    mark_[static_cast<size_t>(start)] = stamp_;
    for (size_t k = 0; k < cavity_.size(); ++k) {
      const int32_t t = cavity_[k];
      for (int i = 0; i < 4; ++i) {
        const int32_t nb = neighbour_[4 * static_cast<size_t>(t) + i];
        if (nb >= 0) {
          uint32_t& mark = mark_[static_cast<size_t>(nb)];
          if (mark == stamp_) continue;
          if (mark != stamp_ + 1) {
            if (in_conflict(nb, p)) {
              mark = stamp_;
              cavity_.push_back(nb);
              continue;
            }
            mark = stamp_ + 1;
          }
        }
        const int32_t* v = &vertex_[4 * static_cast<size_t>(t)];
        border_.push_back({v[kFace[i][0]], v[kFace[i][1]], v[kFace[i][2]], nb});
      }
    }
  }

  void fill_cavity(int32_t v) {
    // The neighbours outside must find the new tetrahedra: remember through which slot they saw the cavity.
    for (int32_t t : cavity_) free_.push_back(t);
    if (4 * border_.size() > edges_.size()) edges_.assign(2 * edges_.size() + 8 * border_.size(), Edge());
    ++edge_stamp_;
    for (const Border& face : border_) {
      int slot = -1;
      if (face.outside >= 0) {
        const int32_t* w = &vertex_[4 * static_cast<size_t>(face.outside)];
        for (int i = 0; i < 4; ++i)
          if (w[i] != face.a && w[i] != face.b && w[i] != face.c) slot = i;
      }
      slots_.push_back(slot);
    }
    size_t k = 0;
    for (const Border& face : border_) {
      const int32_t t = allocate();
      const int32_t corner[4] = {face.a, face.c, face.b, v};
      const int32_t around[4] = {-1, -1, -1, face.outside};
      std::copy(corner, corner + 4, &vertex_[4 * static_cast<size_t>(t)]);
      std::copy(around, around + 4, &neighbour_[4 * static_cast<size_t>(t)]);
      mark_[static_cast<size_t>(t)] = 0;
      if (face.outside >= 0) neighbour_[4 * static_cast<size_t>(face.outside) + slots_[k]] = t;
      ++k;
      join(face.c, face.b, t, 0);
      join(face.a, face.b, t, 1);
      join(face.a, face.c, t, 2);
      last_ = t;
    }
    slots_.clear();
  }

  // Two new tetrahedra share the face over each edge of the cavity's border.
  void join(int32_t a, int32_t b, int32_t t, int slot) {
    if (a > b) std::swap(a, b);
    const uint64_t key = static_cast<uint64_t>(a) << 32 | static_cast<uint32_t>(b);
    size_t at = mix(key) % edges_.size();
    while (edges_[at].stamp == edge_stamp_ && edges_[at].key != key) at = at + 1 == edges_.size() ? 0 : at + 1;
    Edge& edge = edges_[at];
    if (edge.stamp == edge_stamp_) {
      neighbour_[4 * static_cast<size_t>(t) + slot] = edge.tet;
      neighbour_[4 * static_cast<size_t>(edge.tet) + edge.slot] = t;
    } else {
      edge = {key, edge_stamp_, t, slot};
    }
  }

  const double* points_;
  std::vector<int32_t> vertex_, neighbour_;
  std::vector<uint32_t> mark_;
  std::vector<int32_t> free_, cavity_;
  std::vector<Border> border_;
  std::vector<int> slots_;
  std::vector<Edge> edges_;
  uint32_t stamp_ = 0, edge_stamp_ = 0, walk_ = 1;
  int32_t last_ = 0;
};

}  // namespace

Tetrahedra delaunay(const double* points, int64_t n) {
  if (n < 4) throw std::invalid_argument("delaunay: at least four points are needed, the last four enclosing the rest");
  if (n > INT32_MAX / 8) throw std::invalid_argument("delaunay: too many points");
  constexpr double limit = 1 << 30;
  for (int64_t i = 0; i < 3 * n; ++i)
    if (!(std::abs(points[i]) <= limit) || points[i] != std::floor(points[i]))
      throw std::invalid_argument("delaunay: coordinates must be integers of at most 2^30");
  const double* corner = points + 3 * (n - 4);
  if (orient3d(corner, corner + 3, corner + 6, corner + 9) <= 0)
    throw std::invalid_argument("delaunay: the last four points must be a positively oriented tetrahedron");
  Builder builder(points, n);
  for (int32_t v : insertion_order(points, n - 4)) builder.insert(v);
  return builder.finish();
}

}  // namespace rilievo
