#include "bindings.h"
#include "keypoints.h"

#include <stdexcept>

void bind_features(nb::module_& m) {
  m.def(
      "sift",
      [](In<uint8_t, nb::ndim<3>> rgb, In<uint8_t, nb::ndim<2>> mask, int max_features, bool upsample,
         float min_contrast, float max_edge_ratio, int grid) {
        const auto h = rgb.shape(0), w = rgb.shape(1);
        if (rgb.shape(2) != 3) throw std::invalid_argument("pixels must be (h, w, 3)");
        if (mask.size() && (mask.shape(0) != h || mask.shape(1) != w))
          throw std::invalid_argument("the mask must have the size of the pixels, or be empty");
        if (h > 32000 || w > 32000) throw std::invalid_argument("pixels may be at most 32000 a side");
        rilievo::SiftOptions options;
        options.max_features = max_features;
        options.upsample = upsample;
        options.min_contrast = min_contrast;
        options.max_edge_ratio = max_edge_ratio;
        options.grid = grid;
        rilievo::SiftResult r;
        {
          nb::gil_scoped_release release;
          r = rilievo::sift(rgb.data(), mask.size() ? mask.data() : nullptr, static_cast<int>(h), static_cast<int>(w),
                            options);
        }
        const size_t n = r.scales.size();
        return nb::make_tuple(to_numpy(std::move(r.keypoints), {n, 2}), to_numpy(std::move(r.scales), {n}),
                              to_numpy(std::move(r.orientations), {n}), to_numpy(std::move(r.scores), {n}),
                              to_numpy(std::move(r.descriptors), {n, 128}), to_numpy(std::move(r.colors), {n, 3}));
      },
      nb::arg("pixels").noconvert(), nb::arg("mask").noconvert(), nb::kw_only(), nb::arg("max_features") = 8000,
      nb::arg("upsample") = true, nb::arg("min_contrast") = 1.7f, nb::arg("max_edge_ratio") = 10.0f,
      nb::arg("grid") = 16);
  m.def(
      "match_nearest",
      [](In<uint8_t, nb::ndim<2>> queries, In<uint8_t, nb::ndim<2>> targets, float max_ratio, bool mutual) {
        if (queries.shape(1) != targets.shape(1)) throw std::invalid_argument("descriptors differ in length");
        if (queries.shape(1) == 0 || queries.shape(1) > 4096)
          throw std::invalid_argument("descriptors must have 1 to 4096 values");
        if (queries.shape(0) > 1000000 || targets.shape(0) > 1000000)
          throw std::invalid_argument("more than a million descriptors");
        std::vector<int32_t> r;
        {
          nb::gil_scoped_release release;
          r = rilievo::match_nearest(queries.data(), static_cast<int64_t>(queries.shape(0)), targets.data(),
                                     static_cast<int64_t>(targets.shape(0)), static_cast<int>(queries.shape(1)),
                                     max_ratio, mutual);
        }
        const size_t n = r.size();
        return to_numpy(std::move(r), {n});
      },
      nb::arg("queries").noconvert(), nb::arg("targets").noconvert(), nb::kw_only(), nb::arg("max_ratio") = 0.8f,
      nb::arg("mutual") = true);
}
