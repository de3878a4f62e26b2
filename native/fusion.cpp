// Fusion of depth maps after the idea of Merrell et al. 2007 (support and free-space conflicts counted per pixel) and
// Schönberger et al. 2016, section 5 (consistency of depth, reprojection and normal), with two differences. Neighbours
// vote with the depth at which the reference ray meets their tangent plane, so that rounding to a pixel costs nothing.
// And a place belongs to the map that sees it best: the others lend it their votes and say nothing themselves, which
// needs no record of what was used, so that maps can be fused in any order.
#include "fusion.h"

#include <algorithm>
#include <cmath>

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

// Rotation and translation, row-major 3 x 4.
struct Rigid {
  double m[12];
  Vec turn(Vec v) const {
    return {m[0] * v.x + m[1] * v.y + m[2] * v.z, m[4] * v.x + m[5] * v.y + m[6] * v.z,
            m[8] * v.x + m[9] * v.y + m[10] * v.z};
  }
  Vec turn_back(Vec v) const {
    return {m[0] * v.x + m[4] * v.y + m[8] * v.z, m[1] * v.x + m[5] * v.y + m[9] * v.z,
            m[2] * v.x + m[6] * v.y + m[10] * v.z};
  }
  Vec move(Vec v) const { return turn(v) + shift(); }
  Vec shift() const { return {m[3], m[7], m[11]}; }
  Vec center() const { return turn_back({-m[3], -m[7], -m[11]}); }
};

Rigid rigid(const double* values) {
  Rigid out;
  std::copy(values, values + 12, out.m);
  return out;
}

// a_from_world and b_from_world to a_from_b.
Rigid relative(const Rigid& a, const Rigid& b) {
  Rigid out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      out.m[4 * i + j] = a.m[4 * i] * b.m[4 * j] + a.m[4 * i + 1] * b.m[4 * j + 1] + a.m[4 * i + 2] * b.m[4 * j + 2];
  const Vec shift = a.shift() - out.turn(b.shift());
  out.m[3] = shift.x, out.m[7] = shift.y, out.m[11] = shift.z;
  return out;
}

Vec pixel_ray(const double* k, int64_t row, int64_t column) {
  return {(column + 0.5 - k[2]) / k[0], (row + 0.5 - k[3]) / k[1], 1.0};
}

Vec normal_at(const MapView& map, int64_t pixel) {
  const float* n = map.normals + 3 * pixel;
  return {n[0], n[1], n[2]};
}

double sigma_at(const MapView& map, int64_t pixel, double depth, const FusionLimits& limits) {
  const double sigma = map.sigma[pixel];
  if (std::isfinite(sigma) && sigma > 0) return std::max(sigma, 1e-7 * depth);
  return limits.default_sigma_px * depth / map.camera[0];
}

bool inferred_at(const MapView& map, int64_t pixel) { return map.inferred && map.inferred[pixel]; }

// A neighbour as the reference sees it.
struct Neighbour {
  const MapView* map;
  Rigid from_reference;
  Vec eye;       // in the reference camera
  double focal;  // its focal length over the reference's
  bool first;    // it has what both see equally well
};

struct Vote {
  int32_t view;
  int64_t pixel;
  double depth, sigma, weight, confidence;
  Vec normal;  // in the reference camera
  bool inferred;
};

// How much better another map must see a place to have it, as a ratio of squared footprints: one that comes first, one
// that comes later. The gap between the two outweighs noise, so that no place is without an owner.
constexpr double kBetterFirst = 0.99, kBetterLater = 1.03;
// A map that sees a surface at a more grazing angle, by this ratio of cosines, does not see it better.
constexpr double kGrazing = 0.5;
// Votes within this many footprints of the median agree whatever their sigma.
constexpr double kCloseFootprints = 0.5;
// A pixel whose brightness (0..1020) is this far from the median of the views shows something else.
constexpr int kOtherBrightness = 100;

