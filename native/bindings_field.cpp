// Bindings of the kernels of the radiance field: shapes are checked here, nothing is computed.
#include <cmath>
#include <stdexcept>

#include "bindings.h"
#include "field.h"

namespace {

using Levels = In<int32_t, nb::shape<-1, 4>>;
using Floats = In<float, nb::ndim<1>>;
using Floats3 = In<float, nb::shape<-1, 3>>;
using Table = In<float, nb::shape<-1, rilievo::kRowFloats>>;
using Grid = In<uint8_t, nb::ndim<3>>;
using Changed = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;  // changed in place
using ChangedTable = nb::ndarray<float, nb::shape<-1, rilievo::kRowFloats>, nb::c_contig, nb::device::cpu>;

void require(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

template <typename A>
void require_finite(const A& values, const char* message) {
  const float* p = values.data();
  for (size_t i = 0; i < values.size(); ++i) require(std::isfinite(p[i]), message);
}

rilievo::FieldShape shape_of(const Levels& levels, int density_width, int color_width, size_t table_rows) {
  rilievo::FieldShape s{};
  const size_t n = levels.shape(0);
  require(n >= 4 && n <= rilievo::kMaxLevels && n % 4 == 0, "there must be 4, 8, 12 or 16 levels");
  s.num_levels = static_cast<int>(n);
  int64_t first = 0;
  for (size_t k = 0; k < n; ++k) {
    const int32_t* row = levels.data() + 4 * k;
    s.level[k] = {row[0], row[1], row[2], row[3]};
    require(row[0] >= 1 && row[0] <= (1 << 20), "resolutions must be 1 to 2^20");
    require(row[1] == first && row[2] >= 1, "levels must follow each other in the table");
    if (row[3]) {
      require((row[2] & (row[2] - 1)) == 0, "a hashed level must have a power of two of rows");
    } else {
      require(row[0] <= 1024, "a level that is not hashed has at most 1024 cells across");
      const int64_t side = row[0] + 1;
      require(side * side * side <= row[2], "a level that is not hashed needs a row for every corner");
    }
    first += row[2];
  }
  require(first <= (1 << 28), "the table has too many rows");
  require(static_cast<int64_t>(table_rows) == first, "the table must have the rows of its levels");
  for (int width : {density_width, color_width})
    require(width >= 16 && width <= 256 && width % 16 == 0, "widths must be multiples of 16, 16 to 256");
  s.density_width = density_width;
  s.color_width = color_width;
  return s;
}

void check_weights(const rilievo::FieldShape& s, size_t n) {
  require(static_cast<int64_t>(n) == s.num_weights(), "weights must have the sizes of the networks");
}

rilievo::FieldMarch march_of(const Grid& occupancy, bool unbounded, const Floats& edges) {
  const size_t g = occupancy.shape(0);
  require(g >= 8 && g <= 1024 && g % 8 == 0 && occupancy.shape(1) == g && 8 * occupancy.shape(2) == g,
          "occupancy must have the shape (g, g, g / 8) with g a multiple of 8, 8 to 1024");
  require(edges.shape(0) >= 2 && edges.shape(0) < (1 << 24), "edges must have at least two values");
  require(edges.data()[0] >= 0, "edges must not be negative");
  for (size_t k = 0; k + 1 < edges.shape(0); ++k)
    require(edges.data()[k + 1] > edges.data()[k] && std::isfinite(edges.data()[k + 1]), "edges must rise");
  return {occupancy.data(), static_cast<int>(g), unbounded, edges.data(), static_cast<int>(edges.shape(0)) - 1};
}

rilievo::FieldRays rays_of(const Floats3& origins, const Floats3& directions, const Floats& jitter) {
  const size_t n = origins.shape(0);
  require(directions.shape(0) == n && jitter.shape(0) == n, "there must be a direction and a jitter for every origin");
  require(n < (size_t{1} << 31), "there are too many rays");
  require_finite(origins, "origins must be finite");
  require_finite(directions, "directions must be finite");
  for (size_t i = 0; i < n; ++i) {
    const float* d = directions.data() + 3 * i;
    const float square = (d[0] * d[0] + d[1] * d[1]) + d[2] * d[2];
    require(square > 0.999f && square < 1.001f, "directions must be unit vectors");
    require(jitter.data()[i] >= 0 && jitter.data()[i] <= 1, "jitter must be 0 to 1");
  }
  return {origins.data(), directions.data(), jitter.data(), static_cast<int64_t>(n)};
}

}  // namespace

void bind_field(nb::module_& m) {
  m.def(
      "field_encode",
      [](Levels levels, Table table, Floats3 u) {
        const rilievo::FieldShape s = shape_of(levels, 16, 16, table.shape(0));
        const size_t n = u.shape(0), width = static_cast<size_t>(s.inputs());
        std::vector<float> features(n * width);
        {
          nb::gil_scoped_release release;
          rilievo::field_encode(s, table.data(), u.data(), static_cast<int64_t>(n), features.data());
        }
        return to_numpy(std::move(features), {n, width});
      },
      nb::arg("levels").noconvert(), nb::arg("table").noconvert(), nb::arg("u").noconvert());
  m.def(
      "field_density",
      [](Levels levels, int density_width, int color_width, Table table, Floats weights, Floats3 u) {
        const rilievo::FieldShape s = shape_of(levels, density_width, color_width, table.shape(0));
        check_weights(s, weights.shape(0));
        const size_t n = u.shape(0);
        std::vector<float> density(n);
        {
          nb::gil_scoped_release release;
          rilievo::field_density(s, table.data(), weights.data(), u.data(), static_cast<int64_t>(n), density.data());
        }
        return to_numpy(std::move(density), {n});
      },
      nb::arg("levels").noconvert(), nb::arg("density_width"), nb::arg("color_width"), nb::arg("table").noconvert(),
      nb::arg("weights").noconvert(), nb::arg("u").noconvert());
  m.def(
      "field_march",
      [](Grid occupancy, bool unbounded, Floats edges, Floats3 origins, Floats3 directions, Floats jitter) {
        const rilievo::FieldMarch march = march_of(occupancy, unbounded, edges);
        const rilievo::FieldRays rays = rays_of(origins, directions, jitter);
        std::vector<int64_t> offsets(static_cast<size_t>(rays.n) + 1);
        std::vector<float> t, delta, u;
        {
          nb::gil_scoped_release release;
          const int64_t n = rilievo::field_march(march, rays, -1, offsets.data(), nullptr, nullptr, nullptr);
          t.resize(static_cast<size_t>(n));
          delta.resize(static_cast<size_t>(n));
          u.resize(static_cast<size_t>(3 * n));
          rilievo::field_march(march, rays, n, offsets.data(), t.data(), delta.data(), u.data());
        }
        const size_t n = t.size(), num = offsets.size();
        return nb::make_tuple(to_numpy(std::move(offsets), {num}), to_numpy(std::move(t), {n}),
                              to_numpy(std::move(delta), {n}), to_numpy(std::move(u), {n, 3}));
      },
      nb::arg("occupancy").noconvert(), nb::arg("unbounded"), nb::arg("edges").noconvert(),
      nb::arg("origins").noconvert(), nb::arg("directions").noconvert(), nb::arg("jitter").noconvert());
  m.def(
      "field_gradients",
      [](Levels levels, int density_width, int color_width, Table table, Floats weights, Grid occupancy, bool unbounded,
         Floats edges, Floats3 origins, Floats3 directions, Floats jitter, Floats3 targets, Floats3 backgrounds,
         Floats ray_weights, double scale, double huber, double distortion, double opacity, double min_weight,
         ChangedTable table_gradients, Changed weight_gradients) {
        const rilievo::FieldShape s = shape_of(levels, density_width, color_width, table.shape(0));
        check_weights(s, weights.shape(0));
        const rilievo::FieldMarch march = march_of(occupancy, unbounded, edges);
        const rilievo::FieldRays rays = rays_of(origins, directions, jitter);
        const size_t n = static_cast<size_t>(rays.n);
        require(targets.shape(0) == n && backgrounds.shape(0) == n && ray_weights.shape(0) == n,
                "there must be a target, a background and a weight for every ray");
        require_finite(targets, "targets must be finite");
        require_finite(backgrounds, "backgrounds must be finite");
        require_finite(ray_weights, "ray_weights must be finite");
        for (double x : {scale, huber, distortion, opacity, min_weight})
          require(std::isfinite(x) && x >= 0, "scale, huber, distortion, opacity and min_weight must not be negative");
        require(table_gradients.shape(0) == table.shape(0), "table_gradients must have the shape of table");
        require(weight_gradients.shape(0) == weights.shape(0), "weight_gradients must have the shape of weights");
        const rilievo::FieldLoss loss{targets.data(),
                                      backgrounds.data(),
                                      ray_weights.data(),
                                      static_cast<float>(huber),
                                      static_cast<float>(distortion),
                                      static_cast<float>(opacity),
                                      static_cast<float>(scale)};
        std::vector<float> ray_losses(n);
        rilievo::FieldCounts counts;
        {
          nb::gil_scoped_release release;
          counts = rilievo::field_gradients(s, table.data(), weights.data(), march, rays, loss,
                                            static_cast<float>(min_weight), table_gradients.data(),
                                            weight_gradients.data(), ray_losses.data());
        }
        return nb::make_tuple(to_numpy(std::move(ray_losses), {n}), counts.marched, counts.kept);
      },
      nb::arg("levels").noconvert(), nb::arg("density_width"), nb::arg("color_width"), nb::arg("table").noconvert(),
      nb::arg("weights").noconvert(), nb::arg("occupancy").noconvert(), nb::arg("unbounded"),
      nb::arg("edges").noconvert(), nb::arg("origins").noconvert(), nb::arg("directions").noconvert(),
      nb::arg("jitter").noconvert(), nb::arg("targets").noconvert(), nb::arg("backgrounds").noconvert(),
      nb::arg("ray_weights").noconvert(), nb::arg("scale"), nb::arg("huber"), nb::arg("distortion"), nb::arg("opacity"),
      nb::arg("min_weight"), nb::arg("table_gradients").noconvert(), nb::arg("weight_gradients").noconvert());
  m.def(
      "field_trace",
      [](Levels levels, int density_width, int color_width, Table table, Floats weights, Grid occupancy, bool unbounded,
         Floats edges, Floats3 origins, Floats3 directions, Floats jitter, In<float, nb::shape<3>> background,
         double min_weight) {
        const rilievo::FieldShape s = shape_of(levels, density_width, color_width, table.shape(0));
        check_weights(s, weights.shape(0));
        const rilievo::FieldMarch march = march_of(occupancy, unbounded, edges);
        const rilievo::FieldRays rays = rays_of(origins, directions, jitter);
        require_finite(background, "background must be finite");
        require(std::isfinite(min_weight) && min_weight >= 0, "min_weight must not be negative");
        const size_t n = static_cast<size_t>(rays.n);
        std::vector<float> color(3 * n), distance(n), opacity(n);
        {
          nb::gil_scoped_release release;
          rilievo::field_trace(s, table.data(), weights.data(), march, rays, background.data(),
                               static_cast<float>(min_weight), color.data(), distance.data(), opacity.data());
        }
        return nb::make_tuple(to_numpy(std::move(color), {n, 3}), to_numpy(std::move(distance), {n}),
                              to_numpy(std::move(opacity), {n}));
      },
      nb::arg("levels").noconvert(), nb::arg("density_width"), nb::arg("color_width"), nb::arg("table").noconvert(),
      nb::arg("weights").noconvert(), nb::arg("occupancy").noconvert(), nb::arg("unbounded"),
      nb::arg("edges").noconvert(), nb::arg("origins").noconvert(), nb::arg("directions").noconvert(),
      nb::arg("jitter").noconvert(), nb::arg("background").noconvert(), nb::arg("min_weight"));
  m.def(
      "field_adam",
      [](Changed values, Changed gradients, Changed mean, Changed square, double rate, double beta1, double beta2,
         double epsilon) {
        const size_t n = values.shape(0);
        require(gradients.shape(0) == n && mean.shape(0) == n && square.shape(0) == n,
                "values, gradients, mean and square must have one length");
        require(std::isfinite(rate) && beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1 && epsilon > 0,
                "rate must be finite, beta1 and beta2 0 to below 1, epsilon positive");
        nb::gil_scoped_release release;
        rilievo::field_adam(values.data(), gradients.data(), mean.data(), square.data(), static_cast<int64_t>(n),
                            static_cast<float>(rate), static_cast<float>(beta1), static_cast<float>(beta2),
                            static_cast<float>(epsilon));
      },
      nb::arg("values").noconvert(), nb::arg("gradients").noconvert(), nb::arg("mean").noconvert(),
      nb::arg("square").noconvert(), nb::arg("rate"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("epsilon"));
  m.def(
      "field_rays",
      [](In<uint8_t, nb::shape<-1, 4>> pixels, In<uint8_t, nb::ndim<1>> usable, In<int64_t, nb::shape<-1, 3>> sizes,
         In<double, nb::shape<-1, 16>> cameras, uint32_t seed, uint32_t iteration, size_t n, bool random_background,
         In<float, nb::shape<3>> background) {
        const size_t num = sizes.shape(0);
        require(num > 0 && num < (size_t{1} << 31) && cameras.shape(0) == num, "there must be a camera for every photo");
        require(usable.shape(0) == 0 || usable.shape(0) == pixels.shape(0), "usable must have one byte a pixel or none");
        require_finite(background, "background must be finite");
        require(n < (size_t{1} << 31), "there are too many rays");
        std::vector<rilievo::FieldPhoto> photos(num);
        for (size_t k = 0; k < num; ++k) {
          const int64_t* size = sizes.data() + 3 * k;
          const double* c = cameras.data() + 16 * k;
          require(size[1] > 0 && size[2] > 0 && size[1] < (1 << 20) && size[2] < (1 << 20),
                  "photos must be 1 to 2^20 pixels wide and high");
          require(size[0] >= 0 && size[0] + size[1] * size[2] <= static_cast<int64_t>(pixels.shape(0)),
                  "photos must lie within the pixels");
          for (int j = 0; j < 16; ++j) require(std::isfinite(c[j]), "cameras must be finite");
          require(c[0] > 0 && c[1] > 0, "focal lengths must be positive");
          rilievo::FieldPhoto& p = photos[k];
          p = {size[0], static_cast<int32_t>(size[1]), static_cast<int32_t>(size[2]), c[0], c[1], c[2], c[3], {}, {}};
          for (int j = 0; j < 9; ++j) p.rotation[j] = c[4 + j];
          for (int j = 0; j < 3; ++j) p.center[j] = c[13 + j];
        }
        rilievo::FieldDraw draw{seed, iteration, random_background, {}};
        for (int j = 0; j < 3; ++j) draw.background[j] = background.data()[j];
        std::vector<float> origins(3 * n), directions(3 * n), jitter(n), targets(3 * n), backgrounds(3 * n), weights(n);
        std::vector<int32_t> photo(n);
        {
          nb::gil_scoped_release release;
          rilievo::field_rays(pixels.data(), usable.shape(0) ? usable.data() : nullptr, photos.data(),
                              static_cast<int64_t>(num), draw, static_cast<int64_t>(n), origins.data(),
                              directions.data(), jitter.data(), targets.data(), backgrounds.data(), weights.data(),
                              photo.data());
        }
        return nb::make_tuple(to_numpy(std::move(origins), {n, 3}), to_numpy(std::move(directions), {n, 3}),
                              to_numpy(std::move(jitter), {n}), to_numpy(std::move(targets), {n, 3}),
                              to_numpy(std::move(backgrounds), {n, 3}), to_numpy(std::move(weights), {n}),
                              to_numpy(std::move(photo), {n}));
      },
      nb::arg("pixels").noconvert(), nb::arg("usable").noconvert(), nb::arg("sizes").noconvert(),
      nb::arg("cameras").noconvert(), nb::arg("seed"), nb::arg("iteration"), nb::arg("n"), nb::arg("random_background"),
      nb::arg("background").noconvert());
}
