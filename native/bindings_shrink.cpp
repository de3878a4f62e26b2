// Bindings of shrink.cpp.
#include "bindings.h"

#include <stdexcept>

#include "shrink.h"

void bind_shrink(nb::module_& m) {
  m.def(
      "shrink_blocks",
      [](In<float, nb::ndim<3>> planes, In<float, nb::ndim<3>> pilot, In<float, nb::shape<-1, 8, 8>> sigma, int step,
         float hard) {
        const auto c = static_cast<int64_t>(planes.shape(0)), h = static_cast<int64_t>(planes.shape(1));
        const auto w = static_cast<int64_t>(planes.shape(2));
        if (c < 1 || h < 8 || w < 8) throw std::invalid_argument("planes must have at least 8 x 8 pixels");
        const bool guided = pilot.size() > 0;
        for (int i = 0; i < 3; ++i)
          if (guided && pilot.shape(i) != planes.shape(i)) throw std::invalid_argument("pilot and planes differ in size");
        if (static_cast<int64_t>(sigma.shape(0)) != c) throw std::invalid_argument("sigma needs a row for each plane");
        if (step < 1 || step > 8) throw std::invalid_argument("step must be 1 to 8");
        if (!(hard >= 0)) throw std::invalid_argument("hard must not be negative");
        std::vector<float> out;
        {
          nb::gil_scoped_release release;
          out = rilievo::shrink_blocks(
              {planes.data(), guided ? pilot.data() : nullptr, sigma.data(), c, h, w, step, hard});
        }
        return to_numpy(std::move(out), {static_cast<size_t>(c), static_cast<size_t>(h), static_cast<size_t>(w)});
      },
      nb::arg("planes").noconvert(), nb::arg("pilot").noconvert(), nb::arg("sigma").noconvert(), nb::arg("step"),
      nb::arg("hard"));
}
