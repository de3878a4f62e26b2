// The inner loops of PatchMatch stereo. See native/stereo.h.
//
// Checkerboard neighbourhood after Xu & Tao 2019, "Multi-Scale Geometric Consistency Guided Multi-View Stereo"
// (section 3).
#include "stereo_polish.h"

namespace rilievo::RIL_SIMD {
namespace {

// Uniform in [0, 1), a function of the pixel and the key alone.
RIL_INLINE F uniform(U pixel, uint32_t key) {
  U h = pixel ^ splat_unsigned(key * 0x9E3779B1u + 0x7F4A7C15u);
  h = h * splat_unsigned(0x85EBCA6Bu);
  h = h ^ (h >> 13);
  h = h * splat_unsigned(0xC2B2AE35u);
  h = h ^ (h >> 16);
  h = h * splat_unsigned(0x27D4EB2Fu);
  h = h ^ (h >> 15);
  return to_float(as_int(h >> 8)) * splat(5.9604644775390625e-8f);
}

struct Step {
  int dx, dy;
};
// A V and a long arm upwards; the other three directions are turned copies. dx + dy is odd: the other colour.
constexpr Step kNear[7] = {{0, -1}, {-1, -2}, {1, -2}, {-2, -3}, {2, -3}, {-3, -4}, {3, -4}};

RIL_INLINE Step turn(Step s, int direction) {
  switch (direction) {
    case 0: return s;
    case 1: return {-s.dx, -s.dy};
    case 2: return {s.dy, s.dx};
    default: return {-s.dy, -s.dx};
  }
}

}  // namespace

void sweep_row(StereoState& state, const StereoReference& reference, const StereoSource* sources, int num_sources,
               const StereoOptions& options, int y, int colour) {
  const int parity = (y + colour) & 1, other = 1 - colour;
  const int count = (state.width - parity + 1) / 2;
  float* const row_w = state.w[colour].data() + state.row(y);
  float* const row_a = state.a[colour].data() + state.row(y);
  float* const row_b = state.b[colour].data() + state.row(y);
  float* const row_cost = state.cost[colour].data() + state.row(y);
  const F fy = splat(static_cast<float>(y)), far = splat(kNoMatch), zero = splat(0.0f);
  const F min_w = splat(options.min_w), max_w = splat(options.max_w);

  for (int i0 = 0; i0 < count; i0 += kLanes) {
    const I column = (lane_index() + splat_int(i0)) * splat_int(2) + splat_int(parity);
    const F x = to_float(column);
    Patch patch;
    sample_patch(patch, reference, y, parity, i0);
    if (!any(patch.usable)) continue;

    // Hypotheses: the pixel's own plane and the most trusted neighbour of each of eight regions, or of four where a V
    // and the arm behind it count as one.
    F hw[9], ha[9], hb[9];
    Mask usable[9];
    hw[0] = load(row_w + i0);
    ha[0] = load(row_a + i0);
    hb[0] = load(row_b + i0);
    usable[0] = patch.usable;
    int num_hypotheses = 1;
    for (int direction = 0; direction < 4; ++direction) {
      F best = far, w = zero, a = zero, b = zero, dx = zero, dy = zero;
      for (int k = 0; k < 7 + options.reach; ++k) {
        const Step s = turn(k < 7 ? kNear[k] : Step{0, -(2 * (k - 7) + 3)}, direction);
        const int other_parity = (y + s.dy + other) & 1;
        const int64_t at = state.row(y + s.dy) + i0 + (parity + s.dx - other_parity) / 2;
        const F cost = load(state.cost[other].data() + at);
        const Mask better = cost < best;
        best = select(better, cost, best);
        w = select(better, load(state.w[other].data() + at), w);
        a = select(better, load(state.a[other].data() + at), a);
        b = select(better, load(state.b[other].data() + at), b);
        dx = select(better, splat(static_cast<float>(s.dx)), dx);
        dy = select(better, splat(static_cast<float>(s.dy)), dy);
        if (k + 1 < 7 + options.reach && (options.merge || k != 6)) continue;
        hw[num_hypotheses] = w - (a * dx + b * dy);
        ha[num_hypotheses] = a;
        hb[num_hypotheses] = b;
        usable[num_hypotheses] = (best < far) & (hw[num_hypotheses] >= min_w) & (hw[num_hypotheses] <= max_w);
        ++num_hypotheses;
        best = far;
      }
    }

    F costs[9][kMaxSources], seen_best[kMaxSources], weights[kMaxSources];
    for (int s = 0; s < num_sources; ++s) seen_best[s] = far;
    for (int h = 0; h < num_hypotheses; ++h) {
      if (!any(usable[h])) {
        for (int s = 0; s < num_sources; ++s) costs[h][s] = far;
        continue;
      }
      for (int s = 0; s < num_sources; ++s) {
        const F cost = match(patch, sources[s], options, x, fy, hw[h], ha[h], hb[h]);
        costs[h][s] = select(usable[h], cost, far);
        seen_best[s] = minimum(seen_best[s], costs[h][s]);
      }
    }
    weigh_views(weights, seen_best, num_sources);
    F best = far, w = hw[0], a = ha[0], b = hb[0];
    for (int h = 0; h < num_hypotheses; ++h) {
      const F cost = aggregate(costs[h], weights, num_sources);
      const Mask better = cost < best;
      best = select(better, cost, best);
      w = select(better, hw[h], w);
      a = select(better, ha[h], a);
      b = select(better, hb[h], b);
    }

    // Refinement with the view weights just found. A lane that no view has seen so far weighs all alike.
    Mask blind = patch.usable;
    for (int s = 0; s < num_sources; ++s) blind = blind & (weights[s] == zero);
    for (int s = 0; s < num_sources; ++s) weights[s] = select(blind, splat(1.0f), weights[s]);
    const U pixel = as_unsigned(column + splat_int(y) * splat_int(65536));
    float shift = options.shift, tilt = options.tilt;
    for (int k = 0; k < options.num_random + options.num_perturbed; ++k) {
      const uint32_t key = options.key + 3u * static_cast<uint32_t>(k);
      const F r0 = uniform(pixel, key) * splat(2.0f) - splat(1.0f);
      const F r1 = uniform(pixel, key + 1u) * splat(2.0f) - splat(1.0f);
      const F r2 = uniform(pixel, key + 2u) * splat(2.0f) - splat(1.0f);
      F tw, ta, tb;
      if (k < options.num_random) {
        tw = min_w + (max_w - min_w) * ((r0 + splat(1.0f)) * splat(0.5f));
        ta = r1 * magnitude(r1) * splat(2.0f) * (tw * splat(1.0f / options.fx));
        tb = r2 * magnitude(r2) * splat(2.0f) * (tw * splat(1.0f / options.fy));
      } else {
        // Turns about: shift and tilt together, shift alone, tilt alone.
        const int kind = (k - options.num_random) % 3;
        tw = kind == 2 ? w : w + r0 * splat(options.step * shift);
        tw = minimum(maximum(tw, min_w), max_w);
        ta = kind == 1 ? a : a + r1 * splat(tilt) * (tw * splat(1.0f / options.fx));
        tb = kind == 1 ? b : b + r2 * splat(tilt) * (tw * splat(1.0f / options.fy));
        if (kind == 2) {
          shift *= 0.5f;
          tilt *= 0.5f;
        }
      }
      const F cost = trial_cost(patch, sources, num_sources, options, x, fy, tw, ta, tb, weights, best);
      const Mask better = (cost < best) & patch.usable;
      best = select(better, cost, best);
      w = select(better, tw, w);
      a = select(better, ta, a);
      b = select(better, tb, b);
    }
    if (options.num_polish > 0) {
      Slopes slopes;
      sample_slopes(slopes, patch, reference, y, parity, i0);
      F total = zero;
      for (int s = 0; s < num_sources; ++s) total = total + weights[s];
      for (int k = 0; k < options.num_polish; ++k) {
        Pull pull{};
        for (int s = 0; s < num_sources; ++s)
          match<true>(patch, sources[s], options, x, fy, w, a, b, &slopes, weights[s], &pull);
        F change[3];
        solve(pull, total, change);
        const F radius = splat(options.step / kRadius);
        const F tw = minimum(maximum(w + change[0] * splat(options.step), min_w), max_w);
        const F ta = a + change[1] * radius, tb = b + change[2] * radius;
        const F cost = trial_cost(patch, sources, num_sources, options, x, fy, tw, ta, tb, weights, best);
        const Mask better = (cost < best) & patch.usable;
        best = select(better, cost, best);
        w = select(better, tw, w);
        a = select(better, ta, a);
        b = select(better, tb, b);
      }
    }
    const int lanes = count - i0 < kLanes ? count - i0 : kLanes;
    for (int l = 0; l < lanes; ++l) {
      row_w[i0 + l] = w[l];
      row_a[i0 + l] = a[l];
      row_b[i0 + l] = b[l];
      row_cost[i0 + l] = best[l];
    }
  }
}

}  // namespace rilievo::RIL_SIMD
