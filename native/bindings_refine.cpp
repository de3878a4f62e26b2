// Bindings of the kernels of mesh refinement: shapes are checked here, nothing is computed.
#include <cmath>
#include <stdexcept>

#include "bindings.h"
#include "refine.h"

namespace {

using Raster = In<int32_t, nb::ndim<2>>;
using FloatRaster = In<float, nb::ndim<2>>;
using Floats3 = In<float, nb::shape<-1, 3>>;
using Intrinsics = In<double, nb::shape<4>>;
using Changed3 = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;  // changed in place

void require(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

template <typename A, typename B>
void same_size(const A& a, const B& b, const char* message) {
  require(a.shape(0) == b.shape(0) && a.shape(1) == b.shape(1), message);
}

void check_camera(const Intrinsics& camera) {
  for (int k = 0; k < 4; ++k) require(std::isfinite(camera.data()[k]), "intrinsics must be finite");
  require(camera.data()[0] > 0 && camera.data()[1] > 0, "focal lengths must be positive");
}

}  // namespace

void bind_refine(nb::module_& m) {
  m.def(
      "warp_surface",
      [](FloatRaster depth0, Raster face_index0, Floats3 normals0, Intrinsics camera0, FloatRaster gray1,
         FloatRaster depth1, Intrinsics camera1, In<double, nb::shape<3, 4>> cam1_from_cam0, double min_cos,
         double tolerance) {
        same_size(depth0, face_index0, "face_index0 must have the size of depth0");
        same_size(gray1, depth1, "depth1 must have the size of gray1");
        require(depth0.shape(0) < 32768 && depth0.shape(1) < 32768 && gray1.shape(0) < 32768 && gray1.shape(1) < 32768,
                "images must be smaller than 32768 pixels a side");
        require(normals0.shape(0) < (size_t{1} << 29), "there must be fewer than 2^29 faces");
        check_camera(camera0);
        check_camera(camera1);
        require(min_cos > 0 && min_cos <= 1, "min_cos must be above 0 and at most 1");
        require(tolerance >= 0 && std::isfinite(tolerance), "tolerance must not be negative");
        const double* T = cam1_from_cam0.data();
        for (int k = 0; k < 12; ++k) require(std::isfinite(T[k]), "cam1_from_cam0 must be finite");
        rilievo::WarpView view;
        view.depth0 = depth0.data();
        view.face_index = face_index0.data();
        view.normals = normals0.data();
        view.num_faces = static_cast<int64_t>(normals0.shape(0));
        view.height0 = static_cast<int>(depth0.shape(0));
        view.width0 = static_cast<int>(depth0.shape(1));
        view.gray1 = gray1.data();
        view.depth1 = depth1.data();
        view.height1 = static_cast<int>(gray1.shape(0));
        view.width1 = static_cast<int>(gray1.shape(1));
        rilievo::set_geometry(view, camera0.data(), camera1.data(), T, min_cos, tolerance);
        std::vector<float> warped(depth0.size()), slope(depth0.size());
        {
          nb::gil_scoped_release release;
          rilievo::warp_surface(view, warped.data(), slope.data());
        }
        return nb::make_tuple(to_numpy(std::move(warped), {depth0.shape(0), depth0.shape(1)}),
                              to_numpy(std::move(slope), {depth0.shape(0), depth0.shape(1)}));
      },
      nb::arg("depth0").noconvert(), nb::arg("face_index0").noconvert(), nb::arg("normals0").noconvert(),
      nb::arg("camera0").noconvert(), nb::arg("gray1").noconvert(), nb::arg("depth1").noconvert(),
      nb::arg("camera1").noconvert(), nb::arg("cam1_from_cam0").noconvert(), nb::arg("min_cos"), nb::arg("tolerance"));
  m.def(
      "compare_warped",
      [](FloatRaster gray0, FloatRaster warped, FloatRaster slope, int radius, double noise, double softness,
         Changed3 sums) {
        same_size(gray0, warped, "warped must have the size of gray0");
        same_size(gray0, slope, "slope must have the size of gray0");
        require(sums.shape(0) == 4 && sums.shape(1) == gray0.shape(0) && sums.shape(2) == gray0.shape(1),
                "sums must have four rasters of the size of gray0");
        require(gray0.shape(0) < 32768 && gray0.shape(1) < 32768, "images must be smaller than 32768 pixels a side");
        require(radius >= 1 && radius <= rilievo::kMaxWindowRadius, "radius must be between 1 and 8");
        require(noise > 0 && std::isfinite(noise), "noise must be positive");
        require(softness > 0 && std::isfinite(softness), "softness must be positive");
        nb::gil_scoped_release release;
        rilievo::compare_warped(gray0.data(), warped.data(), slope.data(), gray0.shape(0), gray0.shape(1),
                                {radius, static_cast<float>(noise), static_cast<float>(softness)}, sums.data());
      },
      nb::arg("gray0").noconvert(), nb::arg("warped").noconvert(), nb::arg("slope").noconvert(), nb::arg("radius"),
      nb::arg("noise"), nb::arg("softness"), nb::arg("sums").noconvert());
  m.def(
      "collect_pixels",
      [](Raster face_index, Floats3 vertices_cam, In<int32_t, nb::shape<-1, 3>> faces, Intrinsics camera,
         In<float, nb::ndim<3>> values, Changed3 corner_sums) {
        require(values.shape(1) == face_index.shape(0) && values.shape(2) == face_index.shape(1),
                "values must be rasters of the size of face_index");
        require(corner_sums.shape(0) == faces.shape(0) && corner_sums.shape(1) == 3 &&
                    corner_sums.shape(2) == values.shape(0),
                "corner_sums must have one row a face, three corners and one number a raster");
        check_camera(camera);
        nb::gil_scoped_release release;
        rilievo::collect_pixels(face_index.data(), face_index.shape(0), face_index.shape(1), vertices_cam.data(),
                                vertices_cam.shape(0), faces.data(), faces.shape(0), camera.data(), values.data(),
                                values.shape(0), corner_sums.data());
      },
      nb::arg("face_index").noconvert(), nb::arg("vertices_cam").noconvert(), nb::arg("faces").noconvert(),
      nb::arg("camera").noconvert(), nb::arg("values").noconvert(), nb::arg("corner_sums").noconvert());
}
