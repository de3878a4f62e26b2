#include "mesh_edges.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

#include "parallel.h"

namespace rilievo {
namespace {

struct Meeting {
  int32_t other, half_edge;
  bool forward;  // from the lower to the higher vertex
  double angle;
};

// Angles of the faces' third corners around the edge from vertex `low` to `high`, counter-clockwise.
bool measure_angles(const float* vertices, const int32_t* faces, int32_t low, int32_t high, Meeting* first,
                    Meeting* last) {
  double axis[3], u[3] = {0, 0, 0}, w[3] = {0, 0, 0};
  for (int k = 0; k < 3; ++k) axis[k] = double(vertices[3 * int64_t(high) + k]) - vertices[3 * int64_t(low) + k];
  const double length2 = axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2];
  if (!(length2 > 0)) return false;
  for (Meeting* m = first; m != last; ++m) {
    const int64_t tip = faces[next_corner(next_corner(m->half_edge))];
    double d[3];
    for (int k = 0; k < 3; ++k) d[k] = double(vertices[3 * tip + k]) - vertices[3 * int64_t(low) + k];
    const double along = (d[0] * axis[0] + d[1] * axis[1] + d[2] * axis[2]) / length2;
    for (int k = 0; k < 3; ++k) d[k] -= along * axis[k];
    if (m == first) {
      std::copy(d, d + 3, u);
      w[0] = axis[1] * u[2] - axis[2] * u[1], w[1] = axis[2] * u[0] - axis[0] * u[2];
      w[2] = axis[0] * u[1] - axis[1] * u[0];
    }
    const double x = d[0] * u[0] + d[1] * u[1] + d[2] * u[2];
    const double y = (d[0] * w[0] + d[1] * w[1] + d[2] * w[2]) / std::sqrt(length2);
    if (!(x * x + y * y > 0)) return false;
    m->angle = m == first ? 0.0 : std::atan2(y, x);
    if (m->angle < 0) m->angle += 2 * 3.14159265358979323846;
  }
  std::sort(first, last, [](const Meeting& a, const Meeting& b) {
    return a.angle < b.angle || (a.angle == b.angle && a.half_edge < b.half_edge);
  });
  return true;
}

void pair_around(const float* vertices, const int32_t* faces, int32_t low, Meeting* first, Meeting* last,
                 int32_t* twins) {
  const auto count = last - first;
  if (count == 1) {
    twins[first->half_edge] = -1;
    return;
  }
  if (count == 2 && first->forward != first[1].forward) {
    twins[first->half_edge] = first[1].half_edge;
    twins[first[1].half_edge] = first->half_edge;
    return;
  }
  for (Meeting* m = first; m != last; ++m) twins[m->half_edge] = -2;
  if (count % 2 || !measure_angles(vertices, faces, low, first->other, first, last)) return;
  for (Meeting* m = first; m + 1 != last; ++m)
    if (m->forward == m[1].forward) return;
  // Inside lies after (counter-clockwise) a face that runs backward and before one that runs forward.
  for (long i = 0; i < count; ++i) {
    if (first[i].forward) continue;
    const Meeting& after = first[(i + 1) % count];
    twins[first[i].half_edge] = after.half_edge;
    twins[after.half_edge] = first[i].half_edge;
  }
}

int32_t root(std::vector<int32_t>& parent, int32_t i) {
  while (parent[static_cast<size_t>(i)] != i) {
    parent[static_cast<size_t>(i)] = parent[static_cast<size_t>(parent[static_cast<size_t>(i)])];
    i = parent[static_cast<size_t>(i)];
  }
  return i;
}

void join(std::vector<int32_t>& parent, int32_t a, int32_t b) {
  a = root(parent, a), b = root(parent, b);
  if (a == b) return;
  if (a < b) parent[static_cast<size_t>(b)] = a;
  else parent[static_cast<size_t>(a)] = b;
}

}  // namespace

