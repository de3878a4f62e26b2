// Ball pivoting: triangles that a ball of given radius rests on.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

// points, normals: n x 3. radii: ascending. Faces as triples of indices, counter-clockwise seen from where the normals
// point; every directed edge is used once at most. Throws std::invalid_argument.
std::vector<int32_t> ball_pivot(const double* points, const double* normals, int64_t n, const double* radii,
                                int64_t num_radii);

}  // namespace rilievo
