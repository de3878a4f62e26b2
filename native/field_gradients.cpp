// One step of training a radiance field: loss and gradients of a batch of rays. See native/field.h.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "field_chunk.h"
#include "parallel.h"

namespace rilievo {
namespace {

constexpr int64_t kChunkRays = 48;   // worked on at a time
constexpr int64_t kSlices = 64;      // parts of a batch with gradients of their own, summed in order

// What a chunk leaves for the table: where its samples are, and the gradients of their features.
struct Left {
  int64_t n = 0;
  std::vector<float> u, d_features;
};

void transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
}

std::vector<float> transposed_weights(const FieldShape& s, const float* w) {
  std::vector<float> t(static_cast<size_t>(s.num_weights()));
  transpose(w + s.density1(), s.inputs(), s.density_width, t.data() + s.density1());
  transpose(w + s.density2(), s.density_width, kFieldOut, t.data() + s.density2());
  transpose(w + s.color1(), kColorIn, s.color_width, t.data() + s.color1());
  transpose(w + s.color2(), s.color_width, s.color_width, t.data() + s.color2());
  transpose(w + s.color3(), s.color_width, kFieldOut, t.data() + s.color3());
  return t;
}

// Loss of one ray and its gradients: d_color by the ray's colour, d_opacity by its opacity.
float ray_loss(const FieldLoss& loss, int64_t ray, const float* color, float opacity, float* d_color,
               float* d_opacity) {
  const float scale = loss.scale * loss.ray_weights[ray];
  float sum = 0.0f;
  for (int c = 0; c < 3; ++c) {
    const float e = color[c] - loss.targets[3 * ray + c], size = std::fabs(e);
    if (loss.huber > 0.0f && size > loss.huber) {
      sum += loss.huber * (2.0f * size - loss.huber);
      d_color[c] = scale * 2.0f * std::copysign(loss.huber, e);
    } else {
      sum += e * e;
      d_color[c] = scale * 2.0f * e;
    }
  }
  *d_opacity = 0.0f;
  if (loss.opacity > 0.0f) {
    const float o = std::min(std::max(opacity, 1e-3f), 1.0f - 1e-3f);
    sum -= loss.opacity * (o * std::log(o) + (1.0f - o) * std::log(1.0f - o));
    if (o == opacity) *d_opacity = scale * loss.opacity * (std::log(1.0f - o) - std::log(o));
  }
  return scale * sum;
}

// Loss of the spread of a ray's weights (Barron et al. 2022, eq. 15, in t / (1 + t)) and its gradient by each weight.
float spread_loss(const FieldChunk& chunk, int64_t from, int64_t to, float scale, float* d_weight) {
  const auto middle = [&](int64_t i) { return chunk.t[static_cast<size_t>(i)] / (1.0f + chunk.t[static_cast<size_t>(i)]); };
  float total = 0.0f, moment = 0.0f;
  for (int64_t i = from; i < to; ++i) {
    total += chunk.weight[static_cast<size_t>(i)];
    moment += chunk.weight[static_cast<size_t>(i)] * middle(i);
  }
  float before = 0.0f, before_moment = 0.0f, sum = 0.0f;
  for (int64_t i = from; i < to; ++i) {
    const float w = chunk.weight[static_cast<size_t>(i)], m = middle(i);
    const float wide = chunk.delta[static_cast<size_t>(i)] / ((1.0f + chunk.t[static_cast<size_t>(i)]) * (1.0f + chunk.t[static_cast<size_t>(i)]));
    const float after = total - before - w, after_moment = moment - before_moment - w * m;
    const float others = (m * before - before_moment) + (after_moment - m * after);
    sum += w * others + w * w * wide / 3.0f;
    d_weight[i - from] = scale * (2.0f * others + 2.0f / 3.0f * w * wide);
    before += w;
    before_moment += w * m;
  }
  return scale * sum;
}

// Loss of the chunk's rays; d_logits (padded 16) and d_out (padded 16, only its first column) of the samples.
double composite(const FieldChunk& chunk, const FieldLoss& loss, int64_t begin, float* ray_losses, float* d_logits,
                 float* d_first) {
  double sum = 0.0;
  std::vector<float> d_weight;
  for (int64_t r = 0; r < chunk.num_rays; ++r) {
    const int64_t from = chunk.first[static_cast<size_t>(r)], to = chunk.first[static_cast<size_t>(r + 1)];
    const float left = chunk.transmitted[static_cast<size_t>(r)];
    const float* background = loss.backgrounds + 3 * (begin + r);
    float color[3] = {};
    for (int64_t i = from; i < to; ++i)
      for (int c = 0; c < 3; ++c) color[c] += chunk.weight[static_cast<size_t>(i)] * chunk.color[static_cast<size_t>(c * chunk.padded + i)];
    for (int c = 0; c < 3; ++c) color[c] += left * background[c];
    float d_color[3], d_opacity;
    float value = ray_loss(loss, begin + r, color, 1.0f - left, d_color, &d_opacity);
    d_weight.assign(static_cast<size_t>(to - from), 0.0f);
    if (loss.distortion > 0.0f)
      value += spread_loss(chunk, from, to, loss.scale * loss.ray_weights[begin + r] * loss.distortion, d_weight.data());
    ray_losses[begin + r] = value;
    sum += value;
    // Back to front: what a little more density at a sample takes from everything behind it.
    float behind = left * ((background[0] * d_color[0] + background[1] * d_color[1]) + background[2] * d_color[2] - d_opacity);
    float passing = left;  // light behind the sample
    for (int64_t i = to; i-- > from;) {
      const size_t k = static_cast<size_t>(i);
      float* d_logit = d_logits + i * kFieldOut;
      float shine = d_weight[static_cast<size_t>(i - from)];
      for (int c = 0; c < 3; ++c) {
        const float own = chunk.color[static_cast<size_t>(c * chunk.padded) + k];
        shine += own * d_color[c];
        d_logit[c] = chunk.weight[k] * d_color[c] * own * (1.0f - own);
      }
      d_first[i] = chunk.delta[k] * chunk.density[k] * (passing * shine - behind);
      behind += chunk.weight[k] * shine;
      passing += chunk.weight[k];
    }
  }
  return sum;
}

struct Room {  // of a thread, kept between calls
  FieldChunk chunk;
  std::vector<float> d_logits, d_first, d_inputs, d_hidden;
};

}  // namespace

