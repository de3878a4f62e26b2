// The inner loops of photometric mesh refinement. See native/refine.h.
#include "../refine.h"

#include "lanes.h"

namespace rilievo::RIL_SIMD {
namespace {

RIL_INLINE F nothing() { return splat(__builtin_nanf("")); }

RIL_INLINE I load_int(const int32_t* p) {
  I r;
  memcpy(&r, p, sizeof(r));
  return r;
}

// kLanes pixels of camera 0, seen in camera 1 through the surface.
RIL_INLINE void warp_lanes(const WarpView& view, F x, F y, F depth, I face, F& value, F& slope) {
  const F zero = splat(0.0f), one = splat(1.0f), half = splat(0.5f);
  const I none = splat_int(0);
  const F dx = (x + half) * splat(view.ray0[0]) + splat(view.ray0[1]);
  const F dy = (y + half) * splat(view.ray0[2]) + splat(view.ray0[3]);
  Mask valid = (depth > zero) & (face >= none) & (face < splat_int(static_cast<int32_t>(view.num_faces)));
  value = nothing();
  slope = zero;
  if (!any(valid)) return;
  depth = select(valid, depth, one);
  face = select(valid, face, none);
  const I at = face + face + face;
  const F nx = gather(view.normals, at), ny = gather(view.normals + 1, at), nz = gather(view.normals + 2, at);
  // Along the ray a change of depth by 1 moves the point in camera 1 by (rx, ry, rz).
  const float* R = view.rotation;
  const F rx = splat(R[0]) * dx + (splat(R[1]) * dy + splat(R[2]));
  const F ry = splat(R[3]) * dx + (splat(R[4]) * dy + splat(R[5]));
  const F rz = splat(R[6]) * dx + (splat(R[7]) * dy + splat(R[8]));
  const F px = rx * depth + splat(view.shift[0]);
  const F py = ry * depth + splat(view.shift[1]);
  const F pz = rz * depth + splat(view.shift[2]);
  const F along = nx * dx + (ny * dy + nz);
  const F along1 = along * depth -
                   (nx * splat(view.center1[0]) + (ny * splat(view.center1[1]) + nz * splat(view.center1[2])));
  const F length0 = root(dx * dx + (dy * dy + one)), length1 = root(px * px + (py * py + pz * pz));
  valid = valid & (pz > zero) & (zero - along >= splat(view.min_cos) * length0) &
          (zero - along1 >= splat(view.min_cos) * length1);
  const F inverse = one / select(valid, pz, one);
  F u = splat(view.camera1[0]) * (px * inverse) + (splat(view.camera1[2]) - half);
  F v = splat(view.camera1[1]) * (py * inverse) + (splat(view.camera1[3]) - half);
  valid = valid & (u >= zero) & (v >= zero) & (u < splat(static_cast<float>(view.width1 - 1))) &
          (v < splat(static_cast<float>(view.height1 - 1)));
  if (!any(valid)) return;
  u = select(valid, u, zero);
  v = select(valid, v, zero);
  const I column = truncate(u), row = truncate(v);
  const I corner = row * splat_int(view.width1) + column;
  // The surface that camera 1 sees there: all four pixels must know it, and it must be at this depth.
  const F d00 = gather(view.depth1, corner), d01 = gather(view.depth1 + 1, corner);
  const F d10 = gather(view.depth1 + view.width1, corner), d11 = gather(view.depth1 + view.width1 + 1, corner);
  const F slack = splat(view.tolerance) * pz;
  const Mask known = (d00 > zero) & (d01 > zero) & (d10 > zero) & (d11 > zero);
  const F front = minimum(minimum(d00, d01), minimum(d10, d11)), back = maximum(maximum(d00, d01), maximum(d10, d11));
  valid = valid & known & (pz <= back + slack) & (pz >= front - slack);
  const F g00 = gather(view.gray1, corner), g01 = gather(view.gray1 + 1, corner);
  const F g10 = gather(view.gray1 + view.width1, corner), g11 = gather(view.gray1 + view.width1 + 1, corner);
  const F fu = u - to_float(column), fv = v - to_float(row);
  const F top = g01 - g00, bottom = g11 - g10;
  const F upper = g00 + fu * top, lower = g10 + fu * bottom;
  const F grad_u = top + fv * (bottom - top), grad_v = lower - upper;
  const F du = splat(view.camera1[0]) * ((rx * pz - px * rz) * (inverse * inverse));
  const F dv = splat(view.camera1[1]) * ((ry * pz - py * rz) * (inverse * inverse));
  const F change = (grad_u * du + grad_v * dv) / select(valid, along, one);
  value = select(valid, upper + fv * grad_v, nothing());
  slope = select(valid, change, zero);
}

}  // namespace

void warp_row(const WarpView& view, int y, float* warped, float* slope) {
  const int64_t start = static_cast<int64_t>(y) * view.width0;
  const F row = splat(static_cast<float>(y));
  for (int x = 0; x < view.width0; x += kLanes) {
    const F column = to_float(lane_index() + splat_int(x));
    F value, change;
    if (x + kLanes <= view.width0) {
      warp_lanes(view, column, row, load(view.depth0 + start + x), load_int(view.face_index + start + x), value, change);
      store(warped + x, value);
      store(slope + x, change);
    } else {
      const int left = view.width0 - x;
      float depth[kLanes];
      int32_t face[kLanes];
      for (int l = 0; l < kLanes; ++l) {
        depth[l] = l < left ? view.depth0[start + x + l] : 0.0f;
        face[l] = l < left ? view.face_index[start + x + l] : -1;
      }
      warp_lanes(view, column, row, load(depth), load_int(face), value, change);
      float a[kLanes], b[kLanes];
      store(a, value);
      store(b, change);
      for (int l = 0; l < left; ++l) warped[x + l] = a[l], slope[x + l] = b[l];
    }
  }
}

// Zero-mean normalised cross-correlation in square windows of what both pictures show, with the variance of noise added
// to both variances, and its derivative by the grey values of the warped picture (Vu et al. 2012, eq. 9, for a box
// window). A window's energy is softness e / (e + softness) with e = 1 - ZNCC.
void compare_band(const Band& band, const CompareOptions& options) {
  const int r = options.radius, size = 2 * r + 1, pitch = band.pitch;
  const F zero = splat(0.0f), one = splat(1.0f), noise = splat(options.noise), soft = splat(options.softness);
  const F enough = splat(static_cast<float>(size * size) * 0.5f);
  const int first = band.margin - r, last = band.margin + band.width + r;  // columns of windows that matter
  const int64_t plane = static_cast<int64_t>(band.rows + 2 * r) * pitch;
  const int64_t out = static_cast<int64_t>(band.rows) * pitch;
  float* sums = band.window_sums;

  for (int w = 0; w < band.rows + 2 * r; ++w) {  // row of window centres: w - r of the band
    float* p_row = band.derivatives + static_cast<int64_t>(w) * pitch;
    for (int x = first - r; x < last + r; x += kLanes) {
      F n = zero, s1 = zero, s2 = zero, s11 = zero, s22 = zero, s12 = zero;
      for (int k = 0; k < size; ++k) {
        const int64_t at = static_cast<int64_t>(w + k) * pitch + x;
        F a = load(band.gray0 + at), b = load(band.warped + at);
        const Mask both = (a == a) & (b == b);
        a = select(both, a, zero);
        b = select(both, b, zero);
        n = n + select(both, one, zero);
        s1 = s1 + a;
        s2 = s2 + b;
        s11 = s11 + a * a;
        s22 = s22 + b * b;
        s12 = s12 + a * b;
      }
      store(sums + x, n);
      store(sums + pitch + x, s1);
      store(sums + 2 * pitch + x, s2);
      store(sums + 3 * pitch + x, s11);
      store(sums + 4 * pitch + x, s22);
      store(sums + 5 * pitch + x, s12);
    }
    const bool answered = w >= r && w < band.rows + r;
    const int64_t centre_row = static_cast<int64_t>(w + r) * pitch;
    for (int x = first; x < last; x += kLanes) {
      F n = zero, s1 = zero, s2 = zero, s11 = zero, s22 = zero, s12 = zero;
      for (int k = -r; k <= r; ++k) {
        n = n + load(sums + x + k);
        s1 = s1 + load(sums + pitch + x + k);
        s2 = s2 + load(sums + 2 * pitch + x + k);
        s11 = s11 + load(sums + 3 * pitch + x + k);
        s22 = s22 + load(sums + 4 * pitch + x + k);
        s12 = s12 + load(sums + 5 * pitch + x + k);
      }
      const F c1 = load(band.gray0 + centre_row + x), c2 = load(band.warped + centre_row + x);
      const Mask valid = (c1 == c1) & (c2 == c2) & (n >= enough);
      const F per = one / select(valid, n, one);
      const F m1 = s1 * per, m2 = s2 * per;
      const F var1 = maximum(s11 * per - m1 * m1, zero) + noise, var2 = maximum(s22 * per - m2 * m2, zero) + noise;
      const F cov = s12 * per - m1 * m2;
      const F scale = one / root(var1 * var2);
      const F zncc = cov * scale;
      const F e = maximum(one - zncc, zero);
      const F share = soft / (e + soft);
      const F weight = select(valid, share * share * per, zero);  // derivative of the energy by e, a pixel of the window
      const F p = weight * scale, k = weight / var2, q = k * zncc;
      store(p_row + x, p);
      store(p_row + plane + x, q);
      store(p_row + 2 * plane + x, p * m1 - q * m2);
      store(p_row + 3 * plane + x, k);
      if (answered) {
        float* row = band.answer + static_cast<int64_t>(w - r) * pitch + x;
        store(row + 2 * out, select(valid, e * share, zero));
        store(row + 3 * out, select(valid, one, zero));
      }
    }
  }

  for (int y = 0; y < band.rows; ++y) {
    for (int x = first; x < last; x += kLanes) {
      const int64_t at = static_cast<int64_t>(y) * pitch + x;
      F p = zero, q = zero, m = zero, k = zero;
      for (int i = 0; i < size; ++i) {
        const float* row = band.derivatives + at + static_cast<int64_t>(i) * pitch;
        p = p + load(row);
        q = q + load(row + plane);
        m = m + load(row + 2 * plane);
        k = k + load(row + 3 * plane);
      }
      store(sums + x, p);
      store(sums + pitch + x, q);
      store(sums + 2 * pitch + x, m);
      store(sums + 3 * pitch + x, k);
    }
    for (int x = band.margin; x < band.margin + band.width; x += kLanes) {
      F p = zero, q = zero, m = zero, k = zero;
      for (int i = -r; i <= r; ++i) {
        p = p + load(sums + x + i);
        q = q + load(sums + pitch + x + i);
        m = m + load(sums + 2 * pitch + x + i);
        k = k + load(sums + 3 * pitch + x + i);
      }
      const int64_t at = static_cast<int64_t>(y) * pitch + x, centre = at + static_cast<int64_t>(2 * r) * pitch;
      const F a = load(band.gray0 + centre), b = load(band.warped + centre), s = load(band.slope + at);
      const Mask valid = (a == a) & (b == b);
      store(band.answer + at, select(valid, s * (b * q - a * p + m), zero));
      store(band.answer + out + at, select(valid, (s * s) * k, zero));
    }
  }
}

}  // namespace rilievo::RIL_SIMD
