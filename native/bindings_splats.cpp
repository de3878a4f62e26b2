// Bindings of the splat kernels: shapes are checked here, nothing is computed.
#include <cmath>
#include <optional>
#include <stdexcept>

#include <nanobind/stl/optional.h>

#include "bindings.h"
#include "splats.h"

namespace {

using Rows = In<float, nb::shape<-1, rilievo::kSplatRow>>;
using Changed2 = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;  // changed in place
using Changed3 = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Image = In<float, nb::ndim<3>>;

void require(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

// A frame and what was drawn of it, kept so that the next frame need not ask for memory again.
struct Drawn {
  rilievo::SplatFrame frame;
  std::vector<float> features, transmittance, median, slots;
};

template <typename... S>
nb::ndarray<nb::numpy, float> view_of(std::vector<float>& values, nb::handle owner, S... shape) {
  return nb::ndarray<nb::numpy, float>(values.data(), {static_cast<size_t>(shape)...}, owner);
}

void backward(Drawn& drawn, const Image& d_features, const std::optional<In<float, nb::ndim<2>>>& d_transmittance) {
  const auto& camera = drawn.frame.camera;
  require(d_features.shape(0) == static_cast<size_t>(drawn.frame.options.channels) &&
              d_features.shape(1) == static_cast<size_t>(camera.height) &&
              d_features.shape(2) == static_cast<size_t>(camera.width),
          "d_features must have the shape of the features that were drawn");
  if (d_transmittance)
    require(d_transmittance->shape(0) == static_cast<size_t>(camera.height) &&
                d_transmittance->shape(1) == static_cast<size_t>(camera.width),
            "d_transmittance must have the size of the image");
  nb::gil_scoped_release release;
  rilievo::draw_splats_backward(drawn.frame, drawn.features.data(), drawn.transmittance.data(), d_features.data(),
                                d_transmittance ? d_transmittance->data() : nullptr, drawn.slots);
}

}  // namespace

void bind_splats(nb::module_& m) {
  nb::class_<Drawn>(m, "SplatFrame")
      .def_prop_ro("features",
                   [](nb::object self) {
                     auto& d = nb::cast<Drawn&>(self);
                     return nb::cast(view_of(d.features, self, d.frame.options.channels, d.frame.camera.height,
                                             d.frame.camera.width));
                   })
      .def_prop_ro("transmittance",
                   [](nb::object self) {
                     auto& d = nb::cast<Drawn&>(self);
                     return nb::cast(view_of(d.transmittance, self, d.frame.camera.height, d.frame.camera.width));
                   })
      .def_prop_ro("median_depth",
                   [](nb::object self) -> nb::object {
                     auto& d = nb::cast<Drawn&>(self);
                     if (d.median.empty()) return nb::none();
                     return nb::cast(view_of(d.median, self, d.frame.camera.height, d.frame.camera.width));
                   })
      .def_prop_ro("num_pairs", [](const Drawn& d) { return d.frame.index.size(); })
      .def_prop_ro("visible", [](const Drawn& d) {
        std::vector<uint32_t> copy(d.frame.visible);
        const size_t n = copy.size();
        return nb::cast(to_numpy(std::move(copy), {n}));
      });
  m.def(
      "splat_forward",
      [](Rows rows, In<double, nb::shape<4>> camera, In<double, nb::shape<3, 4>> cam_from_world, int width, int height,
         double near, int degree, int channels, bool antialiased, In<float, nb::shape<3>> background, bool median,
         nb::object reuse) {
        require(width > 0 && height > 0 && width < 32768 && height < 32768, "the image must have 1 to 32767 pixels a side");
        require(rows.shape(0) < (size_t{1} << 31), "there must be fewer than 2^31 Gaussians");
        require(degree >= 0 && degree <= 3, "degree must be 0 to 3");
        require(channels == 3 || channels == 4 || channels == 7, "channels must be 3, 4 or 7");
        require(!median || channels > 3, "the median depth needs the channel of depth");
        require(near > 0 && std::isfinite(near), "near must be positive");
        rilievo::SplatCamera c;
        const double* K = camera.data();
        const double* T = cam_from_world.data();
        for (int k = 0; k < 4; ++k) require(std::isfinite(K[k]), "intrinsics must be finite");
        require(K[0] > 0 && K[1] > 0, "focal lengths must be positive");
        for (int k = 0; k < 12; ++k) require(std::isfinite(T[k]), "cam_from_world must be finite");
        c.fx = static_cast<float>(K[0]), c.fy = static_cast<float>(K[1]);
        c.cx = static_cast<float>(K[2]), c.cy = static_cast<float>(K[3]);
        for (int i = 0; i < 3; ++i) {
          for (int j = 0; j < 3; ++j) c.R[3 * i + j] = static_cast<float>(T[4 * i + j]);
          c.t[i] = static_cast<float>(T[4 * i + 3]);
          c.center[i] = static_cast<float>(-(T[i] * T[3] + T[4 + i] * T[7] + T[8 + i] * T[11]));
        }
        c.near = static_cast<float>(near);
        c.width = width, c.height = height;
        nb::object held = reuse.is_none() ? nb::cast(new Drawn, nb::rv_policy::take_ownership) : reuse;
        Drawn& drawn = nb::cast<Drawn&>(held);
        const size_t plane = static_cast<size_t>(width) * height;
        drawn.features.resize(plane * channels);
        drawn.transmittance.resize(plane);
        drawn.median.resize(median ? plane : 0);
        {
          nb::gil_scoped_release release;
          rilievo::project_splats(rows.data(), static_cast<int64_t>(rows.shape(0)), c, {degree, channels, antialiased},
                                  drawn.frame);
          rilievo::draw_splats(drawn.frame, background.data(), drawn.features.data(), drawn.transmittance.data(),
                               median ? drawn.median.data() : nullptr);
        }
        return held;
      },
      nb::arg("rows").noconvert(), nb::arg("camera").noconvert(), nb::arg("cam_from_world").noconvert(),
      nb::arg("width"), nb::arg("height"), nb::arg("near"), nb::arg("degree"), nb::arg("channels"),
      nb::arg("antialiased"), nb::arg("background").noconvert(), nb::arg("median") = false,
      nb::arg("reuse") = nb::none());
  m.def(
      "splat_backward",
      [](Drawn& drawn, Rows rows, Image d_features, std::optional<In<float, nb::ndim<2>>> d_transmittance) {
        require(rows.shape(0) == static_cast<size_t>(drawn.frame.num_splats), "rows must be those that were drawn");
        backward(drawn, d_features, d_transmittance);
        const size_t n = rows.shape(0);
        std::vector<float> d_rows(n * rilievo::kSplatRow, 0.0f), d_xy(n * 2, 0.0f);
        {
          nb::gil_scoped_release release;
          rilievo::splat_gradients(drawn.frame, rows.data(), drawn.slots, d_rows.data(), d_xy.data());
        }
        return nb::make_tuple(to_numpy(std::move(d_rows), {n, size_t{rilievo::kSplatRow}}),
                              to_numpy(std::move(d_xy), {n, size_t{2}}));
      },
      nb::arg("frame"), nb::arg("rows").noconvert(), nb::arg("d_features").noconvert(),
      nb::arg("d_transmittance").noconvert() = nb::none());
  m.def(
      "splat_update",
      [](Drawn& drawn, Image d_features, std::optional<In<float, nb::ndim<2>>> d_transmittance, Changed2 rows,
         Changed2 first, Changed2 second, Changed2 score, In<float, nb::shape<rilievo::kSplatRow>> rates,
         In<float, nb::shape<2, -1>> bias, double beta1, double beta2, double epsilon, double opacity_weight,
         double scale_weight) {
        const size_t n = static_cast<size_t>(drawn.frame.num_splats);
        for (const auto& a : {&rows, &first, &second})
          require(a->shape(0) == n && a->shape(1) == rilievo::kSplatRow, "rows and moments must be those that were drawn");
        require(score.shape(0) == n && score.shape(1) == 4, "score must have four numbers a Gaussian");
        require(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1 && epsilon > 0, "betas must be in [0, 1), epsilon positive");
        backward(drawn, d_features, d_transmittance);
        rilievo::SplatUpdate u;
        u.rows = rows.data(), u.first = first.data(), u.second = second.data(), u.score = score.data();
        u.rates = rates.data();
        u.bias1 = bias.data(), u.bias2 = bias.data() + bias.shape(1);
        u.num_bias = static_cast<int64_t>(bias.shape(1));
        u.beta1 = static_cast<float>(beta1), u.beta2 = static_cast<float>(beta2);
        u.epsilon = static_cast<float>(epsilon);
        u.opacity_weight = static_cast<float>(opacity_weight), u.scale_weight = static_cast<float>(scale_weight);
        nb::gil_scoped_release release;
        rilievo::update_splats(drawn.frame, drawn.slots, u);
      },
      nb::arg("frame"), nb::arg("d_features").noconvert(), nb::arg("d_transmittance").noconvert().none(),
      nb::arg("rows").noconvert(), nb::arg("first").noconvert(), nb::arg("second").noconvert(),
      nb::arg("score").noconvert(), nb::arg("rates").noconvert(), nb::arg("bias").noconvert(), nb::arg("beta1"),
      nb::arg("beta2"), nb::arg("epsilon"), nb::arg("opacity_weight") = 0.0, nb::arg("scale_weight") = 0.0);
  m.def(
      "photo_loss",
      [](Image rendered, In<uint8_t, nb::shape<-1, -1, 3>> photo, std::optional<In<uint8_t, nb::ndim<2>>> alpha,
         std::optional<In<uint8_t, nb::ndim<2>>> mask, std::optional<In<float, nb::ndim<2>>> block_weights,
         In<float, nb::shape<3>> background, In<float, nb::shape<3>> gain, In<float, nb::shape<3>> bias, double dssim,
         Changed3 gradient, Changed2 block_errors) {
        const size_t h = photo.shape(0), w = photo.shape(1);
        require(h > 0 && w > 0 && h < 32768 && w < 32768, "the photo must have 1 to 32767 pixels a side");
        require(rendered.shape(0) >= 3 && rendered.shape(1) == h && rendered.shape(2) == w,
                "rendered must have the size of the photo");
        require(gradient.shape(0) >= 3 && gradient.shape(1) == h && gradient.shape(2) == w,
                "gradient must have the size of the photo");
        if (alpha) require(alpha->shape(0) == h && alpha->shape(1) == w, "alpha must have the size of the photo");
        if (mask) require(mask->shape(0) == h && mask->shape(1) == w, "mask must have the size of the photo");
        const size_t bh = (h + 15) / 16, bw = (w + 15) / 16;
        if (block_weights)
          require(block_weights->shape(0) == bh && block_weights->shape(1) == bw, "block_weights: one a 16 x 16 block");
        require(block_errors.shape(0) == bh && block_errors.shape(1) == bw, "block_errors: one a 16 x 16 block");
        require(dssim >= 0 && dssim <= 1, "dssim must be between 0 and 1");
        rilievo::PhotoLoss loss;
        loss.rendered = rendered.data(), loss.photo = photo.data();
        loss.alpha = alpha ? alpha->data() : nullptr, loss.mask = mask ? mask->data() : nullptr;
        loss.block_weights = block_weights ? block_weights->data() : nullptr;
        loss.width = static_cast<int>(w), loss.height = static_cast<int>(h);
        for (int c = 0; c < 3; ++c) {
          loss.background[c] = background.data()[c], loss.gain[c] = gain.data()[c], loss.bias[c] = bias.data()[c];
          require(std::isfinite(loss.gain[c]) && loss.gain[c] != 0 && std::isfinite(loss.bias[c]), "gain must not be 0");
        }
        loss.dssim = static_cast<float>(dssim);
        loss.gradient = gradient.data(), loss.block_errors = block_errors.data();
        rilievo::LossSums s;
        {
          nb::gil_scoped_release release;
          s = rilievo::photo_loss(loss);
        }
        return nb::make_tuple(s.l1, s.ssim, s.squared, s.weight,
                              nb::make_tuple(s.d_gain[0], s.d_gain[1], s.d_gain[2]),
                              nb::make_tuple(s.d_bias[0], s.d_bias[1], s.d_bias[2]));
      },
      nb::arg("rendered").noconvert(), nb::arg("photo").noconvert(), nb::arg("alpha").noconvert().none(),
      nb::arg("mask").noconvert().none(), nb::arg("block_weights").noconvert().none(),
      nb::arg("background").noconvert(), nb::arg("gain").noconvert(), nb::arg("bias").noconvert(), nb::arg("dssim"),
      nb::arg("gradient").noconvert(), nb::arg("block_errors").noconvert());
}
