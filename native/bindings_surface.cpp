// Kernels of fusion and surfaces.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "bindings.h"
#include "fusion.h"

namespace {

using rilievo::MapView;
using Plane = In<float, nb::ndim<2>>;
using MapArrays = std::tuple<Plane, In<float, nb::shape<-1, -1, 3>>, Plane, Plane, In<uint8_t, nb::shape<-1, -1, 3>>,
                             In<double, nb::shape<4>>, In<double, nb::shape<3, 4>>>;

MapView map_view(const MapArrays& arrays) {
  const auto& [depth, normals, confidence, sigma, colors, camera, cam_from_world] = arrays;
  MapView view{depth.data(),           normals.data(), confidence.data(), sigma.data(), colors.data(),
               int64_t(depth.shape(0)), int64_t(depth.shape(1)), camera.data(), cam_from_world.data()};
  const auto same = [&](const auto& array) {
    return int64_t(array.shape(0)) == view.height && int64_t(array.shape(1)) == view.width;
  };
  if (!same(normals) || !same(confidence) || !same(sigma) || !same(colors))
    throw std::invalid_argument("fuse_map: depth, normals, confidence, sigma and colors must have one size");
  if (view.height * view.width > INT32_MAX) throw std::invalid_argument("fuse_map: the map has too many pixels");
  if (!(camera.data()[0] > 0 && camera.data()[1] > 0))
    throw std::invalid_argument("fuse_map: focal lengths must be positive");
  return view;
}

nb::tuple fuse_map(const MapArrays& reference, const std::vector<MapArrays>& neighbours,
                   In<uint8_t, nb::ndim<2>> consumed, int min_views, double max_relative_depth,
                   double max_reprojection_px, double min_normal_cos, double min_confidence, double default_sigma_px,
                   double max_contradictions) {
  const MapView view = map_view(reference);
  std::vector<MapView> others;
  for (const MapArrays& arrays : neighbours) others.push_back(map_view(arrays));
  if (int64_t(consumed.shape(0)) != view.height || int64_t(consumed.shape(1)) != view.width)
    throw std::invalid_argument("fuse_map: consumed must have the size of the depth map");
  rilievo::FusedPoints fused;
  {
    nb::gil_scoped_release release;
    fused = rilievo::fuse_map(view, others, consumed.data(),
                              {min_views, max_relative_depth, max_reprojection_px, min_normal_cos, min_confidence,
                               default_sigma_px, max_contradictions});
  }
  const size_t n = fused.counts.size(), m = fused.views.size();
  return nb::make_tuple(to_numpy(std::move(fused.points), {n, 3}), to_numpy(std::move(fused.normals), {n, 3}),
                        to_numpy(std::move(fused.colors), {n, 3}), to_numpy(std::move(fused.confidence), {n}),
                        to_numpy(std::move(fused.sigma), {n}), to_numpy(std::move(fused.spacing), {n}),
                        to_numpy(std::move(fused.counts), {n}), to_numpy(std::move(fused.views), {m}),
                        to_numpy(std::move(fused.pixels), {m}));
}

}  // namespace

void bind_surface(nb::module_& m) {
  m.def("fuse_map", &fuse_map, nb::arg("reference").noconvert(), nb::arg("neighbours").noconvert(), nb::arg("consumed").noconvert(),
        nb::arg("min_views"), nb::arg("max_relative_depth"), nb::arg("max_reprojection_px"), nb::arg("min_normal_cos"),
        nb::arg("min_confidence"), nb::arg("default_sigma_px"), nb::arg("max_contradictions"));
}
