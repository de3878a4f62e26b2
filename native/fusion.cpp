// Fusion of depth maps after the idea of Merrell et al. 2007 (support and free-space conflicts counted per pixel) and
// Schönberger et al. 2016, section 5 (consistency of depth, reprojection and normal), with one difference: neighbours
// vote with the depth at which the reference ray meets their tangent plane, so that rounding to a pixel costs nothing.
#include "fusion.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.h"

namespace rilievo {
namespace {

struct Vec {
  double x, y, z;
};
Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
Vec operator*(double s, Vec a) { return {s * a.x, s * a.y, s * a.z}; }
double dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
bool finite(Vec a) { return std::isfinite(a.x) && std::isfinite(a.y) && std::isfinite(a.z); }

// cam_from_world applied to a point; its rotation alone; and the inverse of the rotation.
Vec to_camera(const double* m, Vec p) {
  return {m[0] * p.x + m[1] * p.y + m[2] * p.z + m[3], m[4] * p.x + m[5] * p.y + m[6] * p.z + m[7],
          m[8] * p.x + m[9] * p.y + m[10] * p.z + m[11]};
}
Vec unrotate(const double* m, Vec v) {
  return {m[0] * v.x + m[4] * v.y + m[8] * v.z, m[1] * v.x + m[5] * v.y + m[9] * v.z,
          m[2] * v.x + m[6] * v.y + m[10] * v.z};
}
Vec center(const double* m) { return unrotate(m, {-m[3], -m[7], -m[11]}); }

Vec pixel_ray(const double* k, int64_t row, int64_t column) {
  return {(column + 0.5 - k[2]) / k[0], (row + 0.5 - k[3]) / k[1], 1.0};
}

Vec normal_at(const MapView& map, int64_t pixel) {
  const float* n = map.normals + 3 * pixel;
  return unrotate(map.cam_from_world, {n[0], n[1], n[2]});
}

double sigma_at(const MapView& map, int64_t pixel, double depth, const FusionLimits& limits) {
  const double sigma = map.sigma[pixel];
  if (std::isfinite(sigma) && sigma > 0) return std::max(sigma, 1e-7 * depth);
  return limits.default_sigma_px * depth / map.camera[0];
}

struct Vote {
  int32_t view, pixel;
  double depth, weight, sigma;
};

// Maps made from the same photos err together: the share of a map's variance that its neighbours have in common, and
// the weight, in votes, of the sigmas that the maps state against what their disagreement says. Both were found on a
// scene with known surface (bench/sigma.py).
constexpr double kSharedVariance = 0.15;
constexpr double kPriorVotes = 4.0;

// Variance of the weighted mean of votes whose errors correlate by kSharedVariance, raised where the votes differ by
// more than their sigmas explain (Birge 1932, with a prior as few votes say little).
double fused_variance(const std::vector<Vote>& votes, double weight_sum, double fused) {
  double own = 0, shared = 0, misfit = 0;
  for (const Vote& vote : votes) {
    const double part = vote.weight / weight_sum * vote.sigma, off = (vote.depth - fused) / vote.sigma;
    own += part * part, shared += part, misfit += off * off;
  }
  const double more = static_cast<double>(votes.size()) - 1;
  const double scale = (kPriorVotes + misfit / (1 - kSharedVariance)) / (kPriorVotes + more);
  return (kSharedVariance * shared * shared + (1 - kSharedVariance) * own) * std::max(1.0, scale);
}

}  // namespace

FusedPoints fuse_map(const MapView& reference, const std::vector<MapView>& neighbours, const uint8_t* consumed,
                     const FusionLimits& limits) {
  const int64_t h = reference.height, w = reference.width;
  constexpr int64_t grain = 16;
  std::vector<FusedPoints> parts(static_cast<size_t>((h + grain - 1) / grain));
  const Vec eye = center(reference.cam_from_world);
  std::vector<Vec> eyes;
  for (const MapView& map : neighbours) eyes.push_back(center(map.cam_from_world));

  parallel_ranges(h, grain, [&](int64_t begin, int64_t end) {
    FusedPoints& out = parts[static_cast<size_t>(begin / grain)];
    std::vector<Vote> votes;
    for (int64_t pixel = begin * w; pixel < end * w; ++pixel) {
      const double depth = reference.depth[pixel];
      const double own_confidence = reference.confidence[pixel];
      if (consumed[pixel] || !std::isfinite(depth) || !(depth > 0) || !(own_confidence >= limits.min_confidence))
        continue;
      const Vec ray = unrotate(reference.cam_from_world, pixel_ray(reference.camera, pixel / w, pixel % w));
      const Vec point = eye + depth * ray;
      const Vec own_normal = normal_at(reference, pixel);
      if (!finite(point) || !finite(own_normal)) continue;
      const double own_sigma = sigma_at(reference, pixel, depth, limits);

      votes.clear();
      votes.push_back({0, static_cast<int32_t>(pixel), depth, own_confidence / (own_sigma * own_sigma),
                       own_sigma});
      Vec normal = votes[0].weight * own_normal;
      double color[3], confidence_sum = own_confidence;
      for (int c = 0; c < 3; ++c) color[c] = reference.colors[3 * pixel + c];
      int conflicts = 0;
      for (size_t j = 0; j < neighbours.size(); ++j) {
        const MapView& map = neighbours[j];
        const double* k = map.camera;
        const Vec seen = to_camera(map.cam_from_world, point);
        if (!(seen.z > 0)) continue;
        const double u = k[0] * seen.x / seen.z + k[2], v = k[1] * seen.y / seen.z + k[3];
        if (!(u >= 0 && v >= 0 && u < static_cast<double>(map.width) && v < static_cast<double>(map.height))) continue;
        const int64_t other = static_cast<int64_t>(v) * map.width + static_cast<int64_t>(u);
        const double other_depth = map.depth[other];
        if (!std::isfinite(other_depth) || !(other_depth > 0)) continue;
        const double allowed = limits.max_relative_depth * seen.z;
        if (other_depth > seen.z + 3 * allowed && map.confidence[other] >= limits.min_confidence) {
          ++conflicts;  // the neighbour looks through this point at something farther
          continue;
        }
        if (std::abs(other_depth - seen.z) > 3 * allowed) continue;
        const double other_confidence = map.confidence[other];
        const Vec other_normal = normal_at(map, other);
        if (!(other_confidence >= limits.min_confidence) || !finite(other_normal)) continue;
        if (dot(own_normal, other_normal) < limits.min_normal_cos) continue;

        const Vec other_ray =
            unrotate(map.cam_from_world, pixel_ray(k, other / map.width, other % map.width));
        const Vec other_point = eyes[j] + other_depth * other_ray;
        const double slope = dot(other_normal, ray), other_slope = dot(other_normal, other_ray);
        double voted = depth + (other_depth - seen.z) * dot(ray, other_ray) / dot(other_ray, other_ray);
        double sigma = sigma_at(map, other, other_depth, limits);
        // At grazing angles the plane says little about the depth along this ray: stay with the pixel's own depth.
        if (std::abs(slope) > 0.2 * std::sqrt(dot(ray, ray))) {
          voted = dot(other_normal, other_point - eye) / slope;
          sigma *= std::clamp(std::abs(other_slope / slope), 0.25, 4.0);
        }
        if (!(std::abs(voted - depth) <= limits.max_relative_depth * depth)) continue;
        const Vec moved = to_camera(map.cam_from_world, eye + voted * ray);
        if (!(moved.z > 0)) continue;
        const double du = k[0] * moved.x / moved.z + k[2] - u, dv = k[1] * moved.y / moved.z + k[3] - v;
        if (!(du * du + dv * dv <= limits.max_reprojection_px * limits.max_reprojection_px)) continue;

        const double weight = other_confidence / (sigma * sigma);
        votes.push_back({static_cast<int32_t>(j + 1), static_cast<int32_t>(other), voted, weight, sigma});
        normal = normal + weight * other_normal;
        confidence_sum += other_confidence;
        for (int c = 0; c < 3; ++c) color[c] += map.colors[3 * other + c];
      }
      const int count = static_cast<int>(votes.size());
      if (count < limits.min_views || conflicts > limits.max_contradictions * count) continue;

      double weight_sum = 0, depth_sum = 0;
      for (const Vote& vote : votes) weight_sum += vote.weight, depth_sum += vote.weight * vote.depth;
      const double fused = depth_sum / weight_sum;
      const double length = std::sqrt(dot(normal, normal));
      if (!std::isfinite(fused) || !(length > 1e-12 * weight_sum)) continue;

      const Vec place = eye + fused * ray;
      out.points.insert(out.points.end(), {place.x, place.y, place.z});
      for (double n : {normal.x, normal.y, normal.z}) out.normals.push_back(static_cast<float>(n / length));
      for (int c = 0; c < 3; ++c) out.colors.push_back(static_cast<uint8_t>(color[c] / count + 0.5));
      out.confidence.push_back(
          static_cast<float>(std::min(1.0, confidence_sum / count * (1 - std::ldexp(1.0, 1 - count)))));
      // An error of depth moves the point along its ray; what counts is how far that is off the surface.
      const double across = std::max(std::abs(dot(normal, ray)) / length, 0.1 * std::sqrt(dot(ray, ray)));
      out.sigma.push_back(static_cast<float>(std::sqrt(fused_variance(votes, weight_sum, fused)) * across));
      out.spacing.push_back(static_cast<float>(fused / reference.camera[0]));
      out.counts.push_back(count);
      for (const Vote& vote : votes) out.views.push_back(vote.view), out.pixels.push_back(vote.pixel);
    }
  });

  FusedPoints all;
  const auto append = [](auto& to, auto& from) {
    to.insert(to.end(), from.begin(), from.end());
    std::remove_reference_t<decltype(from)>().swap(from);
  };
  for (FusedPoints& part : parts) {
    append(all.points, part.points);
    append(all.normals, part.normals);
    append(all.colors, part.colors);
    append(all.confidence, part.confidence);
    append(all.sigma, part.sigma);
    append(all.spacing, part.spacing);
    append(all.counts, part.counts);
    append(all.views, part.views);
    append(all.pixels, part.pixels);
  }
  return all;
}

}  // namespace rilievo
