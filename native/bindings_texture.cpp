// Bindings of the texturing kernels: shapes are checked here, nothing is computed.
#include <stdexcept>

#include "bindings.h"
#include "texture.h"

namespace {

using rilievo::Pinhole;
using Floats3 = In<float, nb::shape<-1, 3>>;
using Faces = In<int32_t, nb::shape<-1, 3>>;
using Raster = In<int32_t, nb::ndim<2>>;
using FloatRaster = In<float, nb::ndim<2>>;
using Bytes3 = In<uint8_t, nb::shape<-1, -1, 3>>;
using Corners2 = In<float, nb::shape<-1, 3, 2>>;
using Corners3 = In<float, nb::shape<-1, 3, 3>>;
using Texture = nb::ndarray<uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;  // changed in place

void require(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

Pinhole pinhole(double fx, double fy, double cx, double cy, int64_t width, int64_t height) {
  require(width >= 0 && height >= 0 && width < (1 << 24) && height < (1 << 24), "image size out of range");
  return {fx, fy, cx, cy, width, height};
}

void require_offsets(const In<int64_t, nb::ndim<1>>& offsets, size_t rows) {
  const size_t n = offsets.shape(0);
  require(n >= 1 && offsets.data()[0] == 0 && offsets.data()[n - 1] == static_cast<int64_t>(rows),
          "offsets must run from 0 to the number of rows");
  for (size_t f = 0; f + 1 < n; ++f) require(offsets.data()[f] <= offsets.data()[f + 1], "offsets must not fall");
}

template <typename A, typename B>
void same_size(const A& a, const B& b, const char* message) {
  require(a.shape(0) == b.shape(0) && a.shape(1) == b.shape(1), message);
}

}  // namespace

void bind_texture(nb::module_& m) {
  m.def(
      "rasterize_mesh",
      [](Floats3 vertices_cam, Faces faces, double fx, double fy, double cx, double cy, int64_t width, int64_t height) {
        const Pinhole camera = pinhole(fx, fy, cx, cy, width, height);
        std::vector<int32_t> index(width * height);
        std::vector<float> depth(width * height);
        {
          nb::gil_scoped_release release;
          rilievo::rasterize_mesh(vertices_cam.data(), vertices_cam.shape(0), faces.data(), faces.shape(0), camera,
                                  index.data(), depth.data());
        }
        const size_t h = height, w = width;
        return nb::make_tuple(to_numpy(std::move(index), {h, w}), to_numpy(std::move(depth), {h, w}));
      },
      nb::arg("vertices_cam").noconvert(), nb::arg("faces").noconvert(), nb::arg("fx"), nb::arg("fy"), nb::arg("cx"),
      nb::arg("cy"), nb::arg("width"), nb::arg("height"));
  m.def(
      "interpolate_pixels",
      [](Raster face_index, Floats3 vertices_cam, Faces faces, double fx, double fy, double cx, double cy,
         In<float, nb::ndim<2>> attributes) {
        require(attributes.shape(0) == vertices_cam.shape(0), "attributes: one row a vertex");
        const Pinhole camera = pinhole(fx, fy, cx, cy, face_index.shape(1), face_index.shape(0));
        const size_t k = attributes.shape(1);
        std::vector<float> out(face_index.size() * k);
        {
          nb::gil_scoped_release release;
          rilievo::interpolate_pixels(face_index.data(), vertices_cam.data(), vertices_cam.shape(0), faces.data(),
                                      faces.shape(0), camera, attributes.data(), k, out.data());
        }
        return to_numpy(std::move(out), {face_index.shape(0), face_index.shape(1), k});
      },
      nb::arg("face_index").noconvert(), nb::arg("vertices_cam").noconvert(), nb::arg("faces").noconvert(),
      nb::arg("fx"), nb::arg("fy"), nb::arg("cx"), nb::arg("cy"), nb::arg("attributes").noconvert());
  m.def(
      "score_faces",
      [](Floats3 vertices_cam, Faces faces, double fx, double fy, double cx, double cy, Bytes3 pixels,
         In<uint8_t, nb::ndim<2>> mask, FloatRaster sharpness, FloatRaster depth, FloatRaster front, FloatRaster back, Raster face_index,
         double min_cos) {
        const Pinhole camera = pinhole(fx, fy, cx, cy, pixels.shape(1), pixels.shape(0));
        same_size(pixels, mask, "mask must have the size of pixels");
        same_size(pixels, sharpness, "sharpness must have the size of pixels");
        same_size(pixels, depth, "depth must have the size of pixels");
        same_size(pixels, front, "front must have the size of pixels");
        same_size(pixels, back, "back must have the size of pixels");
        same_size(pixels, face_index, "face_index must have the size of pixels");
        std::vector<float> quality(faces.shape(0)), colors(3 * faces.shape(0));
        {
          nb::gil_scoped_release release;
          const rilievo::ViewRasters view{pixels.data(), mask.data(),  sharpness.data(),
                                          depth.data(),  front.data(), back.data(),
                                          face_index.data()};
          rilievo::score_faces(vertices_cam.data(), vertices_cam.shape(0), faces.data(), faces.shape(0), camera, view,
                               min_cos, quality.data(), colors.data());
        }
        return nb::make_tuple(to_numpy(std::move(quality), {faces.shape(0)}),
                              to_numpy(std::move(colors), {faces.shape(0), size_t{3}}));
      },
      nb::arg("vertices_cam").noconvert(), nb::arg("faces").noconvert(), nb::arg("fx"), nb::arg("fy"), nb::arg("cx"),
      nb::arg("cy"), nb::arg("pixels").noconvert(), nb::arg("mask").noconvert(), nb::arg("sharpness").noconvert(),
      nb::arg("depth").noconvert(), nb::arg("front").noconvert(), nb::arg("back").noconvert(),
      nb::arg("face_index").noconvert(), nb::arg("min_cos"));
  m.def(
      "reject_colors",
      [](In<int64_t, nb::ndim<1>> offsets, Floats3 colors, double tolerance) {
        require_offsets(offsets, colors.shape(0));
        require(tolerance > 0, "tolerance must be above 0");
        std::vector<uint8_t> out;
        {
          nb::gil_scoped_release release;
          out = rilievo::reject_colors(offsets.data(), static_cast<int64_t>(offsets.shape(0)) - 1, colors.data(), tolerance);
        }
        return to_numpy(std::move(out), {colors.shape(0)});
      },
      nb::arg("offsets").noconvert(), nb::arg("colors").noconvert(), nb::arg("tolerance"));
  m.def(
      "merge_patches",
      [](In<int64_t, nb::ndim<1>> offsets, In<int32_t, nb::ndim<1>> labels, In<float, nb::ndim<1>> costs,
         Faces neighbors, In<int32_t, nb::ndim<1>> chosen, int64_t most, double worth) {
        const size_t n = neighbors.shape(0);
        require(offsets.shape(0) == n + 1 && chosen.shape(0) == n, "offsets must have one more entry than neighbors");
        require(labels.shape(0) == costs.shape(0), "labels and costs must be equally long");
        require_offsets(offsets, labels.shape(0));
        std::vector<int32_t> merged;
        {
          nb::gil_scoped_release release;
          merged = rilievo::merge_patches(offsets.data(), labels.data(), costs.data(), static_cast<int64_t>(n),
                                          neighbors.data(), chosen.data(), most, worth);
        }
        return to_numpy(std::move(merged), {n});
      },
      nb::arg("offsets").noconvert(), nb::arg("labels").noconvert(), nb::arg("costs").noconvert(),
      nb::arg("neighbors").noconvert(), nb::arg("chosen").noconvert(), nb::arg("most"), nb::arg("worth"));
  m.def(
      "label_faces",
      [](In<int64_t, nb::ndim<1>> offsets, In<int32_t, nb::ndim<1>> labels, In<float, nb::ndim<1>> costs,
         Faces neighbors, In<float, nb::shape<-1, 3>> weights, int iterations) {
        const size_t n = neighbors.shape(0);
        require(offsets.shape(0) == n + 1 && weights.shape(0) == n, "offsets must have one more entry than neighbors");
        require(labels.shape(0) == costs.shape(0), "labels and costs must be equally long");
        require(offsets.data()[0] == 0 && offsets.data()[n] == static_cast<int64_t>(labels.shape(0)),
                "offsets must run from 0 to the number of labels");
        for (size_t f = 0; f < n; ++f) {
          require(offsets.data()[f] <= offsets.data()[f + 1], "offsets must not fall");
          for (int64_t i = offsets.data()[f]; i + 1 < offsets.data()[f + 1]; ++i)
            require(labels.data()[i] < labels.data()[i + 1], "labels of a face must rise");
        }
        std::vector<int32_t> chosen;
        {
          nb::gil_scoped_release release;
          chosen = rilievo::label_faces(offsets.data(), labels.data(), costs.data(), static_cast<int64_t>(n),
                                        neighbors.data(), weights.data(), iterations);
        }
        return to_numpy(std::move(chosen), {n});
      },
      nb::arg("offsets").noconvert(), nb::arg("labels").noconvert(), nb::arg("costs").noconvert(),
      nb::arg("neighbors").noconvert(), nb::arg("weights").noconvert(), nb::arg("iterations"));
  m.def(
      "pack_charts",
      [](Corners2 corner_xy, In<int32_t, nb::ndim<1>> chart_of_face, int64_t num_charts, int64_t width, int64_t padding,
         int64_t block) {
        const size_t n = corner_xy.shape(0);
        require(chart_of_face.shape(0) == n, "chart_of_face: one entry a face");
        require(width >= 1 && width <= 65536 && padding >= 0 && padding <= 256 && block >= 1 && block <= 1024,
                "width, padding or block out of range");
        require(num_charts >= 0 && num_charts <= static_cast<int64_t>(n), "more charts than faces");
        for (size_t f = 0; f < n; ++f)
          require(chart_of_face.data()[f] >= 0 && chart_of_face.data()[f] < num_charts, "chart number out of range");
        for (size_t i = 0; i < 6 * n; ++i)
          require(corner_xy.data()[i] > -1e6f && corner_xy.data()[i] < 1e6f, "corner_xy must be finite and below 1e6");
        rilievo::Packed packed;
        {
          nb::gil_scoped_release release;
          packed = rilievo::pack_charts(corner_xy.data(), chart_of_face.data(), static_cast<int64_t>(n), num_charts,
                                        width, padding, block);
        }
        return nb::make_tuple(to_numpy(std::move(packed.shift), {static_cast<size_t>(num_charts), size_t{2}}),
                              packed.height);
      },
      nb::arg("corner_xy").noconvert(), nb::arg("chart_of_face").noconvert(), nb::arg("num_charts"), nb::arg("width"),
      nb::arg("padding"), nb::arg("block"));
  m.def(
      "grow_owner",
      [](Raster owner, int64_t radius) {
        require(radius >= 0 && radius <= 3, "radius must be 0 to 3");
        std::vector<int32_t> grown(owner.size());
        {
          nb::gil_scoped_release release;
          rilievo::grow_owner(owner.data(), owner.shape(0), owner.shape(1), radius, grown.data());
        }
        return to_numpy(std::move(grown), {owner.shape(0), owner.shape(1)});
      },
      nb::arg("owner").noconvert(), nb::arg("radius"));
  m.def(
      "bake_faces",
      [](Texture texture, Raster owner, Corners2 corner_xy, In<int32_t, nb::ndim<1>> selected, Corners3 corner_photo,
         Bytes3 pixels) {
        same_size(texture, owner, "owner must have the size of the texture");
        require(selected.shape(0) == corner_photo.shape(0), "corner_photo: one row a selected face");
        nb::gil_scoped_release release;
        rilievo::bake_faces(texture.data(), owner.data(), owner.shape(0), owner.shape(1), corner_xy.data(),
                            corner_xy.shape(0), selected.data(), selected.shape(0), corner_photo.data(), pixels.data(),
                            pixels.shape(0), pixels.shape(1));
      },
      nb::arg("texture").noconvert(), nb::arg("owner").noconvert(), nb::arg("corner_xy").noconvert(),
      nb::arg("selected").noconvert(), nb::arg("corner_photo").noconvert(), nb::arg("pixels").noconvert());
  m.def(
      "shift_colors",
      [](Texture texture, Raster owner, Corners2 corner_xy, Corners3 corner_shift) {
        same_size(texture, owner, "owner must have the size of the texture");
        require(corner_xy.shape(0) == corner_shift.shape(0), "corner_shift: one row a face");
        nb::gil_scoped_release release;
        rilievo::shift_colors(texture.data(), owner.data(), owner.shape(0), owner.shape(1), corner_xy.data(),
                              corner_xy.shape(0), corner_shift.data());
      },
      nb::arg("texture").noconvert(), nb::arg("owner").noconvert(), nb::arg("corner_xy").noconvert(),
      nb::arg("corner_shift").noconvert());
  m.def(
      "blend_seams",
      [](Texture texture, Raster owner, In<int32_t, nb::ndim<1>> patch_of_face, In<float, nb::shape<-1, 2>> sample_xy,
         In<int32_t, nb::ndim<1>> sample_patch, Floats3 sample_shift, double radius) {
        same_size(texture, owner, "owner must have the size of the texture");
        require(sample_xy.shape(0) == sample_patch.shape(0) && sample_xy.shape(0) == sample_shift.shape(0),
                "sample_xy, sample_patch and sample_shift must be equally long");
        require(radius <= 256, "radius must be at most 256");
        nb::gil_scoped_release release;
        rilievo::blend_seams(texture.data(), owner.data(), owner.shape(0), owner.shape(1), patch_of_face.data(),
                             patch_of_face.shape(0), sample_xy.data(), sample_patch.data(), sample_shift.data(),
                             sample_xy.shape(0), radius);
      },
      nb::arg("texture").noconvert(), nb::arg("owner").noconvert(), nb::arg("patch_of_face").noconvert(),
      nb::arg("sample_xy").noconvert(), nb::arg("sample_patch").noconvert(), nb::arg("sample_shift").noconvert(),
      nb::arg("radius"));
  m.def(
      "fill_gutters",
      [](Texture texture, Raster owner, int64_t radius) {
        same_size(texture, owner, "owner must have the size of the texture");
        nb::gil_scoped_release release;
        rilievo::fill_gutters(texture.data(), owner.data(), owner.shape(0), owner.shape(1), radius);
      },
      nb::arg("texture").noconvert(), nb::arg("owner").noconvert(), nb::arg("radius"));
}
