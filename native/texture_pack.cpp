// Charts into one texture by their outlines (Levy et al. 2002, "Least squares conformal maps", section 4): a horizon of
// heights, and each chart is let down where its underside leaves the least room below it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "texture.h"

namespace rilievo {

Packed pack_charts(const float* corner_xy, const int32_t* chart_of_face, int64_t num_faces, int64_t num_charts,
                   int64_t width, int64_t padding, int64_t block) {
  struct Chart {
    float x0 = std::numeric_limits<float>::infinity(), y0 = x0, x1 = -x0, y1 = -x0;
    int64_t column0 = 0, row0 = 0;       // integer place of its lower corner, padding included
    std::vector<int32_t> under, over;    // per block column, in blocks: first used row, row after the last
  };
  std::vector<Chart> charts(num_charts);
  for (int64_t f = 0; f < num_faces; ++f) {
    Chart& c = charts[chart_of_face[f]];
    for (int k = 0; k < 3; ++k) {
      const float x = corner_xy[6 * f + 2 * k], y = corner_xy[6 * f + 2 * k + 1];
      c.x0 = std::min(c.x0, x), c.x1 = std::max(c.x1, x), c.y0 = std::min(c.y0, y), c.y1 = std::max(c.y1, y);
    }
  }
  for (Chart& c : charts) {
    if (!(c.x0 <= c.x1)) continue;
    c.column0 = static_cast<int64_t>(std::floor(c.x0)) - padding;
    c.row0 = static_cast<int64_t>(std::floor(c.y0)) - padding;
    const int64_t columns = (static_cast<int64_t>(std::ceil(c.x1)) + padding - c.column0 + block - 1) / block;
    c.under.assign(columns, std::numeric_limits<int32_t>::max());
    c.over.assign(columns, 0);
  }
  const double pad = static_cast<double>(padding);
  for (int64_t f = 0; f < num_faces; ++f) {
    Chart& c = charts[chart_of_face[f]];
    double x[3], y[3];
    for (int k = 0; k < 3; ++k) {
      x[k] = corner_xy[6 * f + 2 * k] - static_cast<double>(c.column0);
      y[k] = corner_xy[6 * f + 2 * k + 1] - static_cast<double>(c.row0);
    }
    const double left = std::min({x[0], x[1], x[2]}) - pad, right = std::max({x[0], x[1], x[2]}) + pad;
    const int64_t last = static_cast<int64_t>(c.under.size()) - 1;
    const int64_t i0 = std::clamp<int64_t>(static_cast<int64_t>(left / static_cast<double>(block)), 0, last);
    const int64_t i1 = std::clamp<int64_t>(static_cast<int64_t>(right / static_cast<double>(block)), 0, last);
    for (int64_t i = i0; i <= i1; ++i) {
      // Rows of the triangle between the two verticals that bound the column, wider by the padding.
      const double a = static_cast<double>(i * block) - pad, b = static_cast<double>((i + 1) * block) + pad;
      double low = 1e300, high = -1e300;
      for (int k = 0; k < 3; ++k) {
        const int l = (k + 1) % 3;
        if (x[k] >= a && x[k] <= b) low = std::min(low, y[k]), high = std::max(high, y[k]);
        for (const double side : {a, b}) {
          if ((x[k] - side) * (x[l] - side) < 0) {
            const double at = y[k] + (side - x[k]) / (x[l] - x[k]) * (y[l] - y[k]);
            low = std::min(low, at), high = std::max(high, at);
          }
        }
      }
      if (low > high) continue;
      const double size = static_cast<double>(block);
      c.under[i] = std::min(c.under[i], static_cast<int32_t>(std::max(0.0, std::floor((low - pad) / size))));
      c.over[i] = std::max(c.over[i], static_cast<int32_t>(std::ceil((high + pad) / size)));
    }
  }

  std::vector<int64_t> order(num_charts);
  std::iota(order.begin(), order.end(), 0);
  const auto tall = [&](int64_t i) {
    return charts[i].over.empty() ? 0 : *std::max_element(charts[i].over.begin(), charts[i].over.end());
  };
  std::vector<int32_t> heights(num_charts);
  for (int64_t i = 0; i < num_charts; ++i) heights[i] = tall(i);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return heights[i] > heights[j]; });

  const int64_t columns = std::max<int64_t>(1, width / block);
  std::vector<int32_t> horizon(columns, 0);
  Packed packed{std::vector<int32_t>(2 * num_charts, 0), 0};
  for (const int64_t i : order) {
    Chart& c = charts[i];
    const int64_t n = static_cast<int64_t>(c.under.size());
    if (n == 0) continue;
    if (n > columns) {
      packed.height = -1;  // wider than the texture
      return packed;
    }
    int64_t best = 0, best_cost = std::numeric_limits<int64_t>::max(), best_row = 0;
    for (int64_t at = 0; at + n <= columns; ++at) {
      int64_t row = 0;
      for (int64_t k = 0; k < n; ++k)
        if (c.over[k] > 0) row = std::max<int64_t>(row, horizon[at + k] - static_cast<int64_t>(c.under[k]));
      int64_t wasted = 0;
      for (int64_t k = 0; k < n; ++k) if (c.over[k] > 0) wasted += row + c.under[k] - horizon[at + k];
      // Room lost below the chart, and how far it sticks out: both are texels that nobody else will get.
      const int64_t cost = wasted + (row + heights[i]) * n;
      if (cost < best_cost) best_cost = cost, best = at, best_row = row;
    }
    for (int64_t k = 0; k < n; ++k)
      if (c.over[k] > 0) horizon[best + k] = static_cast<int32_t>(best_row + c.over[k]);
    packed.shift[2 * i] = static_cast<int32_t>(best * block - c.column0);
    packed.shift[2 * i + 1] = static_cast<int32_t>(best_row * block - c.row0);
    packed.height = std::max(packed.height, (best_row + heights[i]) * block);
  }
  return packed;
}

}  // namespace rilievo
