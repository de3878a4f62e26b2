// The enlarging of a smeared map without values in between: joint bilateral upsampling (Kopf et al. 2007) in which the
// candidates around a pixel are first split at the step (two means, as in Otsu 1979) and only the side whose colours
// are more like the pixel's is averaged.
#include "sides.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"

namespace rilievo {
namespace {

constexpr int kMost = 9 * 9;
constexpr int kSplits = 3, kRounds = 4;
constexpr int64_t kGrain = 2048;

struct Candidates {
  float value[kMost], weight[kMost];
  int count = 0;
};

// Weight, mean and variance of the candidates.
struct Side {
  double weight = 0, mean = 0, variance = 0;
};

Side sum_up(const Candidates& c) {
  Side s;
  double first = 0;
  for (int k = 0; k < c.count; ++k) {
    s.weight += c.weight[k];
    first += double(c.weight[k]) * c.value[k];
  }
  s.mean = first / s.weight;
  double square = 0;
  for (int k = 0; k < c.count; ++k) {
    const double d = c.value[k] - s.mean;
    square += c.weight[k] * d * d;
  }
  s.variance = square / s.weight;
  return s;
}

// Keeps the heavier of the two sides of the step; false when there is only one.
bool split(Candidates& c, double mean) {
  double at = mean;
  double low_weight = 0, high_weight = 0;
  for (int round = 0; round < kRounds; ++round) {
    double low = 0, high = 0;
    low_weight = high_weight = 0;
    for (int k = 0; k < c.count; ++k) {
      if (c.value[k] < at) {
        low_weight += c.weight[k];
        low += double(c.weight[k]) * c.value[k];
      } else {
        high_weight += c.weight[k];
        high += double(c.weight[k]) * c.value[k];
      }
    }
    if (low_weight <= 0 || high_weight <= 0) return false;
    if (round + 1 < kRounds) at = 0.5 * (low / low_weight + high / high_weight);
  }
  const bool take_low = low_weight > high_weight;
  int kept = 0;
  for (int k = 0; k < c.count; ++k) {
    if ((c.value[k] < at) != take_low) continue;
    c.value[kept] = c.value[k];
    c.weight[kept++] = c.weight[k];
  }
  c.count = kept;
  return true;
}

}  // namespace

void choose_sides(const SmallMap& map, const uint8_t* picture, int64_t height, int64_t width, const int32_t* rows,
                  const int32_t* columns, int64_t n, const SideRules& rules, float* out) {
  const double sy = double(map.height) / double(height), sx = double(map.width) / double(width);
  const int64_t reach = rules.reach;
  parallel_ranges(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double y = (rows[i] + 0.5) * sy - 0.5, x = (columns[i] + 0.5) * sx - 0.5;
      const int64_t y0 = int64_t(std::floor(y + 0.5)), x0 = int64_t(std::floor(x + 0.5));
      float by_row[9], by_column[9];
      for (int64_t d = -reach; d <= reach; ++d) {
        const float fy = float(double(y0 + d) - y), fx = float(double(x0 + d) - x);
        by_row[d + reach] = std::exp(-fy * fy / (2 * rules.near * rules.near));
        by_column[d + reach] = std::exp(-fx * fx / (2 * rules.near * rules.near));
      }
      const uint8_t* own = picture + 3 * (rows[i] * width + columns[i]);
      Candidates c;
      for (int64_t dy = -reach; dy <= reach; ++dy) {
        const int64_t yy = y0 + dy;
        if (yy < 0 || yy >= map.height) continue;
        for (int64_t dx = -reach; dx <= reach; ++dx) {
          const int64_t xx = x0 + dx;
          if (xx < 0 || xx >= map.width) continue;
          const int64_t at = yy * map.width + xx;
          const uint8_t* other = map.colors + 3 * at;
          int32_t square = 0;
          for (int k = 0; k < 3; ++k) square += (int32_t(own[k]) - other[k]) * (int32_t(own[k]) - other[k]);
          const int64_t entry = std::min<int64_t>(square / 64, rules.num_alike - 1);
          c.weight[c.count] = rules.alike[entry] * map.trust[at] * (by_row[dy + reach] * by_column[dx + reach]) + 1e-20f;
          c.value[c.count++] = map.values[at];
        }
      }
      Side side = sum_up(c);
      for (int s = 0; s < kSplits; ++s) {
        const double limit = rules.flat + rules.slope * std::abs(side.mean);
        if (side.variance <= limit * limit || !split(c, side.mean)) break;
        side = sum_up(c);
      }
      out[i] = float(side.mean);
    }
  });
}

}  // namespace rilievo
