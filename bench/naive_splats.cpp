// One step of splats as plain CPU trainers make it, to measure ours against: one thread, one number at a time, all
// Gaussians sorted by depth at once, boxes of three standard deviations, and for every pixel a list of what it met, kept
// for the way back. Our own writing, compiled by bench/splats.py. Gradients end on the image plane (place, inverse
// covariance, opacity, colour): the way back to the Gaussians and their optimiser, which our figure contains, are left
// out in its favour.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int kRow = 64;

struct Flat {
  float x, y, A, B, C, opacity, color[3], depth;
  int x0, x1, y0, y1;
  int32_t number;
};

struct Met {
  int32_t splat;
  float alpha;
};

void harmonics(const float* d, float* b) {
  const float x = d[0], y = d[1], z = d[2], xx = x * x, yy = y * y, zz = z * z;
  const float values[16] = {
      0.28209479f,
      -0.48860251f * y,
      0.48860251f * z,
      -0.48860251f * x,
      1.09254843f * x * y,
      -1.09254843f * y * z,
      0.31539157f * (2 * zz - xx - yy),
      -1.09254843f * x * z,
      0.54627422f * (xx - yy),
      -0.59004359f * y * (3 * xx - yy),
      2.89061144f * x * y * z,
      -0.45704580f * y * (4 * zz - xx - yy),
      0.37317633f * z * (2 * zz - 3 * xx - 3 * yy),
      -0.45704580f * x * (4 * zz - xx - yy),
      1.44530572f * z * (xx - yy),
      -0.59004359f * x * (xx - 3 * yy)};
  for (int k = 0; k < 16; ++k) b[k] = values[k];
}

bool flatten(const float* row, const double* K, const double* T, int width, int height, float near, Flat& out) {
  float p[3], center[3];
  for (int i = 0; i < 3; ++i) {
    p[i] = static_cast<float>(T[4 * i] * row[0] + T[4 * i + 1] * row[1] + T[4 * i + 2] * row[2] + T[4 * i + 3]);
    center[i] = static_cast<float>(-(T[i] * T[3] + T[4 + i] * T[7] + T[8 + i] * T[11]));
  }
  if (!(p[2] > near)) return false;
  const float length = std::sqrt(row[4] * row[4] + row[5] * row[5] + row[6] * row[6] + row[7] * row[7]);
  const float w = row[4] / length, x = row[5] / length, y = row[6] / length, z = row[7] / length;
  const float R[9] = {1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
                      2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                      2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)};
  float M[9], S[9];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) M[3 * i + j] = R[3 * i + j] * std::exp(row[8 + j]);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      S[3 * i + j] = M[3 * i] * M[3 * j] + M[3 * i + 1] * M[3 * j + 1] + M[3 * i + 2] * M[3 * j + 2];
  const float fx = static_cast<float>(K[0]), fy = static_cast<float>(K[1]);
  const float cx = static_cast<float>(K[2]), cy = static_cast<float>(K[3]);
  const float u = std::min(std::max(p[0] / p[2], (-0.15f * width - cx) / fx), (1.15f * width - cx) / fx);
  const float v = std::min(std::max(p[1] / p[2], (-0.15f * height - cy) / fy), (1.15f * height - cy) / fy);
  float J[6];
  for (int k = 0; k < 3; ++k) {
    J[k] = fx / p[2] * static_cast<float>(T[k] - u * T[8 + k]);
    J[3 + k] = fy / p[2] * static_cast<float>(T[4 + k] - v * T[8 + k]);
  }
  float c[3] = {0, 0, 0};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      c[0] += J[i] * S[3 * i + j] * J[j];
      c[1] += J[i] * S[3 * i + j] * J[3 + j];
      c[2] += J[3 + i] * S[3 * i + j] * J[3 + j];
    }
  const float det0 = std::max(c[0] * c[2] - c[1] * c[1], 0.0f);
  const float a = c[0] + 0.3f, d = c[2] + 0.3f, det = a * d - c[1] * c[1];
  out.opacity = std::sqrt(std::max(det0 / det, 1e-6f)) / (1 + std::exp(-row[3]));
  out.A = d / det, out.B = -c[1] / det, out.C = a / det;
  out.x = fx * p[0] / p[2] + cx, out.y = fy * p[1] / p[2] + cy, out.depth = p[2];
  const float half = 0.5f * (a + d), largest = half + std::sqrt(std::max(half * half - det, 0.1f));
  const float reach = std::ceil(3 * std::sqrt(largest));
  if (out.x + reach < 0 || out.x - reach > width || out.y + reach < 0 || out.y - reach > height) return false;
  out.x0 = std::max(0, static_cast<int>(std::max(out.x - reach, 0.0f)));
  out.x1 = static_cast<int>(std::min(out.x + reach + 1, static_cast<float>(width)));
  out.y0 = std::max(0, static_cast<int>(std::max(out.y - reach, 0.0f)));
  out.y1 = static_cast<int>(std::min(out.y + reach + 1, static_cast<float>(height)));
  float look[3], basis[16], size = 0;
  for (int i = 0; i < 3; ++i) look[i] = row[i] - center[i], size += look[i] * look[i];
  for (float& l : look) l /= std::sqrt(size);
  harmonics(look, basis);
  for (int i = 0; i < 3; ++i) {
    float sum = 0.5f;
    for (int k = 0; k < 16; ++k) sum += basis[k] * row[16 + 3 * k + i];
    out.color[i] = std::max(sum, 0.0f);
  }
  return true;
}

}  // namespace

