// SIFT (Lowe 2004): scale space in tiles, extremes refined to a fraction of a pixel, spread over the photo, described.
//
// Memory: only the three inner levels of each octave are kept, as 16-bit fixed point; the rest lives in one tile.
// With `upsample` that is 8 bytes of levels a pixel of the doubled photo. Tiles and keypoints are independent of the
// number of threads, so the result is too.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "keypoints.h"
#include "parallel.h"

namespace rilievo {
namespace {

constexpr int kScales = 3;        // levels an octave
constexpr float kSigma0 = 1.6f;   // blur of an octave's first level, in its pixels
constexpr float kCamera = 0.5f;   // blur that a sharp photo has already
// Blur of the doubled picture before its scale space. The nominal scale would be reached with 0.9 (interpolation and
// camera blur it already); 1.5 finds 70 % more right matches in grainy photos (bench/features.py), as noise is less.
constexpr float kFirstBlur = 1.5f;
constexpr int kTileW = 512, kTileH = 192, kSlack = 3, kBorder = 5;

struct Kernel {
  int radius = 1;
  float w[13] = {};
  explicit Kernel(double sigma) {
    radius = std::clamp(static_cast<int>(std::ceil(3.0 * sigma)), 1, 12);
    double sum = 0;
    for (int i = 0; i <= radius; ++i) sum += (i ? 2 : 1) * std::exp(-i * i / (2 * sigma * sigma));
    for (int i = 0; i <= radius; ++i) w[i] = static_cast<float>(std::exp(-i * i / (2 * sigma * sigma)) / sum);
  }
};

struct Octave {
  int w = 0, h = 0;
  float step = 1, offset = 0;  // photo x of column u: u * step + offset
  std::array<std::unique_ptr<uint16_t[]>, kScales> level;
};

struct Extreme {
  float u, v, sigma;     // in pixels of the octave
  float x, y, score;     // in the photo
  int16_t octave, level;
};

// Reads rows of an octave's first picture, values 0..255, columns and rows beyond the border repeated.
struct Reader {
  const uint16_t* luma;
  int width, height;
  bool doubled;            // twice as many pixels as luma, linear in between
  int stride = 1;          // every stride-th pixel of luma (a coarser octave)
  void row(int y, int x0, int n, int w, int h, float* out) const {
    y = std::clamp(y, 0, h - 1);
    if (!doubled) {
      const uint16_t* p = luma + static_cast<int64_t>(y) * stride * width;
      for (int i = 0; i < n; ++i) out[i] = p[std::clamp(x0 + i, 0, w - 1) * stride] * (1.0f / 256);
      return;
    }
    // Pixel y of the doubled picture has its centre a quarter pixel above or below that of pixel y / 2.
    const int near_y = y >> 1, far_y = std::clamp(near_y + ((y & 1) ? 1 : -1), 0, height - 1);
    const uint16_t* a = luma + static_cast<int64_t>(near_y) * width;
    const uint16_t* b = luma + static_cast<int64_t>(far_y) * width;
    // Weights 9, 3, 3, 1 are (3, 1) across rows times (3, 1) across columns.
    const auto pixel = [&](int i) {
      const int x = std::clamp(x0 + i, 0, w - 1), near_x = x >> 1;
      const int far_x = std::clamp(near_x + ((x & 1) ? 1 : -1), 0, width - 1);
      out[i] = static_cast<float>(3 * (3 * a[near_x] + b[near_x]) + 3 * a[far_x] + b[far_x]) * (1.0f / 4096);
    };
    // Pairs of an even and an odd column whose neighbours lie all inside: no branches, so it runs in vectors.
    const int first = std::min(n, std::max(2 - x0, x0 & 1)), pairs = (std::min(n, w - 2 - x0) - first) / 2;
    for (int i = 0; i < first; ++i) pixel(i);
    const int x = (x0 + first) >> 1;
    for (int p = 0; p < pairs; ++p) {
      const int before = 3 * a[x + p - 1] + b[x + p - 1], here = 3 * a[x + p] + b[x + p];
      const int after = 3 * a[x + p + 1] + b[x + p + 1];
      out[first + 2 * p] = static_cast<float>(3 * here + before) * (1.0f / 4096);
      out[first + 2 * p + 1] = static_cast<float>(3 * here + after) * (1.0f / 4096);
    }
    for (int i = first + 2 * std::max(pairs, 0); i < n; ++i) pixel(i);
  }
};

class Space {
 public:
  Space(const SiftOptions& options) : options_(options) {
    for (int i = 0; i < kScales + 2; ++i) {
      const double k = std::exp2(1.0 / kScales);
      steps_.emplace_back(kSigma0 * std::pow(k, i) * std::sqrt(k * k - 1));
      reach_ += steps_.back().radius;
    }
    reach_ += kSlack + 1;
  }

