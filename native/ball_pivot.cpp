// Surface by a ball that pivots over the edges of a growing front (Bernardini et al. 1999, sections 3.1 to 3.5): a
// triangle is made where a ball of radius r touches three points and holds no other; then the ball rolls over each open
// edge until it touches the next point. Larger radii go on from the edges that smaller ones left open.
#include "ball_pivot.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <stdexcept>
#include <unordered_map>

namespace rilievo {
namespace {

struct Vec {
  double x, y, z;
};
Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
Vec operator*(double s, Vec a) { return {s * a.x, s * a.y, s * a.z}; }
double dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
Vec cross(Vec a, Vec b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }

// Points in cubes of one size, found through sorted keys.
class Grid {
 public:
  Grid(const Vec* points, int64_t n, double cell) : points_(points), cell_(cell) {
    keys_.reserve(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t x = index(points[i].x), y = index(points[i].y), z = index(points[i].z);
      keys_.emplace_back(key(x, y, z), static_cast<int32_t>(i));
    }
    std::sort(keys_.begin(), keys_.end());
  }

  // Points within `radius` <= cell of a place, in the order of cubes and indices.
  void near(Vec place, double radius, std::vector<int32_t>& out) const {
    out.clear();
    const int64_t x = index(place.x), y = index(place.y), z = index(place.z);
    uint64_t seen[27];
    int num_seen = 0;
    for (int64_t dx = -1; dx <= 1; ++dx)
      for (int64_t dy = -1; dy <= 1; ++dy)
        for (int64_t dz = -1; dz <= 1; ++dz) {
          const uint64_t k = key(x + dx, y + dy, z + dz);
          if (std::find(seen, seen + num_seen, k) != seen + num_seen) continue;
          seen[num_seen++] = k;
          auto it = std::lower_bound(keys_.begin(), keys_.end(), std::pair<uint64_t, int32_t>(k, -1));
          for (; it != keys_.end() && it->first == k; ++it) {
            const Vec d = points_[it->second] - place;
            if (dot(d, d) <= radius * radius) out.push_back(it->second);
          }
        }
  }

 private:
  int64_t index(double c) const { return static_cast<int64_t>(std::floor(c / cell_)); }
  static uint64_t key(int64_t x, int64_t y, int64_t z) {  // 21 bits an axis; distances sort out cubes that share a key
    const auto part = [](int64_t c) { return static_cast<uint64_t>(c + (1 << 20)) & 0x1fffffu; };
    return part(x) << 42 | part(y) << 21 | part(z);
  }
  const Vec* points_;
  double cell_;
  std::vector<std::pair<uint64_t, int32_t>> keys_;
};

class Pivot {
 public:
  Pivot(const double* points, const double* normals, int64_t n) : open_(static_cast<size_t>(n), 0),
        used_(static_cast<size_t>(n), 0) {
    for (int64_t i = 0; i < n; ++i) {
      p_.push_back({points[3 * i], points[3 * i + 1], points[3 * i + 2]});
      n_.push_back({normals[3 * i], normals[3 * i + 1], normals[3 * i + 2]});
    }
  }

  void run(double radius) {
    radius_ = radius;
    const Grid grid(p_.data(), static_cast<int64_t>(p_.size()), 2 * radius);
    grid_ = &grid;
    // Edges left open by smaller balls go on where the larger ball rests on their face.
    front_.clear();
    for (size_t f = 0; f + 2 < faces_.size(); f += 3)
      for (size_t k = 0; k < 3; ++k) {
        const int32_t a = faces_[f + k], b = faces_[f + (k + 1) % 3], c = faces_[f + (k + 2) % 3];
        Vec center;
        if (!edges_.count(key(b, a)) && rest(a, b, c, center) && empty(center, a, b, c))
          front_.push_back({a, b, center});
      }
    roll();
    std::vector<int32_t> around;
    for (size_t i = 0; i < p_.size(); ++i)
      if (!used_[i]) {
        seed(static_cast<int32_t>(i), around);
        roll();
      }
  }

  std::vector<int32_t> take() { return std::move(faces_); }

 private:
  struct Edge {
    int32_t a, b;
    Vec center;
  };

  static uint64_t key(int32_t a, int32_t b) { return static_cast<uint64_t>(a) << 32 | static_cast<uint32_t>(b); }

  // Centre of the ball on the outer side of a, b, c; false where there is none or the normals look elsewhere.
  bool rest(int32_t a, int32_t b, int32_t c, Vec& center) const {
    const Vec u = p_[b] - p_[a], v = p_[c] - p_[a], w = cross(u, v);
    const double w2 = dot(w, w), u2 = dot(u, u), v2 = dot(v, v);
    if (!(w2 > 1e-12 * u2 * v2)) return false;
    if (!(dot(w, n_[a]) > 0 && dot(w, n_[b]) > 0 && dot(w, n_[c]) > 0)) return false;
    const Vec offset = (0.5 / w2) * (u2 * cross(v, w) + v2 * cross(w, u));  // to the circumcentre
    const double height2 = radius_ * radius_ - dot(offset, offset);
    if (!(height2 >= 0)) return false;
    center = p_[a] + offset + (std::sqrt(height2 / w2)) * w;
    return true;
  }

