// Fewer triangles by collapsing edges.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

// vertices n 3; faces f 3; twins as from edge_twins; weight n: how much the planes at a vertex count.
// noise: standard deviation of the faces' unit normals. The mesh must have no edge with three faces or more.
// On return vertices and faces hold the result, unused vertices left out.
// Throws std::invalid_argument.
void simplify_mesh(std::vector<double>& vertices, std::vector<int32_t>& faces, const int32_t* twins,
                   const double* weight, int64_t target, double noise);

}  // namespace rilievo
