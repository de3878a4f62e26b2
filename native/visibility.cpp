// Visibility of points as capacities between tetrahedra, after Labatut, Pons & Keriven 2009, "Robust and efficient
// surface reconstruction from range data", sections 3.2 (soft visibility, eqs. 2-4) and 3.3 (shape of facets).
//
// A ray is walked in the frame that projects it to the origin of a plane: every vertex gets one projection whatever
// tetrahedron it is met in, so neighbouring tetrahedra agree on which side of an edge the ray passes.
#include "visibility.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <stdexcept>

#include "delaunay.h"
#include "parallel.h"

namespace rilievo {
namespace {

struct Projected {
  double x, y, z;
};
double cross(const Projected& a, const Projected& b) { return a.x * b.y - a.y * b.x; }

class Frame {
 public:
  Frame(const double* start, const double* end) {
    for (int i = 0; i < 3; ++i) origin_[i] = start[i], z_[i] = end[i] - start[i];
    length_ = std::sqrt(z_[0] * z_[0] + z_[1] * z_[1] + z_[2] * z_[2]);
    for (double& c : z_) c /= length_;
    const int smallest = std::abs(z_[0]) < std::abs(z_[1]) ? (std::abs(z_[0]) < std::abs(z_[2]) ? 0 : 2)
                                                           : (std::abs(z_[1]) < std::abs(z_[2]) ? 1 : 2);
    double axis[3] = {0, 0, 0};
    axis[smallest] = 1;
    outer(z_, axis, x_);
    const double norm = std::sqrt(x_[0] * x_[0] + x_[1] * x_[1] + x_[2] * x_[2]);
    for (double& c : x_) c /= norm;
    outer(z_, x_, y_);
  }
  Projected project(const double* p) const {
    const double d[3] = {p[0] - origin_[0], p[1] - origin_[1], p[2] - origin_[2]};
    return {d[0] * x_[0] + d[1] * x_[1] + d[2] * x_[2], d[0] * y_[0] + d[1] * y_[1] + d[2] * y_[2],
            d[0] * z_[0] + d[1] * z_[1] + d[2] * z_[2]};
  }
  double length() const { return length_; }

 private:
  static void outer(const double* a, const double* b, double* c) {
    c[0] = a[1] * b[2] - a[2] * b[1], c[1] = a[2] * b[0] - a[0] * b[2], c[2] = a[0] * b[1] - a[1] * b[0];
  }
  double origin_[3], x_[3], y_[3], z_[3], length_;
};

// Depth at which the ray meets the plane of a triangle around the origin (counter-clockwise).
double meeting_depth(const Projected (&t)[3]) {
  const double a = cross(t[1], t[2]), b = cross(t[2], t[0]), c = cross(t[0], t[1]), sum = a + b + c;
  if (!(sum > 0)) return std::max({t[0].z, t[1].z, t[2].z});
  return (a * t[0].z + b * t[1].z + c * t[2].z) / sum;
}

// A ray between two tetrahedra: it leaves `tet` through the face opposite vertex `exit` at `depth`.
struct Walk {
  const Rays& mesh;
  const Frame& frame;
  int32_t tet = -1;
  int exit = 0;
  double depth = 0;
  int32_t corner[3];
  Projected shadow[3];

  Walk(const Rays& m, const Frame& f) : mesh(m), frame(f) {}

  // Starts in a tetrahedron around a vertex, `face` being its face opposite that vertex: true when the ray (sign +1) or
  // its continuation backwards (-1) passes that face.
  bool start(int32_t t, int apex, const int32_t (&face)[3], const Projected (&shadows)[3], double sign) {
    const double a = cross(shadows[0], shadows[1]), b = cross(shadows[1], shadows[2]), c = cross(shadows[2], shadows[0]);
    const bool clockwise = a <= 0 && b <= 0 && c <= 0;
    if ((!clockwise && !(a >= 0 && b >= 0 && c >= 0)) || (a == 0 && b == 0 && c == 0)) return false;
    for (int k = 0; k < 3; ++k) {
      const int from = clockwise && k ? 3 - k : k;
      corner[k] = face[from];
      shadow[k] = shadows[from];
    }
    depth = meeting_depth(shadow);
    if (!(sign * depth > 0)) return false;
    tet = t;
    exit = apex;
    return true;
  }

  // Goes on into the next tetrahedron and finds the face through which the ray leaves it; false at the outer border.
  bool step() {
    const int32_t next = mesh.neighbours[4 * int64_t(tet) + exit];
    if (next < 0) return false;
    const int32_t* v = mesh.vertices + 4 * int64_t(next);
    int fresh = 0;
    while (fresh < 3 && (v[fresh] == corner[0] || v[fresh] == corner[1] || v[fresh] == corner[2])) ++fresh;
    const Projected d = frame.project(mesh.points + 3 * int64_t(v[fresh]));
    const double a = cross(shadow[0], d), b = cross(shadow[1], d), c = cross(shadow[2], d);
    const int dropped = b >= 0 && a <= 0 ? 2 : c >= 0 && b <= 0 ? 0 : 1;
    exit = 0;
    while (exit < 3 && v[exit] != corner[dropped]) ++exit;
    corner[dropped] = v[fresh];
    shadow[dropped] = d;
    depth = meeting_depth(shadow);
    tet = next;
    return true;
  }
};

using Counter = std::unique_ptr<std::atomic<int32_t>[]>;

Counter zeros(int64_t n) {
  Counter out(new std::atomic<int32_t>[static_cast<size_t>(n)]);
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)].store(0, std::memory_order_relaxed);
  return out;
}

