// Bindings of the stereo kernels (native/stereo.h, native/depth_check.h).
#include <nanobind/stl/optional.h>

#include <optional>
#include <stdexcept>

#include "bindings.h"
#include "depth_check.h"
#include "stereo.h"

namespace {

using Pixels = In<uint8_t, nb::ndim<2>>;
using Stack = In<uint8_t, nb::ndim<3>>;
using Sizes = In<int32_t, nb::shape<-1, 2>>;
using Projections = In<float, nb::shape<-1, 3, 4>>;
using Planes = In<float, nb::shape<-1, -1, 3>>;
using Map = In<float, nb::ndim<2>>;
using PlaneStack = In<float, nb::shape<-1, -1, -1, 3>>;
using Vectors = In<float, nb::shape<-1, 3>>;

void same(bool equal, const char* message) {
  if (!equal) throw std::invalid_argument(message);
}

rilievo::StereoInput stereo_input(const Pixels& reference, const Stack& sources, const Sizes& sizes,
                                  const Projections& projections, const Planes& planes,
                                  const std::optional<PlaneStack>& source_planes,
                                  const std::optional<Vectors>& backs, int shrink, float sigma_grey, float sigma_px) {
  const size_t n = sources.shape(0);
  same(sizes.shape(0) == n && projections.shape(0) == n, "sources, sizes and projections differ in number");
  same(planes.shape(0) == reference.shape(0) && planes.shape(1) == reference.shape(1),
       "planes and reference differ in size");
  same(source_planes.has_value() == backs.has_value(), "source_planes and backs go together");
  if (source_planes) {
    same(source_planes->shape(0) == n && backs->shape(0) == n, "sources, source_planes and backs differ in number");
    same(source_planes->shape(1) < 32768 && source_planes->shape(2) < 32768,
         "source_planes must be smaller than 32768 pixels a side");
  }
  same(reference.shape(0) < 32768 && reference.shape(1) < 32768 && sources.shape(1) < 32768 &&
           sources.shape(2) < 32768 && n < 1000,
       "images must be smaller than 32768 pixels a side");
  return {reference.data(),
          static_cast<int>(reference.shape(0)),
          static_cast<int>(reference.shape(1)),
          sources.data(),
          static_cast<int>(n),
          static_cast<int>(sources.shape(1)),
          static_cast<int>(sources.shape(2)),
          sizes.data(),
          projections.data(),
          source_planes ? source_planes->data() : nullptr,
          source_planes ? static_cast<int>(source_planes->shape(1)) : 0,
          source_planes ? static_cast<int>(source_planes->shape(2)) : 0,
          shrink,
          backs ? backs->data() : nullptr,
          sigma_grey,
          sigma_px};
}

}  // namespace

