// Texels: who owns each, what colour the chosen photo gives it, colour corrections, and the gutters between charts.
// Every texel has one owner, so faces can be worked on by several threads without touching each other's texels.
#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "texture.h"

namespace rilievo {
namespace {

// Barycentric coordinates in the texture; false for a face without area there.
struct Flat {
  double ax, ay, bx, by, ox, oy, inverse;

  bool set(const float* xy) {
    ox = xy[0], oy = xy[1];
    ax = xy[2] - ox, ay = xy[3] - oy, bx = xy[4] - ox, by = xy[5] - oy;
    const double det = ax * by - ay * bx;
    inverse = 1 / det;
    return std::isfinite(inverse);
  }
  void at(double x, double y, double w[3]) const {
    const double dx = x - ox, dy = y - oy;
    w[1] = (dx * by - dy * bx) * inverse;
    w[2] = (ax * dy - ay * dx) * inverse;
    w[0] = 1 - w[1] - w[2];
  }
};

template <typename Body>
void each_texel(const float* xy, const int32_t* owner, int64_t height, int64_t width, int32_t f, const Body& body) {
  constexpr double kReach = 3;  // texels that grow_owner gave to the face lie this near
  double x0 = xy[0], x1 = xy[0], y0 = xy[1], y1 = xy[1];
  for (int k = 1; k < 3; ++k) {
    x0 = std::min<double>(x0, xy[2 * k]), x1 = std::max<double>(x1, xy[2 * k]);
    y0 = std::min<double>(y0, xy[2 * k + 1]), y1 = std::max<double>(y1, xy[2 * k + 1]);
  }
  if (!(std::isfinite(x0) && std::isfinite(x1) && std::isfinite(y0) && std::isfinite(y1))) return;
  const double w = static_cast<double>(width), h = static_cast<double>(height);
  const int64_t c0 = static_cast<int64_t>(std::clamp(x0 - kReach, 0.0, w)), c1 = static_cast<int64_t>(std::clamp(x1 + kReach, 0.0, w));
  const int64_t r0 = static_cast<int64_t>(std::clamp(y0 - kReach, 0.0, h)), r1 = static_cast<int64_t>(std::clamp(y1 + kReach, 0.0, h));
  for (int64_t r = r0; r < r1; ++r)
    for (int64_t c = c0; c < c1; ++c)
      if (owner[r * width + c] == f) body(r * width + c, c + 0.5, r + 0.5);
}

uint8_t to_byte(double v) { return static_cast<uint8_t>(std::clamp(v + 0.5, 0.0, 255.0)); }

}  // namespace

void grow_owner(const int32_t* owner, int64_t height, int64_t width, int64_t radius, int32_t* grown) {
  std::copy(owner, owner + height * width, grown);
  std::vector<int32_t> before(grown, grown + (radius > 0 ? height * width : 0));
  for (int64_t step = 0; step < radius; ++step) {
    parallel_ranges(height, 64, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t c = 0; c < width; ++c) {
          if (before[r * width + c] >= 0) continue;
          int32_t found = -1;  // side neighbours first, then diagonal ones
          constexpr int kAround[8][2] = {{0, -1}, {0, 1}, {-1, 0}, {1, 0}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
          for (const auto& d : kAround) {
            const int64_t y = r + d[0], x = c + d[1];
            if (found >= 0 || y < 0 || x < 0 || y >= height || x >= width) continue;
            found = before[y * width + x];
          }
          grown[r * width + c] = found < 0 ? -1 : found;
        }
      }
    });
    if (step + 1 < radius) std::copy(grown, grown + height * width, before.begin());
  }
}