constexpr int32_t kMost = 1 << 28;

// Sums of integers do not depend on the order in which threads add. Saturates far below overflow.
void add(std::atomic<int32_t>& to, double amount) {
  if (to.load(std::memory_order_relaxed) < kMost)
    to.fetch_add(static_cast<int32_t>(std::lround(amount)), std::memory_order_relaxed);
}

// The tetrahedra around a vertex, and their other corners.
struct Star {
  struct Member {
    int32_t tet;
    int apex;           // place of the vertex in the tetrahedron
    uint32_t local[3];  // corners of the face opposite, as places in `corners`
  };
  std::vector<Member> members;
  std::vector<int32_t> corners;
  std::vector<Projected> shadows;

  void collect(const Rays& mesh, int32_t first, int64_t v) {
    members.clear();
    corners.clear();
    visit(mesh, first, v);
    for (size_t k = 0; k < members.size(); ++k) {
      const Member member = members[k];
      for (int i = 0; i < 4; ++i) {
        const int32_t nb = mesh.neighbours[4 * int64_t(member.tet) + i];
        if (i == member.apex || nb < 0) continue;
        if (std::none_of(members.begin(), members.end(), [&](const Member& m) { return m.tet == nb; }))
          visit(mesh, nb, v);
      }
    }
  }

  void project(const Rays& mesh, const Frame& frame) {
    shadows.clear();
    for (int32_t c : corners) shadows.push_back(frame.project(mesh.points + 3 * int64_t(c)));
  }

 private:
  void visit(const Rays& mesh, int32_t t, int64_t v) {
    const int32_t* w = mesh.vertices + 4 * int64_t(t);
    Member member{t, w[0] == v ? 0 : w[1] == v ? 1 : w[2] == v ? 2 : 3, {}};
    for (int k = 0; k < 3; ++k) {
      const int32_t c = w[kFace[member.apex][k]];
      const auto found = std::find(corners.begin(), corners.end(), c);
      member.local[k] = static_cast<uint32_t>(found - corners.begin());
      if (found == corners.end()) corners.push_back(c);
    }
    members.push_back(member);
  }
};

void cast_rays(const Rays& mesh, const std::vector<int32_t>& any_tet, int64_t v, double behind, double reach, double unit,
               Star& star, Counter& edges, Counter& source, Counter& sink) {
  if (any_tet[static_cast<size_t>(v)] < 0) return;
  const double* p = mesh.points + 3 * v;
  star.collect(mesh, any_tet[static_cast<size_t>(v)], v);
  const double sigma = mesh.sigma[v], amount = unit * mesh.weight[v];
  const auto softness = [&](double depth) { return 1 - std::exp(-depth * depth / (2 * sigma * sigma)); };
  for (int64_t r = mesh.offsets[v]; r < mesh.offsets[v + 1]; ++r) {
    const double* eye = mesh.centers + 3 * int64_t(mesh.views[r]);
    const Frame frame(p, eye);
    if (!(frame.length() > 1)) continue;
    Walk front(mesh, frame), back(mesh, frame);
    star.project(mesh, frame);
    for (const Star::Member& m : star.members) {
      const int32_t face[3] = {star.corners[m.local[0]], star.corners[m.local[1]], star.corners[m.local[2]]};
      const Projected shadows[3] = {star.shadows[m.local[0]], star.shadows[m.local[1]], star.shadows[m.local[2]]};
      if (front.tet < 0 && front.start(m.tet, m.apex, face, shadows, 1)) continue;
      if (back.tet < 0) back.start(m.tet, m.apex, face, shadows, -1);
    }
    if (front.tet >= 0) {
      // One ray a point goes all the way to its camera; the others say what they know near the surface.
      const double end = r == mesh.offsets[v] ? frame.length() : std::min(frame.length(), reach * sigma);
      for (int64_t steps = 0; front.depth < end && steps < mesh.num_tets; ++steps) {
        const int32_t near = front.tet;
        const double weight = front.depth < 6 * sigma ? softness(front.depth) : 1.0;
        if (!front.step()) break;
        const int32_t* around = mesh.neighbours + 4 * int64_t(front.tet);
        int door = 0;
        while (door < 3 && around[door] != near) ++door;
        add(edges[static_cast<size_t>(4 * int64_t(front.tet) + door)], amount * weight);
      }
      if (front.depth >= frame.length()) add(source[static_cast<size_t>(front.tet)], amount);
    }
    if (back.tet >= 0) {
      for (int64_t steps = 0; steps < mesh.num_tets && -back.depth < behind * sigma; ++steps)
        if (!back.step()) break;
      add(sink[static_cast<size_t>(back.tet)], amount);
    }
  }
}

