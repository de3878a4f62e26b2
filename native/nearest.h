// Distance from points to the closest triangle of a mesh.
#pragma once
#include <cstdint>

namespace rilievo {

// For each of n points (x y z): distance to the closest triangle and that triangle's index, or (infinity, -1) when
// none is nearer than max_distance, or (NaN, -1) when the point is not finite. Throws std::invalid_argument for a vertex
// index out of range, vertices that are not finite, or a max_distance that is not positive.
void closest_on_mesh(const double* points, int64_t num_points, const double* vertices, int64_t num_vertices,
                     const int32_t* faces, int64_t num_faces, double max_distance, double* distance, int32_t* face);

}  // namespace rilievo