void bind_stereo(nb::module_& m) {
  m.def(
      "stereo_sweep",
      [](const Pixels& reference, const Stack& sources, const Sizes& sizes, const Projections& projections,
         const Planes& planes, const Map& costs, std::optional<PlaneStack> source_planes, std::optional<Vectors> backs,
         float min_w, float max_w, float step, float fx, float fy, float shift, float tilt, int num_random,
         int num_perturbed, int num_polish, int reach, bool merge, int shrink, float noise, float geometric, float sigma_grey, float sigma_px, uint32_t key) {
        const auto input = stereo_input(reference, sources, sizes, projections, planes, source_planes, backs,
                                        shrink, sigma_grey, sigma_px);
        same(costs.shape(0) == reference.shape(0) && costs.shape(1) == reference.shape(1),
             "costs and reference differ in size");
        const rilievo::StereoOptions options{min_w,      max_w,         step,  fx,    fy,        shift, tilt,
                                             num_random, num_perturbed, num_polish, reach, merge, noise, geometric, key};
        std::vector<float> planes_out, costs_out;
        {
          nb::gil_scoped_release free;
          rilievo::stereo_sweep(input, options, planes.data(), costs.data(), planes_out, costs_out);
        }
        const size_t h = reference.shape(0), w = reference.shape(1);
        return nb::make_tuple(to_numpy(std::move(planes_out), {h, w, 3}), to_numpy(std::move(costs_out), {h, w}));
      },
      nb::arg("reference").noconvert(), nb::arg("sources").noconvert(), nb::arg("sizes").noconvert(),
      nb::arg("projections").noconvert(), nb::arg("planes").noconvert(), nb::arg("costs").noconvert(),
      nb::arg("source_planes").noconvert().none(), nb::arg("backs").noconvert().none(), nb::kw_only(),
      nb::arg("min_w"), nb::arg("max_w"), nb::arg("step"), nb::arg("fx"), nb::arg("fy"), nb::arg("shift"),
      nb::arg("tilt"), nb::arg("num_random"), nb::arg("num_perturbed"), nb::arg("num_polish"), nb::arg("reach"), nb::arg("merge"), nb::arg("shrink"), nb::arg("noise"),
      nb::arg("geometric"), nb::arg("sigma_grey"), nb::arg("sigma_px"), nb::arg("key"));
  m.def(
      "stereo_cost",
      [](const Pixels& reference, const Stack& sources, const Sizes& sizes, const Projections& projections,
         const Planes& planes, std::optional<PlaneStack> source_planes, std::optional<Vectors> backs, int shrink,
         float noise, float geometric, float sigma_grey, float sigma_px) {
        const auto input = stereo_input(reference, sources, sizes, projections, planes, source_planes, backs,
                                        shrink, sigma_grey, sigma_px);
        rilievo::StereoOptions options{};
        options.noise = noise;
        options.geometric = geometric;
        std::vector<float> per_source, cost;
        {
          nb::gil_scoped_release free;
          rilievo::stereo_cost(input, options, planes.data(), per_source, cost);
        }
        const size_t h = reference.shape(0), w = reference.shape(1), n = sources.shape(0);
        return nb::make_tuple(to_numpy(std::move(per_source), {h, w, n}), to_numpy(std::move(cost), {h, w}));
      },
      nb::arg("reference").noconvert(), nb::arg("sources").noconvert(), nb::arg("sizes").noconvert(),
      nb::arg("projections").noconvert(), nb::arg("planes").noconvert(), nb::arg("source_planes").noconvert().none(),
      nb::arg("backs").noconvert().none(), nb::kw_only(), nb::arg("shrink"), nb::arg("noise"), nb::arg("geometric"),
      nb::arg("sigma_grey"), nb::arg("sigma_px"));
  m.def(
      "stereo_measure",
      [](const Pixels& reference, const Stack& sources, const Sizes& sizes, const Projections& projections,
         const Planes& planes, float step, float noise, float sigma_grey, float sigma_px) {
        const auto input = stereo_input(reference, sources, sizes, projections, planes, std::nullopt, std::nullopt, 1,
                                        sigma_grey, sigma_px);
        rilievo::StereoOptions options{};
        options.noise = noise;
        options.step = step;
        std::vector<float> out;
        {
          nb::gil_scoped_release free;
          rilievo::stereo_measure(input, options, planes.data(), out);
        }
        return to_numpy(std::move(out), {reference.shape(0), reference.shape(1), size_t(4)});
      },
      nb::arg("reference").noconvert(), nb::arg("sources").noconvert(), nb::arg("sizes").noconvert(),
      nb::arg("projections").noconvert(), nb::arg("planes").noconvert(), nb::kw_only(), nb::arg("step"),
      nb::arg("noise"), nb::arg("sigma_grey"), nb::arg("sigma_px"));
  m.def(
      "depth_agreement",
      [](const Map& depth, const Map& other, const In<double, nb::shape<3, 4>>& other_from_this,
         const In<double, nb::shape<3, 4>>& this_from_other, double max_error_px, double max_relative) {
        const rilievo::DepthPair pair{depth.data(),
                                      static_cast<int>(depth.shape(0)),
                                      static_cast<int>(depth.shape(1)),
                                      other.data(),
                                      static_cast<int>(other.shape(0)),
                                      static_cast<int>(other.shape(1)),
                                      other_from_this.data(),
                                      this_from_other.data()};
        std::vector<uint8_t> verdict;
        std::vector<float> depth_there;
        {
          nb::gil_scoped_release free;
          rilievo::depth_agreement(pair, max_error_px, max_relative, verdict, depth_there);
        }
        const size_t h = depth.shape(0), w = depth.shape(1);
        return nb::make_tuple(to_numpy(std::move(verdict), {h, w}), to_numpy(std::move(depth_there), {h, w}));
      },
      nb::arg("depth").noconvert(), nb::arg("other").noconvert(), nb::arg("other_from_this").noconvert(),
      nb::arg("this_from_other").noconvert(), nb::kw_only(), nb::arg("max_error_px"), nb::arg("max_relative"));
  m.def(
      "depth_pieces",
      [](const Map& depth, float max_relative) {
        std::vector<int32_t> size;
        {
          nb::gil_scoped_release free;
          rilievo::depth_pieces(depth.data(), static_cast<int>(depth.shape(0)), static_cast<int>(depth.shape(1)),
                                max_relative, size);
        }
        return to_numpy(std::move(size), {depth.shape(0), depth.shape(1)});
      },
      nb::arg("depth").noconvert(), nb::kw_only(), nb::arg("max_relative"));
}
