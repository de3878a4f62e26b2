// Bindings of nearest.cpp.
#include "bindings.h"
#include <nanobind/stl/pair.h>

#include "nearest.h"

void bind_nearest(nb::module_& m) {
  m.def(
      "closest_on_mesh",
      [](In<double, nb::shape<-1, 3>> points, In<double, nb::shape<-1, 3>> vertices,
         In<int32_t, nb::shape<-1, 3>> faces, double max_distance) {
        std::vector<double> distance(points.shape(0));
        std::vector<int32_t> face(points.shape(0));
        {
          nb::gil_scoped_release release;
          rilievo::closest_on_mesh(points.data(), static_cast<int64_t>(points.shape(0)), vertices.data(),
                                   static_cast<int64_t>(vertices.shape(0)), faces.data(),
                                   static_cast<int64_t>(faces.shape(0)), max_distance, distance.data(), face.data());
        }
        const size_t n = points.shape(0);
        return std::make_pair(to_numpy(std::move(distance), {n}), to_numpy(std::move(face), {n}));
      },
      nb::arg("points").noconvert(), nb::arg("vertices").noconvert(), nb::arg("faces").noconvert(),
      nb::arg("max_distance"));
}
