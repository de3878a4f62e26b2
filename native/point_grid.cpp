#include "point_grid.h"

#include "parallel.h"

namespace rilievo {

PointGrid::PointGrid(const float* points, const float* size, double scale, int64_t n) {
  const size_t count = static_cast<size_t>(n);
  uint32_t buckets = 512;
  while (buckets < count && buckets < (1u << 31)) buckets *= 2;
  mask_ = buckets - 1;
  levels_.assign(count, kNoLevel);
  std::vector<uint32_t> bucket_of(count);
  parallel_ranges(n, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double side = scale * size[i];
      if (!(side > 1e-35) || !(side < 1e35)) continue;
      const int level = static_cast<int>(std::ceil(std::log2(side)));
      const double inverse = std::ldexp(1.0, -level);
      int64_t cube[3];
      bool fits = true;
      for (int a = 0; a < 3; ++a) {
        const double at = points[3 * i + a] * inverse;
        fits = fits && std::abs(at) < 1099511627776.0;
        cube[a] = fits ? static_cast<int64_t>(std::floor(at)) : 0;
      }
      if (!fits) continue;
      levels_[static_cast<size_t>(i)] = static_cast<int8_t>(level);
      bucket_of[static_cast<size_t>(i)] = bucket(level, cube[0], cube[1], cube[2]);
    }
  });
  starts_.assign(static_cast<size_t>(buckets) + 1, 0);
  for (size_t i = 0; i < count; ++i) {
    if (levels_[i] == kNoLevel) continue;
    present_[levels_[i] + 128] = true;
    ++starts_[bucket_of[i] + 1];
  }
  for (int level = -127; level <= 127; ++level)
    if (has_level(level)) first_ = first_ == 127 ? level : first_, last_ = level;
  for (size_t b = 0; b < buckets; ++b) starts_[b + 1] += starts_[b];
  items_.resize(starts_[buckets]);
  // Filled from behind, so that each start ends where it belongs and indices within a bucket ascend.
  std::vector<uint32_t>& ends = starts_;
  for (size_t i = count; i-- > 0;) {
    if (levels_[i] == kNoLevel) continue;
    items_[--ends[bucket_of[i] + 1]] = {points[3 * i], points[3 * i + 1], points[3 * i + 2], static_cast<uint32_t>(i)};
  }
  // Now ends[b + 1] is where bucket b starts: shift by one.
  for (size_t b = 0; b < buckets; ++b) starts_[b] = starts_[b + 1];
  starts_[buckets] = static_cast<uint32_t>(items_.size());
}

}  // namespace rilievo
