// Texturing kernels: what is declared here is bound in bindings_texture.cpp and specified by kernels/reference/texture.py.
#pragma once
#include <cstdint>
#include <vector>

namespace rilievo {

struct Pinhole {
  double fx, fy, cx, cy;
  int64_t width, height;
};

// raster_mesh.cpp
void rasterize_mesh(const float* vertices_cam, int64_t num_vertices, const int32_t* faces, int64_t num_faces,
                    const Pinhole& camera, int32_t* face_index, float* depth);
void interpolate_pixels(const int32_t* face_index, const float* vertices_cam, int64_t num_vertices, const int32_t* faces,
                        int64_t num_faces, const Pinhole& camera, const float* attributes, int64_t width, float* out);

// texture_score.cpp
struct ViewRasters {
  const uint8_t* pixels;      // h w 3
  const uint8_t* mask;        // h w
  const float* sharpness;     // h w
  const float* depth;         // h w, NaN where there is none
  const float* front;         // h w, nearest depth around each pixel, infinite where there is none
  const float* back;          // h w, farthest depth around each pixel, infinite where there is none
  const int32_t* face_index;  // h w
};
void score_faces(const float* vertices_cam, int64_t num_vertices, const int32_t* faces, int64_t num_faces,
                 const Pinhole& camera, const ViewRasters& view, double min_cos, float* quality, float* colors);

// texture_label.cpp
std::vector<int32_t> label_faces(const int64_t* offsets, const int32_t* labels, const float* costs, int64_t num_faces,
                                 const int32_t* neighbors, const float* weights, int iterations);

// texture_merge.cpp
std::vector<uint8_t> reject_colors(const int64_t* offsets, int64_t num_faces, const float* colors, double tolerance);
std::vector<int32_t> merge_patches(const int64_t* offsets, const int32_t* labels, const float* costs, int64_t num_faces,
                                   const int32_t* neighbors, const int32_t* chosen, int64_t most, double worth);

// texture_pack.cpp
struct Packed {
  std::vector<int32_t> shift;  // num_charts 2: what to add to the corners of a chart
  int64_t height;
};
Packed pack_charts(const float* corner_xy, const int32_t* chart_of_face, int64_t num_faces, int64_t num_charts,
                   int64_t width, int64_t padding, int64_t block);

// texture_bake.cpp
void grow_owner(const int32_t* owner, int64_t height, int64_t width, int64_t radius, int32_t* grown);
void bake_faces(uint8_t* texture, const int32_t* owner, int64_t height, int64_t width, const float* corner_xy,
                int64_t num_faces, const int32_t* selected, int64_t num_selected, const float* corner_photo,
                const uint8_t* pixels, int64_t photo_height, int64_t photo_width);
void shift_colors(uint8_t* texture, const int32_t* owner, int64_t height, int64_t width, const float* corner_xy,
                  int64_t num_faces, const float* corner_shift);
void fill_gutters(uint8_t* texture, const int32_t* owner, int64_t height, int64_t width, int64_t radius);

// texture_seams.cpp
void blend_seams(uint8_t* texture, const int32_t* owner, int64_t height, int64_t width, const int32_t* patch_of_face,
                 int64_t num_faces, const float* sample_xy, const int32_t* sample_patch, const float* sample_shift,
                 int64_t num_samples, double radius);

}  // namespace rilievo