// Maps made from the same photos err together: the share of a map's variance that its neighbours have in common, and
// the weight, in votes, of the sigmas that the maps state against what their disagreement says. Both were chosen
// by looking at five scenes with known surface (bench/sigma.py).
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

// The weighted lower median of the votes' depths; `votes` are sorted by depth after it.
const Vote& median_vote(std::vector<Vote>& votes) {
  std::sort(votes.begin(), votes.end(), [](const Vote& a, const Vote& b) {
    return a.depth < b.depth || (a.depth == b.depth && a.view < b.view);
  });
  double total = 0, below = 0;
  for (const Vote& vote : votes) total += vote.weight;
  for (const Vote& vote : votes)
    if ((below += vote.weight) >= 0.5 * total) return vote;
  return votes.back();
}

const uint8_t* color_of(const MapView& reference, const std::vector<Neighbour>& neighbours, const Vote& vote) {
  const MapView& map = vote.view ? *neighbours[static_cast<size_t>(vote.view - 1)].map : reference;
  return map.colors + 3 * vote.pixel;
}

// The reference's own colour, as it has the finest detail; where most views show another brightness, the colour of the
// view in the middle.
const uint8_t* choose_color(const MapView& reference, const std::vector<Neighbour>& neighbours, int64_t own,
                            const std::vector<Vote>& votes, std::vector<std::pair<int, int>>& order) {
  const auto brightness = [](const uint8_t* c) { return c[0] + 2 * c[1] + c[2]; };
  order.clear();
  for (size_t i = 0; i < votes.size(); ++i)
    order.emplace_back(brightness(color_of(reference, neighbours, votes[i])), static_cast<int>(i));
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first
                              : votes[static_cast<size_t>(a.second)].view < votes[static_cast<size_t>(b.second)].view;
  });
  const auto& middle = order[(order.size() - 1) / 2];
  const uint8_t* color = reference.colors + 3 * own;
  if (order.size() > 2 && std::abs(brightness(color) - middle.first) > kOtherBrightness)
    return color_of(reference, neighbours, votes[static_cast<size_t>(middle.second)]);
  return color;
}

}  // namespace

