// How well one view shows each face of a mesh: projected size, angle, sharpness, occlusion, distance to the border.
#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "texture.h"

namespace rilievo {

constexpr double kFlattest = 0.05;  // cosine at which a face is too flat to be used even where no other photo sees it
constexpr double kBump = 6;         // what hides a face by less than this many depth steps may be noise of the mesh

void score_faces(const float* vertices_cam, int64_t num_vertices, const int32_t* faces, int64_t num_faces,
                 const Pinhole& camera, const ViewRasters& view, double min_cos, float* quality, float* colors) {
  const int64_t width = camera.width, height = camera.height;
  std::fill(quality, quality + num_faces, 0.0f);
  std::fill(colors, colors + 3 * num_faces, 0.0f);
  if (width < 3 || height < 3) return;

  // Mean colour over the pixels that show the face; one thread, so that sums have one order.
  std::vector<int32_t> count(num_faces, 0), masked(num_faces, 0);
  std::vector<int64_t> sum(3 * num_faces, 0);
  for (int64_t i = 0; i < width * height; ++i) {
    const int32_t f = view.face_index[i];
    if (f < 0 || f >= num_faces) continue;
    ++count[f];
    masked[f] += view.mask[i] == 0;
    for (int c = 0; c < 3; ++c) sum[3 * static_cast<int64_t>(f) + c] += view.pixels[3 * i + c];
  }

  const double border = 0.02 * static_cast<double>(std::min(width, height));
  const double focal = 0.5 * (camera.fx + camera.fy);
  parallel_ranges(num_faces, 2048, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      const int32_t* face = faces + 3 * f;
      if (face[0] < 0 || face[1] < 0 || face[2] < 0 || face[0] >= num_vertices || face[1] >= num_vertices ||
          face[2] >= num_vertices) {
        continue;
      }
      double p[3][3], mid[3] = {0, 0, 0};
      for (int k = 0; k < 3; ++k) {
        for (int c = 0; c < 3; ++c) {
          p[k][c] = vertices_cam[3 * static_cast<int64_t>(face[k]) + c];
          mid[c] += p[k][c] / 3;
        }
      }
      if (!(p[0][2] > 1e-9 && p[1][2] > 1e-9 && p[2][2] > 1e-9)) continue;
      const double u[3] = {p[1][0] - p[0][0], p[1][1] - p[0][1], p[1][2] - p[0][2]};
      const double v[3] = {p[2][0] - p[0][0], p[2][1] - p[0][1], p[2][2] - p[0][2]};
      const double n[3] = {u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]};
      const double along = -(n[0] * mid[0] + n[1] * mid[1] + n[2] * mid[2]);
      const double lengths = std::sqrt((n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) *
                                       (mid[0] * mid[0] + mid[1] * mid[1] + mid[2] * mid[2]));
      const double cosine = along / lengths;
      if (!(cosine >= std::min(min_cos, kFlattest))) continue;  // also catches faces without area and NaN

      // Depth changes by about gsd * tan(angle) from one pixel to the next on this face.
      const double tangent = std::min(12.0, std::sqrt(std::max(0.0, 1 - cosine * cosine)) / cosine);
      const double gsd = mid[2] / focal;
      const double step = gsd * (1 + 1.5 * tangent);
      bool visible = true, behind_edge = false, on_edge = false, doubtful = cosine < min_cos;
      double xy[3][2];
      for (int k = 0; k < 4 && visible; ++k) {
        double s[3];  // the centroid and three points a little inside the corners
        for (int c = 0; c < 3; ++c) s[c] = k == 3 ? mid[c] : 0.85 * p[k][c] + 0.15 * mid[c];
        if (k < 3) {
          xy[k][0] = camera.fx * p[k][0] / p[k][2] + camera.cx;
          xy[k][1] = camera.fy * p[k][1] / p[k][2] + camera.cy;
          if (!(xy[k][0] >= 1 && xy[k][1] >= 1 && xy[k][0] <= static_cast<double>(width - 1) &&
                xy[k][1] <= static_cast<double>(height - 1))) {
            visible = false;
            break;
          }
        }
        const int64_t x = static_cast<int64_t>(camera.fx * s[0] / s[2] + camera.cx);
        const int64_t y = static_cast<int64_t>(camera.fy * s[1] / s[2] + camera.cy);
        if (x < 0 || y < 0 || x >= width || y >= height) {
          visible = false;
          break;
        }
        const int64_t i = y * width + x;
        if (view.mask[i] == 0) visible = false;
        if (view.face_index[i] != f) {  // NaN depth hides nothing
          if (s[2] > view.depth[i] + kBump * step) visible = false;
          else if (s[2] > view.depth[i] + step) doubtful = true;
        }
        if (s[2] > view.front[i] + 5 * step) behind_edge = true;
        if (view.back[i] > s[2] + 5 * step) on_edge = true;
      }
      if (!visible || masked[f] > 0 || (doubtful && (behind_edge || on_edge))) continue;
      const double area = 0.5 * std::abs((xy[1][0] - xy[0][0]) * (xy[2][1] - xy[0][1]) -
                                         (xy[2][0] - xy[0][0]) * (xy[1][1] - xy[0][1]));
      const double mx = camera.fx * mid[0] / mid[2] + camera.cx, my = camera.fy * mid[1] / mid[2] + camera.cy;
      const int64_t pixel = static_cast<int64_t>(my) * width + static_cast<int64_t>(mx);
      const double to_border =
          std::min({mx, my, static_cast<double>(width) - mx, static_cast<double>(height) - my}) / border;
      double score = area * cosine * (static_cast<double>(view.sharpness[pixel]) + 4.0);
      score *= 0.2 + 0.8 * std::clamp(to_border, 0.0, 1.0);
      if (behind_edge) score *= 0.05;  // colours of what stands in front bleed over here
      if (on_edge) score *= 0.1;       // and here those of what lies behind
      if (doubtful) score *= 0.03;     // better than nothing: a bump of the mesh hides a corner
      if (!(score > 0) || !std::isfinite(score)) continue;
      quality[f] = static_cast<float>(score);
      for (int c = 0; c < 3; ++c) {
        colors[3 * f + c] = count[f] >= 3 ? static_cast<float>(static_cast<double>(sum[3 * f + c]) / count[f])
                                          : static_cast<float>(view.pixels[3 * pixel + c]);
      }
    }
  });
}

}  // namespace rilievo