  // Fills octave.level and returns the octave's extremes, tile after tile.
  std::vector<Extreme> run(const Reader& reader, const Kernel* first, Octave& octave, int index) const {
    // Not zeroed: the tiles write every pixel.
    for (auto& level : octave.level) level.reset(new uint16_t[static_cast<size_t>(octave.w) * octave.h]);
    const int nx = (octave.w + kTileW - 1) / kTileW, ny = (octave.h + kTileH - 1) / kTileH;
    std::vector<std::vector<Extreme>> found(static_cast<size_t>(nx) * ny);
    parallel_for(nx * ny, [&](int64_t t) {
      tile(reader, first, octave, index, static_cast<int>(t % nx) * kTileW, static_cast<int>(t / nx) * kTileH,
           found[t]);
    });
    std::vector<Extreme> all;
    for (const auto& f : found) all.insert(all.end(), f.begin(), f.end());
    return all;
  }

 private:
  void tile(const Reader& reader, const Kernel* first, Octave& octave, int index, int tx, int ty,
            std::vector<Extreme>& found) const {
    const int cw = std::min(kTileW, octave.w - tx), ch = std::min(kTileH, octave.h - ty);
    const int halo = reach_ + (first ? first->radius : 0);
    const int bw = (cw + 2 * halo + 15) / 16 * 16, bh = ch + 2 * halo;
    const size_t size = static_cast<size_t>(bw) * bh;
    // Nothing of it is read before it is written, so it is not zeroed.
    const std::unique_ptr<float[]> buffer(new float[size * (3 + kScales + 2)]);
    float *current = buffer.get(), *next = current + size, *work = next + size;
    std::array<float*, kScales + 2> dog;
    for (int i = 0; i < kScales + 2; ++i) dog[i] = work + size * (i + 1);

    int x0 = 0, x1 = cw + 2 * halo, y0 = 0, y1 = bh;
    for (int y = 0; y < bh; ++y) reader.row(ty - halo + y, tx - halo, x1, octave.w, octave.h, current + y * bw);
    auto blur = [&](const Kernel& k) {
      x0 += k.radius, x1 -= k.radius, y0 += k.radius, y1 -= k.radius;
      RIL_CALL_SIMD(blur_tile, current, work, next, bw, x0, x1, y0, y1, k.w, k.radius);
    };
    if (first) {
      blur(*first);
      std::swap(current, next);
    }
    for (int i = 0; i < kScales + 2; ++i) {
      blur(steps_[i]);
      for (int y = y0; y < y1; ++y)
        RIL_CALL_SIMD(subtract, next + y * bw + x0, current + y * bw + x0, dog[i] + y * bw + x0, x1 - x0);
      if (i < kScales)
        for (int y = 0; y < ch; ++y)
          RIL_CALL_SIMD(store_u16, next + (y + halo) * bw + halo,
                        octave.level[i].get() + static_cast<size_t>(ty + y) * octave.w + tx, cw);
      std::swap(current, next);
    }

    std::vector<uint8_t> flags(bw);
    std::vector<int32_t> columns(bw);
    const int low_x = std::max(halo, halo + kBorder - tx), high_x = std::min(halo + cw, octave.w - kBorder - tx + halo);
    const int low_y = std::max(halo, halo + kBorder - ty), high_y = std::min(halo + ch, octave.h - kBorder - ty + halo);
    if (low_x >= high_x) return;
    for (int s = 1; s <= kScales; ++s)
      for (int y = low_y; y < high_y; ++y) {
        const int n = RIL_CALL_SIMD(extreme_in_row, dog[s] + y * bw, bw, low_x, high_x, 0.8f * options_.min_contrast,
                                    flags.data(), columns.data());
        for (int i = 0; i < n; ++i) {
          Extreme e;
          if (!is_extreme(dog, s, columns[i], y, bw) || !refine(dog, s, columns[i], y, bw, halo, cw, ch, e)) continue;
          e.u += static_cast<float>(tx - halo);
          e.v += static_cast<float>(ty - halo);
          e.x = e.u * octave.step + octave.offset;
          e.y = e.v * octave.step + octave.offset;
          e.octave = static_cast<int16_t>(index);
          found.push_back(e);
        }
      }
  }