void bake_faces(uint8_t* texture, const int32_t* owner, int64_t height, int64_t width, const float* corner_xy,
                int64_t num_faces, const int32_t* selected, int64_t num_selected, const float* corner_photo,
                const uint8_t* pixels, int64_t photo_height, int64_t photo_width) {
  if (photo_height < 1 || photo_width < 1) return;
  parallel_ranges(num_selected, 256, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const int32_t f = selected[s];
      if (f < 0 || f >= num_faces) continue;
      const float* xy = corner_xy + 6 * static_cast<int64_t>(f);
      const float* photo = corner_photo + 9 * s;
      Flat flat;
      if (!flat.set(xy)) continue;
      each_texel(xy, owner, height, width, f, [&](int64_t texel, double x, double y) {
        double w[3], p[3] = {0, 0, 0};
        flat.at(x, y, w);
        // Linear in x/z, y/z, 1/z over the chart is wrong; linear in (x, y, z) of the face is right.
        for (int k = 0; k < 3; ++k)
          for (int c = 0; c < 3; ++c) p[c] += w[k] * photo[3 * k + c];
        const double u = p[0] / p[2] - 0.5, v = p[1] / p[2] - 0.5;
        if (!(std::isfinite(u) && std::isfinite(v))) return;
        const double cu = std::clamp(u, 0.0, static_cast<double>(photo_width - 1));
        const double cv = std::clamp(v, 0.0, static_cast<double>(photo_height - 1));
        const int64_t x0 = static_cast<int64_t>(cu), y0 = static_cast<int64_t>(cv);
        const int64_t x1 = std::min(x0 + 1, photo_width - 1), y1 = std::min(y0 + 1, photo_height - 1);
        const double fx = cu - static_cast<double>(x0), fy = cv - static_cast<double>(y0);
        for (int c = 0; c < 3; ++c) {
          const double top = (1 - fx) * pixels[3 * (y0 * photo_width + x0) + c] + fx * pixels[3 * (y0 * photo_width + x1) + c];
          const double low = (1 - fx) * pixels[3 * (y1 * photo_width + x0) + c] + fx * pixels[3 * (y1 * photo_width + x1) + c];
          texture[3 * texel + c] = to_byte((1 - fy) * top + fy * low);
        }
      });
    }
  });
}

void shift_colors(uint8_t* texture, const int32_t* owner, int64_t height, int64_t width, const float* corner_xy,
                  int64_t num_faces, const float* corner_shift) {
  parallel_ranges(num_faces, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      const float* shift = corner_shift + 9 * f;
      bool any = false;
      for (int k = 0; k < 9; ++k) any = any || shift[k] != 0;
      Flat flat;
      if (!any || !flat.set(corner_xy + 6 * f)) continue;
      each_texel(corner_xy + 6 * f, owner, height, width, static_cast<int32_t>(f), [&](int64_t texel, double x, double y) {
        double w[3];
        flat.at(x, y, w);
        double sum = 0;  // outside the face, in its margin, the colours of its border go on
        for (double& wk : w) wk = std::max(0.0, wk), sum += wk;
        for (int c = 0; c < 3; ++c) {
          const double d = (w[0] * shift[c] + w[1] * shift[3 + c] + w[2] * shift[6 + c]) / sum;
          if (std::isfinite(d)) texture[3 * texel + c] = to_byte(texture[3 * texel + c] + d);
        }
      });
    }
  });
}

void fill_gutters(uint8_t* texture, const int32_t* owner, int64_t height, int64_t width, int64_t radius) {
  std::vector<uint8_t> known(height * width);
  double total[3] = {0, 0, 0}, num = 0;
  for (int64_t i = 0; i < height * width; ++i) {
    known[i] = owner[i] >= 0;
    if (!known[i]) continue;
    num += 1;
    for (int c = 0; c < 3; ++c) total[c] += texture[3 * i + c];
  }
  if (num == 0) return;
  const int64_t steps = std::min<int64_t>(radius, 250);
  std::vector<uint8_t> before(known);
  for (int64_t step = 1; step <= steps; ++step) {
    std::copy(known.begin(), known.end(), before.begin());
    parallel_ranges(height, 64, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t c = 0; c < width; ++c) {
          const int64_t i = r * width + c;
          if (before[i]) continue;
          int sum[3] = {0, 0, 0}, n = 0;
          for (int64_t y = std::max<int64_t>(0, r - 1); y <= std::min(height - 1, r + 1); ++y) {
            for (int64_t x = std::max<int64_t>(0, c - 1); x <= std::min(width - 1, c + 1); ++x) {
              const int64_t j = y * width + x;
              if (!before[j]) continue;
              ++n;
              for (int k = 0; k < 3; ++k) sum[k] += texture[3 * j + k];
            }
          }
          if (n == 0) continue;
          for (int k = 0; k < 3; ++k) texture[3 * i + k] = static_cast<uint8_t>((sum[k] + n / 2) / n);
          known[i] = 1;
        }
      }
    });
  }
  for (int64_t i = 0; i < height * width; ++i)
    if (!known[i])
      for (int c = 0; c < 3; ++c) texture[3 * i + c] = to_byte(total[c] / num);
}

}  // namespace rilievo
