// Kernels of fusion: native/fusion.h, native/distinct.h.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>

#include "bindings.h"
#include "distinct.h"
#include "fusion.h"

namespace {

using rilievo::MapView;
using Plane = In<float, nb::ndim<2>>;
using Vectors = In<float, nb::shape<-1, 3>>;
using Values = In<float, nb::ndim<1>>;
using Flags = In<uint8_t, nb::ndim<1>>;
using Integers = In<int32_t, nb::ndim<1>>;
using MapArrays = std::tuple<Plane, In<float, nb::shape<-1, -1, 3>>, Plane, Plane, In<uint8_t, nb::shape<-1, -1, 3>>,
                             std::optional<In<uint8_t, nb::ndim<2>>>, In<double, nb::shape<4>>,
                             In<double, nb::shape<3, 4>>>;

MapView map_view(const MapArrays& arrays) {
  const auto& [depth, normals, confidence, sigma, colors, inferred, camera, cam_from_world] = arrays;
  MapView view{depth.data(),
               normals.data(),
               confidence.data(),
               sigma.data(),
               colors.data(),
               inferred ? inferred->data() : nullptr,
               int64_t(depth.shape(0)),
               int64_t(depth.shape(1)),
               camera.data(),
               cam_from_world.data()};
  const auto same = [&](const auto& array) {
    return int64_t(array.shape(0)) == view.height && int64_t(array.shape(1)) == view.width;
  };
  if (!same(normals) || !same(confidence) || !same(sigma) || !same(colors) || (inferred && !same(*inferred)))
    throw std::invalid_argument("fuse_map: depth, normals, confidence, sigma, colors and inferred must have one size");
  if (view.height * view.width > INT32_MAX) throw std::invalid_argument("fuse_map: the map has too many pixels");
  if (!(camera.data()[0] > 0 && camera.data()[1] > 0))
    throw std::invalid_argument("fuse_map: focal lengths must be positive");
  return view;
}

nb::tuple fuse_map(const MapArrays& reference, const std::vector<MapArrays>& neighbours, Integers ranks, int min_views,
                   double max_relative_depth, double max_reprojection_px, double min_normal_cos, double min_confidence,
                   double default_sigma_px, double max_contradictions, double max_sigmas, double min_distance) {
  const MapView view = map_view(reference);
  std::vector<MapView> others;
  for (const MapArrays& arrays : neighbours) others.push_back(map_view(arrays));
  if (ranks.shape(0) != neighbours.size() + 1)
    throw std::invalid_argument("fuse_map: ranks must have one number a map, the reference's first");
  rilievo::FusedPoints fused;
  {
    nb::gil_scoped_release release;
    fused = rilievo::fuse_map(view, others, ranks.data(),
                              {min_views, max_relative_depth, max_reprojection_px, min_normal_cos, min_confidence,
                               default_sigma_px, max_contradictions, max_sigmas, min_distance});
  }
  const size_t n = fused.counts.size(), m = fused.views.size();
  return nb::make_tuple(to_numpy(std::move(fused.points), {n, 3}), to_numpy(std::move(fused.normals), {n, 3}),
                        to_numpy(std::move(fused.colors), {n, 3}), to_numpy(std::move(fused.confidence), {n}),
                        to_numpy(std::move(fused.sigma), {n}), to_numpy(std::move(fused.spacing), {n}),
                        to_numpy(std::move(fused.inferred), {n}), to_numpy(std::move(fused.counts), {n}),
                        to_numpy(std::move(fused.views), {m}));
}

void check_cloud(const char* kernel, const Vectors& points, const Values& spacing) {
  if (spacing.shape(0) != points.shape(0)) throw std::invalid_argument(std::string(kernel) + ": arrays differ in length");
  if (points.shape(0) > UINT32_MAX) throw std::invalid_argument(std::string(kernel) + ": too many points");
}

nb::object distinct_points(Vectors points, Vectors normals, Values spacing, Flags inferred, Integers counts,
                           Integers owner, double radius, double depth, double min_normal_cos) {
  check_cloud("distinct_points", points, spacing);
  const size_t n = points.shape(0);
  if (normals.shape(0) != n || inferred.shape(0) != n || counts.shape(0) != n || owner.shape(0) != n)
    throw std::invalid_argument("distinct_points: arrays differ in length");
  if (!(radius > 0 && radius <= 100) || !(depth >= 0 && depth <= 100))
    throw std::invalid_argument("distinct_points: radius must be positive, depth not negative, both at most 100");
  std::vector<uint8_t> stays;
  {
    nb::gil_scoped_release release;
    stays = rilievo::distinct_points({points.data(), normals.data(), spacing.data(), inferred.data(), counts.data(),
                                      owner.data(), int64_t(n)},
                                     radius, depth, min_normal_cos);
  }
  return nb::cast(to_numpy(std::move(stays), {n}));
}

nb::object crowded_points(Vectors points, Values spacing, double radius, int min_neighbours) {
  check_cloud("crowded_points", points, spacing);
  if (!(radius > 0 && radius <= 100)) throw std::invalid_argument("crowded_points: radius must be positive, at most 100");
  const size_t n = points.shape(0);
  std::vector<uint8_t> out;
  {
    nb::gil_scoped_release release;
    out = rilievo::crowded_points(points.data(), spacing.data(), int64_t(n), radius, min_neighbours);
  }
  return nb::cast(to_numpy(std::move(out), {n}));
}

}  // namespace

void bind_fusion(nb::module_& m) {
  m.def("fuse_map", &fuse_map, nb::arg("reference").noconvert(), nb::arg("neighbours").noconvert(),
        nb::arg("ranks").noconvert(), nb::arg("min_views"), nb::arg("max_relative_depth"),
        nb::arg("max_reprojection_px"), nb::arg("min_normal_cos"), nb::arg("min_confidence"),
        nb::arg("default_sigma_px"), nb::arg("max_contradictions"), nb::arg("max_sigmas"), nb::arg("min_distance"));
  m.def("distinct_points", &distinct_points, nb::arg("points").noconvert(), nb::arg("normals").noconvert(),
        nb::arg("spacing").noconvert(), nb::arg("inferred").noconvert(), nb::arg("counts").noconvert(),
        nb::arg("owner").noconvert(), nb::arg("radius"), nb::arg("depth"), nb::arg("min_normal_cos"));
  m.def("crowded_points", &crowded_points, nb::arg("points").noconvert(), nb::arg("spacing").noconvert(),
        nb::arg("radius"), nb::arg("min_neighbours"));
}
