// Edge collapse by quadric error (Garland & Heckbert 1997, sections 3 to 5) with the quadrics of planes whose normals are
// uncertain (Trettner & Kobbelt 2020, eqs. 8 to 11): these are never singular, and where the surface is flat they pull a
// vertex to the middle of its faces. A rim holds itself by planes through its edges, upright on their faces.
// Collapses that would join sheets (link condition, Dey et al. 1999) or turn a face over are left out.
#include "simplify.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "mesh_edges.h"

namespace rilievo {
namespace {

// Weight of a rim's planes against those of faces.
constexpr double kRim = 2.0;
// Least cosine between the normals of a face before and after, and least shape (1: equilateral) unless it was worse.
constexpr double kMinTurn = 0.3, kMinShape = 0.05;
// Faces that turn back this much against a neighbour are folds: they may go any way.
constexpr double kFold = -0.5;

struct Quadric {
  double xx = 0, xy = 0, xz = 0, yy = 0, yz = 0, zz = 0, bx = 0, by = 0, bz = 0, c = 0;

  // weight times the squared distance from the plane through q with unit normal n, which has noise s.
  void add(const double* n, const double* q, double weight, double s) {
    const double s2 = s * s, d = n[0] * q[0] + n[1] * q[1] + n[2] * q[2];
    xx += weight * (n[0] * n[0] + s2), yy += weight * (n[1] * n[1] + s2), zz += weight * (n[2] * n[2] + s2);
    xy += weight * n[0] * n[1], xz += weight * n[0] * n[2], yz += weight * n[1] * n[2];
    bx += weight * (d * n[0] + s2 * q[0]), by += weight * (d * n[1] + s2 * q[1]), bz += weight * (d * n[2] + s2 * q[2]);
    c += weight * (d * d + s2 * (q[0] * q[0] + q[1] * q[1] + q[2] * q[2]));
  }
  Quadric operator+(const Quadric& o) const {
    return {xx + o.xx, xy + o.xy, xz + o.xz, yy + o.yy, yz + o.yz, zz + o.zz, bx + o.bx, by + o.by, bz + o.bz, c + o.c};
  }
  double at(const double* p) const {
    const double x = p[0], y = p[1], z = p[2];
    return xx * x * x + yy * y * y + zz * z * z + 2 * (xy * x * y + xz * x * z + yz * y * z) -
           2 * (bx * x + by * y + bz * z) + c;
  }
  bool lowest(double* p) const {
    const double a = yy * zz - yz * yz, b = xz * yz - xy * zz, d = xy * yz - xz * yy;
    const double det = xx * a + xy * b + xz * d;
    if (!(std::abs(det) > 1e-12 * xx * yy * zz)) return false;
    const double e = xx * zz - xz * xz, f = xy * xz - xx * yz, g = xx * yy - xy * xy;
    p[0] = (a * bx + b * by + d * bz) / det;
    p[1] = (b * bx + e * by + f * bz) / det;
    p[2] = (d * bx + f * by + g * bz) / det;
    return true;
  }
};

void cross(const double* u, const double* v, double* w) {
  w[0] = u[1] * v[2] - u[2] * v[1], w[1] = u[2] * v[0] - u[0] * v[2], w[2] = u[0] * v[1] - u[1] * v[0];
}
double dot(const double* u, const double* v) { return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]; }

struct Entry {
  double cost;
  int32_t u, v, stamp;
};
bool later(const Entry& a, const Entry& b) {
  if (a.cost != b.cost) return a.cost > b.cost;
  return a.u != b.u ? a.u > b.u : a.v != b.v ? a.v > b.v : a.stamp > b.stamp;
}

class Collapser {
 public:
  Collapser(std::vector<double>& place, std::vector<int32_t>& faces, const int32_t* twins, const double* weight,
            double noise)
      : place_(place), face_(faces), num_vertices_(place.size() / 3), quadric_(num_vertices_),
        head_(num_vertices_, -1), tail_(num_vertices_, -1), stamp_(num_vertices_, 0), mark_(num_vertices_, 0),
        rim_(num_vertices_, 0), next_(faces.size(), -1), folded_(faces.size() / 3, 0), alive_(faces.size() / 3) {
    for (size_t f = 0; f < folded_.size(); ++f) add_face(f, twins, weight, noise);
    for (size_t h = 0; h < faces.size(); ++h) {
      const int32_t u = faces[h], v = faces[static_cast<size_t>(next_corner(int64_t(h)))];
      if (twins[h] < 0) rim_[static_cast<size_t>(u)] = rim_[static_cast<size_t>(v)] = 1;
      const auto c = static_cast<int32_t>(h);
      if (tail_[static_cast<size_t>(u)] < 0) head_[static_cast<size_t>(u)] = c;
      else next_[static_cast<size_t>(tail_[static_cast<size_t>(u)])] = c;
      tail_[static_cast<size_t>(u)] = c;
    }
    for (size_t h = 0; h < faces.size(); ++h)
      if (twins[h] < int64_t(h)) push(faces[h], faces[static_cast<size_t>(next_corner(int64_t(h)))]);
  }

