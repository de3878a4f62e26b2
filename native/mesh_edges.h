// Which faces of a triangle mesh meet in an edge, and what follows from it.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

// Half-edge 3 f + k runs from corner k of face f to the next corner. Its twin runs the other way in another face.
inline int64_t next_corner(int64_t h) { return h % 3 == 2 ? h - 2 : h + 1; }

// twins[h]: the twin of half-edge h; -1 where no other face has the edge; -2 where faces meet that cannot be paired.
// Where four faces or more meet in an edge and their directions alternate around it, those with matter between them
// are twins (inside is behind a face), so that a closed surface stays closed. Faces that use a vertex twice have -2.
// Throws std::invalid_argument where a corner is out of range.
void edge_twins(const float* vertices, int64_t num_vertices, const int32_t* faces, int64_t num_faces, int32_t* twins);

// Gives every fan of faces around a vertex a vertex of its own: the first keeps the number, others get numbers from
// num_vertices on, and origin[i] is the vertex that num_vertices + i repeats. Faces are changed in place.
void split_fans(int32_t* faces, const int32_t* twins, int64_t num_faces, int64_t num_vertices,
                std::vector<int32_t>& origin);

// label[f]: the lowest face that is joined to f over twins, through chosen faces only (-1 for the others).
void join_faces(const int32_t* twins, const uint8_t* chosen, int64_t num_faces, int32_t* label);

// Loops of directed edges start[i] -> end[i]: the vertices of loop j are vertices[offsets[j]..offsets[j + 1]). A loop
// visits no vertex twice: where loops touch they are cut apart. Chains that do not close are left out.
void border_loops(const int32_t* start, const int32_t* end, int64_t num_edges, std::vector<int64_t>& offsets,
                  std::vector<int32_t>& vertices);

void check_mesh(const int32_t* faces, int64_t num_faces, int64_t num_vertices, const char* who);
void check_twins(const int32_t* twins, int64_t num_faces, const char* who);

}  // namespace rilievo
