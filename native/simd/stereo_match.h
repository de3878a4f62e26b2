// Matching of one patch a lane with its image in a source, along a plane. Only for files under native/simd.
//
// Bilateral NCC after Schoenberger et al. 2016 (eq. 5); view weights per pixel after Xu & Tao 2019 (section 3); the pull
// towards a better plane is the Gauss-Newton step of least squares matching (Foerstner 1982; Gruen 1985) with the slopes
// of the reference in place of the source's (the inverse compositional step of Baker & Matthews 2004).
#pragma once
#include "../stereo.h"
#include "lanes.h"

namespace rilievo::RIL_SIMD {

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

// Grey value slopes of the reference over the patch, and what their sums over it are. Offsets from the centre count in
// radii of the patch; m stands for (1, dx, dy), and pairs of it are in the order 11 1x 1y xx xy yy.
struct Slopes {
  F x[kSamples], y[kSamples];     // weight times slope
  F sum_x[3], sum_y[3];           // sum of weight slope m
  F with_x[3], with_y[3];         // sum of centred slope m
  F xx[6], xy[6], yy[6];          // sum of weight slope slope m m
};

// Sum over views of the normal equations of the three changes (steps; steps a radius of the patch).
struct Pull {
  F matrix[6], right[3];
};

// Cost of matching the patch around (x, y) along plane (w, a, b) in one source: 1 - NCC, plus the geometric term.
// With kPull also adds what the view says about a better plane, times its weight.
template <bool kPull = false>
RIL_INLINE F match(const Patch& patch, const StereoSource& source, const StereoOptions& options, F x, F y, F w, F a, F b,
                   [[maybe_unused]] const Slopes* slopes = nullptr, [[maybe_unused]] F view_weight = F{},
                   [[maybe_unused]] Pull* pull = nullptr) {
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
  // A step of inverse depth moves the match along the epipolar line: by (along_x, along_y) pixels of the reference.
  F along_x = zero, along_y = zero, slope_0 = zero, slope_x = zero, slope_y = zero;
  if constexpr (kPull) {
    const F by_area = splat(options.step) / select(valid, area, splat(1.0f));
    const F du = (splat(P[3]) - u * splat(P[11])) * inverse, dv = (splat(P[7]) - v * splat(P[11])) * inverse;
    along_x = select(valid, (vy * du - uy * dv) * by_area, zero);
    along_y = select(valid, (ux * dv - vx * du) * by_area, zero);
  }
#pragma GCC unroll 5
  for (int j = 0; j < 5; ++j) {
    I su = row_u, sv = row_v;
    F row_0 = zero;
#pragma GCC unroll 5
    for (int i = 0; i < 5; ++i) {
      const U quad = gather(source.quads, multiply_small(sv >> 16, pitch) + (su >> 16));
      const F value = to_float(blend(quad, su, sv));
      const F weighted = patch.weight[5 * j + i] * value;
      sum = sum + weighted;
      square = square + weighted * value;
      cross = cross + patch.centred[5 * j + i] * value;
      if constexpr (kPull) {
        const F slope = (along_x * slopes->x[5 * j + i] + along_y * slopes->y[5 * j + i]) * value;
        row_0 = row_0 + slope;
        if (i != 2) slope_x = slope_x + slope * splat(0.5f * (i - 2));
      }
      su = su + ux2;
      sv = sv + vx2;
    }
    if constexpr (kPull) {
      slope_0 = slope_0 + row_0;
      if (j != 2) slope_y = slope_y + row_0 * splat(0.5f * (j - 2));
    }
    row_u = row_u + uy2;
    row_v = row_v + vy2;
  }
  const F variance = maximum(square - sum * sum, zero) * splat(1.0f / (65025.0f * 65025.0f));
  const F noise = splat(options.noise);
  const F deviation = root((patch.variance + noise) * (variance + noise));
  const F correlation = (cross * splat(1.0f / 65025.0f)) / deviation;
  F cost = splat(1.0f) - correlation;
  // No picture (a byte of 0x80, see StereoSource) at the centre?
  const U middle = gather(source.quads, multiply_small(cv >> 16, pitch) + (cu >> 16));
  const I nothing = splat_int(128), low = splat_int(255);
  const I bytes = as_int(middle);
  const Mask picture = ((bytes & low) != nothing) & (((bytes >> 8) & low) != nothing) &
                       (((bytes >> 16) & low) != nothing) & (((bytes >> 24) & low) != nothing);
  if constexpr (kPull) {
    const F by_reference = splat(1.0f) / (patch.variance + noise);
    const F by_both = correlation / deviation;
    const F mean = sum * splat(1.0f / 65025.0f);
    const F weight = select(valid & picture, view_weight, zero) * by_reference;
    const F with_source[3] = {slope_0 * splat(1.0f / 65025.0f), slope_x * splat(1.0f / 65025.0f),
                              slope_y * splat(1.0f / 65025.0f)};
    F total[3], with[3];
    for (int k = 0; k < 3; ++k) {
      total[k] = along_x * slopes->sum_x[k] + along_y * slopes->sum_y[k];
      with[k] = along_x * slopes->with_x[k] + along_y * slopes->with_y[k];
      // d NCC / d change k, times the reference's variance.
      const F rise = with[k] - by_both * (patch.variance + noise) * (with_source[k] - mean * total[k]);
      pull->right[k] = pull->right[k] + weight * rise;
    }
    const F xx = along_x * along_x, xy = splat(2.0f) * along_x * along_y, yy = along_y * along_y;
    constexpr int kFirst[6] = {0, 0, 0, 1, 1, 2}, kSecond[6] = {0, 1, 2, 1, 2, 2};
    for (int k = 0; k < 6; ++k) {
      const int p = kFirst[k], q = kSecond[k];
      const F bend = (xx * slopes->xx[k] + xy * slopes->xy[k] + yy * slopes->yy[k]) - total[p] * total[q] -
                     with[p] * with[q] * by_reference;
      pull->matrix[k] = pull->matrix[k] + weight * bend;
    }
  }
  if (source.planes) {
    // The plane of the map's pixel there, carried over to the very place.
    const F mu = (u + splat(0.5f)) * splat(source.by_shrink), mv = (v + splat(0.5f)) * splat(source.by_shrink);
    const I iu = minimum(truncate(mu), splat_int(source.map_width - 1));
    const I iv = minimum(truncate(mv), splat_int(source.map_height - 1));
    const I index = (multiply_small(iv, splat_int(source.map_pitch)) + iu) * splat_int(3);
    const F known = gather(source.planes, index);
    const F off_u = mu - splat(0.5f) - to_float(iu), off_v = mv - splat(0.5f) - to_float(iv);
    const F tilted = known + (gather(source.planes + 1, index) * off_u + gather(source.planes + 2, index) * off_v);
    const F there = select(known > zero, tilted, zero);
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

}  // namespace rilievo::RIL_SIMD