  void run(int64_t target) {
    while (int64_t(alive_) > target && !heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      const Entry entry = heap_.back();
      heap_.pop_back();
      const auto u = static_cast<size_t>(entry.u), v = static_cast<size_t>(entry.v);
      if (head_[u] < 0 || head_[v] < 0 || stamp_[u] + stamp_[v] != entry.stamp) continue;
      double to[3] = {0, 0, 0};
      cost_of(u, v, to);
      if (allowed(entry.u, entry.v, to)) collapse(entry.u, entry.v, to);
    }
  }

  void pack() {
    std::vector<int32_t> number(num_vertices_, -1);
    std::vector<double> place;
    std::vector<int32_t> faces;
    for (size_t f = 0; f < folded_.size(); ++f)
      if (face_[3 * f] >= 0) faces.insert(faces.end(), &face_[3 * f], &face_[3 * f] + 3);
    for (int32_t v : faces) number[static_cast<size_t>(v)] = 0;
    int32_t count = 0;
    for (size_t v = 0; v < num_vertices_; ++v)
      if (number[v] == 0) number[v] = count++, place.insert(place.end(), &place_[3 * v], &place_[3 * v] + 3);
    for (int32_t& v : faces) v = number[static_cast<size_t>(v)];
    place_.swap(place);
    face_.swap(faces);
  }

 private:
  const double* at(int32_t v) const { return &place_[3 * static_cast<size_t>(v)]; }

  // Normal of a face, as long as twice its area.
  void normal_of(size_t f, double* n) const {
    const double *p = at(face_[3 * f]), *q = at(face_[3 * f + 1]), *r = at(face_[3 * f + 2]);
    double e[3], g[3];
    for (int k = 0; k < 3; ++k) e[k] = q[k] - p[k], g[k] = r[k] - p[k];
    cross(e, g, n);
  }

  void add_face(size_t f, const int32_t* twins, const double* weight, double noise) {
    double n[3];
    normal_of(f, n);
    const double length = std::sqrt(dot(n, n));
    if (!(length > 0)) return;
    for (double& c : n) c /= length;
    double middle[3];
    for (int k = 0; k < 3; ++k) middle[k] = (at(face_[3 * f])[k] + at(face_[3 * f + 1])[k] + at(face_[3 * f + 2])[k]) / 3;
    for (size_t k = 0; k < 3; ++k) {
      const int32_t u = face_[3 * f + k], v = face_[3 * f + (k + 1) % 3];
      const auto uu = static_cast<size_t>(u), vv = static_cast<size_t>(v);
      quadric_[uu].add(n, middle, weight[uu] * length, noise);
      if (twins[3 * f + k] >= 0) {
        double other[3];
        normal_of(static_cast<size_t>(twins[3 * f + k] / 3), other);
        if (dot(n, other) < kFold * std::sqrt(dot(other, other))) folded_[f] = 1;
        continue;
      }
      double edge[3], upright[3];
      for (int c = 0; c < 3; ++c) edge[c] = at(v)[c] - at(u)[c];
      cross(edge, n, upright);
      const double size = std::sqrt(dot(upright, upright));
      if (!(size > 0)) continue;
      for (double& c : upright) c /= size;
      quadric_[uu].add(upright, at(u), kRim * weight[uu] * size * size, 0);
      quadric_[vv].add(upright, at(u), kRim * weight[vv] * size * size, 0);
    }
  }

