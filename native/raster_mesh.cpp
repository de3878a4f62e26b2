// Triangles to pixels by edge functions in homogeneous image coordinates (Olano & Greer 1997, "Triangle scan conversion
// using 2D homogeneous coordinates", section 3): a triangle that crosses the camera plane needs no clipping.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"
#include "texture.h"

namespace rilievo {
namespace {

constexpr int64_t kBand = 32;  // rows that one task draws

struct Edges {
  // Row k is the edge function of the side opposite corner k; divided by det it is (barycentric / depth) of corner k.
  double a[3], b[3], c[3];
  double det = 0;
};

struct Corner {
  double x, y, z;
};

Corner homogeneous(const float* p, const Pinhole& camera) {
  return {camera.fx * p[0] + camera.cx * p[2], camera.fy * p[1] + camera.cy * p[2], p[2]};
}

// False when the triangle has no area in the image or is not finite.
bool make_edges(const Corner p[3], Edges& e) {
  for (int k = 0; k < 3; ++k) {
    const Corner &u = p[(k + 1) % 3], &v = p[(k + 2) % 3];
    // u x v: swapping u and v negates every rounded product, so the two triangles at a side agree to the last bit.
    e.a[k] = u.y * v.z - u.z * v.y;
    e.b[k] = u.z * v.x - u.x * v.z;
    e.c[k] = u.x * v.y - u.y * v.x;
  }
  e.det = p[0].x * e.a[0] + p[0].y * e.b[0] + p[0].z * e.c[0];
  if (!std::isfinite(e.det) || e.det == 0) return false;
  if (e.det < 0) {
    e.det = -e.det;
    for (int k = 0; k < 3; ++k) e.a[k] = -e.a[k], e.b[k] = -e.b[k], e.c[k] = -e.c[k];
  }
  return true;
}

bool valid_face(const int32_t* face, int64_t num_vertices) {
  return face[0] >= 0 && face[1] >= 0 && face[2] >= 0 && face[0] < num_vertices && face[1] < num_vertices &&
         face[2] < num_vertices;
}

struct Box {
  int32_t x0 = 0, x1 = 0, y0 = 0, y1 = 0;  // half-open
};

int32_t clamp_pixel(double v, int64_t top) {
  return static_cast<int32_t>(v < 0 ? 0 : v > static_cast<double>(top) ? static_cast<double>(top) : v);
}

}  // namespace

void rasterize_mesh(const float* vertices_cam, int64_t num_vertices, const int32_t* faces, int64_t num_faces,
                    const Pinhole& camera, int32_t* face_index, float* depth) {
  const int64_t width = camera.width, height = camera.height;
  std::fill(face_index, face_index + width * height, -1);
  std::fill(depth, depth + width * height, std::numeric_limits<float>::quiet_NaN());
  if (width == 0 || height == 0) return;

  std::vector<Box> boxes(num_faces);
  parallel_ranges(num_faces, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      const int32_t* face = faces + 3 * f;
      if (!valid_face(face, num_vertices)) continue;
      Corner p[3];
      bool in_front = true, behind = true, finite = true;
      double x0 = 1e300, x1 = -1e300, y0 = 1e300, y1 = -1e300;
      for (int k = 0; k < 3; ++k) {
        p[k] = homogeneous(vertices_cam + 3 * face[k], camera);
        finite = finite && std::isfinite(p[k].x) && std::isfinite(p[k].y) && std::isfinite(p[k].z);
        in_front = in_front && p[k].z > 1e-9;
        behind = behind && !(p[k].z > 0);
        const double u = p[k].x / p[k].z, v = p[k].y / p[k].z;
        x0 = std::min(x0, u), x1 = std::max(x1, u), y0 = std::min(y0, v), y1 = std::max(y1, v);
      }
      if (!finite || behind) continue;
      Box& box = boxes[f];
      if (!in_front) {
        box = {0, static_cast<int32_t>(width), 0, static_cast<int32_t>(height)};
      } else {  // pixels whose centre (i + 0.5) may lie in the triangle; one to spare for rounding
        box = {clamp_pixel(std::floor(x0 - 0.5), width), clamp_pixel(std::ceil(x1 + 0.5), width),
               clamp_pixel(std::floor(y0 - 0.5), height), clamp_pixel(std::ceil(y1 + 0.5), height)};
      }
    }
  });

  // Faces of each band of rows, in order of their number.
  const int64_t num_bands = (height + kBand - 1) / kBand;
  std::vector<int64_t> start(num_bands + 1, 0);
  const auto each_band = [&](int64_t f, auto&& body) {
    const Box& box = boxes[f];
    if (box.x0 >= box.x1 || box.y0 >= box.y1) return;
    for (int64_t band = box.y0 / kBand; band <= (box.y1 - 1) / kBand; ++band) body(band);
  };
  for (int64_t f = 0; f < num_faces; ++f) each_band(f, [&](int64_t band) { ++start[band + 1]; });
  for (int64_t i = 0; i < num_bands; ++i) start[i + 1] += start[i];
  std::vector<int32_t> members(start[num_bands]);
  std::vector<int64_t> next(start.begin(), start.end() - 1);
  for (int64_t f = 0; f < num_faces; ++f)
    each_band(f, [&](int64_t band) { members[next[band]++] = static_cast<int32_t>(f); });

  parallel_for(num_bands, [&](int64_t band) {
    const int64_t row0 = band * kBand, row1 = std::min(height, row0 + kBand);
    std::vector<double> nearest((row1 - row0) * width, 0.0);  // 1/depth of what is drawn so far
    for (int64_t m = start[band]; m < start[band + 1]; ++m) {
      const int32_t f = members[m];
      const int32_t* face = faces + 3 * static_cast<int64_t>(f);
      Corner p[3];
      for (int k = 0; k < 3; ++k) p[k] = homogeneous(vertices_cam + 3 * static_cast<int64_t>(face[k]), camera);
      Edges e;
      if (!make_edges(p, e)) continue;
      bool owns[3];  // which of two neighbours a pixel exactly on their side belongs to
      for (int k = 0; k < 3; ++k) owns[k] = e.a[k] > 0 || (e.a[k] == 0 && e.b[k] > 0);
      const Box& box = boxes[f];
      const int64_t y0 = std::max<int64_t>(box.y0, row0), y1 = std::min<int64_t>(box.y1, row1);
      for (int64_t y = y0; y < y1; ++y) {
        const double py = y + 0.5;
        const double r0 = e.b[0] * py + e.c[0], r1 = e.b[1] * py + e.c[1], r2 = e.b[2] * py + e.c[2];
        for (int64_t x = box.x0; x < box.x1; ++x) {
          const double px = x + 0.5;
          const double w0 = e.a[0] * px + r0, w1 = e.a[1] * px + r1, w2 = e.a[2] * px + r2;
          if (w0 < 0 || w1 < 0 || w2 < 0) continue;
          if ((w0 == 0 && !owns[0]) || (w1 == 0 && !owns[1]) || (w2 == 0 && !owns[2])) continue;
          const double inverse = (w0 + w1 + w2) / e.det;
          double& best = nearest[(y - row0) * width + x];
          if (inverse > best && std::isfinite(inverse)) {
            best = inverse;
            face_index[y * width + x] = f;
            depth[y * width + x] = static_cast<float>(1.0 / inverse);
          }
        }
      }
    }
  });
}