  static bool is_extreme(const std::array<float*, kScales + 2>& dog, int s, int x, int y, int bw) {
    const float v = dog[s][y * bw + x];
    for (int ds = -1; ds <= 1; ++ds)
      for (int dy = -1; dy <= 1; ++dy)
        for (int dx = -1; dx <= 1; ++dx) {
          if (!ds && !dy && !dx) continue;
          const float n = dog[s + ds][(y + dy) * bw + x + dx];
          if (v > 0 ? n > v : n < v) return false;
        }
    return true;
  }

  // Quadratic fit around the extreme (Lowe 2004, eqs. 2-3); moves to the neighbour while the top lies beyond half a step.
  bool refine(const std::array<float*, kScales + 2>& dog, int s, int x, int y, int bw, int halo, int cw, int ch,
              Extreme& e) const {
    for (int round = 0; round < 5; ++round) {
      const float *a = dog[s - 1] + y * bw + x, *b = dog[s] + y * bw + x, *c = dog[s + 1] + y * bw + x;
      const double gx = 0.5 * (b[1] - b[-1]), gy = 0.5 * (b[bw] - b[-bw]), gs = 0.5 * (c[0] - a[0]);
      const double xx = b[1] + b[-1] - 2.0 * b[0], yy = b[bw] + b[-bw] - 2.0 * b[0], ss = c[0] + a[0] - 2.0 * b[0];
      const double xy = 0.25 * (b[bw + 1] - b[bw - 1] - b[-bw + 1] + b[-bw - 1]);
      const double xs = 0.25 * (c[1] - c[-1] - a[1] + a[-1]), ys = 0.25 * (c[bw] - c[-bw] - a[bw] + a[-bw]);
      // Cramer's rule for the symmetric 3 x 3 system.
      const double c0 = yy * ss - ys * ys, c1 = xs * ys - xy * ss, c2 = xy * ys - yy * xs;
      const double det = xx * c0 + xy * c1 + xs * c2;
      if (std::abs(det) < 1e-12) return false;
      const double dx = -(c0 * gx + c1 * gy + c2 * gs) / det;
      const double dy = -(c1 * gx + (xx * ss - xs * xs) * gy + (xy * xs - xx * ys) * gs) / det;
      const double ds = -(c2 * gx + (xy * xs - xx * ys) * gy + (xx * yy - xy * xy) * gs) / det;
      if (!(std::abs(dx) < 2 && std::abs(dy) < 2 && std::abs(ds) < 2)) return false;
      const int mx = dx > 0.6 ? 1 : dx < -0.6 ? -1 : 0, my = dy > 0.6 ? 1 : dy < -0.6 ? -1 : 0;
      const int ms = ds > 0.6 && s < kScales ? 1 : ds < -0.6 && s > 1 ? -1 : 0;
      if ((mx || my || ms) && round < 4) {
        x += mx, y += my, s += ms;
        if (x < halo - kSlack + 1 || x >= halo + cw + kSlack - 1 || y < halo - kSlack + 1 || y >= halo + ch + kSlack - 1)
          return false;
        continue;
      }
      if (std::abs(dx) > 1 || std::abs(dy) > 1 || std::abs(ds) > 1) return false;
      const double value = b[0] + 0.5 * (gx * dx + gy * dy + gs * ds);
      if (!(std::abs(value) >= options_.min_contrast)) return false;
      const double trace = xx + yy, area = xx * yy - xy * xy, r = options_.max_edge_ratio;
      if (area <= 0 || trace * trace * r >= (r + 1) * (r + 1) * area) return false;
      e.u = static_cast<float>(x + dx);
      e.v = static_cast<float>(y + dy);
      e.sigma = static_cast<float>(kSigma0 * std::exp2((s + ds) / kScales));
      e.level = static_cast<int16_t>(std::clamp(static_cast<int>(std::lround(s + ds)), 1, kScales));
      e.score = static_cast<float>(std::abs(value));
      return true;
    }
    return false;
  }

