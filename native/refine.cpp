#include "refine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"

namespace rilievo {
namespace {

constexpr int64_t kRowsAChunk = 8;
constexpr int64_t kBandRows = 32;
constexpr int64_t kFacesAChunk = 1024;
constexpr float kGreyMiddle = 128.0f;  // taken off grey values: sums of squares keep more digits

}  // namespace

void set_geometry(WarpView& view, const double* camera0, const double* camera1, const double* cam1_from_cam0,
                  double min_cos, double tolerance) {
  const double* T = cam1_from_cam0;
  view.ray0[0] = static_cast<float>(1 / camera0[0]), view.ray0[1] = static_cast<float>(-camera0[2] / camera0[0]);
  view.ray0[2] = static_cast<float>(1 / camera0[1]), view.ray0[3] = static_cast<float>(-camera0[3] / camera0[1]);
  for (int k = 0; k < 4; ++k) view.camera1[k] = static_cast<float>(camera1[k]);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) view.rotation[3 * i + j] = static_cast<float>(T[4 * i + j]);
    view.shift[i] = static_cast<float>(T[4 * i + 3]);
    view.center1[i] = static_cast<float>(-(T[i] * T[3] + T[4 + i] * T[7] + T[8 + i] * T[11]));
  }
  view.min_cos = static_cast<float>(min_cos);
  view.tolerance = static_cast<float>(tolerance);
}

void warp_surface(const WarpView& view, float* warped, float* slope) {
  const int64_t width = view.width0;
  if (view.num_faces == 0 || view.width1 < 2 || view.height1 < 2) {
    std::fill(warped, warped + width * view.height0, std::numeric_limits<float>::quiet_NaN());
    std::fill(slope, slope + width * view.height0, 0.0f);
    return;
  }
  parallel_ranges(view.height0, kRowsAChunk, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      RIL_CALL_SIMD(warp_row, view, static_cast<int>(y), warped + y * width, slope + y * width);
  });
}

void compare_warped(const float* gray0, const float* warped, const float* slope, int64_t height, int64_t width,
                    const CompareOptions& options, float* sums) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const int64_t r = options.radius, margin = 2 * r + 16, pitch = width + 2 * margin + 16;
  parallel_ranges(height, kBandRows, [&](int64_t begin, int64_t end) {
    bool any = false;
    for (int64_t i = begin * width; i < end * width && !any; ++i) any = warped[i] == warped[i];
    if (!any) return;  // nothing is compared and nothing has a slope
    const int64_t rows = end - begin, high = rows + 4 * r;
    std::vector<float> store((2 * high + 5 * rows + 4 * (rows + 2 * r) + 6) * pitch, 0.0f);
    float* grey = store.data();
    float* seen = grey + high * pitch;
    float* change = seen + high * pitch;
    Band band;
    band.width = static_cast<int>(width);
    band.pitch = static_cast<int>(pitch);
    band.margin = static_cast<int>(margin);
    band.rows = static_cast<int>(rows);
    band.gray0 = grey;
    band.warped = seen;
    band.slope = change;
    band.answer = change + rows * pitch;
    band.derivatives = band.answer + 4 * rows * pitch;
    band.window_sums = band.derivatives + 4 * (rows + 2 * r) * pitch;
    std::fill(grey, grey + 2 * high * pitch, nan);
    for (int64_t k = 0; k < high; ++k) {
      const int64_t y = begin - 2 * r + k;
      if (y < 0 || y >= height) continue;
      for (int64_t x = 0; x < width; ++x) {
        const float a = gray0[y * width + x] - kGreyMiddle, b = warped[y * width + x] - kGreyMiddle;
        grey[k * pitch + margin + x] = std::isfinite(a) ? a : nan;
        seen[k * pitch + margin + x] = std::isfinite(b) ? b : nan;
      }
    }
    for (int64_t k = 0; k < rows; ++k)
      std::copy(slope + (begin + k) * width, slope + (begin + k + 1) * width, change + k * pitch + margin);
    RIL_CALL_SIMD(compare_band, band, options);
    for (int64_t c = 0; c < 4; ++c)
      for (int64_t k = 0; k < rows; ++k) {
        const float* from = band.answer + (c * rows + k) * pitch + margin;
        float* to = sums + (c * height + begin + k) * width;
        for (int64_t x = 0; x < width; ++x) to[x] += from[x];
      }
  });
}