FusedPoints fuse_map(const MapView& reference, const std::vector<MapView>& neighbours, const int32_t* ranks,
                     const FusionLimits& limits) {
  const int64_t h = reference.height, w = reference.width;
  constexpr int64_t grain = 16;
  std::vector<FusedPoints> parts(static_cast<size_t>((h + grain - 1) / grain));
  const Rigid own_from_world = rigid(reference.cam_from_world);
  const Vec world_eye = own_from_world.center();
  std::vector<Neighbour> others;
  for (size_t j = 0; j < neighbours.size(); ++j) {
    const Rigid from_reference = relative(rigid(neighbours[j].cam_from_world), own_from_world);
    others.push_back({&neighbours[j], from_reference, from_reference.center(),
                      neighbours[j].camera[0] / reference.camera[0], ranks[j + 1] < ranks[0]});
  }

  parallel_ranges(h, grain, [&](int64_t begin, int64_t end) {
    FusedPoints& out = parts[static_cast<size_t>(begin / grain)];
    std::vector<Vote> votes, agreed;
    std::vector<std::pair<int, int>> order;
    for (int64_t pixel = begin * w; pixel < end * w; ++pixel) {
      const double depth = reference.depth[pixel], own_confidence = reference.confidence[pixel];
      if (!std::isfinite(depth) || !(depth > 0) || !(own_confidence >= limits.min_confidence)) continue;
      const Vec ray = pixel_ray(reference.camera, pixel / w, pixel % w);
      const Vec own_normal = normal_at(reference, pixel), point = depth * ray;
      const double ray_square = dot(ray, ray), own_square = depth * depth * ray_square;
      if (!finite(own_normal) || !std::isfinite(own_square)) continue;
      const double own_sigma = sigma_at(reference, pixel, depth, limits);
      const bool own_inferred = inferred_at(reference, pixel);
      const double own_cos = std::abs(dot(own_normal, ray)) / std::sqrt(ray_square);

      votes.clear();
      votes.push_back({0, pixel, depth, own_sigma, own_confidence / (own_sigma * own_sigma), own_confidence, own_normal,
                       own_inferred});
      int conflicts = 0;
      bool owned = true;
      for (size_t j = 0; j < others.size() && owned; ++j) {
        const Neighbour& other = others[j];
        const MapView& map = *other.map;
        const double* k = map.camera;
        const Vec seen = other.from_reference.move(point);
        if (!(seen.z > 0)) continue;
        const double u = k[0] * seen.x / seen.z + k[2], v = k[1] * seen.y / seen.z + k[3];
        if (!(u >= 0 && v >= 0 && u < static_cast<double>(map.width) && v < static_cast<double>(map.height))) continue;
        const int64_t row = static_cast<int64_t>(v), column = static_cast<int64_t>(u), at = row * map.width + column;
        const double other_depth = map.depth[at], other_confidence = map.confidence[at];
        if (!std::isfinite(other_depth) || !(other_depth > 0) || !(other_confidence >= limits.min_confidence)) continue;
        const double allowed = limits.max_relative_depth * seen.z;
        const bool other_inferred = inferred_at(map, at);
        if (other_depth > seen.z + 3 * allowed) {
          conflicts += !other_inferred;  // the neighbour looks through this point at something farther
          continue;
        }
        if (std::abs(other_depth - seen.z) > 3 * allowed) continue;
        const Vec other_normal = other.from_reference.turn_back(normal_at(map, at));
        if (!finite(other_normal) || dot(own_normal, other_normal) < limits.min_normal_cos) continue;

        const Vec other_ray = other.from_reference.turn_back(pixel_ray(k, row, column));
        const double slope = dot(other_normal, ray), other_slope = dot(other_normal, other_ray);
        double voted = depth + (other_depth - seen.z) * dot(ray, other_ray) / dot(other_ray, other_ray);
        double sigma = sigma_at(map, at, other_depth, limits);
        // At grazing angles the plane says little about the depth along this ray: stay with the pixel's own depth.
        if (std::abs(slope) > 0.2 * std::sqrt(ray_square)) {
          voted = dot(other_normal, other.eye + other_depth * other_ray) / slope;
          sigma *= std::clamp(std::abs(other_slope / slope), 0.25, 4.0);
        }
        if (!(std::abs(voted - depth) <= limits.max_relative_depth * depth)) continue;
        const Vec moved = other.from_reference.move(voted * ray);
        if (!(moved.z > 0)) continue;
        const double du = k[0] * moved.x / moved.z + k[2] - u, dv = k[1] * moved.y / moved.z + k[3] - v;
        if (!(du * du + dv * dv <= limits.max_reprojection_px * limits.max_reprojection_px)) continue;

        // Who has this place: what is measured before what is inferred, then the finer footprint. Where the other
        // map's pixels are far apart on the surface, this one may say something between them.
        if (own_inferred != other_inferred) {
          owned = other_inferred;
        } else {
          const Vec line = point - other.eye;
          const double square = dot(line, line);
          const double better = other.focal * other.focal * own_square / square;
          const double other_cos = std::abs(dot(own_normal, line)) / std::sqrt(square);
          if (other_cos >= kGrazing * own_cos && better > (other.first ? kBetterFirst : kBetterLater)) {
            const Vec apart = other.eye + other_depth * other_ray - point;
            const double off = dot(apart, own_normal);
            const double reach = limits.min_distance * std::max(depth / reference.camera[0], other_depth / k[0]);
            owned = dot(apart, apart) - off * off > reach * reach;
          }
        }
        votes.push_back({static_cast<int32_t>(j + 1), at, voted, sigma, other_confidence / (sigma * sigma),
                         other_confidence, other_normal, other_inferred});
      }
      if (!owned || static_cast<int>(votes.size()) < limits.min_views) continue;

      // Those who agree within their sigmas have a say; among them what is inferred has none where something measures.
      const Vote middle = median_vote(votes);
      const double close = kCloseFootprints * depth / reference.camera[0];
      agreed.clear();
      for (const Vote& vote : votes) {
        const double limit = limits.max_sigmas * std::sqrt(vote.sigma * vote.sigma + middle.sigma * middle.sigma);
        if (std::abs(vote.depth - middle.depth) <= std::max(limit, close)) agreed.push_back(vote);
      }
      const int count = static_cast<int>(agreed.size());
      if (count < limits.min_views || conflicts > limits.max_contradictions * count) continue;
      const size_t first_view = out.views.size();
      for (const Vote& vote : agreed) out.views.push_back(vote.view);
      std::sort(out.views.begin() + static_cast<std::ptrdiff_t>(first_view), out.views.end());
      const auto fail = [&] { out.views.resize(first_view); };
      if (!own_inferred)
        agreed.erase(std::remove_if(agreed.begin(), agreed.end(), [](const Vote& vote) { return vote.inferred; }),
                     agreed.end());
      if (agreed.empty()) {
        fail();
        continue;
      }

      double weight_sum = 0, depth_sum = 0, confidence_sum = 0;
      Vec normal{0, 0, 0};
      for (const Vote& vote : agreed) {
        weight_sum += vote.weight, depth_sum += vote.weight * vote.depth, confidence_sum += vote.confidence;
        normal = normal + vote.weight * vote.normal;
      }
      const double fused = depth_sum / weight_sum, length = std::sqrt(dot(normal, normal));
      // What was guessed twice is no surer than what was guessed once.
      const double sigma = own_inferred ? own_sigma : std::sqrt(fused_variance(agreed, weight_sum, fused));
      const Vec place = world_eye + own_from_world.turn_back(fused * ray);
      if (!finite(place) || !(length > 1e-12 * weight_sum) || !std::isfinite(length)) {
        fail();
        continue;
      }
      const Vec toward = own_from_world.turn_back(normal);
      // An error of depth moves the point along its ray; what counts is how far that is off the surface.
      const double across = std::max(std::abs(dot(normal, ray)) / length, 0.1 * std::sqrt(ray_square));
      const uint8_t* color = choose_color(reference, others, pixel, votes, order);
      out.points.insert(out.points.end(), {place.x, place.y, place.z});
      for (double n : {toward.x, toward.y, toward.z}) out.normals.push_back(static_cast<float>(n / length));
      out.colors.insert(out.colors.end(), color, color + 3);
      out.confidence.push_back(static_cast<float>(
          std::min(1.0, confidence_sum / static_cast<double>(agreed.size()) * (1 - std::ldexp(1.0, 1 - count)))));
      out.sigma.push_back(static_cast<float>(sigma * across));
      out.spacing.push_back(static_cast<float>(fused / reference.camera[0]));
      out.inferred.push_back(own_inferred);
      out.counts.push_back(count);
    }
  });

  FusedPoints all;
  const auto append = [&](auto member) {
    auto& to = all.*member;
    size_t total = 0;
    for (const FusedPoints& part : parts) total += (part.*member).size();
    to.reserve(total);
    for (FusedPoints& part : parts) {
      auto& from = part.*member;
      to.insert(to.end(), from.begin(), from.end());
      std::remove_reference_t<decltype(from)>().swap(from);
    }
  };
  append(&FusedPoints::points);
  append(&FusedPoints::normals);
  append(&FusedPoints::colors);
  append(&FusedPoints::confidence);
  append(&FusedPoints::sigma);
  append(&FusedPoints::spacing);
  append(&FusedPoints::inferred);
  append(&FusedPoints::counts);
  append(&FusedPoints::views);
  return all;
}

}  // namespace rilievo
