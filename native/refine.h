// Kernels of photometric mesh refinement (Vu, Labatut, Pons & Keriven 2012, "High accuracy and visibility-consistent
// dense multiview stereo", section 4): bound in bindings_refine.cpp, specified by kernels/reference/refine.py.
#pragma once
#include <cstdint>

#include "dispatch.h"

namespace rilievo {

constexpr int kMaxWindowRadius = 8;

// One photo seen through the surface by another one.
struct WarpView {
  const float* depth0;        // h0 w0, NaN where there is nothing to compare
  const int32_t* face_index;  // h0 w0
  const float* normals;       // faces 3, unit, axes of camera 0
  int64_t num_faces;
  int width0, height0;
  const float* gray1;   // h1 w1
  const float* depth1;  // h1 w1, NaN where there is nothing to compare
  int width1, height1;
  float ray0[4];    // (x + 0.5) * ray0[0] + ray0[1], (y + 0.5) * ray0[2] + ray0[3]: direction with z = 1 in camera 0
  float camera1[4];  // fx fy cx cy
  float rotation[9], shift[3];  // cam1_from_cam0
  float center1[3];             // centre of camera 1 in the axes of camera 0
  float min_cos, tolerance;
};

struct CompareOptions {
  int radius;
  float noise, softness;
};

// Rows of a band with room on every side; see compare_band.
struct Band {
  int width, pitch, margin;  // column x of the picture is element margin + x of a row
  int rows;                  // rows that are answered; the pictures have 2 radius more above and below
  const float* gray0;        // (rows + 4 radius) pitch; NaN outside of the picture
  const float* warped;
  const float* slope;   // rows pitch
  float* window_sums;   // 6 pitch
  float* derivatives;   // 4 (rows + 2 radius) pitch
  float* answer;        // 4 rows pitch: slope of the energy, its curvature, energy, 1 where compared
};

// The cameras (fx fy cx cy), the 3 x 4 motion between them and the limits of `view`.
void set_geometry(WarpView& view, const double* camera0, const double* camera1, const double* cam1_from_cam0,
                  double min_cos, double tolerance);
void warp_surface(const WarpView& view, float* warped, float* slope);
void compare_warped(const float* gray0, const float* warped, const float* slope, int64_t height, int64_t width,
                    const CompareOptions& options, float* sums);
void collect_pixels(const int32_t* face_index, int64_t height, int64_t width, const float* vertices_cam,
                    int64_t num_vertices, const int32_t* faces, int64_t num_faces, const double* camera,
                    const float* values, int64_t channels, float* corner_sums);

}  // namespace rilievo

RIL_DECLARE_SIMD(void warp_row(const WarpView& view, int y, float* warped, float* slope);
                 void compare_band(const Band& band, const CompareOptions& options);)
