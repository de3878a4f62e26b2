// One point a patch of surface: the greedy packing of points in an order of preference. What a sequential pass over all
// points would keep is found in parallel, as in the rounds of Blelloch, Fineman & Shun 2012 ("Greedy sequential maximal
// independent set and matching are parallel on average"): a point stays once all that are preferred to it and too close
// are known to go. Points of one map never conflict (they lie on its pixels' grid), so a round or two a map are enough.
#include "distinct.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "parallel.h"
#include "point_grid.h"

namespace rilievo {
namespace {

constexpr uint8_t kOpen = 2, kStays = 1, kGoes = 0;
// Points are held against others of spacings up to 2^kCoarser times as large, and 2^kFiner times as small.
constexpr int kCoarser = 2, kFiner = 1;
// More photos than this are as good as this many.
constexpr int32_t kEnoughViews = 3;
constexpr int64_t kGrain = 4096;

struct Rules {
  const CloudView& cloud;
  double radius_square, depth, min_cos;

  // Whether q, which is preferred, makes p needless. Distances are in the spacing of p.
  bool covers(int64_t q, int64_t p) const {
    if (cloud.owner[p] == cloud.owner[q]) return false;
    const float *a = cloud.points + 3 * p, *b = cloud.points + 3 * q;
    const double spacing = cloud.spacing[p];
    const double x = double(a[0]) - b[0], y = double(a[1]) - b[1], z = double(a[2]) - b[2];
    const double square = x * x + y * y + z * z, unit = spacing * spacing;
    if (!(square <= (radius_square + depth * depth) * unit)) return false;
    const float *n = cloud.normals + 3 * q, *m = cloud.normals + 3 * p;
    const double off = x * n[0] + y * n[1] + z * n[2];
    return off * off <= depth * depth * unit && square - off * off <= radius_square * unit &&
           double(n[0]) * m[0] + double(n[1]) * m[1] + double(n[2]) * m[2] >= min_cos;
  }