FieldCounts field_gradients(const FieldShape& shape, const float* table, const float* weights, const FieldMarch& march,
                            const FieldRays& rays, const FieldLoss& loss, float min_weight, float* table_gradients,
                            float* weight_gradients, float* ray_losses) {
  const FieldForward field{&shape, table, weights};
  const FieldGrid grid(march);
  const std::vector<float> transposed = transposed_weights(shape, weights);
  const int64_t slice = std::max<int64_t>((rays.n + kSlices - 1) / kSlices, 1);
  const int64_t num_slices = (rays.n + slice - 1) / slice;
  const int64_t chunks = (slice + kChunkRays - 1) / kChunkRays;
  std::vector<Left> lefts(static_cast<size_t>(num_slices * chunks));
  std::vector<std::vector<float>> gradients(static_cast<size_t>(num_slices));
  std::vector<FieldCounts> counts(static_cast<size_t>(num_slices), FieldCounts{});
  parallel_for(num_slices, [&](int64_t s) {
    thread_local Room room;
    FieldChunk& chunk = room.chunk;
    std::vector<float>& own = gradients[static_cast<size_t>(s)];
    own.assign(static_cast<size_t>(shape.num_weights()), 0.0f);
    const FieldBackward back{&shape, weights, transposed.data(), own.data()};
    FieldCounts& count = counts[static_cast<size_t>(s)];
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t begin = s * slice + c * kChunkRays, end = std::min({begin + kChunkRays, (s + 1) * slice, rays.n});
      if (begin >= end) break;
      chunk.walk(field, grid, rays, begin, end, min_weight);
      chunk.shine(field, rays, begin);
      const int64_t n = chunk.padded;
      room.d_logits.assign(static_cast<size_t>(n * kFieldOut), 0.0f);
      room.d_first.assign(static_cast<size_t>(n), 0.0f);
      count.loss += composite(chunk, loss, begin, ray_losses, room.d_logits.data(), room.d_first.data());
      count.marched += chunk.marched;
      count.kept += chunk.count;
      if (!n) continue;
      room.d_hidden.resize(static_cast<size_t>(n * std::max(2 * shape.color_width, shape.density_width)));
      room.d_inputs.resize(static_cast<size_t>(n * kColorIn));
      RIL_CALL_SIMD(field_color_backward, back, chunk.inputs.data(), chunk.hidden1.data(), chunk.hidden2.data(),
                    room.d_logits.data(), n, room.d_hidden.data(), room.d_inputs.data());
      // d_inputs becomes d_out, rows of 16.
      std::vector<float>& d_out = room.d_logits;
      for (int64_t i = 0; i < n; ++i) {
        std::copy_n(room.d_inputs.data() + i * kColorIn, kFieldOut, d_out.data() + i * kFieldOut);
        d_out[static_cast<size_t>(i * kFieldOut)] += room.d_first[static_cast<size_t>(i)];
      }
      Left& left = lefts[static_cast<size_t>(s * chunks + c)];
      left.n = n;
      left.u = chunk.u;
      left.d_features.resize(static_cast<size_t>(n * shape.inputs()));
      RIL_CALL_SIMD(field_density_backward, back, chunk.features.data(), chunk.hidden.data(), d_out.data(), n,
                    room.d_hidden.data(), left.d_features.data());
    }
  });
  parallel_ranges(shape.num_weights(), 1024, [&](int64_t from, int64_t to) {
    for (const std::vector<float>& own : gradients)
      for (int64_t i = from; i < to; ++i) weight_gradients[i] += own[static_cast<size_t>(i)];
  });
  // Each level of the table is one thread's own; samples come in their order.
  parallel_for(shape.num_levels, [&](int64_t v) {
    for (const Left& left : lefts)
      if (left.n)
        RIL_CALL_SIMD(field_scatter, shape.level[v], left.u.data(), left.d_features.data() + kRowFloats * v,
                      shape.inputs(), left.n, table_gradients);
  });
  FieldCounts total{};
  for (const FieldCounts& c : counts) {
    total.marched += c.marched;
    total.kept += c.kept;
    total.loss += c.loss;
  }
  return total;
}

}  // namespace rilievo