// Draws into features (3, h, w) and puts the gradients of x, y, A, B, C, opacity, r, g, b of each Gaussian into gradients
// (n, 9), for those of the picture, upstream (3, h, w). Returns how many Gaussians all pixels together took.
extern "C" int64_t naive_step(const float* rows, int64_t n, const double* K, const double* T, int width, int height,
                              float near, const float* background, const float* upstream, float* features,
                              float* gradients) {
  std::vector<Flat> splats;
  for (int64_t i = 0; i < n; ++i) {
    Flat flat;
    if (!flatten(rows + i * kRow, K, T, width, height, near, flat)) continue;
    flat.number = static_cast<int32_t>(i);
    splats.push_back(flat);
  }
  std::sort(splats.begin(), splats.end(), [](const Flat& a, const Flat& b) { return a.depth < b.depth; });
  const int64_t plane = static_cast<int64_t>(width) * height;
  std::vector<std::vector<Met>> lists(plane);
  std::vector<float> light(plane, 1.0f);
  std::fill(features, features + 3 * plane, 0.0f);
  std::fill(gradients, gradients + 9 * n, 0.0f);
  for (size_t i = 0; i < splats.size(); ++i) {
    const Flat& s = splats[i];
    for (int row = s.y0; row < s.y1; ++row)
      for (int column = s.x0; column < s.x1; ++column) {
        const int64_t at = static_cast<int64_t>(row) * width + column;
        if (light[at] < 1e-4f) continue;
        const float dx = column + 0.5f - s.x, dy = row + 0.5f - s.y;
        const float power = 0.5f * (s.A * dx * dx + s.C * dy * dy) + s.B * dx * dy;
        if (power < 0) continue;
        const float alpha = std::min(s.opacity * std::exp(-power), 0.999f);
        if (alpha < 1 / 255.0f) continue;
        for (int c = 0; c < 3; ++c) features[c * plane + at] += alpha * light[at] * s.color[c];
        light[at] *= 1 - alpha;
        lists[at].push_back({static_cast<int32_t>(i), alpha});
      }
  }
  int64_t taken = 0;
  for (int64_t at = 0; at < plane; ++at) {
    float T = light[at], behind[3];
    for (int c = 0; c < 3; ++c) {
      behind[c] = T * background[c];
      features[c * plane + at] += behind[c];
    }
    taken += static_cast<int64_t>(lists[at].size());
    for (size_t k = lists[at].size(); k-- > 0;) {
      const Flat& s = splats[lists[at][k].splat];
      const float alpha = lists[at][k].alpha, dx = at % width + 0.5f - s.x, dy = at / width + 0.5f - s.y;
      T /= 1 - alpha;
      float* g = gradients + 9 * static_cast<int64_t>(s.number);
      float d_alpha = 0;
      for (int c = 0; c < 3; ++c) {
        const float up = upstream[c * plane + at];
        g[6 + c] += up * alpha * T;
        d_alpha += up * (T * s.color[c] - behind[c] / (1 - alpha));
        behind[c] += alpha * T * s.color[c];
      }
      if (alpha >= 0.999f) continue;
      const float d_log = d_alpha * alpha;
      g[0] += d_log * (s.A * dx + s.B * dy);
      g[1] += d_log * (s.B * dx + s.C * dy);
      g[2] -= 0.5f * d_log * dx * dx;
      g[3] -= d_log * dx * dy;
      g[4] -= 0.5f * d_log * dy * dy;
      g[5] += d_log / s.opacity;
    }
  }
  return taken;
}
