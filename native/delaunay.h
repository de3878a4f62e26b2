// Delaunay tetrahedralisation of points with integer coordinates.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

// Tetrahedra as four vertices each with orient3d > 0, and the neighbour opposite each vertex (-1 outside).
struct Tetrahedra {
  std::vector<int32_t> vertices, neighbours;
};

// The corners (as indices) of the face opposite vertex i, counter-clockwise seen from outside the tetrahedron.
inline constexpr int kFace[4][3] = {{1, 2, 3}, {0, 3, 2}, {0, 1, 3}, {0, 2, 1}};

// points: n times x y z, integers in [-2^30, 2^30]; the last four are a positively oriented tetrahedron with all others
// strictly inside. Of equal points the first in the order of insertion is used. Throws std::invalid_argument.
Tetrahedra delaunay(const double* points, int64_t n);

}  // namespace rilievo
