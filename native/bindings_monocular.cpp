// Bindings of sides.cpp.
#include "bindings.h"

#include <stdexcept>

#include "sides.h"

void bind_monocular(nb::module_& m) {
  m.def(
      "choose_sides",
      [](In<float, nb::ndim<2>> values, In<uint8_t, nb::shape<-1, -1, 3>> colors, In<float, nb::ndim<2>> trust,
         In<uint8_t, nb::shape<-1, -1, 3>> picture, In<int32_t, nb::ndim<1>> rows, In<int32_t, nb::ndim<1>> columns,
         In<float, nb::ndim<1>> alike, int reach, float near, float flat, float slope) {
        const auto h = static_cast<int64_t>(values.shape(0)), w = static_cast<int64_t>(values.shape(1));
        const auto height = static_cast<int64_t>(picture.shape(0)), width = static_cast<int64_t>(picture.shape(1));
        if (colors.shape(0) != values.shape(0) || colors.shape(1) != values.shape(1) ||
            trust.shape(0) != values.shape(0) || trust.shape(1) != values.shape(1))
          throw std::invalid_argument("values, colors and trust must have one size");
        if (rows.shape(0) != columns.shape(0)) throw std::invalid_argument("rows and columns differ in length");
        if (reach < 1 || reach > 4) throw std::invalid_argument("reach must be 1 to 4");
        if (!alike.shape(0)) throw std::invalid_argument("alike is empty");
        if (!(near > 0)) throw std::invalid_argument("near must be positive");
        const size_t n = rows.shape(0);
        if (n && !(h && w)) throw std::invalid_argument("values is empty");
        for (size_t i = 0; i < n; ++i)
          if (rows(i) < 0 || rows(i) >= height || columns(i) < 0 || columns(i) >= width)
            throw std::invalid_argument("a pixel lies outside the picture");
        std::vector<float> out(n);
        {
          nb::gil_scoped_release release;
          rilievo::choose_sides({values.data(), colors.data(), trust.data(), h, w}, picture.data(), height, width,
                                rows.data(), columns.data(), static_cast<int64_t>(n),
                                {alike.data(), static_cast<int64_t>(alike.shape(0)), reach, near, flat, slope},
                                out.data());
        }
        return to_numpy(std::move(out), {n});
      },
      nb::arg("values").noconvert(), nb::arg("colors").noconvert(), nb::arg("trust").noconvert(),
      nb::arg("picture").noconvert(), nb::arg("rows").noconvert(), nb::arg("columns").noconvert(),
      nb::arg("alike").noconvert(), nb::arg("reach"), nb::arg("near"), nb::arg("flat"), nb::arg("slope"));
}