  // Among points of one level, both measured or both inferred.
  bool preferred(int64_t q, int64_t p) const {
    const int32_t a = std::min(cloud.counts[q], kEnoughViews), b = std::min(cloud.counts[p], kEnoughViews);
    if (a != b) return a > b;
    if (cloud.owner[q] != cloud.owner[p]) return cloud.owner[q] < cloud.owner[p];
    return q < p;
  }
};

}  // namespace

std::vector<uint8_t> distinct_points(const CloudView& cloud, double radius, double depth, double min_normal_cos) {
  const size_t n = static_cast<size_t>(cloud.size);
  std::vector<std::atomic<uint8_t>> state(n);  // all kGoes; relaxed reads and writes cost nothing extra
  const auto get = [&](int64_t i) { return state[static_cast<size_t>(i)].load(std::memory_order_relaxed); };
  const auto set = [&](int64_t i, uint8_t to) { state[static_cast<size_t>(i)].store(to, std::memory_order_relaxed); };
  const Rules rules{cloud, radius * radius, depth, min_normal_cos};
  const double reach = std::sqrt(radius * radius + depth * depth);
  const PointGrid grid(cloud.points, cloud.spacing, reach, cloud.size);
  // Measured points first, fine ones before coarse ones: points of one such group in a row.
  const int num_levels = std::max(0, grid.last_level() - grid.first_level() + 1);
  std::vector<size_t> starts(static_cast<size_t>(2 * num_levels) + 1, 0);
  const auto group_of = [&](size_t i) {
    return static_cast<size_t>((cloud.inferred[i] ? num_levels : 0) + grid.level(static_cast<int64_t>(i)) -
                               grid.first_level());
  };
  bool any_inferred = false;
  for (size_t i = 0; i < n; ++i) {
    if (grid.level(static_cast<int64_t>(i)) == PointGrid::kNoLevel) continue;
    set(static_cast<int64_t>(i), kOpen);
    any_inferred = any_inferred || cloud.inferred[i];
    ++starts[group_of(i) + 1];
  }
  for (size_t g = 1; g < starts.size(); ++g) starts[g] += starts[g - 1];
  std::vector<uint32_t> order(starts.back());
  {
    std::vector<size_t> next(starts);
    for (int64_t k = 0; k < grid.size(); ++k) {
      const size_t i = static_cast<size_t>(grid.at(k));
      order[next[group_of(i)]++] = static_cast<uint32_t>(i);
    }
  }

  for (size_t g = 0; g + 1 < starts.size(); ++g) {
    const int level = grid.first_level() + static_cast<int>(g) % std::max(num_levels, 1);
    const bool inferred = static_cast<int>(g) >= num_levels;
    std::vector<uint32_t> open;
    for (size_t i = starts[g]; i < starts[g + 1]; ++i)
      if (get(order[i]) == kOpen) open.push_back(order[i]);
    std::vector<uint8_t> answer;
    while (!open.empty()) {
      answer.assign(open.size(), kOpen);
      parallel_ranges(static_cast<int64_t>(open.size()), kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t p = open[static_cast<size_t>(i)];
          uint8_t next = kStays;
          grid.around(cloud.points + 3 * p, reach * cloud.spacing[p], level, [&](int64_t q) {
            const uint8_t there = get(q);
            if (there == kGoes || cloud.owner[q] == cloud.owner[p] || bool(cloud.inferred[q]) != inferred ||
                !rules.preferred(q, p) || !rules.covers(q, p))
              return true;
            next = there == kStays ? kGoes : kOpen;
            return next == kOpen;
          });
          answer[static_cast<size_t>(i)] = next;
        }
      });
      size_t left = 0;
      for (size_t i = 0; i < open.size(); ++i) {
        set(open[i], answer[i]);
        if (answer[i] == kOpen) open[left++] = open[i];
      }
      open.resize(left);
    }
    // What stays in this group speaks for later groups. The flags only ever go from open to gone, whoever sets them.
    parallel_ranges(static_cast<int64_t>(starts[g + 1] - starts[g]), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t q = order[starts[g] + static_cast<size_t>(i)];
        if (get(q) != kStays) continue;
        for (int l = any_inferred && !inferred ? level - kFiner : level + 1; l <= level + kCoarser; ++l) {
          if (!grid.has_level(l)) continue;
          const double within = std::ldexp(1.0, l);
          grid.around(cloud.points + 3 * q, within, l, [&](int64_t p) {
            if (inferred ? !cloud.inferred[p] : !cloud.inferred[p] && l <= level) return true;  // decided before
            if (rules.covers(q, p)) set(p, kGoes);
            return true;
          });
        }
      }
    });
  }
  std::vector<uint8_t> stays(n);
  for (size_t i = 0; i < n; ++i) stays[i] = get(static_cast<int64_t>(i)) == kStays;
  return stays;
}

std::vector<uint8_t> crowded_points(const float* points, const float* spacing, int64_t n, double radius,
                                    int min_neighbours) {
  std::vector<uint8_t> out(static_cast<size_t>(n), 0);
  const PointGrid grid(points, spacing, radius, n);
  parallel_ranges(grid.size(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t i = grid.at(k);
      const int level = grid.level(i);
      const double reach = radius * spacing[i];
      const float* p = points + 3 * i;
      int count = -1;  // the point itself is found too
      const auto look = [&](int64_t j) {
        const float* q = points + 3 * j;
        const double x = double(p[0]) - q[0], y = double(p[1]) - q[1], z = double(p[2]) - q[2];
        count += x * x + y * y + z * z <= reach * reach;
        return count < min_neighbours;
      };
      for (int l : {level, level - 1, level + 1, level - 2, level + 2})
        if (count < min_neighbours && grid.has_level(l)) grid.around(p, reach, l, look);
      out[static_cast<size_t>(i)] = count >= min_neighbours;
    }
  });
  return out;
}

}  // namespace rilievo