// Circumcentre of a tetrahedron and its distance to the corners.
bool circumsphere(const double* a, const double* b, const double* c, const double* d, double* center, double& radius) {
  double e[3][3], square[3];
  const double* other[3] = {b, c, d};
  for (int i = 0; i < 3; ++i) {
    square[i] = 0;
    for (int k = 0; k < 3; ++k) e[i][k] = other[i][k] - a[k], square[i] += e[i][k] * e[i][k];
  }
  double n[3][3];  // cross products of the edges
  for (int i = 0; i < 3; ++i) {
    const double *u = e[(i + 1) % 3], *w = e[(i + 2) % 3];
    n[i][0] = u[1] * w[2] - u[2] * w[1], n[i][1] = u[2] * w[0] - u[0] * w[2], n[i][2] = u[0] * w[1] - u[1] * w[0];
  }
  const double volume = e[0][0] * n[0][0] + e[0][1] * n[0][1] + e[0][2] * n[0][2];
  if (!(std::abs(volume) > 0)) return false;
  double r2 = 0;
  for (int k = 0; k < 3; ++k) {
    const double offset = (square[0] * n[0][k] + square[1] * n[1][k] + square[2] * n[2][k]) / (2 * volume);
    center[k] = a[k] + offset;
    r2 += offset * offset;
  }
  radius = std::sqrt(r2);
  return std::isfinite(radius) && radius > 0;
}

// Cosines of the angles between the faces and the sphere around a tetrahedron: 1 for a small face on a large sphere.
void face_cosines(const Rays& mesh, int64_t t, float* cosines) {
  const int32_t* v = mesh.vertices + 4 * t;
  const double* p[4];
  for (int i = 0; i < 4; ++i) p[i] = mesh.points + 3 * int64_t(v[i]);
  double center[3], radius;
  if (!circumsphere(p[0], p[1], p[2], p[3], center, radius)) return std::fill(cosines, cosines + 4, -1.0f);
  for (int face = 0; face < 4; ++face) {
    const double *a = p[kFace[face][0]], *b = p[kFace[face][1]], *c = p[kFace[face][2]];
    double u[3], w[3], n[3], height = 0, norm = 0;
    for (int k = 0; k < 3; ++k) u[k] = b[k] - a[k], w[k] = c[k] - a[k];
    n[0] = u[1] * w[2] - u[2] * w[1], n[1] = u[2] * w[0] - u[0] * w[2], n[2] = u[0] * w[1] - u[1] * w[0];
    for (int k = 0; k < 3; ++k) height -= n[k] * (center[k] - a[k]), norm += n[k] * n[k];
    cosines[face] = static_cast<float>(std::clamp(height / (std::sqrt(norm) * radius + 1e-300), -1.0, 1.0));
  }
}

}  // namespace

Capacities visibility_capacities(const Rays& mesh, double behind, double reach, double quality, double unit) {
  std::vector<int32_t> any_tet(static_cast<size_t>(mesh.num_points), -1);
  for (int64_t i = 0; i < 4 * mesh.num_tets; ++i) any_tet[static_cast<size_t>(mesh.vertices[i])] = int32_t(i / 4);
  Counter edges = zeros(4 * mesh.num_tets), source = zeros(mesh.num_tets), sink = zeros(mesh.num_tets);
  parallel_ranges(mesh.num_rays_points, 512, [&](int64_t begin, int64_t end) {
    Star star;
    for (int64_t v = begin; v < end; ++v) cast_rays(mesh, any_tet, v, behind, reach, unit, star, edges, source, sink);
  });
  any_tet = {};
  std::vector<float> cosines;
  if (quality > 0) cosines.resize(static_cast<size_t>(4 * mesh.num_tets));
  if (quality > 0)
    parallel_ranges(mesh.num_tets, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) face_cosines(mesh, t, &cosines[static_cast<size_t>(4 * t)]);
    });
  const auto total = [](const Counter& counter, size_t at) {  // the cap makes the sum free of the order of adding
    return std::min(counter[at].load(std::memory_order_relaxed), kMost);
  };
  Capacities out;
  out.edges.resize(static_cast<size_t>(4 * mesh.num_tets));
  out.terminals.resize(static_cast<size_t>(mesh.num_tets));
  parallel_ranges(mesh.num_tets, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const auto at = static_cast<size_t>(t);
      out.terminals[at] = total(source, at) - total(sink, at);
      for (int i = 0; i < 4; ++i) {
        const int64_t nb = mesh.neighbours[4 * t + i];
        if (nb < 0) continue;
        int32_t capacity = total(edges, 4 * at + static_cast<size_t>(i));
        if (quality > 0) {
          int door = 0;
          while (door < 3 && mesh.neighbours[4 * nb + door] != t) ++door;
          const double worst = std::min(cosines[4 * at + static_cast<size_t>(i)], cosines[static_cast<size_t>(4 * nb + door)]);
          capacity += static_cast<int32_t>(std::lround(quality * unit * (1 - worst)));
        }
        out.edges[4 * at + static_cast<size_t>(i)] = capacity;
      }
    }
  });
  return out;
}

}  // namespace rilievo
