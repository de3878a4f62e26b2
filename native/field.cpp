// Looking at a radiance field: densities, rays, pictures; and its optimiser. See native/field.h.
#include "field.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "field_chunk.h"
#include "field_walk.h"
#include "parallel.h"

namespace rilievo {
namespace {

constexpr int64_t kPoints = 2048;  // a piece of work

// Calls body(begin, n, u) with u padded to whole blocks.
template <typename Body>
void each_block(const float* u, int64_t n, const Body& body) {
  parallel_ranges(n, kPoints, [&](int64_t begin, int64_t end) {
    const int64_t own = end - begin, padded = (own + kFieldBlock - 1) / kFieldBlock * kFieldBlock;
    std::vector<float> points(static_cast<size_t>(3 * padded), 0.5f);
    std::copy(u + 3 * begin, u + 3 * end, points.begin());
    body(begin, own, padded, points.data());
  });
}

}  // namespace

void field_encode(const FieldShape& shape, const float* table, const float* u, int64_t n, float* features) {
  each_block(u, n, [&](int64_t begin, int64_t own, int64_t padded, const float* points) {
    std::vector<float> answer(static_cast<size_t>(padded * shape.inputs()));
    RIL_CALL_SIMD(field_encode_block, shape, table, points, padded, answer.data());
    std::copy_n(answer.data(), own * shape.inputs(), features + begin * shape.inputs());
  });
}

void field_density(const FieldShape& shape, const float* table, const float* weights, const float* u, int64_t n,
                   float* density) {
  const FieldForward field{&shape, table, weights};
  each_block(u, n, [&](int64_t begin, int64_t own, int64_t padded, const float* points) {
    std::vector<float> features(static_cast<size_t>(padded * shape.inputs()));
    std::vector<float> hidden(static_cast<size_t>(padded * shape.density_width));
    std::vector<float> out(static_cast<size_t>(padded * kFieldOut)), answer(static_cast<size_t>(padded));
    RIL_CALL_SIMD(field_encode_block, shape, table, points, padded, features.data());
    RIL_CALL_SIMD(field_density_block, field, features.data(), padded, hidden.data(), out.data(), answer.data());
    std::copy_n(answer.data(), own, density + begin);
  });
}

// Counts every ray's samples (offsets, n + 1) and, where they fit into capacity, writes them. Returns their number.
int64_t field_march(const FieldMarch& march, const FieldRays& rays, int64_t capacity, int64_t* offsets, float* t,
                    float* delta, float* u) {
  const FieldGrid grid(march);
  constexpr int64_t kGrain = 64;
  offsets[0] = 0;
  parallel_ranges(rays.n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      FieldWalk walk(grid, rays.origins + 3 * r, rays.directions + 3 * r, rays.jitter[r]);
      FieldSample sample;
      int64_t count = 0;
      while (walk.next(sample)) ++count;
      offsets[r + 1] = count;
    }
  });
  for (int64_t r = 0; r < rays.n; ++r) offsets[r + 1] += offsets[r];
  if (offsets[rays.n] > capacity) return offsets[rays.n];
  parallel_ranges(rays.n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      FieldWalk walk(grid, rays.origins + 3 * r, rays.directions + 3 * r, rays.jitter[r]);
      FieldSample sample;
      for (int64_t i = offsets[r]; walk.next(sample); ++i) {
        t[i] = sample.t;
        delta[i] = sample.delta;
        std::memcpy(u + 3 * i, sample.u, sizeof(sample.u));
      }
    }
  });
  return offsets[rays.n];
}

void field_trace(const FieldShape& shape, const float* table, const float* weights, const FieldMarch& march,
                 const FieldRays& rays, const float* background, float min_weight, float* color, float* distance, float* opacity) {
  const FieldForward field{&shape, table, weights};
  const FieldGrid grid(march);
  parallel_ranges(rays.n, 64, [&](int64_t begin, int64_t end) {
    thread_local FieldChunk chunk;
    chunk.walk(field, grid, rays, begin, end, min_weight);
    chunk.shine(field, rays, begin);
    for (int64_t r = 0; r < chunk.num_rays; ++r) {
      float sum[3] = {}, passing = 1.0f, found = std::numeric_limits<float>::quiet_NaN();
      for (int64_t i = chunk.first[static_cast<size_t>(r)]; i < chunk.first[static_cast<size_t>(r + 1)]; ++i) {
        const size_t k = static_cast<size_t>(i);
        for (int c = 0; c < 3; ++c) sum[c] += chunk.weight[k] * chunk.color[static_cast<size_t>(c * chunk.padded) + k];
        const float behind = passing - chunk.weight[k];
        if (passing > 0.5f && behind <= 0.5f) found = chunk.t[k] + (passing - 0.5f) / (passing - behind) * chunk.delta[k] - 0.5f * chunk.delta[k];
        passing = behind;
      }
      const float left = chunk.transmitted[static_cast<size_t>(r)];
      for (int c = 0; c < 3; ++c) color[3 * (begin + r) + c] = sum[c] + left * background[c];
      distance[begin + r] = found;
      opacity[begin + r] = 1.0f - left;
    }
  });
}

void field_adam(float* values, float* gradients, float* mean, float* square, int64_t n, float rate, float beta1,
                float beta2, float epsilon) {
  parallel_ranges(n, 1 << 16, [&](int64_t from, int64_t to) {
    RIL_CALL_SIMD(field_adam_range, values + from, gradients + from, mean + from, square + from, to - from, rate, beta1,
                  beta2, epsilon);
  });
}

}  // namespace rilievo
