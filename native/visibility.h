// What rays from points to cameras say about tetrahedra: capacities for a minimum cut.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

struct Rays {
  const double* points = nullptr;       // n 3; vertices of the tetrahedra
  int64_t num_points = 0;
  const int32_t* vertices = nullptr;    // m 4
  const int32_t* neighbours = nullptr;  // m 4
  int64_t num_tets = 0;
  const double* centers = nullptr;      // c 3
  const double* sigma = nullptr;        // k, for the first k points, in units of the coordinates
  const double* weight = nullptr;       // k
  const int64_t* offsets = nullptr;     // k + 1
  const int32_t* views = nullptr;       // camera of each ray
  int64_t num_rays_points = 0;          // k
};

struct Capacities {
  std::vector<int32_t> edges;      // m 4: from a tetrahedron to its neighbour
  std::vector<int32_t> terminals;  // m: from the source less to the sink
};

// behind: length of the way behind a point, in sigmas, whose end is said to be inside. reach: length, in sigmas, of all
// rays of a point but its first, which goes to its camera. quality: weight of the shape term. unit: capacity of a ray.
Capacities visibility_capacities(const Rays& rays, double behind, double reach, double quality, double unit);

}  // namespace rilievo