// The pixels of a face are those of its bounding box that name it; their weights are the edge functions in homogeneous
// image coordinates (Olano & Greer 1997), as in raster_mesh.cpp.
void collect_pixels(const int32_t* face_index, int64_t height, int64_t width, const float* vertices_cam,
                    int64_t num_vertices, const int32_t* faces, int64_t num_faces, const double* camera,
                    const float* values, int64_t channels, float* corner_sums) {
  const int64_t plane = height * width;
  std::vector<uint8_t> seen(num_faces, 0);
  for (int64_t i = 0; i < plane; ++i)
    if (face_index[i] >= 0 && face_index[i] < num_faces) seen[face_index[i]] = 1;
  parallel_ranges(num_faces, kFacesAChunk, [&](int64_t begin, int64_t end) {
    std::vector<double> total(3 * channels);
    for (int64_t f = begin; f < end; ++f) {
      if (!seen[f]) continue;
      double p[3][3];
      double x0 = 1e300, x1 = -1e300, y0 = 1e300, y1 = -1e300;
      bool usable = true, in_front = true;
      for (int k = 0; k < 3 && usable; ++k) {
        const int64_t vertex = faces[3 * f + k];
        usable = vertex >= 0 && vertex < num_vertices;
        if (!usable) break;
        const float* v = vertices_cam + 3 * vertex;
        const double z = v[2];
        p[k][0] = camera[0] * v[0] + camera[2] * z;
        p[k][1] = camera[1] * v[1] + camera[3] * z;
        p[k][2] = z;
        in_front = in_front && z > 1e-9;
        usable = std::isfinite(p[k][0]) && std::isfinite(p[k][1]) && std::isfinite(z);
        const double u = p[k][0] / z, w = p[k][1] / z;
        x0 = std::min(x0, u), x1 = std::max(x1, u), y0 = std::min(y0, w), y1 = std::max(y1, w);
      }
      if (!usable) continue;
      int64_t left = 0, right = width, top = 0, bottom = height;
      if (in_front) {
        const auto clamp = [](double v, int64_t most) {
          return v < 0 ? int64_t{0} : v > static_cast<double>(most) ? most : static_cast<int64_t>(v);
        };
        left = clamp(std::floor(x0 - 0.5), width), right = clamp(std::ceil(x1 + 0.5), width);
        top = clamp(std::floor(y0 - 0.5), height), bottom = clamp(std::ceil(y1 + 0.5), height);
      }
      double e[3][3];
      for (int k = 0; k < 3; ++k) {
        const double *u = p[(k + 1) % 3], *v = p[(k + 2) % 3];
        e[k][0] = u[1] * v[2] - u[2] * v[1];
        e[k][1] = u[2] * v[0] - u[0] * v[2];
        e[k][2] = u[0] * v[1] - u[1] * v[0];
      }
      std::fill(total.begin(), total.end(), 0.0);
      for (int64_t y = top; y < bottom; ++y)
        for (int64_t x = left; x < right; ++x) {
          const int64_t pixel = y * width + x;
          if (face_index[pixel] != f) continue;
          double w[3], sum = 0;
          for (int k = 0; k < 3; ++k) {
            w[k] = e[k][0] * (x + 0.5) + (e[k][1] * (y + 0.5) + e[k][2]);
            sum += w[k];
          }
          if (!(sum != 0) || !std::isfinite(sum)) continue;
          for (int k = 0; k < 3; ++k)
            for (int64_t c = 0; c < channels; ++c) total[k * channels + c] += w[k] / sum * values[c * plane + pixel];
        }
      float* to = corner_sums + 3 * channels * f;
      for (int64_t i = 0; i < 3 * channels; ++i) to[i] += static_cast<float>(total[i]);
    }
  });
}

}  // namespace rilievo
