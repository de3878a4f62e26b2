// Kernels of surfaces.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "ball_pivot.h"
#include "bindings.h"
#include "delaunay.h"
#include "min_cut.h"
#include "visibility.h"

namespace {

using Points = In<double, nb::shape<-1, 3>>;
using Quads = In<int32_t, nb::shape<-1, 4>>;

nb::tuple delaunay(Points points) {
  rilievo::Tetrahedra tets;
  {
    nb::gil_scoped_release release;
    tets = rilievo::delaunay(points.data(), int64_t(points.shape(0)));
  }
  const size_t n = tets.vertices.size() / 4;
  return nb::make_tuple(to_numpy(std::move(tets.vertices), {n, 4}), to_numpy(std::move(tets.neighbours), {n, 4}));
}

// Index checks of what the kernels follow without looking.
void check_indices(const int32_t* values, size_t count, int64_t low, int64_t end, const char* what) {
  for (size_t i = 0; i < count; ++i)
    if (values[i] < low || values[i] >= end) throw std::invalid_argument(std::string(what) + " out of range");
}

nb::tuple visibility_capacities(Points points, Quads vertices, Quads neighbours, Points centers,
                                In<double, nb::ndim<1>> sigma, In<double, nb::ndim<1>> weight,
                                In<int64_t, nb::ndim<1>> offsets, In<int32_t, nb::ndim<1>> views, double behind,
                                double reach, double quality, double unit) {
  const size_t m = vertices.shape(0), k = sigma.shape(0);
  if (neighbours.shape(0) != m || m > INT32_MAX / 4)
    throw std::invalid_argument("visibility_capacities: vertices and neighbours must have one row a tetrahedron");
  if (weight.shape(0) != k || offsets.shape(0) != k + 1 || k > points.shape(0))
    throw std::invalid_argument("visibility_capacities: sigma, weight and offsets do not fit together");
  check_indices(vertices.data(), 4 * m, 0, int64_t(points.shape(0)), "visibility_capacities: vertex");
  check_indices(neighbours.data(), 4 * m, -1, int64_t(m), "visibility_capacities: neighbour");
  check_indices(views.data(), views.shape(0), 0, int64_t(centers.shape(0)), "visibility_capacities: view");
  for (size_t i = 0; i < k; ++i) {
    if (offsets.data()[i] > offsets.data()[i + 1])
      throw std::invalid_argument("visibility_capacities: offsets must not fall");
    if (!(sigma.data()[i] > 0) || !(weight.data()[i] >= 0) || !(weight.data()[i] < 1e4))
      throw std::invalid_argument("visibility_capacities: sigma must be positive, weight from 0 to 10000");
  }
  if (k && (offsets.data()[0] < 0 || offsets.data()[k] > int64_t(views.shape(0))))
    throw std::invalid_argument("visibility_capacities: offsets out of range");
  if (!(behind >= 0) || !(reach >= 0) || !(quality >= 0 && quality <= 1e4) || !(unit > 0 && unit <= 1e4))
    throw std::invalid_argument("visibility_capacities: behind, reach, quality and unit must be positive");
  rilievo::Capacities out;
  {
    nb::gil_scoped_release release;
    rilievo::Rays rays;
    rays.points = points.data(), rays.num_points = int64_t(points.shape(0));
    rays.vertices = vertices.data(), rays.neighbours = neighbours.data(), rays.num_tets = int64_t(m);
    rays.centers = centers.data(), rays.sigma = sigma.data(), rays.weight = weight.data();
    rays.offsets = offsets.data(), rays.views = views.data(), rays.num_rays_points = int64_t(k);
    out = rilievo::visibility_capacities(rays, behind, reach, quality, unit);
  }
  return nb::make_tuple(to_numpy(std::move(out.edges), {m, 4}), to_numpy(std::move(out.terminals), {m}));
}

nb::tuple min_cut(Quads neighbours, Quads capacities, In<int32_t, nb::ndim<1>> terminals) {
  const size_t n = terminals.shape(0);
  if (neighbours.shape(0) != n || capacities.shape(0) != n)
    throw std::invalid_argument("min_cut: neighbours, capacities and terminals must have one row a node");
  std::vector<uint8_t> side;
  int64_t flow = 0;
  {
    nb::gil_scoped_release release;
    flow = rilievo::min_cut(neighbours.data(), capacities.data(), terminals.data(), int64_t(n), side);
  }
  return nb::make_tuple(to_numpy(std::move(side), {n}), flow);
}

nb::ndarray<nb::numpy, int32_t> ball_pivot(Points points, Points normals, In<double, nb::ndim<1>> radii) {
  if (points.shape(0) != normals.shape(0)) throw std::invalid_argument("ball_pivot: one normal a point is needed");
  std::vector<int32_t> faces;
  {
    nb::gil_scoped_release release;
    faces = rilievo::ball_pivot(points.data(), normals.data(), int64_t(points.shape(0)), radii.data(),
                                int64_t(radii.shape(0)));
  }
  const size_t n = faces.size() / 3;
  return to_numpy(std::move(faces), {n, 3});
}

}  // namespace

void bind_surface(nb::module_& m) {
  m.def("delaunay", &delaunay, nb::arg("points").noconvert());
  m.def("visibility_capacities", &visibility_capacities, nb::arg("points").noconvert(),
        nb::arg("vertices").noconvert(), nb::arg("neighbours").noconvert(), nb::arg("centers").noconvert(),
        nb::arg("sigma").noconvert(), nb::arg("weight").noconvert(), nb::arg("offsets").noconvert(),
        nb::arg("views").noconvert(), nb::arg("behind"), nb::arg("reach"), nb::arg("quality"), nb::arg("unit"));
  m.def("min_cut", &min_cut, nb::arg("neighbours").noconvert(), nb::arg("capacities").noconvert(),
        nb::arg("terminals").noconvert());
  m.def("ball_pivot", &ball_pivot, nb::arg("points").noconvert(), nb::arg("normals").noconvert(),
        nb::arg("radii").noconvert());
}
