// Which views lie about a face, and patches too small to be worth a chart of their own.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"
#include "texture.h"

namespace rilievo {

// A Gaussian fitted to the mode of the colours that the views give a face (after Waechter et al. 2014, "Let There Be
// Color!", section 3.2): around the median, mean and spread of what lies within three deviations, in turn.
std::vector<uint8_t> reject_colors(const int64_t* offsets, int64_t num_faces, const float* colors, double tolerance) {
  std::vector<uint8_t> out(offsets[num_faces], 0);
  parallel_ranges(num_faces, 4096, [&](int64_t begin, int64_t end) {
    std::vector<double> sorted;
    std::vector<uint8_t> inlier;
    for (int64_t f = begin; f < end; ++f) {
      const int64_t n = offsets[f + 1] - offsets[f];
      if (n < 3) continue;
      const float* c = colors + 3 * offsets[f];
      double center[3], sigma[3];
      const auto median = [&](auto&& value) {  // the lower one
        sorted.clear();
        for (int64_t i = 0; i < n; ++i) sorted.push_back(value(i));
        std::nth_element(sorted.begin(), sorted.begin() + (n - 1) / 2, sorted.end());
        return sorted[(n - 1) / 2];
      };
      bool finite = true;
      for (int64_t i = 0; i < 3 * n; ++i) finite = finite && std::isfinite(c[i]);
      if (!finite) continue;
      for (int k = 0; k < 3; ++k) {
        center[k] = median([&](int64_t i) { return static_cast<double>(c[3 * i + k]); });
        // The spread starts from the median deviation: half of the rows may be wrong.
        sigma[k] = std::max(tolerance, 1.48 * median([&](int64_t i) { return std::abs(c[3 * i + k] - center[k]); }));
      }
      inlier.assign(n, 1);
      for (int round = 0; round < 5; ++round) {
        double num = 0, sum[3] = {0, 0, 0}, square[3] = {0, 0, 0};
        for (int64_t i = 0; i < n; ++i) {
          double d = 0;
          for (int k = 0; k < 3; ++k) d += (c[3 * i + k] - center[k]) * (c[3 * i + k] - center[k]) / (sigma[k] * sigma[k]);
          inlier[i] = d < 9;
          if (!inlier[i]) continue;
          num += 1;
          for (int k = 0; k < 3; ++k) sum[k] += c[3 * i + k];
        }
        if (num == 0) break;
        for (int k = 0; k < 3; ++k) center[k] = sum[k] / num;
        for (int64_t i = 0; i < n; ++i)
          if (inlier[i])
            for (int k = 0; k < 3; ++k) square[k] += (c[3 * i + k] - center[k]) * (c[3 * i + k] - center[k]);
        for (int k = 0; k < 3; ++k) sigma[k] = std::max(tolerance, std::sqrt(square[k] / num));
      }
      for (int64_t i = 0; i < n; ++i) out[offsets[f] + i] = !inlier[i];
    }
  });
  return out;
}

std::vector<int32_t> merge_patches(const int64_t* offsets, const int32_t* labels, const float* costs, int64_t num_faces,
                                   const int32_t* neighbors, const int32_t* chosen, int64_t most, double worth) {
  std::vector<int32_t> label(chosen, chosen + num_faces);
  std::vector<int32_t> patch(num_faces);
  std::vector<int64_t> start, faces(num_faces), stack, order;
  std::vector<int32_t> options;
  const auto cost_of = [&](int64_t f, int32_t view) {
    const int32_t* first = labels + offsets[f];
    const int32_t* last = labels + offsets[f + 1];
    const int32_t* at = std::lower_bound(first, last, view);
    return at != last && *at == view ? static_cast<double>(costs[at - labels]) : std::numeric_limits<double>::infinity();
  };
  for (int round = 0; round < 4; ++round) {
    std::fill(patch.begin(), patch.end(), -1);
    start.clear();
    int64_t used = 0;
    for (int64_t seed = 0; seed < num_faces; ++seed) {
      if (patch[seed] >= 0) continue;
      const int32_t number = static_cast<int32_t>(start.size());
      start.push_back(used);
      patch[seed] = number;
      stack.assign(1, seed);
      while (!stack.empty()) {
        const int64_t f = stack.back();
        stack.pop_back();
        faces[used++] = f;
        for (int k = 0; k < 3; ++k) {
          const int64_t g = neighbors[3 * f + k];
          if (g < 0 || g >= num_faces || patch[g] >= 0 || label[g] != label[f]) continue;
          patch[g] = number;
          stack.push_back(g);
        }
      }
    }
    start.push_back(used);
    order.clear();
    for (int64_t p = 0; p + 1 < static_cast<int64_t>(start.size()); ++p) {
      std::sort(faces.begin() + start[p], faces.begin() + start[p + 1]);
      if (start[p + 1] - start[p] <= most && label[faces[start[p]]] >= 0) order.push_back(p);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return start[a + 1] - start[a] < start[b + 1] - start[b]; });
    bool changed = false;
    for (const int64_t p : order) {
      const int32_t own = label[faces[start[p]]];
      options.clear();
      for (int64_t i = start[p]; i < start[p + 1]; ++i) {
        for (int k = 0; k < 3; ++k) {
          const int64_t g = neighbors[3 * faces[i] + k];
          if (g >= 0 && g < num_faces && label[g] >= 0 && label[g] != own) options.push_back(label[g]);
        }
      }
      std::sort(options.begin(), options.end());
      options.erase(std::unique(options.begin(), options.end()), options.end());
      double best = std::numeric_limits<double>::infinity();
      int32_t view = -1;
      for (const int32_t option : options) {
        double total = 0;
        for (int64_t i = start[p]; i < start[p + 1] && total < best; ++i) total += cost_of(faces[i], option);
        if (total < best) best = total, view = option;
      }
      if (view < 0) continue;
      double total = 0;
      for (int64_t i = start[p]; i < start[p + 1]; ++i) total += cost_of(faces[i], own);
      if (!(best < total + worth)) continue;
      for (int64_t i = start[p]; i < start[p + 1]; ++i) label[faces[i]] = view;
      changed = true;
    }
    if (!changed) break;
  }
  return label;
}

}  // namespace rilievo