  bool empty(Vec center, int32_t a, int32_t b, int32_t c) {
    grid_->near(center, radius_ * (1 - 1e-6), inside_);
    return std::all_of(inside_.begin(), inside_.end(), [&](int32_t i) { return i == a || i == b || i == c; });
  }

  bool fits(int32_t a, int32_t b, int32_t c) const {  // all three directed edges are free
    return !edges_.count(key(a, b)) && !edges_.count(key(b, c)) && !edges_.count(key(c, a));
  }

  void add(int32_t a, int32_t b, int32_t c, Vec center) {
    faces_.insert(faces_.end(), {a, b, c});
    const int32_t corner[3] = {a, b, c};
    for (int k = 0; k < 3; ++k) {
      const int32_t from = corner[k], to = corner[(k + 1) % 3];
      edges_.emplace(key(from, to), true);
      used_[from] = 1;
      const int step = edges_.count(key(to, from)) ? -1 : 1;  // closes an edge, or opens one
      open_[from] += step;
      open_[to] += step;
      if (step > 0) front_.push_back({from, to, center});
    }
  }

  void seed(int32_t i, std::vector<int32_t>& around) {
    grid_->near(p_[i], 2 * radius_, around);
    const auto distance = [&](int32_t j) { return dot(p_[j] - p_[i], p_[j] - p_[i]); };
    std::stable_sort(around.begin(), around.end(), [&](int32_t j, int32_t k) { return distance(j) < distance(k); });
    const size_t limit = std::min<size_t>(around.size(), 24);
    for (size_t j = 0; j < limit; ++j)
      for (size_t k = j + 1; k < limit; ++k) {
        int32_t b = around[j], c = around[k];
        if (b == i || c == i || used_[b] || used_[c]) continue;
        Vec center;
        if (!rest(i, b, c, center)) {
          std::swap(b, c);
          if (!rest(i, b, c, center)) continue;
        }
        if (!empty(center, i, b, c) || !fits(i, b, c)) continue;
        add(i, b, c, center);
        return;
      }
  }

  void roll() {
    while (!front_.empty()) {
      const Edge edge = front_.front();
      front_.pop_front();
      if (edges_.count(key(edge.b, edge.a))) continue;  // closed meanwhile
      const Vec middle = 0.5 * (p_[edge.a] + p_[edge.b]), along = p_[edge.b] - p_[edge.a];
      const Vec axis = (1 / std::sqrt(dot(along, along))) * along, start = edge.center - middle;
      grid_->near(middle, 2 * radius_, around_);
      int32_t best = -1;
      double best_angle = INFINITY;
      Vec best_center{};
      for (int32_t x : around_) {
        if (x == edge.a || x == edge.b) continue;
        Vec center;
        if (!rest(edge.b, edge.a, x, center)) continue;
        const Vec end = center - middle;
        double angle = std::atan2(dot(axis, cross(start, end)), dot(start, end));
        if (angle < -1e-9) angle += 6.283185307179586;
        if (angle < best_angle) best = x, best_angle = angle, best_center = center;
      }
      if (best < 0 || (used_[best] && open_[best] == 0) || !fits(edge.b, edge.a, best)) continue;
      if (!empty(best_center, edge.a, edge.b, best)) continue;
      add(edge.b, edge.a, best, best_center);
    }
  }

  std::vector<Vec> p_, n_;
  std::vector<int32_t> faces_, open_, inside_, around_;
  std::vector<uint8_t> used_;
  std::unordered_map<uint64_t, bool> edges_;
  std::deque<Edge> front_;
  const Grid* grid_ = nullptr;
  double radius_ = 0;
};

}  // namespace

std::vector<int32_t> ball_pivot(const double* points, const double* normals, int64_t n, const double* radii,
                                int64_t num_radii) {
  if (n > INT32_MAX / 8) throw std::invalid_argument("ball_pivot: too many points");
  double reach = 0;
  for (int64_t i = 0; i < 3 * n; ++i) {
    if (!std::isfinite(points[i]) || !std::isfinite(normals[i]))
      throw std::invalid_argument("ball_pivot: points and normals must be finite");
    reach = std::max(reach, std::abs(points[i]));
  }
  for (int64_t k = 0; k < num_radii; ++k)
    if (!(radii[k] > 0) || !std::isfinite(radii[k]) || reach / radii[k] > 2e6 || (k && !(radii[k] > radii[k - 1])))
      throw std::invalid_argument("ball_pivot: radii must rise, be positive and not vanish against the coordinates");
  Pivot pivot(points, normals, n);
  for (int64_t k = 0; k < num_radii; ++k) pivot.run(radii[k]);
  return pivot.take();
}

}  // namespace rilievo