  double cost_of(size_t u, size_t v, double* to) const {
    const Quadric sum = quadric_[u] + quadric_[v];
    const double *p = &place_[3 * u], *q = &place_[3 * v];
    if (rim_[u] != rim_[v]) {
      std::copy(rim_[u] ? p : q, (rim_[u] ? p : q) + 3, to);
    } else {
      double apart2 = 0, away2 = 0;
      const bool found = sum.lowest(to);
      for (int k = 0; k < 3; ++k) {
        const double middle = 0.5 * (p[k] + q[k]);
        apart2 += (p[k] - q[k]) * (p[k] - q[k]);
        if (found) away2 += (to[k] - middle) * (to[k] - middle);
      }
      if (!found || !(away2 <= 4 * apart2))
        for (int k = 0; k < 3; ++k) to[k] = 0.5 * (p[k] + q[k]);
    }
    return sum.at(to);
  }

  void push(int32_t u, int32_t v) {
    if (u > v) std::swap(u, v);
    const auto uu = static_cast<size_t>(u), vv = static_cast<size_t>(v);
    double to[3] = {0, 0, 0};
    const double cost = cost_of(uu, vv, to);
    if (!std::isfinite(cost)) return;
    heap_.push_back({cost, u, v, stamp_[uu] + stamp_[vv]});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  // The corners around a vertex; those of faces that are gone are dropped from its list on the way.
  const std::vector<int32_t>& corners(int32_t vertex, std::vector<int32_t>& out) {
    out.clear();
    int32_t before = -1;
    for (int32_t c = head_[static_cast<size_t>(vertex)]; c >= 0; c = next_[static_cast<size_t>(c)]) {
      if (face_[static_cast<size_t>(c)] >= 0) {
        out.push_back(c);
        if (before >= 0) next_[static_cast<size_t>(before)] = c;
        else head_[static_cast<size_t>(vertex)] = c;
        before = c;
      }
    }
    if (before >= 0) next_[static_cast<size_t>(before)] = -1;
    else head_[static_cast<size_t>(vertex)] = -1;
    tail_[static_cast<size_t>(vertex)] = before;
    return out;
  }

  bool allowed(int32_t u, int32_t v, const double* to) {
    int shared = 0, common = 0;
    ++time_;
    const uint32_t near_u = 2 * time_, near_both = 2 * time_ + 1;
    for (int32_t c : corners(u, around_u_)) {
      const int64_t b = next_corner(c), d = next_corner(b);
      for (int64_t k : {b, d}) {
        mark_[static_cast<size_t>(face_[static_cast<size_t>(k)])] = near_u;
        shared += face_[static_cast<size_t>(k)] == v;
      }
    }
    if (shared < 1 || shared > 2) return false;
    if (rim_[static_cast<size_t>(u)] && rim_[static_cast<size_t>(v)] && shared == 2) return false;
    for (int32_t c : corners(v, around_v_)) {
      const int32_t a = face_[static_cast<size_t>(next_corner(c))];
      const int32_t b = face_[static_cast<size_t>(next_corner(next_corner(c)))];
      for (int32_t w : {a, b})
        if (w != u && mark_[static_cast<size_t>(w)] == near_u) mark_[static_cast<size_t>(w)] = near_both, ++common;
    }
    if (common != shared) return false;
    for (int32_t c : around_v_) {  // a face over both common neighbours would lie on one of u's
      const int32_t a = face_[static_cast<size_t>(next_corner(c))];
      const int32_t b = face_[static_cast<size_t>(next_corner(next_corner(c)))];
      if (mark_[static_cast<size_t>(a)] == near_both && mark_[static_cast<size_t>(b)] == near_both) return false;
    }
    return stays(around_u_, v, to) && stays(around_v_, u, to);
  }

  // No face around a vertex that moves turns over or becomes a sliver.
  bool stays(const std::vector<int32_t>& around, int32_t partner, const double* to) const {
    for (int32_t c : around) {
      const int32_t a = face_[static_cast<size_t>(next_corner(c))];
      const int32_t b = face_[static_cast<size_t>(next_corner(next_corner(c)))];
      if (a == partner || b == partner || folded_[static_cast<size_t>(c / 3)]) continue;
      const double *p = at(a), *q = at(b), *old = at(face_[static_cast<size_t>(c)]);
      double edge[3], arm[3], before[3], after[3], others = 0;
      for (int k = 0; k < 3; ++k) edge[k] = q[k] - p[k], arm[k] = old[k] - p[k];
      cross(edge, arm, before);
      const double sides_before = dot(edge, edge) + dot(arm, arm) + dot(edge, edge) + dot(arm, arm) - 2 * dot(edge, arm);
      for (int k = 0; k < 3; ++k) arm[k] = to[k] - p[k];
      cross(edge, arm, after);
      others = dot(edge, edge) + dot(arm, arm) + dot(edge, edge) + dot(arm, arm) - 2 * dot(edge, arm);
      const double size_before = std::sqrt(dot(before, before)), size_after = std::sqrt(dot(after, after));
      if (size_before > 1e-9 * sides_before && !(dot(before, after) > kMinTurn * size_before * size_after)) return false;
      // 2 sqrt(3) |n| / sum of squared sides is 1 for an equilateral triangle.
      constexpr double scale = 3.4641016151377544;
      if (scale * size_after < kMinShape * others && size_after * sides_before < size_before * others) return false;
    }
    return true;
  }

  void collapse(int32_t u, int32_t v, const double* to) {
    const auto uu = static_cast<size_t>(u), vv = static_cast<size_t>(v);
    std::copy(to, to + 3, &place_[3 * uu]);
    quadric_[uu] = quadric_[uu] + quadric_[vv];
    rim_[uu] |= rim_[vv];
    for (int32_t c : around_v_) {
      const auto f = static_cast<size_t>(c / 3);
      if (face_[3 * f] == u || face_[3 * f + 1] == u || face_[3 * f + 2] == u) {
        face_[3 * f] = face_[3 * f + 1] = face_[3 * f + 2] = -1;
        --alive_;
      } else {
        face_[static_cast<size_t>(c)] = u;
      }
    }
    next_[static_cast<size_t>(tail_[uu])] = head_[vv];
    tail_[uu] = tail_[vv];
    head_[vv] = tail_[vv] = -1;
    ++stamp_[uu];
    ++time_;
    const uint32_t seen = 2 * time_;
    for (int32_t c : corners(u, around_u_))
      for (int64_t k : {next_corner(c), next_corner(next_corner(c))}) {
        const int32_t w = face_[static_cast<size_t>(k)];
        if (mark_[static_cast<size_t>(w)] == seen) continue;
        mark_[static_cast<size_t>(w)] = seen;
        push(u, w);
      }
  }

  std::vector<double>& place_;
  std::vector<int32_t>& face_;
  size_t num_vertices_;
  std::vector<Quadric> quadric_;
  std::vector<int32_t> head_, tail_, stamp_;  // lists of corners; times that a vertex changed
  std::vector<uint32_t> mark_;
  std::vector<uint8_t> rim_;
  std::vector<int32_t> next_;
  std::vector<uint8_t> folded_;
  size_t alive_;
  std::vector<Entry> heap_;
  std::vector<int32_t> around_u_, around_v_;
  uint32_t time_ = 0;
};

}  // namespace

void simplify_mesh(std::vector<double>& vertices, std::vector<int32_t>& faces, const int32_t* twins,
                   const double* weight, int64_t target, double noise) {
  const auto num_vertices = int64_t(vertices.size()) / 3, num_faces = int64_t(faces.size()) / 3;
  check_mesh(faces.data(), num_faces, num_vertices, "simplify_mesh");
  check_twins(twins, num_faces, "simplify_mesh");
  for (double c : vertices)
    if (!(std::abs(c) < 1e30)) throw std::invalid_argument("simplify_mesh: vertices must be finite");
  for (int64_t i = 0; i < num_vertices; ++i)
    if (!(weight[i] > 0 && weight[i] < 1e30)) throw std::invalid_argument("simplify_mesh: weights must be positive");
  if (!(noise > 0 && noise <= 1)) throw std::invalid_argument("simplify_mesh: noise must be from 0 to 1");
  for (int64_t f = 0; f < num_faces; ++f)
    if (faces[3 * f] == faces[3 * f + 1] || faces[3 * f + 1] == faces[3 * f + 2] || faces[3 * f + 2] == faces[3 * f])
      throw std::invalid_argument("simplify_mesh: a face uses a vertex twice");
  Collapser collapser(vertices, faces, twins, weight, noise);
  collapser.run(target);
  collapser.pack();
}

}  // namespace rilievo
