// Moving least squares with normals (Levin 2003; Oeztireli, Guennebaud & Gross 2009, eqs. 8-12): one step of a vertex.
#include "snap.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "parallel.h"

namespace rilievo {
namespace {

struct Neighbour {
  double normal[3], away[3], distance, weight, offset;
  bool usable;
};

double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

bool step_of(const PointTree& tree, const PointTraits& cloud, const double* at, const double* up,
             const SnapLimits& limits, std::vector<int32_t>& index, std::vector<double>& distance2,
             std::vector<Neighbour>& around, std::vector<double>& sorted, double* step) {
  find_nearest(tree, at, limits.neighbours, INFINITY, index.data(), distance2.data());
  if (index[0] < 0) return false;
  const double spacing = cloud.spacing[index[0]];
  if (!(spacing > 0)) return false;
  double width = spacing;
  around.clear();
  for (int k = 0; k < limits.neighbours && index[static_cast<size_t>(k)] >= 0; ++k) {
    const int64_t i = index[static_cast<size_t>(k)];
    Neighbour p{};
    p.distance = std::sqrt(distance2[static_cast<size_t>(k)]);
    for (int c = 0; c < 3; ++c) p.normal[c] = cloud.normals[3 * i + c];
    p.usable = dot(p.normal, up) > limits.min_facing && p.distance <= limits.reach * spacing;
    if (!p.usable) continue;
    const double given = cloud.sigma[i];
    const double sigma = std::isnan(given) ? INFINITY : std::max(given, limits.min_sigma * spacing);
    p.weight = cloud.confidence[i] * ((spacing / sigma) * (spacing / sigma));
    width = std::max(width, p.distance);
    for (int c = 0; c < 3; ++c) p.away[c] = cloud.points[3 * i + c] - at[c];
    around.push_back(p);
  }
  if (around.empty()) return false;
  double mean[3] = {0, 0, 0};
  for (Neighbour& p : around) {
    p.weight *= std::exp(-(p.distance / width) * (p.distance / width));
    for (int c = 0; c < 3; ++c) mean[c] += p.weight * p.normal[c];
  }
  const double norm = std::max(std::sqrt(dot(mean, mean)), 1e-30);
  for (double& c : mean) c /= norm;
  sorted.clear();
  int count = 0;
  for (Neighbour& p : around) {
    p.usable = dot(p.normal, mean) > limits.min_agreement;
    if (!p.usable) continue;
    ++count;
    double across[3];
    for (int c = 0; c < 3; ++c) across[c] = mean[c] + limits.curved * (p.normal[c] - mean[c]);
    p.offset = dot(p.away, across);
    sorted.push_back(p.offset);
  }
  if (count < limits.min_points) return false;
  std::sort(sorted.begin(), sorted.end());
  const double middle = sorted[static_cast<size_t>((count - 1) / 2)];
  double total = 0, sum = 0;
  for (const Neighbour& p : around) {
    if (!p.usable) continue;
    const double residual = (p.offset - middle) / (limits.residual * spacing);
    const double weight = p.weight * std::exp(-0.5 * residual * residual);
    total += weight;
    sum += weight * p.offset;
  }
  if (!(total > 0)) return false;
  const double limit = limits.max_step * spacing, move = std::clamp(sum / total, -limit, limit);
  for (int c = 0; c < 3; ++c) step[c] = mean[c] * move;
  return true;
}

}  // namespace

void snap_steps(const PointTree& tree, const PointTraits& cloud, const float* vertices, const float* normals,
                int64_t num_vertices, const SnapLimits& limits, double* step, uint8_t* held) {
  if (limits.neighbours < 1 || limits.neighbours > 64) throw std::invalid_argument("snap_steps: 1 to 64 neighbours");
  parallel_ranges(num_vertices, 1024, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> index(static_cast<size_t>(limits.neighbours));
    std::vector<double> distance2(index.size()), sorted;
    std::vector<Neighbour> around;
    for (int64_t v = begin; v < end; ++v) {
      const double at[3] = {vertices[3 * v], vertices[3 * v + 1], vertices[3 * v + 2]};
      const double up[3] = {normals[3 * v], normals[3 * v + 1], normals[3 * v + 2]};
      std::fill(step + 3 * v, step + 3 * v + 3, 0.0);
      held[v] = step_of(tree, cloud, at, up, limits, index, distance2, around, sorted, step + 3 * v);
    }
  });
}

}  // namespace rilievo
