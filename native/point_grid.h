// Points in cubes whose size follows their spacing in steps of two, those of a cube side by side in memory.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

namespace rilievo {

// The cubes of level l have side 2^l. A point lies in the level that its own size asks for; points that no cube can
// hold (not finite, size not positive, farther from zero than 2^40 cubes) have level kNoLevel and are in no cube.
// Memory: 21 to 25 bytes a point.
class PointGrid {
 public:
  static constexpr int8_t kNoLevel = -128;

  // points: n x 3.  cubes: the least side of each point's cube is scale * size[i].
  PointGrid(const float* points, const float* size, double scale, int64_t n);

  int8_t level(int64_t i) const { return levels_[static_cast<size_t>(i)]; }
  bool has_level(int level) const { return level >= -127 && level <= 127 && present_[level + 128]; }
  int first_level() const { return first_; }
  int last_level() const { return last_; }

  // Points that are in cubes, and the one at a place of the order in which they lie in memory: work done in this order
  // finds its surroundings in the cache.
  int64_t size() const { return static_cast<int64_t>(items_.size()); }
  int64_t at(int64_t place) const { return static_cast<int64_t>(items_[static_cast<size_t>(place)].index); }

  // Calls visit(index) for every point of that level within `reach` of a place; visit returns false to end. Indices come
  // in the same order in every run.
  template <typename Visit>
  void around(const float* at, double reach, int level, Visit&& visit) const {
    const double scale = std::ldexp(1.0, -level), cube = std::ldexp(1.0, level), square = reach * reach;
    const float limit = static_cast<float>(square * 1.000001);
    int64_t low[3], high[3];
    for (int a = 0; a < 3; ++a) {
      low[a] = static_cast<int64_t>(std::floor((at[a] - reach) * scale));
      high[a] = static_cast<int64_t>(std::floor((at[a] + reach) * scale));
    }
    // Two cubes may share a bucket: each bucket is read once; where there are many, each point is held against its cube.
    const bool many = (high[0] - low[0] + 1) * (high[1] - low[1] + 1) * (high[2] - low[2] + 1) > 27;
    uint32_t done[27];
    int num_done = 0;
    const auto gap = [&](int64_t cell, float from) {
      const double begin = static_cast<double>(cell) * cube, d = from < begin ? begin - from : from - (begin + cube);
      return d > 0 ? d * d : 0.0;
    };
    for (int64_t x = low[0]; x <= high[0]; ++x) {
      const double gap_x = gap(x, at[0]);
      for (int64_t y = low[1]; y <= high[1]; ++y) {
        const double gap_xy = gap_x + gap(y, at[1]);
        if (gap_xy > square) continue;
        for (int64_t z = low[2]; z <= high[2]; ++z) {
          if (gap_xy + gap(z, at[2]) > square) continue;
          const uint32_t b = bucket(level, x, y, z);
          bool seen = false;
          for (int i = 0; i < num_done; ++i) seen |= done[i] == b;
          if (seen) continue;
          if (!many) done[num_done++] = b;
          for (uint32_t i = starts_[b]; i < starts_[b + 1]; ++i) {
            const Item& item = items_[i];
            const float dx = item.x - at[0], dy = item.y - at[1], dz = item.z - at[2];
            if (!(dx * dx + dy * dy + dz * dz <= limit) || levels_[item.index] != level) continue;
            if (many && !inside(item, scale, x, y, z)) continue;
            if (!visit(static_cast<int64_t>(item.index))) return;
          }
        }
      }
    }
  }

 private:
  // Cubes of one block of 8 x 8 x 8 lie together in memory.
  uint32_t bucket(int level, int64_t x, int64_t y, int64_t z) const {
    uint64_t h = static_cast<uint64_t>(x >> 3) * 0x9E3779B97F4A7C15u;
    h = (h ^ (h >> 29) ^ static_cast<uint64_t>(y >> 3)) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (h >> 32) ^ static_cast<uint64_t>(z >> 3)) * 0x94D049BB133111EBu;
    h = (h ^ (h >> 29) ^ static_cast<uint64_t>(level + 128)) * 0x9E3779B97F4A7C15u;
    h ^= h >> 31;
    return static_cast<uint32_t>((h << 9 | (x & 7) << 6 | (y & 7) << 3 | (z & 7)) & mask_);
  }

  struct Item {
    float x, y, z;
    uint32_t index;
  };

  static bool inside(const Item& p, double scale, int64_t x, int64_t y, int64_t z) {
    return std::floor(p.x * scale) == static_cast<double>(x) && std::floor(p.y * scale) == static_cast<double>(y) &&
           std::floor(p.z * scale) == static_cast<double>(z);
  }

  uint32_t mask_ = 0;
  int first_ = 127, last_ = -128;
  bool present_[256] = {};
  std::vector<int8_t> levels_;
  std::vector<uint32_t> starts_;
  std::vector<Item> items_;
};

}  // namespace rilievo
