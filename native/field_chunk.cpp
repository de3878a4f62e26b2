#include "field_chunk.h"

#include <cstring>

namespace rilievo {
namespace {

constexpr int kWave = 12;  // samples a ray and wave

int64_t pad(int64_t n) { return (n + kFieldBlock - 1) / kFieldBlock * kFieldBlock; }

template <typename T>
void at_least(std::vector<T>& v, int64_t n) {
  if (static_cast<int64_t>(v.size()) < n) v.resize(static_cast<size_t>(n + n / 2));
}

}  // namespace

void field_harmonics(const float* direction, float* a) {
  const float x = direction[0], y = direction[1], z = direction[2];
  const float xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
  a[0] = 0.28209479f;
  a[1] = -0.48860251f * y;
  a[2] = 0.48860251f * z;
  a[3] = -0.48860251f * x;
  a[4] = 1.0925484f * xy;
  a[5] = -1.0925484f * yz;
  a[6] = 0.94617470f * zz - 0.31539157f;
  a[7] = -1.0925484f * xz;
  a[8] = 0.54627422f * (xx - yy);
  a[9] = 0.59004359f * y * (yy - 3.0f * xx);
  a[10] = 2.8906114f * xy * z;
  a[11] = 0.45704580f * y * (1.0f - 5.0f * zz);
  a[12] = 0.37317633f * z * (5.0f * zz - 3.0f);
  a[13] = 0.45704580f * x * (1.0f - 5.0f * zz);
  a[14] = 1.4453057f * z * (xx - yy);
  a[15] = 0.59004359f * x * (3.0f * yy - xx);
}

// Asks the density of samples from `from` to the end of t_.
void FieldChunk::wave(const FieldForward& field, int64_t from) {
  const FieldShape& s = *field.shape;
  const int64_t n = static_cast<int64_t>(t_.size()) - from, to = from + n;
  at_least(features_, to * s.inputs());
  at_least(hidden_, to * s.density_width);
  at_least(out_, to * kFieldOut);
  at_least(density_, to);
  at_least(passed_, to);
  RIL_CALL_SIMD(field_encode_block, s, field.table, u_.data() + 3 * from, n, features_.data() + from * s.inputs());
  RIL_CALL_SIMD(field_density_block, field, features_.data() + from * s.inputs(), n,
                hidden_.data() + from * s.density_width, out_.data() + from * kFieldOut, density_.data() + from);
  RIL_CALL_SIMD(field_passed, density_.data() + from, delta_.data() + from, n, passed_.data() + from);
}

void FieldChunk::walk(const FieldForward& field, const FieldGrid& grid, const FieldRays& rays, int64_t begin,
                      int64_t end, float min_weight) {
  const FieldShape& s = *field.shape;
  num_rays = end - begin;
  marched = 0;
  walks_.clear();
  alive_.clear();
  found_.clear();
  t_.clear();
  delta_.clear();
  u_.clear();
  left_.assign(static_cast<size_t>(num_rays), 1.0f);
  for (int64_t r = begin; r < end; ++r) {
    walks_.emplace_back(grid, rays.origins + 3 * r, rays.directions + 3 * r, rays.jitter[r]);
    alive_.push_back(static_cast<int32_t>(r - begin));
  }
  first.assign(static_cast<size_t>(num_rays + 1), 0);
  struct Run {
    int32_t ray, from, to;
  };
  std::vector<Run> runs;
  while (!alive_.empty()) {
    const int64_t from = static_cast<int64_t>(t_.size());
    runs.clear();
    for (int32_t ray : alive_) {
      FieldWalk& walk = walks_[static_cast<size_t>(ray)];
      const int32_t run = static_cast<int32_t>(t_.size());
      FieldSample sample;
      for (int j = 0; j < kWave && walk.next(sample); ++j) {
        t_.push_back(sample.t);
        delta_.push_back(sample.delta);
        u_.insert(u_.end(), sample.u, sample.u + 3);
      }
      const int32_t stop = static_cast<int32_t>(t_.size());
      if (stop > run) runs.push_back({ray, run, stop});
    }
    const int64_t n = static_cast<int64_t>(t_.size()) - from;
    marched += n;
    t_.resize(static_cast<size_t>(from + pad(n)), 0.0f);
    delta_.resize(static_cast<size_t>(from + pad(n)), 0.0f);
    u_.resize(static_cast<size_t>(3 * (from + pad(n))), 0.5f);
    if (n) wave(field, from);
    alive_.clear();
    for (const Run& run : runs) {
      float& left = left_[static_cast<size_t>(run.ray)];
      int32_t i = run.from;
      for (; i < run.to && left >= kMinTransmittance; ++i) {
        const float behind = left * passed_[static_cast<size_t>(i)], weight = left - behind;
        if (weight < min_weight) continue;
        left = behind;
        found_.push_back({run.ray, i, weight});
        ++first[static_cast<size_t>(run.ray) + 1];
      }
      if (left >= kMinTransmittance && run.to - run.from == kWave) alive_.push_back(run.ray);
    }
  }
  transmitted = left_;
  for (int64_t r = 0; r < num_rays; ++r) first[static_cast<size_t>(r + 1)] += first[static_cast<size_t>(r)];
  count = first[static_cast<size_t>(num_rays)];
  padded = pad(count);

  // The samples that count, in order of rays.
  for (std::vector<float>* v : {&t, &delta, &passed, &density, &weight}) v->assign(static_cast<size_t>(padded), 0.0f);
  u.assign(static_cast<size_t>(3 * padded), 0.5f);
  features.resize(static_cast<size_t>(padded * s.inputs()));
  hidden.resize(static_cast<size_t>(padded * s.density_width));
  out.resize(static_cast<size_t>(padded * kFieldOut));
  const auto clear_from = [&](std::vector<float>& v, int64_t width) {
    std::fill(v.begin() + count * width, v.end(), 0.0f);
  };
  clear_from(features, s.inputs());
  clear_from(hidden, s.density_width);
  clear_from(out, kFieldOut);
  std::vector<int64_t> next(first.begin(), first.end() - 1);
  for (const Found& f : found_) {
    const size_t from = static_cast<size_t>(f.at), to = static_cast<size_t>(next[static_cast<size_t>(f.ray)]++);
    t[to] = t_[from];
    delta[to] = delta_[from];
    passed[to] = passed_[from];
    density[to] = density_[from];
    weight[to] = f.weight;
    std::memcpy(&u[3 * to], &u_[3 * from], 3 * sizeof(float));
    const size_t a = static_cast<size_t>(s.inputs()), b = static_cast<size_t>(s.density_width);
    std::memcpy(&features[a * to], &features_[a * from], a * sizeof(float));
    std::memcpy(&hidden[b * to], &hidden_[b * from], b * sizeof(float));
    std::memcpy(&out[kFieldOut * to], &out_[kFieldOut * from], kFieldOut * sizeof(float));
  }
}

void FieldChunk::shine(const FieldForward& field, const FieldRays& rays, int64_t begin) {
  const FieldShape& s = *field.shape;
  inputs.resize(static_cast<size_t>(padded * kColorIn));
  std::fill(inputs.begin() + count * kColorIn, inputs.end(), 0.0f);
  hidden1.resize(static_cast<size_t>(padded * s.color_width));
  hidden2.resize(static_cast<size_t>(padded * s.color_width));
  logits.resize(static_cast<size_t>(padded * kFieldOut));
  color.resize(static_cast<size_t>(padded * 3));
  for (int64_t r = 0; r < num_rays; ++r) {
    const int64_t from = first[static_cast<size_t>(r)], to = first[static_cast<size_t>(r + 1)];
    if (from == to) continue;
    float harmonics[kDirection];
    field_harmonics(rays.directions + 3 * (begin + r), harmonics);
    for (int64_t i = from; i < to; ++i) {
      std::memcpy(&inputs[static_cast<size_t>(i * kColorIn)], &out[static_cast<size_t>(i * kFieldOut)],
                  kFieldOut * sizeof(float));
      std::memcpy(&inputs[static_cast<size_t>(i * kColorIn + kFieldOut)], harmonics, sizeof(harmonics));
    }
  }
  if (padded)
    RIL_CALL_SIMD(field_color_block, field, inputs.data(), padded, hidden1.data(), hidden2.data(), logits.data(),
                  color.data());
}

}  // namespace rilievo