void interpolate_pixels(const int32_t* face_index, const float* vertices_cam, int64_t num_vertices, const int32_t* faces,
                        int64_t num_faces, const Pinhole& camera, const float* attributes, int64_t width, float* out) {
  parallel_ranges(camera.height, 16, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      int32_t last = -1;
      Edges e;
      bool drawn = false;
      for (int64_t x = 0; x < camera.width; ++x) {
        const int64_t pixel = y * camera.width + x;
        const int32_t f = face_index[pixel];
        float* value = out + pixel * width;
        if (f != last) {
          last = f;
          drawn = false;
          if (f >= 0 && f < num_faces && valid_face(faces + 3 * static_cast<int64_t>(f), num_vertices)) {
            Corner p[3];
            for (int k = 0; k < 3; ++k) {
              p[k] = homogeneous(vertices_cam + 3 * static_cast<int64_t>(faces[3 * static_cast<int64_t>(f) + k]), camera);
            }
            drawn = make_edges(p, e);
          }
        }
        double w[3] = {0, 0, 0}, sum = 0;
        if (drawn) {
          for (int k = 0; k < 3; ++k) {
            w[k] = e.a[k] * (x + 0.5) + (e.b[k] * (y + 0.5) + e.c[k]);
            sum += w[k];
          }
        }
        if (!drawn || sum == 0) {
          std::fill(value, value + width, std::numeric_limits<float>::quiet_NaN());
          continue;
        }
        const int32_t* face = faces + 3 * static_cast<int64_t>(f);
        for (int64_t c = 0; c < width; ++c) {
          double total = 0;
          for (int k = 0; k < 3; ++k) total += w[k] * attributes[face[k] * width + c];
          value[c] = static_cast<float>(total / sum);
        }
      }
    }
  });
}

}  // namespace rilievo