  SiftOptions options_;
  std::vector<Kernel> steps_;
  int reach_ = 0;
};

// The strongest first; half of the places are given out cell by cell, so that a plain wall gets its share.
std::vector<Extreme> spread(std::vector<Extreme> all, const SiftOptions& options, int width, int height) {
  std::stable_sort(all.begin(), all.end(), [](const Extreme& a, const Extreme& b) {
    return a.score != b.score ? a.score > b.score : a.x != b.x ? a.x < b.x : a.y < b.y;
  });
  // Two neighbours can move to the same top.
  all.erase(std::unique(all.begin(), all.end(),
                        [](const Extreme& a, const Extreme& b) {
                          return a.score == b.score && a.x == b.x && a.y == b.y && a.sigma == b.sigma;
                        }),
            all.end());
  const size_t limit = static_cast<size_t>(std::max(options.max_features, 0));
  if (all.size() <= limit) return all;
  const float cell = static_cast<float>(std::max(width, height)) / static_cast<float>(std::max(options.grid, 1));
  const int nx = static_cast<int>(static_cast<float>(width) / cell) + 1;
  const int ny = static_cast<int>(static_cast<float>(height) / cell) + 1;
  std::vector<int> taken(static_cast<size_t>(nx) * ny, 0);
  auto cell_of = [&](const Extreme& e) {
    const int cx = std::clamp(static_cast<int>(e.x / cell), 0, nx - 1);
    return std::clamp(static_cast<int>(e.y / cell), 0, ny - 1) * nx + cx;
  };
  for (const auto& e : all) ++taken[cell_of(e)];
  const auto used = std::count_if(taken.begin(), taken.end(), [](int n) { return n > 0; });
  const int quota = static_cast<int>(limit / 2 / std::max<size_t>(used, 1));
  std::fill(taken.begin(), taken.end(), 0);
  std::vector<uint8_t> keep(all.size(), 0);
  size_t num = 0;
  for (size_t i = 0; i < all.size(); ++i)
    if (taken[cell_of(all[i])]++ < quota) keep[i] = 1, ++num;
  for (size_t i = 0; i < all.size() && num < limit; ++i)
    if (!keep[i]) keep[i] = 1, ++num;
  std::vector<Extreme> kept;
  kept.reserve(num);
  for (size_t i = 0; i < all.size(); ++i)
    if (keep[i]) kept.push_back(all[i]);
  return kept;
}

// Up to two directions in turns: peaks of the smoothed histogram above 0.8 of its highest (Lowe 2004, section 5).
int directions(float* histogram, float* out) {
  for (int round = 0; round < 6; ++round) {
    float before = histogram[35];
    const float first = histogram[0];
    for (int i = 0; i < 36; ++i) {
      const float next = i < 35 ? histogram[i + 1] : first, here = histogram[i];
      histogram[i] = (before + here + next) / 3.0f;
      before = here;
    }
  }
  float highest = 0;
  for (int i = 0; i < 36; ++i) highest = std::max(highest, histogram[i]);
  if (!(highest > 0)) return 0;
  float value[2] = {};
  int n = 0;
  for (int i = 0; i < 36; ++i) {
    const float a = histogram[(i + 35) % 36], b = histogram[i], c = histogram[(i + 1) % 36];
    if (!(b > a && b >= c && b >= 0.8f * highest)) continue;
    const float shift = 0.5f * (a - c) / (a - 2 * b + c);
    float turn = (static_cast<float>(i) + shift) / 36.0f;
    turn -= std::floor(turn);
    int at = n < 2 ? n++ : 2;
    while (at > 0 && (at == 2 || value[at - 1] < b)) {  // keeps the two highest, the highest first
      if (at < 2) value[at] = value[at - 1], out[at] = out[at - 1];
      else if (value[1] >= b) break;
      --at;
    }
    if (at < 2) value[at] = b, out[at] = turn;
  }
  return n;
}

}  // namespace

SiftResult sift(const uint8_t* rgb, const uint8_t* mask, int height, int width, const SiftOptions& options) {
  SiftResult result;
  if (width < 16 || height < 16 || options.max_features <= 0) return result;
  // Luma with 8 bits behind the point: the sum of three channels knows more than one byte.
  std::vector<uint16_t> luma(static_cast<size_t>(width) * height);
  parallel_ranges(height, 64, [&](int64_t begin, int64_t end) {
    for (size_t i = begin * width; i < static_cast<size_t>(end) * width; ++i)
      luma[i] = static_cast<uint16_t>(77 * rgb[3 * i] + 150 * rgb[3 * i + 1] + 29 * rgb[3 * i + 2]);
  });

  const Space space(options);
  std::vector<Octave> octaves;
  octaves.reserve(16);
  std::vector<Extreme> extremes;
  for (int i = 0; i < 14; ++i) {
    Octave octave;
    Reader reader{luma.data(), width, height, options.upsample && i == 0};
    if (i == 0) {
      const int f = options.upsample ? 2 : 1;
      octave.w = width * f, octave.h = height * f;
      octave.step = 1.0f / static_cast<float>(f);
      octave.offset = 0.5f * octave.step;
      const Kernel first(options.upsample ? kFirstBlur : std::sqrt(kSigma0 * kSigma0 - kCamera * kCamera));
      octaves.push_back(std::move(octave));
      extremes = space.run(reader, &first, octaves.back(), i);
      luma = {};
    } else {
      const Octave& finer = octaves.back();
      if (std::min(finer.w, finer.h) < 32) break;
      octave.w = finer.w / 2, octave.h = finer.h / 2;
      octave.step = 2 * finer.step;
      octave.offset = finer.offset;
      reader = Reader{finer.level[kScales - 1].get(), finer.w, finer.h, false, 2};
      octaves.push_back(std::move(octave));
      const auto more = space.run(reader, nullptr, octaves.back(), i);
      extremes.insert(extremes.end(), more.begin(), more.end());
    }
  }
  if (mask) {
    std::erase_if(extremes, [&](const Extreme& e) {
      const int x = std::clamp(static_cast<int>(e.x), 0, width - 1), y = std::clamp(static_cast<int>(e.y), 0, height - 1);
      return !mask[static_cast<size_t>(y) * width + x];
    });
  }
  const std::vector<Extreme> kept = spread(std::move(extremes), options, width, height);

  const auto n = static_cast<int64_t>(kept.size());
  std::vector<uint8_t> count(n), descriptors(static_cast<size_t>(n) * 256);
  std::vector<float> turn(2 * n);
  parallel_ranges(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Extreme& e = kept[i];
      const Octave& o = octaves[e.octave];
      const uint16_t* image = o.level[e.level - 1].get();
      float histogram[36];
      RIL_CALL_SIMD(orientation_histogram, image, o.w, o.h, e.u, e.v, e.sigma, histogram);
      count[i] = static_cast<uint8_t>(directions(histogram, &turn[2 * i]));
      for (int k = 0; k < count[i]; ++k) {
        const float angle = turn[2 * i + k] * 6.28318530718f;
        RIL_CALL_SIMD(describe, image, o.w, o.h, e.u, e.v, e.sigma, std::cos(angle), std::sin(angle),
                      &descriptors[(2 * i + k) * 128]);
      }
    }
  });
  for (int64_t i = 0; i < n; ++i)
    for (int k = 0; k < count[i]; ++k) {
      const Extreme& e = kept[i];
      const float pixel = octaves[e.octave].step;
      result.keypoints.insert(result.keypoints.end(), {e.x, e.y});
      result.scales.push_back(e.sigma * pixel);
      result.orientations.push_back(turn[2 * i + k] * 6.28318530718f);
      result.scores.push_back(e.score);
      const uint8_t* d = &descriptors[(2 * i + k) * 128];
      result.descriptors.insert(result.descriptors.end(), d, d + 128);
      const int x = std::clamp(static_cast<int>(e.x), 0, width - 1), y = std::clamp(static_cast<int>(e.y), 0, height - 1);
      const uint8_t* c = rgb + 3 * (static_cast<size_t>(y) * width + x);
      result.colors.insert(result.colors.end(), c, c + 3);
    }
  return result;
}

}  // namespace rilievo
