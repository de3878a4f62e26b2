// Costs of given planes, and what the matches of a row are worth. See native/stereo.h.
#include "stereo_match.h"

namespace rilievo::RIL_SIMD {
namespace {

// Runs body(patch, x, w, a, b, first column, lanes) for the pixels of a row: even columns first, then odd ones.
template <typename Body>
RIL_INLINE void for_row(const float* planes, int width, const StereoReference& reference, int y, const Body& body) {
  for (int parity = 0; parity < 2; ++parity) {
    const int count = (width - parity + 1) / 2;
    for (int i0 = 0; i0 < count; i0 += kLanes) {
      const int lanes = count - i0 < kLanes ? count - i0 : kLanes;
      const I column = (lane_index() + splat_int(i0)) * splat_int(2) + splat_int(parity);
      const I at = minimum(column, splat_int(2 * (i0 + lanes - 1) + parity)) * splat_int(3);
      Patch patch;
      sample_patch(patch, reference, y, parity, i0);
      body(patch, to_float(column), gather(planes, at), gather(planes + 1, at), gather(planes + 2, at),
           2 * i0 + parity, lanes);
    }
  }
}

}  // namespace

void cost_row(const float* planes, float* per_source, float* cost, int width, const StereoReference& reference,
              const StereoSource* sources, int num_sources, const StereoOptions& options, int y) {
  const F fy = splat(static_cast<float>(y));
  for_row(planes, width, reference, y, [&](const Patch& patch, F x, F w, F a, F b, int first, int lanes) {
    F costs[kMaxSources], weights[kMaxSources];
    for (int s = 0; s < num_sources; ++s) costs[s] = match(patch, sources[s], options, x, fy, w, a, b);
    weigh_views(weights, costs, num_sources);
    const F total = aggregate(costs, weights, num_sources);
    for (int l = 0; l < lanes; ++l) {
      cost[first + 2 * l] = total[l];
      for (int s = 0; s < num_sources; ++s) per_source[int64_t(first + 2 * l) * num_sources + s] = costs[s][l];
    }
  });
}

void measure_row(const float* planes, float* out, int width, const StereoReference& reference,
                 const StereoSource* sources, int num_sources, const StereoOptions& options, int y) {
  const F fy = splat(static_cast<float>(y)), zero = splat(0.0f), far = splat(kNoMatch);
  const F half = splat(0.5f * options.step);
  for_row(planes, width, reference, y, [&](const Patch& patch, F x, F w, F a, F b, int first, int lanes) {
    F costs[kMaxSources], weights[kMaxSources];
    for (int s = 0; s < num_sources; ++s) costs[s] = match(patch, sources[s], options, x, fy, w, a, b);
    weigh_views(weights, costs, num_sources);
    const F cost = aggregate(costs, weights, num_sources);
    F total = zero, squares = zero, before = zero, after = zero;
    for (int s = 0; s < num_sources; ++s) {
      const F low = match(patch, sources[s], options, x, fy, w - half, a, b);
      const F high = match(patch, sources[s], options, x, fy, w + half, a, b);
      const F weight = select((low < far) & (high < far), weights[s], zero);
      total = total + weight;
      squares = squares + weight * weight;
      before = before + weight * (low - costs[s]);
      after = after + weight * (high - costs[s]);
    }
    const Mask seen = total > zero;
    const F inverse = splat(1.0f) / select(seen, total, splat(1.0f));
    before = before * inverse;
    after = after * inverse;
    // Costs at -1/2, 0 and 1/2 of a pixel make a parabola.
    const F sum = before + after;
    const F curvature = sum * splat(2.0f);
    const F vertex = splat(0.25f) * (before - after) / maximum(sum, splat(1e-3f));
    const F shift = minimum(maximum(vertex, splat(-0.5f)), splat(0.5f));
    const F views = select(seen, total * total / select(seen, squares, splat(1.0f)), zero);
    for (int l = 0; l < lanes; ++l) {
      float* at = out + 4 * (first + 2 * l);
      at[0] = cost[l];
      at[1] = curvature[l];
      at[2] = shift[l];
      at[3] = views[l];
    }
  });
}

}  // namespace rilievo::RIL_SIMD
