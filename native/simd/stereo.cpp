// The inner loops of PatchMatch stereo. See native/stereo.h.
//
// Checkerboard neighbourhood and per-pixel view weights after Xu & Tao 2019, "Multi-Scale Geometric Consistency Guided
// Multi-View Stereo" (section 3), bilateral NCC after Schoenberger et al. 2016 (eq. 5).
#include "../stereo.h"

#include "lanes.h"

namespace rilievo::RIL_SIMD {
namespace {

constexpr int kRadius = 4;
constexpr int kSamples = 25;

// Weighted samples of the reference around one pixel a lane; weights sum to one.
struct Patch {
  F weight[kSamples];    // w
  F centred[kSamples];   // w (grey - mean)
  F variance;
  Mask usable;
};

RIL_INLINE void sample_patch(Patch& patch, const StereoReference& reference, int y, int parity, int i) {
  const float* grey = reference.grey[parity].data();
  const F centre = load(grey + reference.row(y) + i);
  F total = splat(0.0f), mean = splat(0.0f);
  F value[kSamples];
  for (int k = 0; k < kSamples; ++k) {
    const int dy = (k / 5) * 2 - kRadius, dx = (k % 5) * 2 - kRadius;
    value[k] = load(grey + reference.row(y + dy) + i + dx / 2);
    const F w = gather(reference.weights.data() + 256 * k, truncate(magnitude(value[k] - centre)));
    patch.weight[k] = select(value[k] > splat(0.0f), w, splat(0.0f));
    total = total + patch.weight[k];
    mean = mean + patch.weight[k] * value[k];
  }
  patch.usable = centre > splat(0.0f);
  const F inverse = splat(1.0f) / select(patch.usable, total, splat(1.0f));
  mean = mean * inverse;
  patch.variance = splat(0.0f);
  for (int k = 0; k < kSamples; ++k) {
    patch.weight[k] = patch.weight[k] * inverse;
    const F difference = value[k] - mean;
    patch.centred[k] = patch.weight[k] * difference;
    patch.variance = patch.variance + patch.centred[k] * difference;
  }
}

// Cost of matching the patch around (x, y) along plane (w, a, b) in one source: 1 - NCC, plus the geometric term.
RIL_INLINE F match(const Patch& patch, const StereoSource& source, const StereoOptions& options, F x, F y, F w, F a, F b) {
  const float* P = source.projection;
  const F nx = splat(P[0]) * x + (splat(P[1]) * y + (splat(P[3]) * w + splat(P[2])));
  const F ny = splat(P[4]) * x + (splat(P[5]) * y + (splat(P[7]) * w + splat(P[6])));
  const F nz = splat(P[8]) * x + (splat(P[9]) * y + (splat(P[11]) * w + splat(P[10])));
  const Mask ahead = nz > splat(1e-3f);
  const F inverse = splat(1.0f) / select(ahead, nz, splat(1.0f));
  F u = nx * inverse, v = ny * inverse;
  const F zx = splat(P[8]) + splat(P[11]) * a, zy = splat(P[9]) + splat(P[11]) * b;
  F ux = ((splat(P[0]) + splat(P[3]) * a) - u * zx) * inverse;
  F uy = ((splat(P[1]) + splat(P[3]) * b) - u * zy) * inverse;
  F vx = ((splat(P[4]) + splat(P[7]) * a) - v * zx) * inverse;
  F vy = ((splat(P[5]) + splat(P[7]) * b) - v * zy) * inverse;
  // The whole patch must lie inside, and its image must neither be mirrored nor be very stretched.
  const F four = splat(static_cast<float>(kRadius));
  const F reach_u = four * (magnitude(ux) + magnitude(uy)), reach_v = four * (magnitude(vx) + magnitude(vy));
  const F area = ux * vy - uy * vx;
  const Mask valid = ahead & (u - reach_u >= splat(0.01f)) & (v - reach_v >= splat(0.01f)) &
                     (u + reach_u <= splat(source.width - 1.01f)) & (v + reach_v <= splat(source.height - 1.01f)) &
                     (area > splat(0.05f)) & (area < splat(20.0f)) & patch.usable;
  if (!any(valid)) return splat(kNoMatch);
  const F zero = splat(0.0f);
  u = select(valid, u, splat(1.0f));
  v = select(valid, v, splat(1.0f));
  // Positions in 16.16 fixed point from here on; samples lie two pixels apart.
  const F scale = splat(65536.0f), twice = splat(131072.0f);
  const I ux2 = truncate(select(valid, ux, zero) * twice), uy2 = truncate(select(valid, uy, zero) * twice);
  const I vx2 = truncate(select(valid, vx, zero) * twice), vy2 = truncate(select(valid, vy, zero) * twice);
  const I cu = truncate(u * scale), cv = truncate(v * scale);
  I row_u = cu - (uy2 + uy2) - (ux2 + ux2), row_v = cv - (vy2 + vy2) - (vx2 + vx2);
  const I pitch = splat_int(source.pitch);
  F sum = zero, square = zero, cross = zero;
#pragma GCC unroll 5
  for (int j = 0; j < 5; ++j) {
    I su = row_u, sv = row_v;
#pragma GCC unroll 5
    for (int i = 0; i < 5; ++i) {
      const U quad = gather(source.quads, multiply_small(sv >> 16, pitch) + (su >> 16));
      const F value = to_float(blend(quad, su, sv));
      const F weighted = patch.weight[5 * j + i] * value;
      sum = sum + weighted;
      square = square + weighted * value;
      cross = cross + patch.centred[5 * j + i] * value;
      su = su + ux2;
      sv = sv + vx2;
    }
    row_u = row_u + uy2;
    row_v = row_v + vy2;
  }
  const F variance = maximum(square - sum * sum, zero) * splat(1.0f / (65025.0f * 65025.0f));
  const F noise = splat(options.noise);
  F cost = splat(1.0f) - (cross * splat(1.0f / 65025.0f)) / root((patch.variance + noise) * (variance + noise));
  // No picture (a byte of 0x80, see StereoSource) at the centre?
  const U middle = gather(source.quads, multiply_small(cv >> 16, pitch) + (cu >> 16));
  const I nothing = splat_int(128), low = splat_int(255);
  const I bytes = as_int(middle);
  const Mask picture = ((bytes & low) != nothing) & (((bytes >> 8) & low) != nothing) &
                       (((bytes >> 16) & low) != nothing) & (((bytes >> 24) & low) != nothing);
  if (source.inverse_depth) {
    const I index = multiply_small(truncate(v + splat(0.5f)), pitch) + truncate(u + splat(0.5f));
    const F there = gather(source.inverse_depth, index);
    const F ex = splat(source.back[0]) - (x * splat(source.back[2]));
    const F ey = splat(source.back[1]) - (y * splat(source.back[2]));
    const F error = magnitude(w * inverse - there) * nz * root(ex * ex + ey * ey);
    const F limit = splat(3.0f);
    cost = cost + splat(options.geometric) * select((there > zero) & (error < limit), error, limit);
  }
  return select(valid & picture, cost, splat(kNoMatch));
}

// A weight a view from the best cost that it reached with any of the hypotheses; good views count much more.
RIL_INLINE void weigh_views(F* weights, const F* best, int num_sources) {
  for (int s = 0; s < num_sources; ++s) {
    const F t = maximum(splat(1.0f) - best[s], splat(0.02f));
    const F seen = select(best[s] < splat(kNoMatch), splat(1.0f), splat(0.0f));
    weights[s] = (t * t) * (t * t) * seen;
  }
}

RIL_INLINE F aggregate(const F* costs, const F* weights, int num_sources) {
  F total = splat(0.0f), sum = splat(0.0f);
  for (int s = 0; s < num_sources; ++s) {
    total = total + weights[s];
    sum = sum + weights[s] * costs[s];
  }
  const Mask seen = total > splat(0.0f);
  return select(seen, sum / select(seen, total, splat(1.0f)), splat(kNoMatch));
}

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

// The aggregated cost of one plane; sources are left out once no lane can come below its limit (the cost it has) any
// more, which changes no decision: such a lane keeps its plane.
RIL_INLINE F trial_cost(const Patch& patch, const StereoSource* sources, int num_sources, const StereoOptions& options,
                        F x, F y, F w, F a, F b, const F* weights, F best) {
  F total = splat(0.0f), sum = splat(0.0f);
  for (int s = 0; s < num_sources; ++s) total = total + weights[s];
  const Mask seen = total > splat(0.0f);
  // Costs may be a rounding error below zero: hence the little more.
  const F limit = (best + splat(1e-4f)) * total;
  for (int s = 0; s < num_sources; ++s) {
    sum = sum + weights[s] * match(patch, sources[s], options, x, y, w, a, b);
    if (s + 1 < num_sources && !any(seen & (sum < limit))) return splat(kNoMatch);
  }
  return select(seen, sum / select(seen, total, splat(1.0f)), splat(kNoMatch));
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

    // Hypotheses: the pixel's own plane and the most trusted neighbour of each of eight regions.
    F hw[9], ha[9], hb[9];
    Mask usable[9];
    hw[0] = load(row_w + i0);
    ha[0] = load(row_a + i0);
    hb[0] = load(row_b + i0);
    usable[0] = patch.usable;
    int num_hypotheses = 1;
    for (int region = 0; region < 8; ++region) {
      const int length = region < 4 ? 7 : options.reach;
      if (length == 0) continue;
      F best = far, w = zero, a = zero, b = zero, dx = zero, dy = zero;
      for (int k = 0; k < length; ++k) {
        const Step near = region < 4 ? kNear[k] : Step{0, -(2 * k + 3)};
        const Step s = turn(near, region & 3);
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
      }
      hw[num_hypotheses] = w - (a * dx + b * dy);
      ha[num_hypotheses] = a;
      hb[num_hypotheses] = b;
      usable[num_hypotheses] = (best < far) & (hw[num_hypotheses] >= min_w) & (hw[num_hypotheses] <= max_w);
      ++num_hypotheses;
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
    const int lanes = count - i0 < kLanes ? count - i0 : kLanes;
    for (int l = 0; l < lanes; ++l) {
      row_w[i0 + l] = w[l];
      row_a[i0 + l] = a[l];
      row_b[i0 + l] = b[l];
      row_cost[i0 + l] = best[l];
    }
  }
}

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