void check_mesh(const int32_t* faces, int64_t num_faces, int64_t num_vertices, const char* who) {
  if (num_faces > INT32_MAX / 3) throw std::invalid_argument(std::string(who) + ": too many faces");
  for (int64_t i = 0; i < 3 * num_faces; ++i)
    if (faces[i] < 0 || faces[i] >= num_vertices)
      throw std::invalid_argument(std::string(who) + ": a face uses a vertex that is not there");
}

void check_twins(const int32_t* twins, int64_t num_faces, const char* who) {
  if (num_faces > INT32_MAX / 3) throw std::invalid_argument(std::string(who) + ": too many faces");
  for (int64_t i = 0; i < 3 * num_faces; ++i)
    if (twins[i] < -2 || twins[i] >= 3 * num_faces || (twins[i] >= 0 && twins[twins[i]] != i))
      throw std::invalid_argument(std::string(who) + ": twins do not fit together");
}

void edge_twins(const float* vertices, int64_t num_vertices, const int32_t* faces, int64_t num_faces, int32_t* twins) {
  check_mesh(faces, num_faces, num_vertices, "edge_twins");
  // Half-edges by their lower vertex (counting sort); then a few are compared.
  std::vector<int32_t> offsets(static_cast<size_t>(num_vertices) + 2, 0), list(static_cast<size_t>(3 * num_faces));
  const auto low_of = [&](int64_t h) { return std::min(faces[h], faces[next_corner(h)]); };
  for (int64_t h = 0; h < 3 * num_faces; ++h) ++offsets[static_cast<size_t>(low_of(h)) + 2];
  for (size_t v = 2; v < offsets.size(); ++v) offsets[v] += offsets[v - 1];
  for (int64_t h = 0; h < 3 * num_faces; ++h)
    list[static_cast<size_t>(offsets[static_cast<size_t>(low_of(h)) + 1]++)] = static_cast<int32_t>(h);
  parallel_ranges(num_vertices, 8192, [&](int64_t begin, int64_t end) {
    std::vector<Meeting> meetings;
    for (int64_t v = begin; v < end; ++v) {
      meetings.clear();
      for (int32_t k = offsets[static_cast<size_t>(v)]; k < offsets[static_cast<size_t>(v) + 1]; ++k) {
        const int32_t h = list[static_cast<size_t>(k)];
        const int64_t f = h / 3;
        const int32_t a = faces[h], b = faces[next_corner(h)];
        if (faces[3 * f] == faces[3 * f + 1] || faces[3 * f + 1] == faces[3 * f + 2] ||
            faces[3 * f + 2] == faces[3 * f])
          twins[h] = -2;
        else meetings.push_back({std::max(a, b), h, a < b, 0.0});
      }
      std::sort(meetings.begin(), meetings.end(), [](const Meeting& a, const Meeting& b) {
        return a.other < b.other || (a.other == b.other && a.half_edge < b.half_edge);
      });
      for (size_t first = 0, last; first < meetings.size(); first = last) {
        for (last = first; last < meetings.size() && meetings[last].other == meetings[first].other;) ++last;
        pair_around(vertices, faces, static_cast<int32_t>(v), &meetings[first], meetings.data() + last, twins);
      }
    }
  });
}

void split_fans(int32_t* faces, const int32_t* twins, int64_t num_faces, int64_t num_vertices,
                std::vector<int32_t>& origin) {
  check_mesh(faces, num_faces, num_vertices, "split_fans");
  check_twins(twins, num_faces, "split_fans");
  std::vector<int32_t> parent(static_cast<size_t>(3 * num_faces));
  std::iota(parent.begin(), parent.end(), 0);
  for (int64_t h = 0; h < 3 * num_faces; ++h) {
    const int64_t t = twins[h];
    if (t < h) continue;
    // The corner where h starts is the one where its twin ends.
    if (faces[h] != faces[next_corner(t)] || faces[next_corner(h)] != faces[t])
      throw std::invalid_argument("split_fans: twins are not of these faces");
    join(parent, static_cast<int32_t>(h), static_cast<int32_t>(next_corner(t)));
    join(parent, static_cast<int32_t>(next_corner(h)), static_cast<int32_t>(t));
  }
  std::vector<uint8_t> taken(static_cast<size_t>(num_vertices), 0);
  origin.clear();
  for (int64_t c = 0; c < 3 * num_faces; ++c) {
    const int32_t first = root(parent, static_cast<int32_t>(c));
    if (first < c) {
      faces[c] = faces[first];  // the first corner of a fan comes before the others and has its number by now
      continue;
    }
    const auto v = static_cast<size_t>(faces[c]);
    if (!taken[v]) {
      taken[v] = 1;
      continue;
    }
    origin.push_back(faces[c]);
    if (num_vertices + int64_t(origin.size()) > INT32_MAX) throw std::invalid_argument("split_fans: too many vertices");
    faces[c] = static_cast<int32_t>(num_vertices + int64_t(origin.size()) - 1);
  }
}

void join_faces(const int32_t* twins, const uint8_t* chosen, int64_t num_faces, int32_t* label) {
  check_twins(twins, num_faces, "join_faces");
  std::vector<int32_t> parent(static_cast<size_t>(num_faces));
  std::iota(parent.begin(), parent.end(), 0);
  for (int64_t h = 0; h < 3 * num_faces; ++h)
    if (twins[h] > h && chosen[h / 3] && chosen[twins[h] / 3])
      join(parent, static_cast<int32_t>(h / 3), twins[h] / 3);
  for (int64_t f = 0; f < num_faces; ++f) label[f] = chosen[f] ? root(parent, static_cast<int32_t>(f)) : -1;
}

void border_loops(const int32_t* start, const int32_t* end, int64_t num_edges, std::vector<int64_t>& offsets,
                  std::vector<int32_t>& vertices) {
  int32_t size = 0;
  for (int64_t e = 0; e < num_edges; ++e) {
    if (start[e] < 0 || end[e] < 0 || start[e] == INT32_MAX || end[e] == INT32_MAX)
      throw std::invalid_argument("border_loops: a vertex is out of range");
    size = std::max({size, start[e] + 1, end[e] + 1});
  }
  // Edges by the vertex where they start, in the order in which they came.
  std::vector<int64_t> first(static_cast<size_t>(size) + 2, 0), list(static_cast<size_t>(num_edges));
  for (int64_t e = 0; e < num_edges; ++e) ++first[static_cast<size_t>(start[e]) + 2];
  for (size_t v = 2; v < first.size(); ++v) first[v] += first[v - 1];
  for (int64_t e = 0; e < num_edges; ++e)
    list[static_cast<size_t>(first[static_cast<size_t>(start[e]) + 1]++)] = e;
  std::vector<int64_t> next(first.begin(), first.end() - 1);  // the first unused edge of each vertex
  std::vector<int64_t> place(static_cast<size_t>(size), -1);
  std::vector<int32_t> path;
  offsets.assign(1, 0);
  vertices.clear();
  for (int32_t seed = 0; seed < size; ++seed) {
    while (next[static_cast<size_t>(seed)] < first[static_cast<size_t>(seed) + 1]) {
      int32_t v = seed;
      for (;;) {
        int64_t& k = next[static_cast<size_t>(v)];
        if (k >= first[static_cast<size_t>(v) + 1]) break;  // an open chain: the faces around it are no manifold
        place[static_cast<size_t>(v)] = static_cast<int64_t>(path.size());
        path.push_back(v);
        v = end[list[static_cast<size_t>(k++)]];
        const int64_t at = place[static_cast<size_t>(v)];
        if (at < 0) continue;
        vertices.insert(vertices.end(), path.begin() + at, path.end());
        offsets.push_back(static_cast<int64_t>(vertices.size()));
        for (auto p = path.begin() + at; p != path.end(); ++p) place[static_cast<size_t>(*p)] = -1;
        path.resize(static_cast<size_t>(at));
        if (path.empty()) break;
      }
      for (int32_t p : path) place[static_cast<size_t>(p)] = -1;
      path.clear();
    }
  }
}

}  // namespace rilievo
